"""The benchmarks' own modules, behind all others: one of them is named as the package `serve` is."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
