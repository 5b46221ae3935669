"""Every protocol against the published implementations' numbers, brute force and an outside tool."""

from __future__ import annotations

import json
from pathlib import Path

import annotations as made
import ir_measures
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covr.errors import UserError
from covr.evaluate import lists
from covr.evaluate.protocols import BENCHMARKS, benchmark
from covr.evaluate.protocols.webvid import published_cells
from covr.evaluate.ranking import Ranking
from covr.evaluate.truth import Truth

GOLDEN = Path(__file__).parents[1] / "golden"


def facts(name: str) -> tuple[dict, np.lib.npyio.NpzFile]:
    return json.loads((GOLDEN / f"{name}.json").read_text()), np.load(GOLDEN / f"{name}.npz")


def by_scores(asked: pa.Table, known: pa.Table, scores_QG: np.ndarray, columns: list[str], depth: int) -> Ranking:
    truth = Truth.of(asked, known, pa.chunked_array([columns]))
    ranked_QR = lists.from_scores(scores_QG, truth.numbers(pa.array(columns)), depth)
    return Ranking(truth=truth, ranked_QR=ranked_QR)


def rounded(metrics, digits=2):
    return {name: round(value, digits) for name, value in metrics.items()}


# ---- golden values


@pytest.mark.parametrize("case", ["webvid_10", "webvid_100"])
def test_webvid_recall_to_the_last_digit(case):
    golden, arrays = facts("covr_recall")
    scores = arrays[f"{case}/sims"]  # the code's own matrix, with the cells that it masked at -10
    targets = [f"2/{i:04}" for i in range(len(scores))]
    rows = [
        {"query_clip": f"1/{i:04}", "target_clips": [t], "galleries": {"published": "g", "corrected": "g"}}
        for i, t in enumerate(targets)
    ]
    ranking = by_scores(made.triplets(rows), made.galleries(g=targets), scores, targets, len(targets))
    found = BENCHMARKS["webvid-covr"].score(ranking)
    expected = {
        name.replace("R", "R@") if name[1:].isdigit() else name: v for name, v in golden[f"{case}/test"].items()
    }
    assert rounded(found["none"].metrics) == expected
    assert rounded(found["published"].metrics) == expected
    assert rounded(found["correct"].metrics) == expected
    assert round(found["none"].metrics["meanR3"], 4) == golden[f"{case}/val"]["R_mean"]


def test_webvid_mask_as_published_hits_the_cells_of_another_order():
    golden, _ = facts("covr_recall")
    quirk = golden["alignment_quirk"]  # a row's target in the file, and the ids in that row of the sorted tables
    targets = [target for _, target, _, _ in quirk]
    own_of = {"000001/10": "000001/21", "000001/20": "000001/10", "000001/30": "000001/11"}
    expected = [(i, j) for i, _, own, _ in quirk for j, _, _, target in quirk if own == target]
    assert list(published_cells([own_of[target] for target in targets], targets)) == expected
    assert [own_of[targets[row]] == targets[column] for row, column in expected] == [False]  # not the own clip at all


def test_fashioniq_recall_to_the_last_digit():
    golden, arrays = facts("covr_recall")
    scores, queries, images = arrays["fiq/sims"], golden["fiq/query_lbls"], golden["fiq/target_lbls"]
    rows = [
        {"query_clip": f"ref{i}", "target_clips": [q], "galleries": {"corrected": "g"}} for i, q in enumerate(queries)
    ]
    ranking = by_scores(made.triplets(rows), made.galleries(g=images), scores, images, 50)
    for column in BENCHMARKS["fashioniq"].score(ranking).values():
        assert rounded(column.metrics) == {f"R@{k[1:]}": value for k, value in golden["fiq/recalls"].items()}


@pytest.mark.parametrize("case", ["small", "nodup", "mid"])
def test_tf_covr_published_and_without_duplicates_to_the_last_digit(case):
    golden, arrays = facts("tf_covr_metrics")
    golden = golden[case]
    query_QD, clip_CD = (
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in (arrays[f"{case}/query"], arrays[f"{case}/emb"])
    )
    rows = [
        {
            "query_clip": clip,
            "target_clips": [target, *(each for each in right if each != target)],
            "galleries": {"published": "rows", "targets": "union"},
        }
        for clip, target, right in golden["queries"]
    ]
    union = sorted({clip for row in rows for clip in row["target_clips"]})
    gallery = [row["target_clips"][0] for row in rows]
    asked, known = made.triplets(rows), made.galleries(rows=gallery, union=union)

    def over(clips: list[str]) -> Ranking:
        scores = query_QD @ clip_CD[[golden["clips"].index(clip) for clip in clips]].T
        return by_scores(asked, known, scores, clips, len(clips))

    from_union = BENCHMARKS["tf-covr"].score(over(union))
    for column in (BENCHMARKS["tf-covr"].score(over(gallery))["published"], from_union["published"]):
        for k in (5, 10, 25, 50):
            assert round(column.metrics[f"mAP@{k}"], 2) == golden["mAP"][str(k)]
            assert round(column.metrics[f"R@{k}"], 2) == golden["recall"][str(k)]
    metrics = from_union["deduplicated"].metrics
    assert {str(k): round(metrics[f"mAP@{k}"], 2) for k in (5, 10, 25, 50)} == golden["mAP_dedup"]
    assert {str(k): round(metrics[f"R@{k}/annotated"], 2) for k in (5, 10, 25, 50)} == golden["recall_dedup"]
    assert max(from_union["targets"].metrics.values()) <= 100


# ---- brute force: each protocol by its definition, one query at a time


CLIPS = [f"c{i}" for i in range(9)]
VIDEO = {clip: f"v{i // 3}" for i, clip in enumerate(CLIPS)}


@st.composite
def cases(draw):
    """Queries with targets, grades and galleries, and complete or cut lists over all clips."""
    number = draw(st.integers(1, 6))
    rows, ranked = [], {}
    members = {}
    for query in range(number):
        own = draw(st.sampled_from(CLIPS))
        others = [clip for clip in CLIPS if clip != own]
        targets = draw(st.lists(st.sampled_from(others), min_size=1, max_size=4, unique=True))
        grades = [1.0, *(draw(st.sampled_from([0.25, 0.5])) for _ in targets[1:])]
        local = draw(st.lists(st.sampled_from(CLIPS), max_size=4, unique=True))
        members[f"local{query}"] = sorted({own, targets[0], *local})
        rows.append({"query_clip": own, "target_clips": targets, "target_grades": grades, "local": local})
        ranked[str(query)] = draw(st.permutations(CLIPS))[: draw(st.integers(1, 9))]
    for query, row in enumerate(rows):
        row.pop("local")
        row["galleries"] = {
            "corrected": "all",
            "global": "all",
            "targets": "targets",
            "split": "all",
            "published": "rows",
            "subset": f"local{query}",
            "local": f"local{query}",
        }
    members |= {
        "all": CLIPS,
        "rows": [row["target_clips"][0] for row in rows],
        "targets": sorted({clip for row in rows for clip in row["target_clips"]}),
    }
    return rows, members, ranked


def mean(values) -> float:
    return 100 * float(np.mean(list(values)))


def ap(hits: list[bool], right: int, k: int) -> float:
    found = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits[:k]) if hit]
    return sum(found) / min(right, k)


def judged(case, name: str):
    rows, members, ranked = case
    graded = [row if name.startswith("cirr") else {**row, "target_grades": None} for row in rows]
    try:
        return BENCHMARKS[name].score(made.ranking(made.triplets(graded), made.galleries(**members), ranked))
    except UserError as error:
        if error.what in ("no answer is in the gallery", "no query is left to judge"):
            return None
        raise


@settings(max_examples=40)
@given(cases())
def test_recalls_of_one_target_equal_brute_force(case):
    rows, _, ranked = case
    for name in ("cirr", "fashioniq", "finecvr"):
        found = judged(case, name)
        for k in (1, 5, 10, 50):
            hits = [
                row["target_clips"][0] in [clip for clip in ranked[str(q)] if clip != row["query_clip"]][:k]
                for q, row in enumerate(rows)
            ]
            for column in found.values():
                assert column.metrics[f"R@{k}"] == pytest.approx(mean(hits))


@settings(max_examples=40)
@given(cases())
def test_cirr_subset_equals_brute_force(case):
    rows, members, ranked = case
    found = judged(case, "cirr-subset")
    if found is None:
        return
    for k in (1, 2, 3):
        lists_ = [
            [clip for clip in ranked[str(q)] if clip in members[f"local{q}"] and clip != row["query_clip"]][:k]
            for q, row in enumerate(rows)
        ]
        hard = [row["target_clips"][0] in answers for row, answers in zip(rows, lists_, strict=True)]
        soft = [
            max(
                (dict(zip(row["target_clips"], row["target_grades"], strict=True)).get(c, 0.0) for c in answers),
                default=0,
            )
            for row, answers in zip(rows, lists_, strict=True)
        ]
        assert found["corrected"].metrics[f"R@{k}"] == pytest.approx(mean(hard))
        assert found["published"].metrics[f"R@{k}"] == pytest.approx(mean(soft))


@settings(max_examples=40)
@given(cases())
def test_egocvr_equals_brute_force(case):
    rows, members, ranked = case
    for name, ks in (("global", (1, 5, 10)), ("local", (1, 2, 3))):
        found = judged(case, f"egocvr-{name}")
        if found is None:
            continue
        for column, keeps_own in (("published", True), ("corrected", False)):
            values = {k: [] for k in ks}
            for q, row in enumerate(rows):
                gallery = set(CLIPS if name == "global" else members[f"local{q}"])
                gallery -= set() if keeps_own else {row["query_clip"]}
                if len(gallery) < 2:
                    continue
                answers = [clip for clip in ranked[str(q)] if clip in gallery]
                for k in ks:
                    values[k].append(bool(set(answers[:k]) & set(row["target_clips"])))
            for k in ks:
                assert found[column].metrics[f"R@{k}"] == pytest.approx(mean(values[k]))


@settings(max_examples=40)
@given(cases())
def test_tf_covr_equals_brute_force(case):
    rows, members, ranked = case
    found = judged(case, "tf-covr")
    if found is None:
        return
    for k in (5, 10, 25, 50):
        published, targets = [], []
        for q, row in enumerate(rows):
            inside = [clip for clip in ranked[str(q)] if clip in members["rows"]]
            complete = set(inside) == set(members["rows"])
            inside.sort(key=lambda clip: clip == row["query_clip"])
            if not complete:
                inside = [clip for clip in inside if clip != row["query_clip"]]
            repeated = [clip for clip in inside for _ in range(members["rows"].count(clip))][:50]
            published.append(ap([clip in row["target_clips"] for clip in repeated], len(row["target_clips"]), k))
            once = [clip for clip in ranked[str(q)] if clip in members["targets"] and clip != row["query_clip"]]
            targets.append(ap([clip in row["target_clips"] for clip in once], len(row["target_clips"]), k))
        assert found["published"].metrics[f"mAP@{k}"] == pytest.approx(mean(published))
        assert found["targets"].metrics[f"mAP@{k}"] == pytest.approx(mean(targets))
    assert "all" not in found  # a gallery that is not known is left out


@settings(max_examples=40)
@given(cases())
def test_webvid_equals_brute_force(case):
    rows, members, ranked = case
    found = judged(case, "webvid-covr")
    if found is None:
        return
    for k in (1, 5, 10, 50):
        plain = [
            row["target_clips"][0] in [c for c in ranked[str(q)] if c in members["rows"]][:k]
            for q, row in enumerate(rows)
        ]
        without = [
            row["target_clips"][0] in [c for c in ranked[str(q)] if c != row["query_clip"]][:k]
            for q, row in enumerate(rows)
        ]
        assert found["none"].metrics[f"R@{k}"] == pytest.approx(mean(plain))
        assert found["correct"].metrics[f"R@{k}"] == pytest.approx(mean(without))


# ---- CIRCO: the official definition, and an outside tool


@st.composite
def circo_cases(draw):
    clips = [str(number) for number in range(80)]
    rows, ranked = [], {}
    for query in range(draw(st.integers(1, 4))):
        right = draw(st.lists(st.sampled_from(clips[1:]), min_size=1, max_size=60, unique=True))
        rows.append(
            {
                "query_clip": "0",
                "target_clips": right,
                "tags": {"semantic_aspects": draw(st.sampled_from(["a", "a; b"]))},
            }
        )
        answers = draw(st.permutations(clips))[: draw(st.integers(1, 60))]
        ranked[str(query)] = answers
    return rows, ranked


@settings(max_examples=40)
@given(circo_cases())
def test_circo_equals_the_official_definition_and_an_outside_tool(case):
    rows, ranked = case
    found = BENCHMARKS["circo"].score(made.ranking(made.triplets(rows), made.galleries(), ranked))["published"].metrics
    qrels = [ir_measures.Qrel(str(q), clip, 1) for q, row in enumerate(rows) for clip in row["target_clips"]]
    single = [ir_measures.Qrel(str(q), row["target_clips"][0], 1) for q, row in enumerate(rows)]
    docs = [
        ir_measures.ScoredDoc(q, clip, -float(i)) for q, answers in ranked.items() for i, clip in enumerate(answers)
    ]
    for k in (5, 10, 25, 50):
        official = [
            ap([c in row["target_clips"] for c in ranked[str(q)]], len(row["target_clips"]), k)
            for q, row in enumerate(rows)
        ]
        assert found[f"mAP@{k}"] == pytest.approx(mean(official))
        by_query = {m.query_id: m.value for m in ir_measures.iter_calc([ir_measures.AP @ k], qrels, docs)}
        capped = [
            by_query[str(q)] * len(r["target_clips"]) / min(len(r["target_clips"]), k) for q, r in enumerate(rows)
        ]
        assert found[f"mAP@{k}"] == pytest.approx(mean(capped))
        success = ir_measures.calc_aggregate([ir_measures.Success @ k], single, docs)[ir_measures.Success @ k]
        assert found[f"R@{k}"] == pytest.approx(100 * success)
    aspect_b = [
        ap([c in row["target_clips"] for c in ranked[str(q)]], len(row["target_clips"]), 10)
        for q, row in enumerate(rows)
        if "b" in row["tags"]["semantic_aspects"]
    ]
    if aspect_b:
        assert found["mAP@10/b"] == pytest.approx(mean(aspect_b))


CIRCO_ROWS = [{"query_clip": "9", "target_clips": ["1", "2"]}, {"query_clip": "8", "target_clips": ["3"]}]


def circo(ranked):
    return BENCHMARKS["circo"].score(made.ranking(made.triplets(CIRCO_ROWS), made.galleries(), ranked))


def test_circo_refuses_a_duplicate_and_missing_or_unknown_queries():
    with pytest.raises(UserError, match=r"answers one query twice \[query 0: 1\]"):
        circo({"0": ["1", "2", "1"], "1": ["3"]})
    with pytest.raises(UserError, match=r"1 queries have no ranking.*1"):
        circo({"0": ["1"]})
    with pytest.raises(UserError, match=r"unknown query.*2"):
        circo({"0": ["1"], "1": ["3"], "2": ["3"]})


def test_circo_with_fewer_than_fifty_answers_counts_the_missing_ones_as_wrong_and_says_so():
    found = circo({"0": ["1"], "1": ["3"]})["published"]
    assert found.metrics["mAP@50"] == pytest.approx(100 * (0.5 + 1) / 2)
    assert found.notes == ("2 queries have fewer than 50 answers: the missing ones count as wrong",)


# ---- what cannot be judged


def test_an_unknown_protocol_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="egocvr-global, egocvr-local"):
        benchmark("egocvr")
    with pytest.raises(UserError, match="choose one of fashioniq"):
        benchmark("fashion-iq")


def test_hidden_answers_and_foreign_names_are_one_clear_line():
    hidden = made.triplets([{"query_clip": "9", "target_clips": []}])
    with pytest.raises(UserError, match=r"hold no right answers.*server"):
        BENCHMARKS["circo"].score(made.ranking(hidden, made.galleries(), {"0": ["1"]}))
    rows = made.triplets([{"query_clip": "a", "target_clips": ["b"], "galleries": {"corrected": "g"}}])
    with pytest.raises(UserError, match=r"no answer is in the gallery.*b.mp4"):
        BENCHMARKS["finecvr"].score(made.ranking(rows, made.galleries(g=["a", "b"]), {"0": ["b.mp4"]}))
    with pytest.raises(UserError, match="no clips of the corrected gallery are known"):
        BENCHMARKS["finecvr"].score(made.ranking(rows, made.galleries(), {"0": ["b"]}))
