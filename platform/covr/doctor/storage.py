"""Whether the storage root takes and gives back what a job writes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

from covr.doctor.finding import Finding
from covr.errors import UserError
from covr.storage import Place

PROBE = ".covr-doctor"


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists.

    Raises:
        UserError: a file is in the way.
    """
    folder = folder.absolute()
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not nearest.is_dir():
        raise UserError("a file is in the way of the storage root", str(nearest), "give out= a folder")
    return nearest


def storage(out: str) -> Iterator[Finding]:
    """Write, read back and remove a file below the storage root; a missing local root is left missing."""
    try:
        root = Place(out)
        below = Place(existing(root.local())) if root.is_local else root
        probe, written = below / f"{PROBE}-{uuid.uuid4().hex[:8]}", uuid.uuid4().bytes
        try:
            probe.write_bytes(written)
            same = probe.read_bytes() == written
        finally:
            probe.remove()
    except UserError:
        raise
    except ImportError as error:  # fsspec names the package that the scheme needs
        yield Finding(check="storage", found=f"{out}: {error}", state="fault", fix="pip install 'covr[cloud]'")
        return
    except Exception as error:  # each store's client has errors of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        fix = "give out= a folder or bucket that you may write to" + ("" if "://" not in out else ", check credentials")
        yield Finding(check="storage", found=f"{out} is not writable: {reason}", state="fault", fix=fix)
        return
    if same:
        yield Finding(check="storage", found=f"{out} is writable")
    else:
        fix = "give out= a store whose reads see its writes"
        yield Finding(check="storage", found=f"{out} gives back other bytes", state="fault", fix=fix)
