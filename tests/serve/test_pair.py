"""A retriever and an index loaded together answer together, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_root import CLIP_IDS, TEXT, build_root, ranked, small_retriever

from covr.clips import version
from covr.clips.isolated import IsolatedDecoder
from covr.config.compose import build, compose
from covr.errors import UserError
from covr.models import AIM, build_retriever
from covr.storage import Place
from serve.encoder import QueryEncoder
from serve.pair import Pair
from serve.query import Query


@pytest.fixture(scope="module")
def pair(served):
    return Pair.load(served.root)


@pytest.fixture(scope="module")
def frames(served, pair):
    """Decoded frames of each indexed clip, at sizes of their own."""
    with IsolatedDecoder() as decoder:
        found = {
            row["clip_id"]: decoder.decode(
                str(served.media(row["clip_id"])), pair.encoder.sampling["composed"], row["start_s"], row["end_s"]
            ).frames
            for row in served.snapshot.clips.to_pylist()
        }
    found["b"] = found["b"].repeat(2, axis=-1).repeat(2, axis=-2)
    return found


def test_a_mixed_batch_is_answered_as_one_by_one(pair, frames):
    queries = [
        *(Query(text=f"{TEXT} {clip_id}", k=3, clip_id=clip_id) for clip_id in CLIP_IDS),
        *(Query(text=f"{TEXT} {clip_id}", k=5, frames_TCHW=frames[clip_id]) for clip_id in CLIP_IDS),
    ]
    together = pair.answer(queries)
    for query, answer in zip(queries, together, strict=True):
        (alone,) = pair.answer([query])
        assert [clip["clip_id"] for clip in answer.clips] == [clip["clip_id"] for clip in alone.clips]
        assert len(answer.clips) == min(query.k, 5 - (query.clip_id is not None))
        np.testing.assert_allclose(answer.scores, alone.scores, atol=1e-5)


def test_a_query_is_asked_again_with_its_best_answers_and_no_other(tmp_path):
    """By hand: the best two that may be answers, added by their scores; a clip or a text alone is asked once."""
    retriever = small_retriever(0, "+model.expand=2")
    snapshot = build_root(Place(tmp_path), retriever)
    pair = Pair.load(Place(tmp_path))
    row = snapshot.row("a")
    with torch.inference_mode():
        query_D = retriever.embed_query(torch.from_numpy(snapshot.features_NF[[row]]), [TEXT])[0].numpy()
    scores_N = snapshot.vectors_ND @ query_D
    scores_N[[row, snapshot.row("b")]] = -np.inf
    two = np.argsort(-scores_N)[:2]
    query_D = query_D + scores_N[two] @ snapshot.vectors_ND[two]
    expected_N = snapshot.vectors_ND @ (query_D / np.linalg.norm(query_D))
    asked, alone, clip = pair.answer(
        [Query(text=TEXT, k=3, clip_id="a", exclude=("b",)), Query(text=TEXT, k=3), Query(k=3, clip_id="a")]
    )
    rows = [snapshot.row(found["clip_id"]) for found in asked.clips]
    assert set(rows) == set(range(5)) - {row, snapshot.row("b")}
    np.testing.assert_allclose(asked.scores, expected_N[rows], atol=1e-5)
    assert asked.scores == sorted(asked.scores, reverse=True)
    once = snapshot.vectors_ND @ snapshot.vectors_ND[row]
    np.testing.assert_allclose(clip.scores, once[[snapshot.row(found["clip_id"]) for found in clip.clips]], atol=1e-5)
    assert alone.scores[0] == pytest.approx(
        float((snapshot.vectors_ND @ retriever.text_target([TEXT])[0].detach().numpy()).max()), abs=1e-5
    )


def test_a_text_is_padded_no_further_than_it_goes_and_has_the_same_vector():
    torch.manual_seed(0)
    cfg = compose(["model/text=random", "model.text.padding=max_length"])
    retriever = build_retriever(cfg.model, AIM(build(cfg.model.video))).eval()
    with torch.inference_mode():
        published = retriever.text_target([TEXT]).numpy()
    fingerprint = retriever.fingerprint
    assert retriever.text.tokenize([TEXT])["input_ids"].shape[1] == cfg.model.text.max_tokens
    encoder = QueryEncoder(retriever, version("decord"))
    assert retriever.text.tokenize([TEXT])["input_ids"].shape[1] < 10
    (encoded,) = encoder.encode([Query(text=TEXT, k=1)], [None])
    np.testing.assert_allclose(encoded.vector_D, published[0], atol=1e-5)
    assert (encoder.fingerprint, retriever.fingerprint) == (fingerprint, fingerprint)


def test_frames_are_answered_as_the_indexed_clip_itself(pair, served, frames):
    (found,) = pair.answer([Query(text=TEXT, k=5, frames_TCHW=frames["segment"])])
    expected = ranked(served, served.snapshot.features_NF[served.snapshot.row("segment")], TEXT, without=None)
    np.testing.assert_allclose(found.scores, [score for _, score in expected], atol=1e-5)


def test_the_file_itself_is_not_an_answer_but_a_stretch_of_it_is(pair, served, frames):
    for clip_id, count in (("a", 4), ("segment", 5)):
        sha256 = served.snapshot.describe([clip_id])[0]["sha256"]
        (found,) = pair.answer([Query(text=TEXT, k=10, frames_TCHW=frames[clip_id], sha256=sha256)])
        assert len(found.clips) == count


def test_a_retriever_trained_since_is_refused(tmp_path):
    build_root(Place(tmp_path), small_retriever(seed=0))
    small_retriever(seed=1).save(Place(tmp_path) / "retrievers/composed")
    with pytest.raises(UserError, match="another retriever"):
        Pair.load(Place(tmp_path))


def test_clips_decoded_by_another_version_are_refused(served, monkeypatch):
    monkeypatch.setattr("serve.encoder.version", lambda decoder: f"{decoder}-of-tomorrow")
    with pytest.raises(UserError, match=r"decoded with decord-.*of-tomorrow"):
        Pair.load(served.root)


def test_nothing_indexed_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"jobs/index\.py"):
        Pair.load(Place(tmp_path))
