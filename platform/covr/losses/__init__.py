"""Contrastive losses over a batch of queries and targets, on one worker or many."""

from covr.losses.caption import WeightedTargets
from covr.losses.contrastive import ContrastiveLoss
from covr.losses.cross_entropy import SymmetricCrossEntropy
from covr.losses.false_negatives import FalseNegativeAttraction, FalseNegativeElimination
from covr.losses.gather import gather_rows
from covr.losses.hn_nce import HardNegativeNCE
from covr.losses.sigmoid import SigmoidLoss

__all__ = [
    "ContrastiveLoss",
    "FalseNegativeAttraction",
    "FalseNegativeElimination",
    "HardNegativeNCE",
    "SigmoidLoss",
    "SymmetricCrossEntropy",
    "WeightedTargets",
    "gather_rows",
]
