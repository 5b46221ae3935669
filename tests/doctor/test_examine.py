"""The doctor before real faults: closed ports, folders that take nothing, packages that do not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import ray
from mlflow_root import tracking_on

from covr.config.compose import compose
from covr.doctor import machine, packages, services, storage, video
from covr.doctor.finding import Finding, findings
from covr.errors import UserError
from covr.storage import Place

COVR = "from covr.cli.main import app; app()"


def doctor(*words: str, **environment: str) -> tuple[int, dict[str, Finding]]:
    """Exit status and findings by check, of a doctor in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", COVR, "doctor", "--json", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert "Traceback" not in done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] == (done.returncode == 0)
    return done.returncode, {each["check"]: Finding(**each) for each in answer["findings"]}


def test_nothing_wrong_and_nothing_left_behind(ray_cluster, tmp_path):
    address = ray.get_runtime_context().gcs_address
    status, found = doctor(f"out={tmp_path}/new/out", "machine.object_store_mb=100", RAY_ADDRESS=address)
    assert status == 0, found
    assert found["Ray"].found == f"{address} answers: 4 CPUs, 0 GPUs"
    assert found["CPU plan"].found.startswith("embed: 2 decoding")
    assert found["storage"].found.endswith("is writable")
    assert {"Python", "packages", "FFmpeg", "codecs", "decoder decord", "decoder pyav", "FAISS", "disk"} <= found.keys()
    assert list(tmp_path.iterdir()) == []


def test_closed_ports_and_a_folder_that_takes_nothing():
    words = ("machine.address=127.0.0.1:9", "trainer.logger.uri=http://127.0.0.1:9", "out=/proc/covr")
    status, found = doctor(*words)
    assert status == 1
    for check, reason in (("Ray", "no Ray cluster answers"), ("MLflow", "127.0.0.1"), ("storage", "not writable")):
        assert found[check].state == "fault"
        assert reason in found[check].found
        assert found[check].fix


def test_a_screen_for_people(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COVR, "doctor", f"out={tmp_path}", "machine.num_cpus=4096"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "80"},
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 30
    assert any("machine.num_cpus=4096 but this machine has" in line for line in lines)
    assert any("to do: give at most" in line for line in lines)


def test_a_misspelt_option_is_the_users(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COVR, "doctor", "machine.adress=x"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "machine.address" in done.stderr


def test_a_plan_that_does_not_fit(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = list(findings("Ray", lambda: services.ray(compose(["machine.decode_workers=500"]))))
    assert (found[-1].state, found[-1].check) == ("fault", "Ray")
    assert "the plan needs" in found[-1].found
    assert "lower machine.decode_workers" in found[-1].fix


def test_runs_that_wait_for_a_server(tmp_path):
    run = tracking_on(Place(tmp_path), "http://127.0.0.1:9").start("ingest")
    run.finish()
    found = {each.check: each for each in services.mlflow(compose([f"out={tmp_path}"]))}
    assert found["MLflow"].found.endswith("the first job makes it")
    assert found["MLflow journal"].state == "advice"
    assert found["MLflow journal"].found.startswith("1 run")


def test_a_database_that_is_none(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database, and long enough to be refused as one" * 50)
    (found,) = services.mlflow(compose([f"out={tmp_path}"]))
    assert found.state == "fault"


def test_packages_that_do_not_fit():
    wanted = ["torch>=99", "no-such-package-of-ours", "numpy>=1", "absent-too; extra == 'gpu'"]
    found = {each.check: each for each in packages.required(wanted)}
    assert found.keys() == {"torch", "no-such-package-of-ours"}
    assert found["torch"].found.endswith("made for >=99")
    assert all(each.state == "fault" and "make install" in each.fix for each in found.values())


def test_two_flavours_of_faiss(tmp_path, monkeypatch):
    assert list(packages.twins()) == []
    for name in ("faiss_gpu", "faiss_cpu"):
        (tmp_path / f"{name}-1.15.1.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.15.1\n"
        (tmp_path / f"{name}-1.15.1.dist-info" / "METADATA").write_text(metadata)
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = packages.twins()
    assert found.check == "faiss-cpu + faiss-gpu"


def test_a_codec_that_is_missing():
    (found,) = video.codecs(("h264", "no-such-codec"))
    assert (found.state, found.found) == ("fault", "missing: no-such-codec")


def test_a_decoder_that_does_not_load(tmp_path, monkeypatch):
    (tmp_path / "decord.py").write_text("raise OSError('libavformat.so.58: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    found = list(findings("decoders", video.decoders))
    assert any(each.state == "fault" for each in found)


def test_a_containers_memory_counts(tmp_path):
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    limit.write_text("2147483648\n")
    used.write_text("1073741824\n")
    total, available = machine.memory_bytes([(limit, used)])
    assert (total, available) == (2 << 30, 1 << 30)
    limit.write_text("max\n")
    assert machine.memory_bytes([(limit, used)])[0] > 2 << 30


def test_memory_that_is_not_there():
    found = {each.check: each for each in machine.memory(1 << 60)}
    assert (found["memory"].state, found["/dev/shm"].state) == ("fault", "advice")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"a file is in the way.*file"):
        list(storage.storage(str(tmp_path / "file" / "out")))
    assert storage.existing(tmp_path / "a" / "b") == tmp_path


def test_storage_elsewhere():
    (found,) = storage.storage("memory://bucket/root")
    assert found.state == "ok"
    (found,) = storage.storage("nosuchstore://bucket")
    assert found.state == "fault"


def test_what_a_check_raises_is_a_finding():
    def broken():
        raise OSError("libcublas.so.12: cannot open shared object file")
        yield

    (found,) = findings("GPU", broken)
    assert (found.state, found.found) == ("fault", "OSError: libcublas.so.12: cannot open shared object file")


def test_the_command_starts_without_the_heavy_packages():
    heavy = ("torch", "ray", "transformers", "mlflow")
    script = f"import covr.cli.main, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
