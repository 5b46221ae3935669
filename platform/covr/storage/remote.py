"""Object stores: how long one that fails is waited for, and what Ray Train gets to write checkpoints with.

Credentials come from the environment alone, as each store's own client finds them (AWS_ACCESS_KEY_ID and its kin, an
instance's role, GOOGLE_APPLICATION_CREDENTIALS); AWS_ENDPOINT_URL names a store that is not Amazon's.
"""

from __future__ import annotations

from typing import Any

from fsspec import AbstractFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem

_S3_ATTEMPTS = 16
"""Of one request: s3fs waits 0.1 s, then 1.7 times longer each time, never above 15 s: two minutes in all."""


def wait_out_failures(fs: AbstractFileSystem) -> None:
    """Have the store's client try again for two minutes where the store is away or answers with a fault of its own.

    gcsfs does so by itself (`tests/storage/test_remote.py` cuts both).
    """
    if "s3" not in fs.protocol:
        return
    from botocore.exceptions import ConnectionError as NoConnection
    from s3fs import core

    if (
        NoConnection not in core.S3_RETRYABLE_ERRORS
    ):  # s3fs tries again where a connection breaks, not where none is had
        core.add_retryable_error(NoConnection)
    type(fs).retries = _S3_ATTEMPTS  # of the class, whose instances Ray's processes make anew
    core.set_custom_error_handler(_store_is_at_fault)


def _store_is_at_fault(error: Exception) -> bool:
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500


class _Handler(FSSpecHandler):
    """Travels as a URI, so that the process that opens it waits as patiently as this one."""

    def __init__(self, uri: str) -> None:
        from covr.storage.place import Place

        super().__init__(Place(uri).fs)
        self._uri = uri

    def __reduce__(self):
        return (_Handler, (self._uri,))


def for_arrow(uri: str) -> PyFileSystem:
    """The store of a URI as pyarrow's, and so Ray Train's, file system."""
    return PyFileSystem(_Handler(uri))
