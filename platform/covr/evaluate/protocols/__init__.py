"""The benchmarks' protocols by name: how each reads a ranking, as published and corrected."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from covr.errors import UserError
from covr.evaluate.protocols import circo, cirr, egocvr, fashioniq, finecvr, tf_covr, webvid
from covr.evaluate.ranking import Column, Ranking, Reading


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One benchmark's protocol."""

    data: str
    """The data set whose annotations it reads."""
    readings: Mapping[str, Reading]
    """Published first."""
    primary: str
    """The metric that stands for the others."""
    corrected: str = "corrected"
    """The reading that stands for the others."""
    vectors: bool = False
    """Whether its users keep the vectors of queries and targets, and score them apart."""

    def score(self, ranking: Ranking) -> dict[str, Column]:
        """Every reading of one ranking; those over a gallery that is not known are left out where they may be.

        Raises:
            UserError: the ranking or the annotations do not fit the protocol.
        """
        known = ranking.truth.has_gallery
        return {
            name: reading.read(ranking)
            for name, reading in self.readings.items()
            if not reading.optional or known(reading.gallery)
        }


BENCHMARKS = {
    "webvid-covr": Benchmark(
        data="webvid-covr", readings=webvid.READINGS, primary="R@1", corrected="correct", vectors=True
    ),
    "dense-webvid-covr": Benchmark(
        data="dense-webvid-covr", readings=webvid.READINGS, primary="R@1", corrected="correct", vectors=True
    ),
    "cirr": Benchmark(data="cirr", readings=cirr.READINGS, primary="R@1"),
    "cirr-subset": Benchmark(data="cirr", readings=cirr.SUBSET_READINGS, primary="R@1"),
    "fashioniq": Benchmark(data="fashioniq", readings=fashioniq.READINGS, primary="R@10"),
    "circo": Benchmark(data="circo", readings=circo.READINGS, primary="mAP@10"),
    "egocvr-global": Benchmark(data="egocvr", readings=egocvr.GLOBAL_READINGS, primary="R@1"),
    "egocvr-local": Benchmark(data="egocvr", readings=egocvr.LOCAL_READINGS, primary="R@1"),
    "finecvr": Benchmark(data="finecvr", readings=finecvr.READINGS, primary="R@1"),
    "tf-covr": Benchmark(data="tf-covr", readings=tf_covr.READINGS, primary="mAP@50", corrected="targets"),
}


def benchmark(name: str) -> Benchmark:
    """The protocol of this name.

    Raises:
        UserError: there is none, with the nearest names.
    """
    if name not in BENCHMARKS:
        of_data = [known for known, found in BENCHMARKS.items() if found.data == name]
        near = of_data or difflib.get_close_matches(name, BENCHMARKS, n=3, cutoff=0.5) or list(BENCHMARKS)
        raise UserError("no such protocol", name, f"choose one of {', '.join(near)}")
    return BENCHMARKS[name]
