"""The end of the demo: the endpoint is started, asked one composed query of the test split, and stopped."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from omegaconf import DictConfig, OmegaConf
from rich.console import Group, RenderableType
from rich.text import Text

from covr.cli.query import table
from covr.client import Client
from covr.cluster.session import connect
from covr.errors import UserError
from covr.index.current import Current
from covr.index.parts import indexed_clips
from covr.job import Job
from covr.storage import TableStore
from covr.storage.place import fingerprint
from serve.run import remove, serving


def first_query(job: Job, k: int = 5) -> RenderableType:
    """One query to the running endpoint and its answers, for people to look at; nothing runs afterwards.

    Ray must be there to join or to start; whoever started it stops it.
    """
    split = job.cfg.test.split
    triplets = TableStore(job.root / "tables/triplets", "triplets").require(
        ["query_clip", "modifications", "target_clips"], pc.field("split") == split, made_by="ingest"
    )
    if not len(triplets):
        raise UserError("there is no query to show", f"test.split={split}", "choose another split")
    indexed = pa.array(indexed_clips(Current.read(job.root).snapshot_place(job.root)), pa.string())
    triplets = triplets.filter(pc.is_in(triplets["query_clip"], indexed))  # a clip may have been refused
    if not len(triplets):
        raise UserError("no query clip of this split is indexed", f"test.split={split}", "read tables/quarantine")
    triplet = triplets.slice(0, 1).to_pylist()[0]
    clip_id, text = triplet["query_clip"], triplet["modifications"][0]
    connect(job.cfg.machine)
    # A name and a route of its own, whatever else the cluster serves; any free port: this is over in seconds.
    name = f"first-query-{fingerprint(str(job.root))[:8]}"
    options = OmegaConf.merge(job.cfg.serve, {"port": 0, "name": name, "route_prefix": f"/{name}"})
    assert isinstance(options, DictConfig)
    remove(name)  # this pipeline may have been killed here before
    with serving(job.root, options) as url, Client(url) as client:
        query = client.clip(clip_id)
        answer = client.search(clip_id=clip_id, text=text, k=k)
        targets = set(triplet["target_clips"])  # of this split; what has the label of one is as right
        labels = {client.clip(target).label for target in targets.intersection(indexed.to_pylist())} - {None}
        right = targets | {result.clip_id for result in answer.results if result.label in labels}
        asked = Text.assemble("query: ", (query.label or clip_id, "bold"), f" ({clip_id}), but: ", (text, "bold"))
        return Group(asked, table(answer, right=right))
