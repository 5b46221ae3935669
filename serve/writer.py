"""The one writer of an index whose parts are other replicas': changes and swaps, told to all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ray import serve as ray_serve
from ray.serve.handle import DeploymentHandle

from covr.errors import UserError
from serve.calls import again
from serve.keeper import Keeper
from serve.pair import Pair
from serve.replies import Unready
from serve.settings import Settings
from serve.shard import shard_of

logger = logging.getLogger("ray.serve")


@ray_serve.deployment
class Writer(Keeper):
    """A `Keeper` that answers no query: encoders and shards do. A change is on disk, then in its shard, then
    acknowledged; a shard that dies in between reads it from the log."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: Settings, encoding: DeploymentHandle, shards: Sequence[DeploymentHandle]
    ) -> None:
        await asyncio.to_thread(super().__init__, settings)
        self._encoding, self._shards = encoding, shards
        if self._pair is not None:
            try:
                self._since = await self._taking(self._pair)
            except UserError as error:
                self._pair, self._unready = None, Unready(reason=error.what)
        self._follow()

    async def _taking(self, pair: Pair) -> int:
        generation, since = pair.generation, await super()._taking(pair)
        said = await asyncio.gather(*(again(shard.load.remote, generation) for shard in self._shards))
        encoders = await self._encoding.broadcast("load", generation).results_async(return_exceptions=True)
        for refused in (*said, *encoders):
            if isinstance(refused, Unready):
                raise UserError(refused.reason, "a shard or an encoder", "mend that first")
            if isinstance(refused, Exception):  # it is starting or dying: it loads what it is asked for
                logger.warning("an encoder was not told of the new pair: %s", refused)
        await asyncio.gather(*(again(shard.commit.remote, generation, since) for shard in self._shards))
        return since

    async def _changed(self, pair: Pair, clip_id: str) -> None:
        shard = self._shards[shard_of(clip_id, len(self._shards))]
        entry, number = pair.view.added.get(clip_id), pair.view.changes
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await again(shard.apply.remote, pair.generation, clip_id, entry, number)
        except TimeoutError:  # it hangs, and takes the change before any later query; or it is restarted, and reads it
            logger.error("a shard has not said that it took a change")
