"""Search for a better stage 2: Ray Tune with ASHA on the validation split, every trial an MLflow run.

Reads what jobs/embed.py left below `out`; writes tune/model/best.yaml, a model like the others, and tune/tune.json.
Killed and run again, it goes on where it was:

    python jobs/tune.py data=motions out=out/demo tune.trials=12
    python jobs/pipeline.py data=motions 'hydra.searchpath=[file://out/demo/tune]' model=best out=out/demo
"""

from covr.cluster.session import shutdown
from covr.job import Job, main
from covr.tune.job import search


def tune(job: Job) -> None:
    try:
        search(job)
    finally:
        shutdown()


if __name__ == "__main__":
    main(tune)
