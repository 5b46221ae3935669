"""Read the data set that `data` names; write tables/{clips,texts,triplets,galleries,quarantine} and media/ below `out`.

python jobs/ingest.py data=motions data.size=tiny out=out/tiny
"""

from covr.cluster.session import shutdown
from covr.datasets.ingest import ingest
from covr.job import Job, main


def run(job: Job) -> None:
    try:
        ingest(job)
    finally:
        shutdown()


if __name__ == "__main__":
    main(run)
