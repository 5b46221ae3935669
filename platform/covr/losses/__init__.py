"""Contrastive losses over a batch of queries and targets, on one worker or many."""

from covr.losses.contrastive import ContrastiveLoss
from covr.losses.cross_entropy import SymmetricCrossEntropy
from covr.losses.gather import gather_rows
from covr.losses.hn_nce import HardNegativeNCE

__all__ = ["ContrastiveLoss", "HardNegativeNCE", "SymmetricCrossEntropy", "gather_rows"]
