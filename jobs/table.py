"""The result table: train, measure and compare every method of a data set, three seeds each.

Writes results.json, results.md, table.html (report) and scores.parquet below `out`. Killed and run again, it goes on:

    python jobs/table.py data=motions                                     # every row; hours on two cores
    python jobs/table.py data=motions 'rows=[mlp,ours]' 'seeds=[1234]'    # some rows, one seed
    python jobs/table.py data=webvid-covr data.root=DIR 'table.weights={blip-covr: webvid-covr.ckpt}'

A row whose weights are not given says so, and the table goes on.
"""

from covr.cluster.session import shutdown
from covr.job import Job, main
from covr.report.console import console, say
from covr.report.table import shown
from covr.table.job import make_table


def table(job: Job) -> None:
    try:
        results = make_table(job)
    finally:
        shutdown()
    console.print(shown(results))
    say(f"report: {job.root / 'table.html'}")


if __name__ == "__main__":
    main(table, "rows=all")
