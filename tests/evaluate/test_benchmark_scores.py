"""Every test of the released code on files in the published format: its numbers and the files that its users know."""

from __future__ import annotations

import csv
import json

import numpy as np
import published_files
import pytest
from typer.testing import CliRunner
from untrained import job_on, save_features, save_retriever

from covr.cli.main import commands
from covr.config.compose import build
from covr.errors import UserError
from covr.evaluate.job import evaluate
from covr.storage import Place, TableStore


def prepare(root: Place, overrides: list[str]) -> None:
    """Tables of a data set, untrained retrievers, and random features for them."""
    dataset = build(job_on(root, *overrides).cfg.data).read(root)  # no run is tracked here
    for name in ("clips", "texts", "triplets", "galleries"):
        TableStore(root / "tables" / name, name).publish(getattr(dataset, name), f"{name:0<32}")
    retriever = save_retriever(root / "retrievers" / "composed", "mlp")
    save_retriever(root / "retrievers" / "text-only", "text-only")
    save_features(root, retriever.video.fingerprint(), retriever.video.sampling)


@pytest.fixture(scope="module")
def root_of(tmp_path_factory):
    """A storage root of a published data set, with random features and untrained retrievers."""
    made: dict[str, Place] = {}

    def root(data: str) -> Place:
        if data not in made:
            folder = tmp_path_factory.mktemp(data)
            made[data] = Place(folder / "root")
            prepare(made[data], published_files.write(data, folder / "data"))
        return made[data]

    return root


def run(root: Place, data: str, *overrides: str, rows: str = "[composed]") -> list[dict]:
    tracked = f"trainer.logger.uri=sqlite:///{root.local().parents[1] / 'mlflow.db'}"  # one for all: it is slow to make
    evaluate(job_on(root, f"data={data}", f"rows={rows}", "test.bootstrap=10", tracked, *overrides))
    return (root / "results.json").read_json()["benchmarks"]


@pytest.mark.parametrize(
    ("data", "test", "files", "readings"),
    [
        ("webvid-covr", "webvid-covr", ["recalls.json"], ["none", "published", "correct"]),
        ("cirr", "cirr-val", ["recalls_cirr.json", "recalls_cirr_subset.json"], ["published", "corrected"]),
        ("circo", "circo-val", ["recalls_circo-val.json"], ["published", "corrected"]),
        ("fashioniq", "fashioniq", ["recalls_fiq-dress.json", "recalls_fiq-mean.json"], ["published", "corrected"]),
        ("egocvr", "egocvr", [], ["published", "corrected"]),
        ("finecvr", "finecvr", [], ["published", "corrected"]),
        (
            "tf-covr",
            "tf-covr",
            ["recalls_circo-test.json", "detailed_recalls_circo-test.json"],
            ["published", "deduplicated", "targets", "split", "all"],
        ),
    ],
)
def test_numbers_side_by_side_and_files_by_their_known_names(data, test, files, readings, root_of):
    root = root_of(data)
    found = run(root, data, f"test={test}")
    assert list(found[0]["readings"]) == sorted(readings)  # JSON objects are written sorted
    for entry in found:
        for reading in entry["readings"].values():
            assert reading["queries"] > 0
    written = [name for entry in found for name in entry["files"]]
    assert set(files) <= set(written)
    for name in written:
        assert (root / name).exists()


def test_a_gallery_that_is_not_known_is_told_beside_the_numbers(root_of):
    """CIRR's published gallery is what lies in the folder; without media there is none."""
    found = run(root_of("cirr"), "cirr", "test=cirr-val")[0]["readings"]
    assert "no published gallery is known: over the corrected one" in found["published"]["notes"]
    assert found["corrected"]["notes"] == [note for note in found["corrected"]["notes"] if "no published" not in note]


def test_webvid_vectors_and_the_scoring_command_agree(root_of):
    root = root_of("webvid-covr")
    run(root, "webvid-covr", "test=webvid-covr")
    run(root, "webvid-covr", "test=webvid-covr_text", rows="[composed,text-only]")
    for name, vectors, file in (
        ("webvid-covr", "query_feat.npy", "recalls.json"),
        ("webvid-covr_text", "query_feat_txt_only.npy", "recalls_txt_only.json"),
    ):
        values = np.load(root.local() / vectors)
        assert values.shape == (4, 16)
        assert values.dtype == np.float32
        by_job = (root / file).read_json()
        assert list(by_job) == ["R1", "R10", "R5", "R50", "annotation", "meanR3", "meanR4"]
        assert by_job["annotation"] == "webvid8m-covr_test.csv"
        (root / file).remove()
        result = CliRunner().invoke(commands, ["score", f"evaluate={name}", str(root.local())])
        assert result.exit_code == 0, result.output
        assert (root / file).read_json() == by_job


def test_files_for_the_servers_where_the_answers_are_hidden(root_of):
    root = root_of("cirr")
    run(root, "cirr", "test=cirr")
    recall, subset = ((root / f"recalls_cirr{name}.json").read_json() for name in ("", "_subset"))
    assert (recall.pop("version"), recall.pop("metric")) == ("rc2", "recall")
    assert (subset.pop("version"), subset.pop("metric")) == ("rc2", "recall_subset")
    assert recall.keys() == subset.keys() == {"20", "21"}
    assert all(len(names) == 3 and "test1-0-0-img0" not in names for names in subset.values())

    root = root_of("circo")
    (entry,) = run(root, "circo", "test=circo")
    assert entry["readings"] == {}
    answers = (root / "recalls_circo-test.json").read_json()
    assert answers.keys() == {"0", "1", "2"}
    assert sorted(answers["0"]) == [2, 3, 4, 5, 6, 7, 8]  # every image but the reference
    with pytest.raises(UserError, match="right answers of this split are hidden"):
        evaluate(job_on(root, "data=circo", "rows=[composed]", "test.protocol=corrected"))


def test_query_vectors_of_annotations_without_answers_are_scored_with_their_full_file(tmp_path):
    """The published way of Dense-WebVid-CoVR: vectors from the file without pth2, recalls with it."""
    root, data = Place(tmp_path / "root"), "dense-webvid-covr"
    overrides = [*published_files.write(data, tmp_path / "data"), "data.splits=[test]", "data.without_targets=[test]"]
    full = next((tmp_path / "data").rglob("*_test.csv"))
    rows = list(csv.DictReader(full.read_text().splitlines()))
    targets = [row.pop("pth2") for row in rows]
    (tmp_path / "full.csv").write_text(full.read_text())
    full.write_text(published_files.csv_text(rows))
    prepare(root, overrides)
    (entry,) = run(root, data, "test=dense-webvid-covr", *overrides[1:])
    assert entry["files"] == ["query_feat.npy"]
    rng = np.random.default_rng(0)
    np.save(root.local() / "target_feat.npy", rng.normal(size=(len(targets), 16)).astype(np.float32))
    asked = ["evaluate=dense-webvid-covr", str(root.local()), "--annotations", str(tmp_path / "full.csv")]
    assert CliRunner().invoke(commands, ["score", *asked]).exit_code == 0
    assert (root / "recalls.json").read_json()["annotation"] == "full.csv"


def test_the_files_hold_what_scoring_them_says(root_of):
    """A submission file written here and scored by `covr score` gives the job's own numbers."""
    root = root_of("circo")
    (entry,) = run(root, "circo", "test=circo-val")
    annotations = root.local().parent / "data" / "annotations" / "val.json"
    asked = ["--protocol", "circo", "--annotations", str(annotations), "--json"]
    result = CliRunner().invoke(
        commands, ["score", *asked, "--predictions", str(root.local() / "recalls_circo-val.json")]
    )
    scored = json.loads(result.output)["columns"]["corrected"]
    assert scored["metrics"] == entry["readings"]["corrected"]["metrics"]


def test_published_numbers_stand_in_the_files_on_request(root_of):
    root = root_of("tf-covr")
    (entry,) = run(root, "tf-covr", "test=tf-covr", "test.reading=published")
    numbers, published = (root / "recalls_circo-test.json").read_json(), entry["readings"]["published"]["metrics"]
    assert numbers["mAP@5"] == round(published["mAP@5"], 2)
    assert numbers["Recall@5"] == round(published["R@5"], 2)
    detailed = (root / "detailed_recalls_circo-test.json").read_json()["0"]
    assert detailed["query_filename"] == "gym_0002"
    assert all(each["correct"] == (each["filename"] in detailed["gt_filenames"]) for each in detailed["retrieved"])
    with pytest.raises(
        UserError, match=r"no such reading.*tf-covr: test\.reading=best.*published, deduplicated, targets, split, all"
    ):
        run(root, "tf-covr", "test=tf-covr", "test.reading=best")


def test_all_runs_every_protocol_of_the_data_set_on_every_trained_input(root_of):
    root = root_of("egocvr")
    found = run(root, "egocvr", "test=all", rows="[composed,text-only]")
    assert [(entry["protocol"], entry["row"]) for entry in found] == [
        ("egocvr-global", "composed"),
        ("egocvr-local", "composed"),
        ("egocvr-global", "text-only"),
        ("egocvr-local", "text-only"),
    ]


def test_one_category_alone(root_of):
    root = root_of("fashioniq")
    (entry,) = run(root, "fashioniq", "test=fashioniq-shirt")
    assert entry["readings"]["corrected"]["queries"] == 1
    assert entry["files"] == ["recalls_fiq-shirt.json"]
    with pytest.raises(UserError, match=r"no query has this tag \[test\.only\.category=hat\].*dress, shirt, toptee"):
        run(root, "fashioniq", "test=fashioniq", "test.only={category: hat}")


def test_inputs_that_are_no_rows_are_refused(root_of):
    with pytest.raises(UserError, match=r"no such row to test \[test\.inputs=text-only\]"):
        run(root_of("webvid-covr"), "webvid-covr", "test=webvid-covr_text")
    with pytest.raises(UserError, match="this data set has no protocol of its own"):
        evaluate(job_on(root_of("webvid-covr"), "data=motions", "test=all"))
