"""The index job: a gallery's stored features through the retriever's target side, published as the served pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from omegaconf import DictConfig

from covr.clips import version
from covr.embed.read import SideFeatures
from covr.embed.refused import refused_among
from covr.errors import UserError
from covr.evaluate.validate import validated
from covr.index.current import Current, place_of
from covr.index.snapshot import Snapshot
from covr.job import Job
from covr.models.joint import JointRetriever
from covr.models.retriever import ComposedRetriever
from covr.report.console import say
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint
from covr.tracking import RunLogger

_BATCH = 4096


EVERY = "all"
"""The gallery of all clips, unless the data set has one of that name."""


def index(job: Job) -> dict[str, Any]:
    """Index the clips of `index.gallery` (or of `test.split`) under `index.retriever`, or the one of `index.row`.

    Reads tables/clips, tables/galleries, features/ and retrievers/<row>; writes index/<fingerprint>/, where there are
    validation queries index/confidence/<retriever>.json, and then index/current.json, which names that snapshot and the
    retriever.

    Raises:
        UserError: a step before this one was not run, or there is no such gallery.
    """
    cfg = job.cfg.index
    place = job.root / "retrievers" / cfg.row
    if cfg.retriever is None and not place.exists():
        raise UserError(f"the row {cfg.row!r} was never trained", str(place), "run jobs/finetune.py first")
    retriever = ComposedRetriever.load(cfg.retriever or place)
    features = SideFeatures(job.root, retriever)
    clips = _without_refused(job, features, _gallery(job))
    dataset, decoder = fingerprint(clips.to_pylist()), version(job.cfg.machine.decoder)

    def work(run: RunLogger) -> dict[str, Any]:
        clip_ids = clips["clip_id"].to_pylist()
        snapshot = Snapshot.build(
            job.root / "index",
            clips=clips,
            vectors_ND=_targets(retriever, features.target(clip_ids)),
            features_NF=features.query(clip_ids),
            similarity=retriever.similarity,
            target_fingerprint=retriever.target_fingerprint,
            retriever_fingerprint=retriever.fingerprint,
            dataset_fingerprint=dataset,
            decoder=decoder,
            kind=cfg.kind,
        )
        if cfg.confidence is not None and cfg.retriever is None and (found := validated(job, retriever)) is not None:
            found.write(job.root, retriever.fingerprint)
        Current(snapshot=snapshot.fingerprint, retriever=_name(cfg)).write(job.root)
        manifest = snapshot.manifest
        run.log_metrics({"clips": len(snapshot)} | ({} if manifest.recall is None else {"recall": manifest.recall}))
        return {
            "snapshot": snapshot.fingerprint,
            "clips": len(snapshot),
            "dim": manifest.dim,
            "kind": manifest.kind,
            "recall": manifest.recall,
        }

    return job.step(
        "index",
        settings=cfg,
        inputs={"retriever": retriever.fingerprint, "clips": dataset, "decoder": decoder},
        outputs=[place_of(job.root)],
        work=work,
    )


def _name(cfg: DictConfig) -> str:
    """What the endpoint loads the retriever by; a path is made absolute, because it may start in another folder."""
    if cfg.retriever is None:
        return f"retrievers/{cfg.row}"
    return cfg.retriever if ":/" in cfg.retriever else str(Place(cfg.retriever))


def _gallery(job: Job) -> pa.Table:
    """The rows of the clips to index, in the order of their ids: equal scores are then ordered by id."""
    cfg = job.cfg.index
    clips = TableStore(job.root / "tables/clips", "clips").require(made_by="ingest")
    if cfg.gallery is None:
        return clips.filter(pc.equal(clips["split"], job.cfg.test.split)).sort_by("clip_id")
    galleries = TableStore(job.root / "tables/galleries", "galleries").require(made_by="ingest")
    members = galleries.filter(pc.equal(galleries["gallery_id"], cfg.gallery))["clip_id"]
    if not len(members) and cfg.gallery == EVERY:
        return clips.sort_by("clip_id")
    if not len(members):
        known = ", ".join([EVERY, *sorted(set(galleries["gallery_id"].to_pylist()))[:10]])
        raise UserError("no such gallery", f"index.gallery={cfg.gallery}", f"choose one of {known}")
    return clips.filter(pc.is_in(clips["clip_id"], members.combine_chunks())).sort_by("clip_id")


def _without_refused(job: Job, features: SideFeatures, clips: pa.Table) -> pa.Table:
    """Without the clips that embedding refused, and told; a clip that lacks its vector otherwise is an error later."""
    refused = frozenset[str]().union(*(refused_among(job.root, encoder, clips) for encoder in features.encoders))
    if refused:
        say(f"{len(refused)} of {len(clips)} clips are in tables/quarantine and not indexed")
    return clips.filter(pc.invert(pc.is_in(clips["clip_id"], pa.array(sorted(refused), pa.string()))))


@torch.inference_mode()
def _targets(retriever: ComposedRetriever | JointRetriever, features_NF: np.ndarray) -> np.ndarray:
    """Target vectors (N, D), float32."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    retriever = retriever.to(device)
    batches = (features_NF[start : start + _BATCH] for start in range(0, len(features_NF), _BATCH))
    vectors = [retriever.embed_target(torch.from_numpy(batch).to(device)).float().cpu() for batch in batches]
    return torch.cat(vectors).numpy()
