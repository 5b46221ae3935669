"""Clips through Ray Data: what is done is left out first, what is finished is kept part by part.

Decoding and encoding run as actor stages beside each other; their results come back to the driver, which renames
whole parts into place. What a killed run had not yet renamed is done again by the next one, and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from omegaconf import DictConfig
from ray.data import ActorPoolStrategy, DataContext

from covr.clips.sampling import Sampling
from covr.cluster.session import connect
from covr.embed.plan import Accelerator, Plan, plan
from covr.embed.quarantine import Quarantine, check_budget, settled
from covr.embed.stages import TODO, Decode, Encode
from covr.errors import UserError
from covr.report.console import progress
from covr.storage import Place

if TYPE_CHECKING:  # importing covr.models takes seconds, and no worker that decodes needs it
    from covr.models.sides import Encoder

_PART_S = 20.0  # a killed run loses this much work at most


def todo(
    clips: pa.Table, keys: pa.Array, done: dict[str, set[tuple[str, str]]], quarantine: Quarantine
) -> tuple[pa.Table, Counter[str]]:
    """What is left to do.

    Args:
        clips: rows of `covr.tables.CLIPS`; of a repeated clip_id the first counts.
        keys: one a clip.
        done: for each feature that is wanted, the (clip_id, key) that have it.

    Returns:
        The rows of TODO, without clips that are done or refused for good; and how many are refused, by reason.
    """
    refusals, refused, seen, rows = quarantine.refusals(), Counter[str](), set(), []
    columns = clips.select(["clip_id", "uri", "start_s", "end_s"])
    for clip, key in zip(columns.to_pylist(), keys.to_pylist(), strict=True):
        if clip["clip_id"] in seen:
            continue
        seen.add(clip["clip_id"])
        work = (clip["clip_id"], key)
        attempt, reason = refusals.get(work, (0, ""))
        lacking = [feature for feature, have in done.items() if work not in have]
        if lacking and attempt and settled(attempt, reason):
            refused[reason] += 1
        elif lacking:
            rows.append({**clip, "key": key, "attempt": attempt + 1, "features": lacking})
    return pa.Table.from_pylist(rows, TODO), refused


def stream(
    rows: pa.Table,
    root: Place,
    *,
    sampling: Sampling,
    resize: Callable,
    machine: DictConfig,
    block_clips: int,
    load: Callable[[], Encoder] | None = None,
    accelerator: Accelerator = "auto",
) -> Iterator[pa.Table]:
    """TODO rows through the stages, block by block as they are done, in no order.

    Args:
        block_clips: clips that are decoded, and encoded, together.
        resize: as of `Decode`; what it carries is copied to every decode worker.
        load: gives the encoder; None stops at the frames.
        accelerator: where the encoder runs; `auto` takes a GPU where the cluster has one.

    Yields:
        Blocks of DECODED, or of ENCODED where there is `load`.

    Raises:
        UserError: the plan does not fit on the cluster, or a worker met one.
    """
    if not len(rows):
        return
    chosen = plan(machine, connect(machine), accelerator)
    # One block a batch: nothing is re-cut between the stages, which would take a CPU that the plan has given away.
    blocks = [rows.slice(start, block_clips) for start in range(0, len(rows), block_clips)]
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # `keep` shows the progress
    with DataContext.current(context):
        data: ray.data.Dataset = _decode(
            ray.data.from_arrow(blocks), chosen, root=root, sampling=sampling, decoder=machine.decoder, resize=resize
        )
        if load is not None:
            data = _encode(data, chosen, load=load, batch=block_clips)
        batches: Iterable[Any] = data.iter_batches(batch_size=None, batch_format="pyarrow")
    for block in batches:
        if errors := block["user_error"].drop_null().to_pylist():
            raise UserError(*errors[0])
        yield block


def _decode(data: ray.data.Dataset, chosen: Plan, **arguments: object) -> ray.data.Dataset:
    return data.map_batches(
        Decode,  # type: ignore[arg-type]
        fn_constructor_kwargs=arguments,
        compute=ActorPoolStrategy(min_size=chosen.decode_workers, max_size=chosen.decode_workers_most),
        num_cpus=chosen.decode_cpus,
        resources=dict(chosen.decode_resources),
        batch_size=None,
        batch_format="pyarrow",
    )


def _encode(data: ray.data.Dataset, chosen: Plan, **arguments: object) -> ray.data.Dataset:
    return data.map_batches(
        Encode,  # type: ignore[arg-type]
        fn_constructor_kwargs={**arguments, "threads": chosen.encode_threads, "device": chosen.encode_device},
        compute=ActorPoolStrategy(size=chosen.encode_workers),
        num_cpus=chosen.encode_cpus,
        resources=dict(chosen.encode_resources),
        num_gpus=chosen.encode_gpus,
        batch_size=None,
        batch_format="pyarrow",
    )


def keep(
    blocks: Iterator[pa.Table],
    write: Callable[[pa.Table], None],
    quarantine: Quarantine,
    *,
    reasons: Counter[str],
    label: str,
    total: int,
    remaining: int,
    max_bad_fraction: float,
    part_bytes: int,
) -> None:
    """Take what `stream` yields until its end: finished rows to `write` in parts, refused ones to the quarantine.

    Args:
        write: puts rows into place as one part, whole or not at all.
        reasons: how many clips are refused already; counted on.
        total: clips of the whole job, `remaining` of them in the stream.
        max_bad_fraction: share of `total` that may be refused.
        part_bytes: a part is written at this size, or after 20 s.

    Raises:
        UserError: more were refused; what is finished stays.
    """
    waiting: list[pa.Table] = []
    since = time.monotonic()

    def put_in_place() -> None:
        nonlocal since
        if waiting:
            rows = pa.concat_tables(waiting)
            refused = rows.filter(pc.is_valid(rows["reason"]))
            if len(refused):
                quarantine.write(refused.select(["clip_id", "key", "uri", "attempt", "reason", "detail"]).to_pylist())
            if len(refused) < len(rows):
                write(rows.filter(pc.is_null(rows["reason"])))
        waiting.clear()
        since = time.monotonic()

    with progress(f"  {label}", total, total - remaining, "clips") as advance:
        for block in blocks:
            waiting.append(block)
            reasons.update(block["reason"].drop_null().to_pylist())
            advance(len(set(block["clip_id"].to_pylist())))
            if sum(table.nbytes for table in waiting) >= part_bytes or time.monotonic() - since >= _PART_S:
                put_in_place()
                check_budget(reasons, total, max_bad_fraction, quarantine)
        put_in_place()
    check_budget(reasons, total, max_bad_fraction, quarantine)
