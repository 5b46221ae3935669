"""Vectors made elsewhere are read from every published kind of file, and nothing in a file is run."""

from __future__ import annotations

import io
import os
import pickle
import random

import numpy as np
import pytest
import torch

from covr.checkpoints.vectors import vectors
from covr.errors import UserError
from covr.storage import Place

RNG = np.random.default_rng(0)
VALUES = {f"clip_{i}": RNG.standard_normal(6).astype(np.float32) for i in range(5)}


def read(path, wanted=tuple(VALUES)):
    return dict(vectors(Place(path), set(wanted)))


def check(found, names=tuple(VALUES)):
    assert set(found) == set(names)
    for name in names:
        np.testing.assert_array_equal(found[name].reshape(-1, 6)[0], VALUES[name])


def test_one_pth_a_clip_in_any_folder(tmp_path):
    for number, (name, value) in enumerate(VALUES.items()):
        (tmp_path / str(number)).mkdir()
        old = {"_use_new_zipfile_serialization": number % 2 == 0}
        torch.save(torch.from_numpy(value)[None].repeat(number + 1, 1), tmp_path / str(number) / f"{name}.pth", **old)
    check(read(tmp_path))
    by_path = read(tmp_path, ["3/clip_3", "clip_3", "4/clip_3"])
    assert set(by_path) == {"3/clip_3", "clip_3"}
    assert by_path["clip_3"].shape == (4, 6)


def test_one_npy_a_clip(tmp_path):
    for name, value in VALUES.items():
        np.save(tmp_path / f"{name}.npy", np.stack([value] * 8).astype(np.float16))
    assert read(tmp_path)["clip_0"].shape == (8, 6)
    np.save(tmp_path / "clip_0.npy", np.array([{"an": "object"}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"clip_0\.npy"):
        read(tmp_path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_concatenated_pickles(tmp_path, protocol):
    path = tmp_path / "aim_embeddings_12f_all_files.pkl"
    items = list(VALUES.items())
    with path.open("wb") as file:
        for part in (items[:2], items[2:3], items[3:]):
            pickle.dump({name: torch.from_numpy(value) for name, value in part}, file, protocol=protocol)
    check(read(path))
    check(read(path, ["clip_1", "absent"]), ["clip_1"])


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    path, trap = tmp_path / "a.pkl", tmp_path / "trap"
    inside = pickle.dumps({"clip_0": torch.ones(6)})
    for content in (pickle.dumps(Trap(trap)), inside + pickle.dumps({"clip_1": Trap(trap)})):
        path.write_bytes(content)
        with pytest.raises(UserError, match="carries code"):
            read(path)
    assert not trap.exists()


@pytest.mark.parametrize("cut", [1, 40, -3])
def test_a_cut_pickle_is_refused(tmp_path, cut):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({name: torch.from_numpy(value) for name, value in VALUES.items()})[:cut])
    with pytest.raises(UserError, match=r"a\.pkl"):
        read(path)


def test_embeddings_in_a_csv(tmp_path):
    path = tmp_path / "EgoCVR_languagebind.csv"
    lines = [f'{name},"{value.astype(float).tolist()}"\n' for name, value in VALUES.items()]
    path.write_text("clip_name,clip_embeddings\n" + "".join(lines))
    check(read(path))
    path.write_text('clip_name,clip_embeddings\nclip_0,"[1, nan]"\n')
    with pytest.raises(UserError, match=r"row 1 .*field clip_embeddings"):
        read(path)


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_table_of_texts(tmp_path, suffix):
    path = tmp_path / f"txt2_test{suffix}"
    torch.save({"texts": list(VALUES), "feats": torch.from_numpy(np.stack(list(VALUES.values())))}, path)
    check(read(path))
    torch.save({"texts": ["one"], "feats": torch.ones(2, 6)}, path)
    with pytest.raises(UserError, match="table of texts"):
        read(path)


def test_another_kind_of_file_is_named(tmp_path):
    for name in ("a.json", "absent.pkl"):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)


def damaged(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    end = min(len(data), at + draw.choice([1, 5, 40]))
    noise = draw.randbytes(draw.choice([1, 8]))
    return draw.choice(
        [data[:at], data[:at] + data[end:], data[:at] + noise + data[at:], data[:at] + noise + data[end:]]
    )


@pytest.mark.parametrize("kind", [".pth", ".npy", ".pkl", ".pt"])
def test_a_damaged_file_is_refused_in_one_line_or_read(tmp_path, kind):
    """Half a download, a flipped byte: 50 of each, none of which ends in a traceback."""
    tensor, buffer, draw = torch.arange(12.0).reshape(2, 6), io.BytesIO(), random.Random(kind)
    if kind == ".npy":
        np.save(buffer, tensor.numpy())
    elif kind == ".pkl":
        buffer.write(pickle.dumps({"clip_0": tensor}) * 2)
    else:
        torch.save({"texts": ["clip_0", "b"], "feats": tensor} if kind == ".pt" else tensor, buffer)
    file = tmp_path / f"clip_0{kind}"
    told = []
    for _ in range(50):
        file.write_bytes(damaged(buffer.getvalue(), draw))
        try:
            read(file if kind in (".pkl", ".pt") else tmp_path)
        except UserError as error:
            told.append(str(error))
    assert len(told) > 15
    assert all(str(file) in line and "\n" not in line for line in told)
