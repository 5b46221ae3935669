"""A split in mteb's layout says what the tables say."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
import yaml
from published_files import EGO, write
from typer.testing import CliRunner

from covr.cli.main import commands
from covr.config.compose import build, compose
from covr.datasets.ingest import PUBLISHED
from covr.datasets.mteb import export_mteb
from covr.errors import UserError
from covr.storage import Place, TableStore


def tables(name, folder):
    root = Place(folder / "out")
    dataset = build(compose(write(name, folder / "data")).data).read(root)
    for table in PUBLISHED:
        TableStore(root / "tables" / table, table).publish(getattr(dataset, table), "made-by-a-test")
    return root


def test_the_exported_files_hold_the_split(tmp_path):
    root = tables("egocvr", tmp_path)
    done = CliRunner().invoke(commands, ["export-mteb", str(root), str(tmp_path / "mteb"), "--gallery", "local"])
    assert done.exit_code == 0, done.output
    parts = {
        part: pq.read_table(tmp_path / "mteb" / part / "test.parquet").to_pylist()
        for part in ("corpus", "queries", "qrels", "top_ranked")
    }
    assert {row["id"] for row in parts["corpus"]} == set(EGO)
    query = parts["queries"][1]
    assert (query["id"], query["text"], query["modality"]) == ("egocvr-test-1", "Shake it.", "video,text")
    assert query["video"]["path"].endswith(EGO[1])
    right = [row["corpus-id"] for row in parts["qrels"] if row["query-id"] == "egocvr-test-1"]
    assert right == [EGO[0], EGO[2]]  # its own clip is none
    assert parts["top_ranked"][1]["corpus-ids"] == [EGO[0], EGO[2]]
    card = yaml.safe_load((tmp_path / "mteb/README.md").read_text().split("---")[1])
    assert [config["config_name"] for config in card["configs"]] == list(parts)
    assert card["configs"][0]["data_files"] == [{"split": "test", "path": "corpus/test.parquet"}]


def test_what_cannot_be_exported_is_told(tmp_path):
    root = tables("circo", tmp_path)
    assert export_mteb(root, Place(tmp_path / "mteb"), "val") == {"corpus": 8, "queries": 2, "qrels": 6}
    for split, gallery, says in (
        ("test", "corrected", "hidden"),
        ("val", "local", "local"),
        ("train", "corrected", "train"),
    ):
        with pytest.raises(UserError, match=says):
            export_mteb(root, Place(tmp_path / "mteb"), split, gallery)
