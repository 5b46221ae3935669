"""The bundled data set: real motion capture rendered to clips in the grammar of gymnastics and diving."""

from covr.datasets.motions.reader import Motions

__all__ = ["Motions"]
