"""Published checkpoint files are read whole, and without running or importing anything."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import sys
import types
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from covr.checkpoints.reader import read_checkpoint
from covr.errors import UserError


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 4, generator=generator)
    return {
        "a.weight": base,
        "a.view": base[1:3].t(),  # shares storage, not contiguous
        "half": torch.randn(3, generator=generator).half(),
        "bf16": torch.randn(3, generator=generator).bfloat16(),
        "ids": torch.arange(5).view(1, 5),
        "scalar": torch.tensor(0.07),
        "empty": torch.empty(0, 3),
    }


def absent_scheduler(**state):
    """An object of a class whose module is gone by the time the file is read."""
    module = types.ModuleType("absent_package.scheduler")
    scheduler = type("CosineSchedule", (), {"__module__": module.__name__})
    module.CosineSchedule = scheduler
    sys.modules["absent_package"] = types.ModuleType("absent_package")
    sys.modules[module.__name__] = module
    made = scheduler()
    made.__dict__.update(state)
    return made


@pytest.fixture
def published(tensors):
    content = {
        "epoch": 3,
        "model": collections.OrderedDict(tensors),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-5}]},
        "scheduler": absent_scheduler(base_lr=1e-5, steps=collections.Counter("aab")),
        "args": argparse.Namespace(batch_size=512),
    }
    yield content
    for name in ("absent_package", "absent_package.scheduler"):
        sys.modules.pop(name, None)


def equal(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("zipped", [True, False])
def test_training_checkpoint_with_objects_of_absent_classes(tmp_path, published, tensors, zipped):
    path = tmp_path / "best.ckpt"
    torch.save(published, path, _use_new_zipfile_serialization=zipped)
    for name in ("absent_package", "absent_package.scheduler"):
        del sys.modules[name]
    file = read_checkpoint(path)
    equal(file.tensors, tensors)
    assert "absent_package" not in sys.modules
    assert file.wrapper == "model"
    assert file.extras == ("epoch", "optimizer", "scheduler", "args")
    assert set(file.inert) == {"absent_package.scheduler.CosineSchedule", "collections.Counter", "argparse.Namespace"}
    assert file.format == ("zip" if zipped else "legacy")


def test_bare_state_dict_and_parameters(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(dict(module.named_parameters()), tmp_path / "parameters.pth")
    equal(read_checkpoint(tmp_path / "parameters.pth").tensors, {k: v.data for k, v in module.named_parameters()})
    torch.save(module, tmp_path / "module.pth")  # the whole object
    equal(read_checkpoint(tmp_path / "module.pth").tensors, dict(module.state_dict()))


class Scripted(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2, bias=False), torch.nn.BatchNorm2d(4))
        self.logit_scale = torch.nn.Parameter(torch.tensor(4.6))
        self.register_buffer("input_resolution", torch.tensor(224))

    def forward(self, x):
        return self.visual(x) * self.logit_scale


def test_torchscript_archive_is_read_without_its_code(tmp_path):
    module = Scripted().half()
    torch.jit.save(torch.jit.script(module), tmp_path / "clip.pt")
    file = read_checkpoint(tmp_path / "clip.pt")
    assert file.format == "torchscript"
    expected = module.state_dict()
    assert set(file.tensors) == set(expected)
    for name, tensor in expected.items():
        assert file.tensors[name].dtype == tensor.dtype
        assert torch.equal(file.tensors[name], tensor), name


def test_safetensors(tmp_path, tensors):
    tensors["a.view"] = tensors["a.view"].contiguous()
    save_file(tensors, tmp_path / "model.safetensors")
    file = read_checkpoint(tmp_path / "model.safetensors")
    assert file.format == "safetensors"
    assert {name: tensor.tolist() for name, tensor in file.tensors.items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }


class Payload:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("call", [os.system, exec, eval])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, call, zipped):
    mark = tmp_path / "ran"
    line = f"touch {mark}" if call is os.system else f"open({str(mark)!r}, 'w')"
    path = tmp_path / "evil.ckpt"
    torch.save({"model": {"w": torch.zeros(2)}, "x": Payload(call, line)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="carries code"):
        read_checkpoint(path)
    assert not mark.exists()


def test_an_unknown_callable_is_not_called(tmp_path):
    mark = tmp_path / "made"
    path = tmp_path / "odd.ckpt"
    torch.save({"model": {"w": torch.ones(2)}, "x": Payload(type(tmp_path).mkdir, mark)}, path)
    assert read_checkpoint(path).tensors["w"].tolist() == [1, 1]
    assert not mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_truncated_and_damaged_files_fail_in_one_line(tmp_path, zipped, data):
    buffer = io.BytesIO()
    torch.save({"model": {"w": torch.arange(64.0)}}, buffer, _use_new_zipfile_serialization=zipped)
    whole = buffer.getvalue()
    path = tmp_path / "cut.ckpt"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=200))
def test_noise_is_refused(tmp_path, noise):
    path = tmp_path / "noise.ckpt"
    path.write_bytes(noise)
    with pytest.raises(UserError):
        read_checkpoint(path)


def rewrite(path, target, change):
    """Copy a zip archive with one entry's bytes changed."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for info in source.infolist():
            data = change(info.filename, source.read(info))
            if data is not None:
                copy.writestr(info.filename, data)


def test_a_missing_or_short_storage_is_told(tmp_path):
    torch.save({"w": torch.arange(8.0)}, tmp_path / "whole.pth")
    for name, change in {
        "missing": lambda entry, data: None if "/data/" in entry else data,
        "short": lambda entry, data: data[:-4] if "/data/" in entry else data,
    }.items():
        rewrite(tmp_path / "whole.pth", tmp_path / f"{name}.pth", change)
        with pytest.raises(UserError, match="storage 0"):
            read_checkpoint(tmp_path / f"{name}.pth")


def test_a_tensor_cannot_reach_past_its_storage(tmp_path):
    torch.save({"w": torch.arange(8.0)[2:4]}, tmp_path / "whole.pth")
    # offset 2 -> 200 in the pickle (BININT1)
    rewrite(
        tmp_path / "whole.pth",
        tmp_path / "lying.pth",
        lambda entry, data: data.replace(b"K\x02K\x02\x85", b"K\xc8K\x02\x85") if entry.endswith("data.pkl") else data,
    )
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "lying.pth")


def test_files_without_weights(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "nothing.ckpt")
    torch.save({"epoch": 1}, tmp_path / "epoch.ckpt")
    with pytest.raises(UserError, match="no weights"):
        read_checkpoint(tmp_path / "epoch.ckpt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="neither"):
        read_checkpoint(tmp_path / "plain.pkl")
