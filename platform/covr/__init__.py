"""Composed video retrieval: a query video and a sentence find the target video."""

__version__ = "0.1.0"
