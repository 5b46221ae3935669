"""Queries without pause, each answer held against the one that a calm endpoint gave."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
from small_root import CLIP_IDS

TEXTS = ["with two turns", "backwards", "on the beam"]
CALM = {"not": {"field": "label", "equal": "live"}}
"""Clips that come and go during a drill are labelled so, and are no answers to these queries."""
QUERIES = [
    {"clip_id": clip_id, "text": text, "k": 3, "filter": CALM} for clip_id, text in itertools.product(CLIP_IDS, TEXTS)
]

Answer = tuple[tuple[str, float], ...]


def asked(http: httpx.Client, url: str, number: int) -> httpx.Response:
    return http.post(f"{url}/v1/search", json=QUERIES[number])


def answer_of(response: httpx.Response) -> Answer:
    return tuple((result["clip_id"], round(result["score"], 4)) for result in response.json()["results"])


def same(one: Answer, other: Answer) -> bool:
    return len(one) == len(other) and all(
        a == b and abs(p - q) < 1e-3 for (a, p), (b, q) in zip(one, other, strict=True)
    )


def calm(url: str) -> dict[tuple[str, int], Answer]:
    """What the endpoint answers now, by its retriever and the query's number."""
    with httpx.Client(timeout=60) as http:
        answers = [asked(http, url, number) for number in range(len(QUERIES))]
    return {(each.json()["retriever"], number): answer_of(each) for number, each in enumerate(answers)}


@dataclass
class Load:
    """From `callers` threads until the end of the `with` block.

    Attributes:
        statuses: how often each; 0 where no answer came.
        wrong: answers that the calm endpoint did not give.
        longest_s: the longest wait for an answer.
    """

    url: str
    calm: dict[tuple[str, int], Answer]
    callers: int = 4
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    last_good: float = 0.0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(self.callers)]

    @property
    def errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != 200)

    def _run(self, first: int) -> None:
        with httpx.Client(timeout=180) as http:
            for number in itertools.cycle(range(first, len(QUERIES) + first)):
                if self._stop.is_set():
                    return
                number %= len(QUERIES)
                start = time.monotonic()
                try:
                    response = asked(http, self.url, number)
                except httpx.TransportError:
                    self.statuses[0] += 1
                    continue
                took_s = time.monotonic() - start
                self.longest_s = max(self.longest_s, took_s)
                self.statuses[response.status_code] += 1
                if response.status_code == 200:
                    self.last_good = time.monotonic()
                    expected = self.calm.get((response.json()["retriever"], number))
                    if expected is None or not same(answer_of(response), expected):
                        self.wrong.append(f"query {number}: {answer_of(response)}, not {expected}")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
