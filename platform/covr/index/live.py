"""An index that changes while it is served: a snapshot, the log of its changes beside it, and the view of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from covr import tables
from covr.index import log
from covr.index.snapshot import Snapshot
from covr.index.view import Entry, View
from covr.storage import Place

LOG = "changes.log"


def view_of(folder: Place, snapshot: Snapshot, mine: Callable[[str], bool] = lambda clip_id: True) -> View:
    """The snapshot with the changes that its log holds.

    Args:
        folder: of all snapshots.
        mine: which clips `snapshot` may hold, where it is a part of one; changes of others are counted only.

    Raises:
        UserError: the log is damaged.
    """
    place = folder / snapshot.fingerprint
    return _replayed(snapshot, place.local(), mine)[0] if place.is_local else View(snapshot=snapshot)


class Live:
    """The one writer of a snapshot's changes. Every change is on disk when its method returns.

    Attributes:
        view: with every change so far.

    Raises:
        UserError: the index is not on a local disk, or has another writer.
    """

    def __init__(self, folder: Place, snapshot: Snapshot) -> None:
        self._folder = folder
        path = (folder / snapshot.fingerprint).local()
        self.view, length = _replayed(snapshot, path)
        self._writer = log.Writer(path / LOG, length)

    def put(self, entry: Entry) -> View:
        """Add a clip, or replace the one of its id.

        Raises:
            OSError: it cannot be written; nothing has changed.
        """
        head = {"put": entry.clip, "shape": entry.feature.shape}
        arrays = (np.ascontiguousarray(values, np.float32).tobytes() for values in (entry.vector_D, entry.feature))
        self._writer.append(b"\n".join([json.dumps(head).encode(), b"".join(arrays)]))
        self.view = self.view.put(entry)
        return self.view

    def remove(self, clip_id: str) -> View:
        """Remove a clip; KeyError where it is not there.

        Raises:
            OSError: it cannot be written; nothing has changed.
        """
        view = self.view.remove(clip_id)
        self._writer.append(json.dumps({"remove": clip_id}).encode() + b"\n")
        self.view = view
        return view

    def compact(self) -> Snapshot:
        """Write what the view holds as a snapshot of its own, beside the old one, which stays as it is; of the
        same kind.

        Raises:
            UserError: no clip is left.
        """
        view, manifest = self.view, self.view.manifest
        clip_ids = sorted(view.clip_ids)
        return Snapshot.build(
            self._folder,
            clips=tables.from_rows("clips", view.describe(clip_ids)),
            vectors_ND=np.stack([view.vector(clip_id) for clip_id in clip_ids]),
            features_NF=np.stack([view.feature(clip_id) for clip_id in clip_ids]),
            similarity=manifest.similarity,
            target_fingerprint=manifest.target_fingerprint,
            retriever_fingerprint=manifest.retriever_fingerprint,
            dataset_fingerprint=view.fingerprint,
            decoder=manifest.decoder,
            kind=manifest.kind,
        )

    def close(self) -> None:
        """Let another write."""
        self._writer.close()


def _replayed(snapshot: Snapshot, folder: Path, mine: Callable[[str], bool] = lambda clip_id: True) -> tuple[View, int]:
    payloads, length = log.read(folder / LOG)
    view = View(snapshot=snapshot)
    for payload in payloads:
        line, _, arrays = payload.partition(b"\n")
        head = json.loads(line)
        if not mine(head.get("remove") or head["put"]["clip_id"]):
            view = replace(view, changes=view.changes + 1)
            continue
        if "remove" in head:
            view = view.remove(head["remove"])
            continue
        values, dim = np.frombuffer(arrays, np.float32), snapshot.manifest.dim
        clip = head["put"]
        if clip.get("attributes") is not None:  # a map, of which JSON makes lists
            clip["attributes"] = [(name, value) for name, value in clip["attributes"]]
        view = view.put(Entry(clip=clip, vector_D=values[:dim], feature=values[dim:].reshape(head["shape"])))
    return view, length
