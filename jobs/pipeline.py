"""The whole loop: ingest, pretrain, embed, finetune, index, evaluate, then one query to the running endpoint.

Reads nothing but the configuration; writes every table, model, index and report below `out`, one MLflow run with
a child for each step. Run again, it does only what is not done yet:

    python jobs/pipeline.py data=motions model=tf-covr-base-tiny out=out/demo

With index.retriever=URI nothing is trained: the clips are embedded and indexed for that retriever.
"""

from covr.cluster.session import shutdown
from covr.datasets.ingest import ingest
from covr.embed.job import embed
from covr.evaluate.job import evaluate
from covr.evaluate.show import table
from covr.index.build import index
from covr.job import Job, main
from covr.report.console import console, say
from covr.train.finetune import finetune
from covr.train.pretrain import pretrain
from serve.demo import first_query

STEPS = (ingest, pretrain, embed, finetune, index, evaluate)
SEARCH = (ingest, embed, index)


def pipeline(job: Job) -> None:
    try:
        with job.group("pipeline") as child:
            for step in STEPS if job.cfg.index.retriever is None else SEARCH:
                step(child)
        if job.cfg.index.retriever is not None:
            say(f"indexed; python -m serve out={job.cfg.out} answers queries")
            return
        console.print(table((job.root / "results.json").read_json()))
        say(f"report: {job.root / 'report.html'}")
        console.print(first_query(job))
    finally:
        shutdown()


if __name__ == "__main__":
    main(pipeline)
