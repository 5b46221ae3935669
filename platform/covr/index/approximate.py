"""Approximate search: FAISS proposes rows, and the raw vectors decide.

Whatever the kind, a score is the exact inner product, and an answer is never shorter than an exact one: rows that are
left out are left out inside FAISS's search, which then looks further (by the share of rows that are left), and where
that comes near looking at everything, or finds too few, the search is exact.

    exact  a blocked matrix product (`covr.index.exact`)
    ivf    inverted lists: only the lists nearest to the query are read
    sq     every vector, at 8 bits a value
    hnsw   a graph of neighbours, over vectors at 8 bits a value
    pq     inverted lists of product-quantised vectors, a byte for four values: the least memory

N: indexed rows, D: dimension, E: dimension inside FAISS, Q: queries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from covr.errors import UserError
from covr.index.exact import top_k
from covr.index.flat_file import check_head, library

Kind = Literal["exact", "ivf", "sq", "hnsw", "pq"]
Similarity = Literal["cosine", "dot"]

AUTO = "auto"
_EXACT_VALUES = 1 << 25  # 128 MiB of vectors: a core reads them in about the time that the encoder takes
_IVF_VALUES = 1 << 29  # 2 GiB of vectors: beyond, lists of whole vectors are the larger part of a machine's memory

_FOURCC = {"ivf": b"IwFl", "sq": b"IxSQ", "hnsw": b"IHNs", "pq": b"IwPQ"}
_FETCH = {"ivf": 1, "sq": 4, "hnsw": 2, "pq": 16}  # rows that are scored exactly for one answer: what rounding confuses
_RECALL = 0.99  # of the ten nearest, at which more effort is not spent
_GAIN = 0.005  # of recall, below which twice the effort is not worth it
_SAMPLE = 200  # queries that the effort is measured on
_ASTRAY = 0.5  # how far they are from a vector, on the way to another
_HNSW_STEP = 64  # a node that is looked at costs what so many rows of a matrix product do: two hops of 32 neighbours
_ROOM = 8  # the lists that are read hold so many times the rows that are fetched
_POINTS = 64  # training vectors for each centroid; FAISS asks for 39
_FEW = 8  # below one in so many rows, those that are left are gathered


def chosen(kind: str, count: int, dim: int) -> Kind:
    """The kind of a name; of `auto` by size: exact, then ivf, which compaction rebuilds quickly, then pq.

    Raises:
        UserError: there is no such kind.
    """
    if kind == AUTO:
        values = count * dim
        return "exact" if values <= _EXACT_VALUES else "ivf" if values <= _IVF_VALUES else "pq"
    if kind not in get_args(Kind):
        known = ", ".join([AUTO, *get_args(Kind)])
        raise UserError("no such kind of index", f"index.kind={kind}", f"choose one of {known}")
    return kind  # type: ignore[return-value]


class Approximate:
    """An index of FAISS over raw vectors.

    Args:
        index: of FAISS, over `_embedded` vectors.
        vectors_ND: float32.
        effort: lists that are read (ivf, pq) or nodes that are kept in view (hnsw) for ten answers.
    """

    def __init__(self, kind: Kind, index: Any, vectors_ND: np.ndarray, effort: int) -> None:
        self.kind, self.effort = kind, effort
        self._index, self._vectors_ND = index, vectors_ND
        self._full = index.nlist if kind in ("ivf", "pq") else len(vectors_ND) // _HNSW_STEP

    @classmethod
    def build(cls, kind: Kind, vectors_ND: np.ndarray, similarity: Similarity) -> tuple[Approximate, float]:
        """The index of vectors, the same every time, and its recall of ten neighbours (`_RECALL` or what it can)."""
        embedded_NE = _embedded(vectors_ND, similarity)
        faiss = library()
        index = faiss.index_factory(
            embedded_NE.shape[1], _factory(kind, *embedded_NE.shape), faiss.METRIC_INNER_PRODUCT
        )
        if kind in ("ivf", "pq"):
            index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = _POINTS, 1
        if kind == "pq":
            index.pq.cp.max_points_per_centroid, index.pq.cp.min_points_per_centroid = _POINTS, 1
            index.pq.cp.niter = 10  # FAISS does 25, for an error that differs in the third digit
        with _one_thread():  # the graph depends on the order in which rows are added
            index.train(np.resize(embedded_NE, (max(len(embedded_NE), 2), embedded_NE.shape[1])))  # pq tells two apart
            index.add(embedded_NE)
        built = cls(kind, index, vectors_ND, effort=1)
        return built, built._tune()

    @classmethod
    def load(
        cls, source: Path | bytes, kind: Kind, vectors_ND: np.ndarray, similarity: Similarity, effort: int, where: str
    ) -> Approximate:
        """From a file, whose pages are then read when they are needed, or from its bytes.

        Raises:
            UserError: the file is not of this kind, or of another number or dimension of vectors.
        """
        faiss = library()
        count, dim = len(vectors_ND), _dim(vectors_ND.shape[1], similarity)
        if isinstance(source, Path):
            with source.open("rb") as file:
                check_head(file.read(64), _FOURCC[kind], count, dim, where)
            index = faiss.read_index(str(source), faiss.IO_FLAG_MMAP_IFC)
        else:
            check_head(source[:64], _FOURCC[kind], count, dim, where)
            index = faiss.deserialize_index(np.frombuffer(source, np.uint8))
        return cls(kind, index, vectors_ND, effort)

    def pack(self) -> bytes:
        """The file's bytes."""
        return library().serialize_index(self._index).tobytes()

    def top_k(
        self, queries_QD: np.ndarray, k: int, excluded: Sequence[np.ndarray] = ()
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `covr.index.exact.top_k`, of rows that may not be the nearest; their scores are exact."""
        without = [np.unique(rows) for rows in excluded] or [np.empty(0, np.int64)] * len(queries_QD)
        found = [self._near(query_D, k, rows) for query_D, rows in zip(queries_QD, without, strict=True)]
        rest = [number for number, answer in enumerate(found) if answer is None]
        if rest:
            exactly = top_k(queries_QD[rest], self._vectors_ND, k, [without[number] for number in rest])
            for number, answer in zip(rest, exactly, strict=True):
                found[number] = answer
        return [answer for answer in found if answer is not None]

    def _near(self, query_D: np.ndarray, k: int, without: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """None where the search is to be exact over all rows."""
        count = len(self._vectors_ND)
        left = count - len(without)
        if left < max(count // _FEW, 1):
            return self._scored(query_D, np.setdiff1d(np.arange(count), without, assume_unique=True), k)
        fetch = _FETCH[self.kind] * k
        effort = self._effort(fetch, left)
        if 2 * fetch >= left or (self.kind != "sq" and 2 * effort >= self._full):
            return None
        rows = self._proposed(query_D, fetch, effort, without)
        return None if len(rows) < min(k, left) else self._scored(query_D, rows, k)

    def _effort(self, fetch: int, left: int) -> int:
        share = len(self._vectors_ND) / left
        if self.kind == "hnsw":
            return math.ceil(max(self.effort, fetch) * share)
        if self.kind == "sq":
            return 1
        return math.ceil(max(self.effort, _ROOM * fetch * self._full / len(self._vectors_ND)) * share)

    def _proposed(self, query_D: np.ndarray, fetch: int, effort: int, without: np.ndarray) -> np.ndarray:
        """At most `fetch` rows, none of `without`."""
        faiss = library()
        options: dict[str, Any] = {}
        if len(without):
            bits = np.ones(len(self._vectors_ND), bool)
            bits[without] = False
            options["sel"] = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
        if self.kind == "hnsw":
            options["efSearch"] = effort
        elif self.kind != "sq":
            options["nprobe"] = effort
        make = {"hnsw": faiss.SearchParametersHNSW, "sq": faiss.SearchParameters, "pq": faiss.IVFPQSearchParameters}
        parameters = make.get(self.kind, faiss.SearchParametersIVF)(**options)
        query_1E = np.zeros((1, self._index.d), np.float32)
        query_1E[0, : len(query_D)] = query_D
        _, rows_1F = self._index.search(query_1E, fetch, params=parameters)
        return rows_1F[0][rows_1F[0] >= 0]

    def _scored(self, query_D: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.sort(rows)  # equal scores are then ordered by row
        ((scores, places),) = top_k(query_D[None], self._vectors_ND[rows], k)
        return scores, rows[places]

    def _tune(self) -> float:
        """Double the effort until queries find their ten nearest, or no more of them; the recall that is reached.

        A query that a retriever makes lies near vectors, not on one: each is a vector of a sample, half way to another.
        """
        count = len(self._vectors_ND)
        sample = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).astype(np.int64))
        others = sample[np.random.default_rng(0).permutation(len(sample))]
        queries_QD = self._vectors_ND[sample] + _ASTRAY * self._vectors_ND[others]
        nearest = [rows for _, rows in top_k(queries_QD, self._vectors_ND, 10)]
        best, self.effort = 0.0, self._effort(10 * _FETCH[self.kind], count)  # less is never spent
        while True:
            found = [rows for _, rows in self.top_k(queries_QD, 10)]
            shared = sum(len(np.intersect1d(a, b)) for a, b in zip(nearest, found, strict=True))
            recall = shared / sum(map(len, nearest))
            if recall < best + _GAIN:
                self.effort //= 2
                return round(best, 4)
            if recall >= _RECALL or self.kind == "sq" or 4 * self.effort >= self._full:  # twice as much would be exact
                return round(recall, 4)
            best, self.effort = recall, 2 * self.effort


def _factory(kind: Kind, count: int, dim: int) -> str:
    """As FAISS's index factory names it."""
    lists = max(1, min(int(4 * math.sqrt(count)), count // 39))
    bits = min(8, max(1, int(math.log2(count))))
    names = {"ivf": f"IVF{lists},Flat", "sq": "SQ8", "hnsw": "HNSW32,SQ8", "pq": f"IVF{lists},PQ{dim // 4}x{bits}"}
    return names[kind]


def _dim(dim: int, similarity: Similarity) -> int:
    return 4 * math.ceil((dim + (similarity == "dot")) / 4)  # pq packs four values


def _embedded(vectors_ND: np.ndarray, similarity: Similarity) -> np.ndarray:
    """The vectors as FAISS gets them, of equal length, so that neighbours are those of largest inner product too.

    Where similarity is dot, one more value makes up what a vector's length lacks to the greatest (Bachrach et
    al. 2014); a query has zero there.
    """
    count, dim = vectors_ND.shape
    embedded_NE = np.zeros((count, _dim(dim, similarity)), np.float32)
    embedded_NE[:, :dim] = vectors_ND
    if similarity == "dot":
        squares_N = np.square(embedded_NE).sum(axis=1)
        longest = max(float(squares_N.max()), float(np.finfo(np.float32).tiny))
        embedded_NE[:, dim] = np.sqrt(np.maximum(longest - squares_N, 0))
        embedded_NE /= math.sqrt(longest)
    return embedded_NE


@contextmanager
def _one_thread() -> Iterator[None]:
    faiss = library()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
