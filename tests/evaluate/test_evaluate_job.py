"""The evaluation job on real, untrained retrievers: what it writes, that it is done once, what MLflow has then."""

from __future__ import annotations

import shutil

import ir_measures
import pyarrow.compute as pc
import pytest
import torch
from untrained import job_on, save_features, save_retriever

from covr.embed.features import Features
from covr.embed.quarantine import Quarantine
from covr.errors import UserError
from covr.evaluate.job import OUTPUTS, evaluate
from covr.models import ComposedRetriever
from covr.storage import Place, TableStore

ROWS = "rows=[composed,average,chance]"


@pytest.fixture(scope="module")
def root(world, tmp_path_factory) -> Place:
    folder = tmp_path_factory.mktemp("evaluated") / "root"
    shutil.copytree(world.local(), folder)
    root = Place(folder)
    retriever = save_retriever(root / "retrievers" / "composed", "mlp")
    save_retriever(root / "retrievers" / "average", "average")
    save_features(root, retriever.video.fingerprint(), retriever.video.sampling)
    return root


@pytest.fixture(scope="module")
def evaluated(root):
    return evaluate(job_on(root, ROWS))


def test_results_have_the_agreed_form(root, evaluated, queries):
    results = (root / "results.json").read_json()
    assert {key: results[key] for key in ("data", "split", "protocol", "gallery")} == {
        "data": "motions",
        "split": "test",
        "protocol": "both",
        "gallery": "tiny-test",
    }
    assert [row["row"] for row in results["rows"]] == ["composed", "average", "chance"]
    for row in results["rows"]:
        assert {"mAP@5", "mAP@10", "mAP@25", "mAP@50", "R@1", "R@5", "R@10", "R@50"} <= row["metrics"].keys()
        low, high = row["interval"]["mAP@10"]
        assert 0 <= low <= row["metrics"]["mAP@10"] <= high <= 100
    assert results["rows"][0]["wordings"]["queries"] == 2 * len(queries)
    assert evaluated["mAP@10"] == results["rows"][0]["metrics"]["mAP@10"]
    for name in OUTPUTS:
        assert (root / name).exists()


def test_the_trec_files_give_the_same_numbers_in_another_tool(root, evaluated):
    qrels = list(ir_measures.read_trec_qrels(str(root / "qrels.trec")))
    run = list(ir_measures.read_trec_run(str(root / "run.trec")))
    metrics = (root / "results.json").read_json()["rows"][0]["metrics"]
    found = ir_measures.calc_aggregate([ir_measures.AP @ 10, ir_measures.AP @ 5, ir_measures.Success @ 5], qrels, run)
    assert 100 * found[ir_measures.AP @ 10] == pytest.approx(metrics["mAP@10"], abs=1e-4)
    assert 100 * found[ir_measures.AP @ 5] == pytest.approx(metrics["mAP@5"], abs=1e-4)
    assert 100 * found[ir_measures.Success @ 5] == pytest.approx(metrics["R@5"], abs=1e-4)


def test_the_runs_table_is_the_retrievers_own_order(root, evaluated, queries):
    """Rank 1 of a query, by hand from the retriever's vectors."""
    retriever = ComposedRetriever.load(root / "retrievers" / "composed")
    triplet = queries.triplets.slice(5, 1).to_pylist()[0]
    ((_, clips),) = queries.groups("corrected")
    clips = [clip for clip in clips if clip != triplet["query_clip"]]
    vectors = Features(root, retriever.video.fingerprint()).read([triplet["query_clip"], *clips])
    with torch.no_grad():
        query = retriever.embed_query(torch.from_numpy(vectors[:1]), triplet["modifications"][:1])
        scores = (query @ retriever.embed_target(torch.from_numpy(vectors[1:])).T)[0]
    runs = TableStore(root / "runs" / "composed", "runs").read()
    mine = runs.filter(pc.equal(runs["query_id"], triplet["query_id"])).sort_by("rank").to_pylist()
    assert [row["clip_id"] for row in mine] == [clips[i] for i in scores.argsort(descending=True)]
    assert mine[0]["score"] == pytest.approx(float(scores.max()), abs=1e-5)


def test_done_once(root, evaluated, capsys):
    before = (root / "results.json").read_bytes()
    assert evaluate(job_on(root, ROWS)) == evaluated
    assert "up to date" in capsys.readouterr().out
    assert (root / "results.json").read_bytes() == before


def test_mlflow_has_the_run_and_the_champion(root, evaluated):
    job = job_on(root, ROWS)
    client = job.tracking.server().client
    run = client.get_run((root / "steps" / "evaluate.json").read_json()["mlflow_run"])
    assert run.data.metrics["mAP_at_10"] == pytest.approx(evaluated["mAP@10"])
    assert "chance/mAP_at_10" in run.data.metrics
    assert run.data.tags["protocol"] == "both"
    assert {artifact.path for artifact in client.list_artifacts(run.info.run_id)} >= set(OUTPUTS)
    champion = client.get_model_version_by_alias("covr", "champion")
    assert champion.run_id == run.info.run_id
    assert champion.tags["metric"] == "mAP@10"


def test_other_vectors_are_evaluated_again(root, evaluated, tmp_path):
    copy = Place(tmp_path / "root")
    shutil.copytree(root.local(), copy.local())
    retriever = save_retriever(copy / "retrievers" / "composed", "mlp", seed=7)
    with pytest.raises(UserError, match=r"jobs/embed\.py"):
        evaluate(job_on(copy, ROWS))
    save_features(copy, retriever.video.fingerprint(), retriever.video.sampling)
    assert evaluate(job_on(copy, ROWS))["fingerprint"] != evaluated["fingerprint"]


def test_a_refused_query_clip_is_left_out_and_counted(root, evaluated, queries, tmp_path, capsys):
    """It failed with "clips are missing" before."""
    copy = Place(tmp_path / "root")
    shutil.copytree(root.local(), copy.local())
    lost = queries.triplets["query_clip"][0].as_py()
    refuse(copy, lost)
    asked = [row["query_id"] for row in queries.triplets.to_pylist() if row["query_clip"] != lost]
    found = evaluate(job_on(copy, ROWS))
    assert found["queries"] == len(asked)
    results = (copy / "results.json").read_json()
    assert results["coverage"] == {"queries": len(asked), "queries_given": len(queries), "clips_refused": 1}
    said = f"{len(asked)} of {len(queries)} queries are asked: 1 clip was refused"
    assert said in capsys.readouterr().out
    assert said in (copy / "report.html").read_bytes().decode()
    runs = TableStore(copy / "runs" / "composed", "runs").read()
    assert set(runs["query_id"].to_pylist()) == set(asked)
    assert lost not in runs["clip_id"].to_pylist()


def refuse(root: Place, clip_id: str) -> None:
    """As the embed step would have: a quarantine row in place of a vector."""
    encoder = ComposedRetriever.load(root / "retrievers" / "composed").video.fingerprint()
    features = Features(root, encoder)
    clips = TableStore(root / "tables" / "clips", "clips").read()
    key = dict(zip(clips["clip_id"].to_pylist(), features.keys(clips).to_pylist(), strict=True))[clip_id]
    row = {"clip_id": clip_id, "key": key, "uri": "x", "reason": "corrupt", "detail": "", "attempt": 1}
    Quarantine(root, "embed").write([row])
    kept = features.store.read(filters=[("clip_id", "!=", clip_id)])
    for part in features.store.parts():
        (features.place / part).remove()
    features.write(kept)


def test_mistakes(root):
    with pytest.raises(UserError, match=r"row 'text-only' was never trained.*jobs/finetune\.py"):
        evaluate(job_on(root, "rows=[composed,text-only]"))
    with pytest.raises(UserError, match="no such protocol"):
        evaluate(job_on(root, ROWS, "test.protocol=mine"))
    with pytest.raises(UserError, match="keep at least 50"):
        evaluate(job_on(root, ROWS, "test.depth=10"))
    with pytest.raises(UserError, match="no queries in this split"):
        evaluate(job_on(root, ROWS, "test.split=dev"))
    with pytest.raises(UserError, match="add composed"):
        evaluate(job_on(root, "rows=[chance]"))
