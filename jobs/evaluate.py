"""Rank and judge the trained rows: `python jobs/evaluate.py out=out/demo [test.split=val] [rows=[composed,chance]]`.

Reads tables/triplets, tables/galleries, features/ and retrievers/<row>/; writes runs/<row>/, results.json, run.trec,
qrels.trec and report.html, and prints the results table. `test=webvid-covr` (cirr, circo, ...; all) adds a benchmark's
own numbers, published and corrected, and the files that its users know.
"""

from covr.evaluate.job import evaluate
from covr.evaluate.show import readings, table
from covr.job import Job, main
from covr.report.console import console, say


def evaluate_and_show(job: Job) -> None:
    evaluate(job)
    results = (job.root / "results.json").read_json()
    console.print(table(results))
    for found in results.get("benchmarks", ()):
        if found["readings"]:
            console.print(readings(f"{found['protocol']} · {found['row']}", found["readings"]))
        say(f"{found['protocol']}: written {', '.join(found['files']) or 'no files of its own'}")


if __name__ == "__main__":
    main(evaluate_and_show)
