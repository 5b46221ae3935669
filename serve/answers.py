"""What is answered: found clips, an indexed clip, the state of a retriever, as the schema has them."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from starlette.requests import Request

from covr.client.schema import Clip, Result, SearchAnswer, Serving, Timings
from serve import pages
from serve.problems import request_id
from serve.query import Found, Query
from serve.replies import Described


def serving(found: Described) -> Serving:
    """What a retriever answers from."""
    return Serving(clips=found.clips, retriever=found.retriever, index=found.index, refused=found.refused)


def answer(
    request: Request, query: Query, found: Found, start: float, decode_ms: float | None, name: str | None
) -> SearchAnswer:
    """The answer to a query that came at `start` (`time.perf_counter`), asked of the retriever of this name."""
    ranked = enumerate(zip(found.scores, found.clips, strict=True), 1 + query.offset)
    return SearchAnswer(
        request_id=request_id(request),
        took_ms=round(1000 * (time.perf_counter() - start), 3),
        timings_ms=Timings(decode=decode_ms, queue=found.queue_ms, encode=found.encode_ms, search=found.search_ms),
        mode=query.mode,
        text_share=found.encoded.text_share,
        text=query.text,
        truncated=found.encoded.truncated,
        unseen=found.encoded.unseen,
        confident=found.confident,
        retriever=found.retriever,
        index=found.index,
        batch_size=found.batch_size,
        results=[Result(rank=rank, score=score, **_shared(clip, request, name)) for rank, (score, clip) in ranked],
        next=pages.after(query, found.index) if found.more else None,
    )


def clip_answer(row: dict[str, Any], request: Request, name: str | None) -> Clip:
    """A row of `clips`, with where its file is had."""
    fields = {name: row[name] for name in ("kind", "num_frames", "fps", "width", "height")}
    return Clip(**_shared(row, request, name), **fields, attributes=dict(row["attributes"] or ()))


def _shared(clip: dict[str, Any], request: Request, retriever: str | None) -> dict[str, Any]:
    """The fields that an answer and a clip have in common."""
    prefix, name = request.scope.get("root_path", ""), quote(clip["clip_id"], safe="")
    of = f"?retriever={retriever}" if retriever else ""
    return {
        **{field: clip[field] for field in ("clip_id", "label", "start_s", "end_s")},
        "media": f"{prefix}/media/{name}{of}",
        "thumbnail": f"{prefix}/thumbnail/{name}{of}",
    }
