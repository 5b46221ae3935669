"""Query expansion: a query is asked again with its best answers added to its vector.

Chum et al., "Total Recall: Automatic Query Expansion with a Generative Feature Model for Object Retrieval", ICCV 2007;
the weights are those of Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018.

Q queries, A answers of all of them, D width.
"""

from __future__ import annotations

import numpy as np


def expanded(queries_QD: np.ndarray, rows_A: np.ndarray, scores_A: np.ndarray, vectors_AD: np.ndarray) -> np.ndarray:
    """Each query plus the vectors of its answers, weighted by their scores (at least 0); of unit length.

    Args:
        queries_QD: of unit length.
        rows_A: int, whose answer each is.
        vectors_AD: of unit length.
    """
    found_QD = queries_QD.astype(np.float32)
    np.add.at(found_QD, rows_A, np.clip(scores_A, 0, None)[:, None] * vectors_AD)
    return found_QD / np.linalg.norm(found_QD, axis=1, keepdims=True)
