"""`python -m serve out=out/demo [serve.port=8000]`: the trained endpoint, until Ctrl-C.

Reads index/current.json, the retriever and snapshot that it names, and the clips' media below `out`; writes nothing.
"""

from __future__ import annotations

import signal
import threading

from covr.cluster.session import connect, shutdown
from covr.index.current import Current
from covr.job import Job, main
from covr.report.console import console
from serve.run import serving


def serve(job: Job) -> None:
    """Up until SIGINT or SIGTERM; no process is left."""
    Current.read(job.root)  # before Ray is started for nothing
    stop = threading.Event()
    try:
        connect(job.cfg.machine)
        for number in (signal.SIGINT, signal.SIGTERM):  # after Ray, which sets handlers of its own
            signal.signal(number, lambda *_: stop.set())
        with serving(job.root, job.cfg.serve) as url:
            console.print(
                f"covr answers at {url} (documentation: {url}/docs). Ctrl-C stops it.\n\n"
                f"  curl {url}/readyz\n"
                f"  curl -F video=@clip.mp4 -F 'text=the same with two turns' -F k=5 {url}/v1/search\n"
                f"  covr query --url {url} --video clip.mp4 --text 'the same with two turns' -k 5\n",
                markup=False,
            )
            stop.wait()
    finally:
        shutdown()


if __name__ == "__main__":
    main(serve)
