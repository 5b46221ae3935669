"""The champion moves only to a better retriever, measured on the same gallery."""

from __future__ import annotations

import pytest

from covr.errors import UserError
from covr.storage import Place
from covr.tracking.download import local_place


def register(tracking, weights: bytes, value: float, gallery: str = "g", metric: str = "mAP@10") -> str:
    """Version number of a retriever folder with these weights."""
    place = tracking.root / "retrievers" / f"{weights.decode()}"
    (place / "config.json").write_json({"kind": "retriever"})
    (place / "parts" / "weights.safetensors").write_bytes(weights)
    run = tracking.start("evaluate")
    run.register(place, metric=metric, value=value, gallery=gallery)
    run.finish("FINISHED")
    client = tracking.server().client
    return client.search_model_versions(f"run_id = '{run.run_id}'")[0].version


def champion(client) -> str:
    return client.get_model_version_by_alias("covr", "champion").version


def test_champion(tracking, client, capsys):
    first = register(tracking, b"a", 50.0)
    assert champion(client) == first
    register(tracking, b"b", 49.0)
    register(tracking, b"c", 50.0)
    assert champion(client) == first
    better = register(tracking, b"d", 51.0)
    assert champion(client) == better
    register(tracking, b"e", 99.0, gallery="another")
    register(tracking, b"f", 99.0, metric="R@1")
    assert champion(client) == better
    assert "another gallery" in capsys.readouterr().out


def test_registered_once_however_often_it_is_sent(tracking, client):
    version = register(tracking, b"a", 50.0)
    run_id = client.get_model_version("covr", version).run_id
    journal = next(each for each in tracking.root.local().glob("tracking/*.jsonl") if run_id in each.read_text())
    kept = [line for line in journal.read_text().splitlines() if '"sent"' not in line]
    journal.write_text("\n".join(kept) + "\n")
    again = tracking.start("evaluate", run_id=run_id)
    again.finish("FINISHED")
    assert len(client.search_model_versions("name = 'covr'")) == 1


def test_a_folder_that_changed_meanwhile_is_not_registered(tracking, client, capsys):
    place = tracking.root / "retrievers" / "x"
    (place / "config.json").write_json({})
    run = tracking.start("evaluate")
    run.register(place, metric="mAP@10", value=1.0, gallery="g")
    (place / "config.json").write_json({"other": 1})
    run.finish("FINISHED")
    assert "changed" in capsys.readouterr().out
    assert not client.search_model_versions("name = 'covr'")


def test_a_model_by_its_names(tracking, client, monkeypatch, tmp_path):
    version = register(tracking, b"a", 50.0)
    run_id = client.get_model_version("covr", version).run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for uri in ("models:/covr@champion", f"models:/covr/{version}", f"runs:/{run_id}/retriever"):
        place = local_place(uri)
        assert (place / "parts" / "weights.safetensors").read_bytes() == b"a"
        assert (place / "config.json").read_json() == {"kind": "retriever"}
    assert str(local_place(str(tmp_path))) == str(Place(tmp_path))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/covr@nobody", "does not give it"),
        ("models:/nothing/1", "does not give it"),
        ("runs:/0123456789abcdef/retriever", "does not give it"),
        ("models:/covr", "not a model URI"),
    ],
)
def test_a_model_that_is_not_there(tracking, monkeypatch, tmp_path, uri, message):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=message):
        local_place(uri)


def test_without_a_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        local_place("models:/covr@champion")
