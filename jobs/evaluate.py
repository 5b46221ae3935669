"""Rank and judge the trained rows: `python jobs/evaluate.py out=out/demo [test.split=val] [rows=[composed,chance]]`.

Reads tables/triplets, tables/galleries, features/ and retrievers/<row>/; writes runs/<row>/, results.json, run.trec,
qrels.trec and report.html, and prints the results table.
"""

from covr.evaluate.job import evaluate
from covr.evaluate.show import table
from covr.job import Job, main
from covr.report.console import console


def evaluate_and_show(job: Job) -> None:
    evaluate(job)
    console.print(table((job.root / "results.json").read_json()))


if __name__ == "__main__":
    main(evaluate_and_show)
