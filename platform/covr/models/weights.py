"""Where weights made elsewhere are found: a file, a folder or a hub id."""

from __future__ import annotations

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from covr.errors import UserError
from covr.storage import Place


def find_weights(source: str, option: str) -> Place:
    """The checkpoint file that a path, a folder (its model.safetensors) or a hub id names.

    A hub id is fetched once and kept in the hub's cache.

    Raises:
        UserError: nothing there; names the option that gave the source.
    """
    place = Place(source)
    if place.is_dir():
        place /= "model.safetensors"
    if place.exists():
        return place
    if source.count("/") == 1 and not source.startswith((".", "/")):
        try:
            return Place(hf_hub_download(source, "model.safetensors"))
        except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"the hub gave no weights ({reason})", f"{option}={source}", "give a local file") from None
    raise UserError("no weights there", f"{option}={source}", "give a checkpoint file, a folder or a hub id")
