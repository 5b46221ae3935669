"""The bundled data set: real motion capture rendered to labelled clips."""

from covr.datasets.motions.reader import Motions

__all__ = ["Motions"]
