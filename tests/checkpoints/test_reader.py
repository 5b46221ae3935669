"""Published checkpoint files are read whole, and without running or importing anything."""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import pickle
import sys
import types
import zipfile
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from covr.checkpoints.reader import LEGACY_MAGIC, read_checkpoint
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


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dict_of_a_module_is_read_with_its_metadata(tmp_path, zipped):
    """`Module.state_dict()` pickles as an OrderedDict with an attribute, which every published file has."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save({"model": module.state_dict()}, tmp_path / "m.ckpt", _use_new_zipfile_serialization=zipped)
    equal(read_checkpoint(tmp_path / "m.ckpt").tensors, dict(module.state_dict()))
    torch.save(module.state_dict(), tmp_path / "bare.pth", _use_new_zipfile_serialization=zipped)
    equal(read_checkpoint(tmp_path / "bare.pth").tensors, dict(module.state_dict()))
    torch.save(module, tmp_path / "module.pth", _use_new_zipfile_serialization=zipped)
    equal(read_checkpoint(tmp_path / "module.pth").tensors, dict(module.state_dict()))


def test_tensors_that_no_weights_are_stay_inert_beside_the_weights(tmp_path):
    odd = [torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8), torch.zeros(2, dtype=torch.complex64)]
    torch.save({"model": {"w": torch.ones(2)}, "odd": [*odd, torch.eye(2).to_sparse()]}, tmp_path / "odd.ckpt")
    equal(read_checkpoint(tmp_path / "odd.ckpt").tensors, {"w": torch.ones(2)})


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
@pytest.mark.parametrize("call", [os.system, exec, eval, open])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, call, zipped):
    mark = tmp_path / "ran"
    lines = {os.system: [f"touch {mark}"], open: [str(mark), "w"]}
    line = lines.get(call, [f"open({str(mark)!r}, 'w')"])
    path = tmp_path / "evil.ckpt"
    torch.save({"model": {"w": torch.zeros(2)}, "x": Payload(call, *line)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="carries code"):
        read_checkpoint(path)
    assert not mark.exists()


def opcodes(mark):
    """One pickle for each opcode that can name or call a function."""
    line = pickle.dumps(f"touch {mark}", 0)[1:-1].partition(b"\n")[0] + b"\n"
    argument = b"V" + line
    return {
        "GLOBAL": b"\x80\x02cos\nsystem\n" + argument + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + argument + b"\x85R.",
        "dotted": b"\x80\x04\x8c\x08builtins\x8c\x13__import__.__call__\x93" + argument + b"\x85R.",
        "INST": b"\x80\x02(" + argument + b"ios\nsystem\n.",
        "OBJ": b"\x80\x02(cos\nsystem\n" + argument + b"o.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n" + argument + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n" + argument + b"\x85}\x92.",
        "BUILD": b"\x80\x02cabsent\nThing\n)\x81}" + argument + b"cos\nsystem\nsb.",
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("opcode", list(opcodes("")))
def test_no_opcode_names_a_function_unseen(tmp_path, opcode, zipped):
    program, path = opcodes(tmp_path / "ran")[opcode], tmp_path / "evil.ckpt"
    if zipped:
        torch.save({"model": {"w": torch.zeros(2)}}, tmp_path / "whole.pth")
        rewrite(tmp_path / "whole.pth", path, lambda name, data: program if name.endswith("data.pkl") else data)
    else:
        before = [LEGACY_MAGIC, 1001, {"little_endian": True}]
        path.write_bytes(b"".join(pickle.dumps(value, 2) for value in before) + program + pickle.dumps([], 2))
    with pytest.raises(UserError, match="carries code"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


HOSTILE = {
    "an object inside itself": (b"cabsent\nThing\n)\x81q\x00}X\x01\x00\x00\x00xh\x00sb.", "without end"),
    "two to the fortieth parts": (
        b"cabsent\nThing\nq\x00)\x81q\x01"
        + b"".join(b"h\x00)\x81}(U\x01ah%cU\x01bh%cubq%c" % (i, i, i + 1) for i in range(1, 41))
        + b".",
        "without end",
    ),
    "memory by a number": (b"c__builtin__\nbytearray\n\x8a\x05\x00\xe4\x0b\x54\x02\x85R.", "bytes of int"),
    "a tensor wider than its storage": (
        b"}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x02tQ"
        b"K\x00(J\x00\xca\x9a;J\x00\xca\x9a;t(K\x00K\x00t\x89}tRs.",
        "more elements than the file holds",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_small_file_cannot_ask_for_much(tmp_path, what):
    program, message = HOSTILE[what]
    torch.save({"w": torch.zeros(2)}, tmp_path / "whole.pth")
    path = tmp_path / "odd.pth"
    rewrite(
        tmp_path / "whole.pth", path, lambda name, data: b"\x80\x02" + program if name.endswith("data.pkl") else data
    )
    with pytest.raises(UserError, match=message):
        read_checkpoint(path)


def test_a_compressed_archive_is_refused_unread(tmp_path):
    torch.save({"w": torch.zeros(1000)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as source, zipfile.ZipFile(tmp_path / "z.pth", "w", 8) as copy:
        for info in source.infolist():
            copy.writestr(info.filename, source.read(info))
    with pytest.raises(UserError, match="is compressed"):
        read_checkpoint(tmp_path / "z.pth")


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


@pytest.mark.parametrize("kind", ["zip", "legacy", "module", "torchscript", "safetensors"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_fail_in_one_line_or_change_numbers(tmp_path, kind, data):
    """zipfile, pickle and safetensors each fail in ways of their own."""
    whole = bytearray(saved_as(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.sampled_from([*b"\x00\xff(Rb.0", 7, 200]))
    path = tmp_path / "flipped.bin"
    path.write_bytes(whole)
    with contextlib.suppress(UserError):
        read_checkpoint(path)


@cache
def saved_as(kind):
    module, buffer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)), io.BytesIO()
    match kind:
        case "zip" | "legacy":
            torch.save({"model": module.state_dict()}, buffer, _use_new_zipfile_serialization=kind == "zip")
        case "module":
            torch.save(module, buffer)
        case "torchscript":
            torch.jit.save(torch.jit.script(module), buffer)
        case _:
            return save(dict(module.state_dict()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b'{"w":{"dtype":"F8_E8M0","shape":[4],"data_offsets":[0,4]}}', "F8_E8M0"),
        (b'{"__metadata__":{"format":"pt"}}', "no weights"),
    ],
)
def test_safetensors_of_other_kinds(tmp_path, header, message):
    (tmp_path / "odd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"abcd")
    if message == "no weights":
        (tmp_path / "odd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "odd.safetensors")


def test_a_header_of_a_gigabyte(tmp_path):
    (tmp_path / "big.safetensors").write_bytes((1 << 30).to_bytes(8, "little") + b"{" + b" " * 64)
    with pytest.raises(UserError, match="header too large"):
        read_checkpoint(tmp_path / "big.safetensors")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_page_about_the_file_is_told_from_it(tmp_path, content):
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(UserError, match="neither a torch checkpoint nor safetensors"):
        read_checkpoint(tmp_path / "model.pth")


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
