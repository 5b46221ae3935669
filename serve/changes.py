"""Changes to the index of a pair while it answers: on disk before they are acknowledged, and carried over a swap."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from covr.client.schema import Mode
from covr.clips import DecodeFailure
from covr.clips.isolated import IsolatedDecoder
from covr.errors import UserError
from covr.index.current import Current
from covr.index.live import Live, view_of
from covr.storage import Place
from serve.pair import Pair

logger = logging.getLogger("ray.serve")


class Changes:
    """The writer of one pair's index; it takes the log when the first change comes. One caller at a time."""

    def __init__(self, root: Place) -> None:
        self._root = root
        self._live: Live | None = None

    def add(self, pair: Pair, clip: dict[str, Any], frames: dict[Mode, np.ndarray]) -> Pair:
        """The pair with a clip added or replaced, once that is on disk.

        Raises:
            UserError: another writer, or a clip that this retriever cannot index.
            OSError: it cannot be written; nothing has changed.
        """
        entry = pair.encoder.entry(clip, frames)
        return pair.over(self._writer(pair).put(entry))

    def remove(self, pair: Pair, clip_id: str) -> Pair:
        """The pair without a clip, once that is on disk.

        Raises:
            UserError: another writer.
            OSError: it cannot be written; nothing has changed.
        """
        return pair.over(self._writer(pair).remove(clip_id))

    def compacted(self, pair: Pair) -> Pair:
        """The pair over a new snapshot of all that its index holds; the same pair where `index/current.json` names
        another one by now.

        Raises:
            UserError: another writer.
            OSError: it cannot be written.
        """
        if Current.read(self._root).snapshot != pair.view.snapshot.fingerprint:
            return pair
        return pair.over(view_of(self._root / "index", self._writer(pair).compact()))

    def publish(self, pair: Pair) -> None:
        """Have `index/current.json` name a compacted pair, whose log further changes go to.

        Raises:
            OSError: it cannot be written.
        """
        Current(snapshot=pair.view.snapshot.fingerprint, retriever=pair.name).write(self._root)
        logger.info("compacted into the index %s", pair.view.snapshot.fingerprint)
        self.close()

    def carried(self, old: Pair, new: Pair) -> Pair:
        """The new pair with the changes that were made live on the old one; where the retriever is another, the clips
        are decoded and encoded again.

        Raises:
            UserError: a clip cannot be decoded again, or the new index has another writer.
        """
        view = old.view
        if not view.changes or view.snapshot.fingerprint == new.view.snapshot.fingerprint:
            self.close()
            return new
        live = Live(self._root / "index", new.view.snapshot)
        try:
            for clip_id in sorted(view.removed - view.added.keys()):
                if clip_id in live.view:
                    live.remove(clip_id)
            with IsolatedDecoder(new.encoder.decoder) as decoder:
                for entry in view.added.values():
                    if new.retriever != old.retriever:
                        entry = new.encoder.entry(entry.clip, _decoded(decoder, self._root, entry.clip, new))
                    live.put(entry)
        except BaseException:
            live.close()
            raise
        self.close()
        self._live = live
        return new.over(live.view)

    def close(self) -> None:
        """Let another write."""
        if self._live is not None:
            self._live.close()
            self._live = None

    def _writer(self, pair: Pair) -> Live:
        if self._live is None:
            self._live = Live(self._root / "index", pair.view.snapshot)
        return self._live


def _decoded(decoder: IsolatedDecoder, root: Place, clip: dict[str, Any], pair: Pair) -> dict[Mode, np.ndarray]:
    path = str(root.resolve(clip["uri"]).local())
    try:
        return {mode: decoder.decode(path, sampling).frames for mode, sampling in pair.encoder.sampling.items()}
    except DecodeFailure as failure:
        raise UserError(
            f"a clip that was added cannot be decoded again ({failure.reason})", clip["clip_id"], "remove it first"
        ) from None
