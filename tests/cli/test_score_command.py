"""`covr score` on files in the published format: protocols, forms of predictions, mistakes in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import published_files
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from covr import tables
from covr.cli.main import commands
from covr.errors import UserError
from covr.evaluate.annotated import read_annotations
from covr.evaluate.target_folder import read_targets
from covr.evaluate.vectors import ROWS, AnnotatedRows
from covr.storage import Place

ANNOTATIONS = {
    "webvid-covr": "annotation/webvid-covr/webvid8m-covr_test.csv",
    "dense-webvid-covr": "annotation/dense-webvid-covr/webvid8m-covr_test.csv",
    "cirr": "captions/cap.rc2.val.json",
    "cirr-subset": "captions/cap.rc2.val.json",
    "fashioniq": "captions/cap.dress.val.json",
    "circo": "annotations/val.json",
    "egocvr-global": "egocvr_annotations.csv",
    "egocvr-local": "egocvr_annotations.csv",
    "finecvr": "test_remaped.txt",
    "tf-covr": "test_finegd.csv",
}
COLUMNS = {
    "webvid-covr": ["none", "published", "correct"],
    "tf-covr": ["published", "deduplicated", "targets", "split", "all"],
}
COLUMNS["dense-webvid-covr"] = COLUMNS["webvid-covr"]


def data_of(protocol: str) -> str:
    return protocol if protocol in published_files.FILES else protocol.rsplit("-", 1)[0]


def covr(*arguments: object) -> str:
    result = CliRunner().invoke(commands, ["score", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def perfect(protocol: str, annotations: Path) -> dict[str, list[str]]:
    """Every right answer first, by published ids; the own clip of EgoCVR's queries left out."""
    asked = read_annotations(data_of(protocol), annotations)
    return {
        row["query_id"].removeprefix(asked.prefix): [clip for clip in row["target_clips"] if clip != row["query_clip"]]
        for row in asked.triplets.to_pylist()
    }


@pytest.fixture
def files(tmp_path):
    def write(protocol: str) -> Path:
        published_files.write(data_of(protocol), tmp_path)
        return tmp_path / ANNOTATIONS[protocol]

    return write


@pytest.mark.parametrize("protocol", ANNOTATIONS)
def test_perfect_predictions_reach_all_of_every_corrected_metric(protocol, files, tmp_path):
    annotations = files(protocol)
    predictions = tmp_path / "predictions.json"
    predictions.write_text(json.dumps(perfect(protocol, annotations)))
    asked = ("--protocol", protocol, "--annotations", annotations, "--predictions", predictions)
    found = json.loads(covr(*asked, "--json"))["columns"]
    assert list(found) == COLUMNS.get(protocol, ["published", "corrected"])
    for name, column in found.items():
        if name not in ("none", "published", "deduplicated"):
            assert column["queries"] > 0
            assert {value for metric, value in column["metrics"].items() if "annotated" not in metric} == {100.0}
    shown = covr(*asked)
    assert all(name in shown for name in found)


def test_circo_is_scored_without_the_list_of_its_images(files, tmp_path):
    annotations = files("circo")
    (tmp_path / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json").unlink()
    (tmp_path / "p.json").write_text(json.dumps({"0": [581929, 5, 2], "1": [7]}))
    asked = ("--protocol", "circo", "--annotations", annotations, "--predictions", tmp_path / "p.json", "--json")
    metrics = json.loads(covr(*asked))["columns"]["published"]["metrics"]
    assert metrics["mAP@5"] == pytest.approx(100 * ((1 / 2 + 2 / 3) / 3 + 1 / 3) / 2, abs=1e-5)
    assert metrics["R@5"] == 50


def test_a_gallery_file_may_lie_anywhere(files, tmp_path):
    annotations = files("egocvr-local")
    (tmp_path / "elsewhere").mkdir()
    gallery = tmp_path / "elsewhere/gallery.csv"
    gallery.write_text('global_idx,local_idx\n"[0, 1]","[0, 1]"\n"[0, 1, 2]","[0, 2]"\n"[3, 4]","[3, 4]"\n')
    (tmp_path / "p.json").write_text(json.dumps({"0": ["u1_20_29"], "1": ["u1_30_39"], "2": ["u2_20_29"]}))
    asked = ("--annotations", annotations, "--predictions", tmp_path / "p.json", "--gallery", gallery, "--json")
    assert json.loads(covr("--protocol", "egocvr-local", *asked))["columns"]["published"]["metrics"]["R@1"] == 100


def test_a_gallery_that_is_not_the_official_one_stands_beside_the_numbers(files, tmp_path):
    annotations = files("cirr")
    (tmp_path / "image_splits/split.rc2.val.json").unlink()
    (tmp_path / "p.json").write_text(json.dumps(perfect("cirr", annotations)))
    asked = ("--protocol", "cirr", "--annotations", annotations, "--predictions", tmp_path / "p.json", "--json")
    for column in json.loads(covr(*asked))["columns"].values():
        assert any("split.rc2.val.json is not there" in note for note in column["notes"])


def test_every_form_of_predictions_gives_the_same_numbers(files, tmp_path):
    annotations = files("tf-covr")
    ranked = {"0": ["gym_0003", "gym_0004"], "1": ["gym_0002", "gym_0003"]}
    as_json, as_trec, as_parquet = (tmp_path / name for name in ("p.json", "p.trec", "p.parquet"))
    as_json.write_text("\ufeff" + json.dumps(ranked), encoding="utf-8")
    lines = [f"{q} Q0 {clip} {r} {-r} mine" for q, clips in ranked.items() for r, clip in enumerate(clips, 1)]
    as_trec.write_text("\r\n".join(reversed(lines)) + "\n")
    rows = [
        {"query_id": f"tf-covr-test-{q}", "rank": r, "clip_id": clip, "score": -r, "stage": ""}
        for q, clips in ranked.items()
        for r, clip in enumerate(clips, 1)
    ]
    pq.write_table(tables.from_rows("runs", rows), as_parquet)
    asked = ("--protocol", "tf-covr", "--annotations", annotations, "--json", "--predictions")
    assert covr(*asked, as_json) == covr(*asked, as_trec) == covr(*asked, as_parquet)


MISTAKES = {
    "[]": "not an object of queries",
    '{"0": "gym_0001"}': "answers are no list.*query 0",
    '{"0": [true], "1": []}': "an answer is no clip: True.*query 0",
    '{"0": ["gym_0003"]}': "1 queries have no ranking.*tf-covr-test-1",
    '{"0": ["gym_0003"], "1": ["gym_0003"], "7": ["gym_0003"]}': "an unknown query is answered.*7",
    '{"0": ["gym_0003"], "1": ["gym_0003"], "1": ["gym_0004"]}': "a key stands twice",
    '{"0": ["gym_0003"], "tf-covr-test-0": ["gym_0003"]}': "a query is answered twice",
    '{"0": ["a\\udcd7"], "1": ["b"]}': "an answer is no clip",
    '{"0": ["a.mp4"], "1": ["b.mp4"]}': "no answer is in the gallery.*a.mp4.*published names",
    '{"0": [NaN]}': "NaN is not finite",
    "{": "not JSON",
    '{"metric": "recall_subset", "0": []}': "use --protocol cirr-subset",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_submission_that_cannot_be_scored_is_one_clear_line(text, files, tmp_path):
    annotations = files("tf-covr")
    predictions = tmp_path / "p.json"
    predictions.write_text(text)
    with pytest.raises(UserError, match=MISTAKES[text]) as caught:
        covr("--protocol", "tf-covr", "--annotations", annotations, "--predictions", predictions)
    assert "\n" not in str(caught.value)


def test_other_mistakes(files, tmp_path):
    annotations = files("cirr")
    (tmp_path / "p.run").write_text("0 Q0 clip one 1.0 tag\n")
    asked = ("--annotations", annotations, "--predictions", tmp_path / "p.run")
    with pytest.raises(UserError, match=r"not a line of a TREC run.*p\.run, line 1"):
        covr("--protocol", "cirr", *asked)
    with pytest.raises(UserError, match=r"no such protocol.*choose one of cirr"):
        covr("--protocol", "cirrr", *asked)
    with pytest.raises(UserError, match="no such file of predictions"):
        covr("--protocol", "cirr", "--annotations", annotations, "--predictions", tmp_path / "none.json")
    with pytest.raises(UserError, match="what is to be scored"):
        covr("--protocol", "cirr")
    (tmp_path / "p.json").write_text(json.dumps({"20": ["x"], "21": ["x"]}))
    hidden = tmp_path / "captions" / "cap.rc2.test1.json"
    with pytest.raises(UserError, match="hold no right answers"):
        covr("--protocol", "cirr", "--annotations", hidden, "--predictions", tmp_path / "p.json")


# ---- the two-step evaluation: vectors to recalls


@pytest.fixture
def vectors(files, tmp_path):
    """Four queries; the target of each, two of which are the same clip, as the third finds its own clip's vector."""
    annotations = files("webvid-covr")
    rng = np.random.default_rng(0)
    targets = np.repeat(rng.normal(size=(2, 8)), 2, axis=0).astype(np.float32)
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("target_feat.npy", "target_feat_txt_only.npy"):
        np.save(folder / name, targets)
    np.save(folder / "query_feat.npy", targets + 0.01 * rng.normal(size=targets.shape).astype(np.float32))
    np.save(folder / "query_feat_txt_only.npy", -targets)
    return folder, annotations


@pytest.mark.parametrize(
    ("name", "file", "at_1"), [("webvid-covr", "recalls", 100.0), ("webvid-covr_text", "recalls_txt_only", 0.0)]
)
def test_recalls_from_vectors_alone(name, file, at_1, vectors):
    folder, annotations = vectors
    shown = covr(f"evaluate={name}", folder, "--annotations", annotations)
    recalls = json.loads((folder / f"{file}.json").read_text())
    assert list(recalls) == sorted(["R1", "R5", "R10", "R50", "meanR3", "meanR4", "annotation"])
    assert recalls["annotation"] == "webvid8m-covr_test.csv"
    assert recalls["R1"] == at_1
    assert recalls["R50"] == 100.0
    assert "published" in shown
    assert "mask=correct" in shown


def test_the_released_scoring_scripts_names_are_read_and_written(vectors):
    """BSE-CoVR's script loads `query_feat.pt` and writes `recalls_covr.json`, unlike its README."""
    folder, annotations = vectors
    covr("evaluate=webvid-covr", folder, "--annotations", annotations)
    by_array = json.loads((folder / "recalls.json").read_text())
    torch.save(torch.from_numpy(np.load(folder / "query_feat.npy")), folder / "query_feat.pt")
    (folder / "query_feat.npy").unlink()
    covr("evaluate=webvid-covr", folder, "--annotations", annotations)
    assert json.loads((folder / "recalls_covr.json").read_text()) == by_array
    torch.save({"feats": torch.ones(4, 8)}, folder / "query_feat.pt")
    with pytest.raises(UserError, match=r"not vectors.*query_feat\.pt"):
        covr("evaluate=webvid-covr", folder, "--annotations", annotations)


def test_targets_from_a_folder_of_frame_vectors(vectors, tmp_path):
    """As CoVR's scoring script reads them: pooled by the scores of the annotations."""
    folder, annotations = vectors
    (folder / "target_feat.npy").unlink()
    rng = np.random.default_rng(1)
    frames = {f"112/10163{i:04d}": rng.normal(size=(15, 8)).astype(np.float32) for i in (10, 11)}
    for name, value in frames.items():
        (tmp_path / "embs" / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(torch.from_numpy(value), tmp_path / "embs" / f"{name}.pth")
    scores = np.array([round(0.3 + 0.01 * k, 4) for k in range(15)])
    weights = np.exp(scores / 0.1) / np.exp(scores / 0.1).sum()
    by_row = [weights, np.full(15, 1 / 15), weights, weights]  # the second row has no scores
    names = ["112/101630010", "112/101630010", "112/101630011", "112/101630011"]
    expected = np.stack([weight @ frames[name] for weight, name in zip(by_row, names, strict=True)])
    triplets = read_annotations("webvid-covr", annotations).triplets
    found = read_targets(Place(tmp_path / "embs"), triplets, "query")
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    np.save(folder / "query_feat.npy", expected)
    asked = ("evaluate=webvid-covr", folder, "--targets", tmp_path / "embs")
    assert "100.00" in covr(*asked, "--annotations", annotations)
    covr(*asked, "--annotations", annotations, "data.emb_pool=mean")
    with pytest.raises(UserError, match="no such pooling"):
        covr(*asked, "--annotations", annotations, "data.emb_pool=max")
    AnnotatedRows.of("x", triplets).write(Place(folder) / ROWS)
    with pytest.raises(UserError, match="give --annotations as well"):
        covr(*asked)
    (tmp_path / "embs/112/101630011.pth").unlink()
    with pytest.raises(UserError, match=r"1 targets have no vectors.*112/101630011"):
        covr(*asked, "--annotations", annotations)


def test_vectors_that_do_not_fit_are_one_clear_line(vectors):
    folder, annotations = vectors
    asked = ("evaluate=webvid-covr", folder, "--annotations", annotations)
    with pytest.raises(UserError, match=r"no such mask.*none, published, correct"):
        covr(*asked, "mask=some")
    with pytest.raises(UserError, match=r"which annotations.*query_feat\.json"):
        covr(*asked[:2])
    with pytest.raises(UserError, match="one of webvid-covr, webvid-covr_text"):
        covr("evaluate=webvid", folder)
    np.save(folder / "query_feat.npy", np.zeros((4, 8), np.float32))
    with pytest.raises(UserError, match=r"zero or not finite.*row 0"):
        covr(*asked)
    np.save(folder / "query_feat.npy", np.ones((3, 8), np.float32))
    with pytest.raises(UserError, match="3 rows for 4 annotations"):
        covr(*asked)
    np.save(folder / "query_feat.npy", np.array([{}] * 4), allow_pickle=True)
    with pytest.raises(UserError, match="not a readable array"):
        covr(*asked)


def test_scoring_loads_no_model_library():
    """So that `covr score` starts in a second."""
    heavy = "torch", "ray", "transformers", "mlflow", "pandas"
    script = f"import sys, covr.cli.main; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
