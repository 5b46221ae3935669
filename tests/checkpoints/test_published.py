"""Checkpoints of every published layout go in, compute what they should, and come out as they were."""

from __future__ import annotations

import collections
import sys
import types
import warnings
from dataclasses import replace

import pytest
import torch
from golden_values import Golden, fill_by_name

from covr.checkpoints.layouts import LAYOUTS, find_layout
from covr.checkpoints.published import load_published, published_tensors, read_published, save_published
from covr.checkpoints.reader import read_checkpoint
from covr.errors import UserError
from covr.models.fusion.combiner import Combiner
from covr.models.image.clip import ClipResNetConfig, ClipViTConfig
from covr.models.image.vit import ImageConfig
from covr.models.joint import Blip2Config, Blip2Retriever, ClipConfig, ClipRetriever, TFCoVRConfig, TFCoVRRetriever
from covr.models.text.clip import ClipTextConfig
from covr.models.text.qformer import QFormerConfig

BLIP = Golden("blip_cir")
STAGE2 = Golden("aim_cir_stage2")
HEADS = {"num_heads": 4, "text_num_heads": 4}
QFORMER = QFormerConfig(
    vocab_size=50, dim=32, depth=3, num_heads=4, ffn_dim=48, max_positions=20, num_queries=4, image_dim=24
)
CLIP_TEXT = ClipTextConfig(vocab_size=40, dim=16, depth=2, num_heads=2, max_positions=9, projection_dim=12)


def blip_keys(**extra):
    return BLIP.facts["covr/keys"] | extra


def stage2_keys():
    keys = {name: shape for name, shape in STAGE2.facts["keys"].items() if not name.startswith("combiner.")}
    small = Golden("combiner").facts["tiny/keys"]
    dim = {8: 768}  # the text projection's width; the rest of the combiner stays tiny
    return keys | {f"combiner.{name}": [dim.get(size, size) for size in shape] for name, shape in small.items()}


def keys_of(module, layout):
    return {name: list(tensor.shape) for name, tensor in published_tensors(module, find_layout(layout)).items()}


def tiny_clip(image):
    return ClipRetriever(ClipConfig(image=image, text=CLIP_TEXT))


VIT = ClipViTConfig(image_size=32, patch_size=16, dim=16, depth=2, num_heads=2, projection_dim=12)
RESNET = ClipResNetConfig(image_size=64, layers=(2, 1, 1, 1), width=4, projection_dim=12)
EVA = ImageConfig(image_size=28, patch_size=14, dim=24, depth=2, num_heads=4, ffn_dim=40, drop_path=0.0)

CASES = {
    "aim": (lambda: Golden("aim_vit_clip").facts["t2/keys"], {"num_heads": 4, "adapter_scale": 1.0}),
    "openai-clip": (lambda: keys_of(tiny_clip(VIT), "openai-clip"), {"num_heads": 2, "text_num_heads": 2}),
    "openai-clip/resnet": (lambda: keys_of(tiny_clip(RESNET), "openai-clip"), {"text_num_heads": 2}),
    "blip": (blip_keys, HEADS),
    "covr": (blip_keys, HEADS | {"enc_token_id": 98}),
    "bse-covr": (lambda: blip_keys(**{"prompt_proj.weight": [48, 32], "prompt_proj.bias": [48]}), HEADS),
    "ecde": (blip_keys, HEADS),
    "blip2": (
        lambda: keys_of(Blip2Retriever(Blip2Config(image=EVA, qformer=QFORMER, projection_dim=8)), "blip2"),
        HEADS,
    ),
    "covr2": (
        lambda: keys_of(Blip2Retriever(Blip2Config(image=EVA, qformer=QFORMER, projection_dim=8)), "covr2"),
        HEADS,
    ),
    "tf-covr": (stage2_keys, {"text_num_heads": 4}),
    "tf-covr/clip": (
        lambda: keys_of(
            TFCoVRRetriever(TFCoVRConfig(text=CLIP_TEXT, dim=8, combiner=(6, 10), vision_dim=20)), "tf-covr"
        ),
        {"text_num_heads": 2},
    ),
    "combiner": (lambda: Golden("combiner").facts["tiny/keys"], {}),
}


def publish(path, tensors, wrapper):
    """Write a file as a training run does: with optimizer state and a scheduler whose class will be absent."""
    module = types.ModuleType("absent_package")
    module.CosineSchedule = type(
        "CosineSchedule", (), {"__module__": module.__name__, "__qualname__": "CosineSchedule"}
    )
    sys.modules[module.__name__] = module
    try:
        scheduler = module.CosineSchedule()
        scheduler.base_lr = 1e-5
        state = collections.OrderedDict(tensors)
        state._metadata = {"": {"version": 1}}  # as of `Module.state_dict()`
        content = {wrapper: state, "epoch": 4, "optimizer": {"state": {}}, "scheduler": scheduler}
        torch.save(content if wrapper else state, path)
    finally:
        del sys.modules[module.__name__]


def same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("case", CASES)
def test_round_trip_is_exact(tmp_path, case):
    keys, sizes = CASES[case]
    layout = case.split("/")[0]
    tensors = fill_by_name(keys(), 0.05)
    publish(tmp_path / "published.ckpt", tensors, LAYOUTS[layout].wrapper)
    loaded = read_published(layout, tmp_path / "published.ckpt", **sizes)
    assert not loaded.ignored
    assert not loaded.module.training
    save_published(loaded.module, layout, tmp_path / "again.ckpt")
    again = read_checkpoint(tmp_path / "again.ckpt")
    same(again.tensors, tensors)
    assert again.wrapper == LAYOUTS[layout].wrapper
    second = load_published(layout, tmp_path / "again.ckpt", **sizes)
    same(second.state_dict(), loaded.module.state_dict())


@pytest.mark.parametrize(("layout", "prefix"), [("covr", "module."), ("aim", "backbone."), ("combiner", "combiner.")])
def test_prefixes_and_heads_of_training_frameworks(tmp_path, layout, prefix):
    keys, sizes = CASES[layout]
    tensors = {prefix + name: tensor for name, tensor in fill_by_name(keys(), 0.05).items()}
    extra = {"cls_head.fc_cls.weight": torch.ones(5, 32), "cls_head.fc_cls.bias": torch.zeros(5)}
    publish(tmp_path / "published.ckpt", tensors | extra, "state_dict")
    loaded = read_published(layout, tmp_path / "published.ckpt", **sizes)
    same(loaded.ignored, extra)
    assert loaded.file.inert == ("absent_package.CosineSchedule",)
    save_published(loaded.module, layout, tmp_path / "again.ckpt")
    same(read_checkpoint(tmp_path / "again.ckpt").tensors, tensors)


def test_blip_file_with_momentum_copies_queues_and_heads(tmp_path):
    tensors = fill_by_name(blip_keys(), 0.05)
    extra = {
        "temp": torch.tensor(0.07),
        "image_queue": torch.ones(16, 5),
        "itm_head.weight": torch.ones(2, 32),
        **{name.replace(".", "_m.", 1): tensor for name, tensor in tensors.items()},
    }
    publish(tmp_path / "blip.pth", extra | tensors, "model")
    loaded = read_published("blip", tmp_path / "blip.pth", **HEADS)
    assert set(loaded.ignored) == set(extra)


def test_half_precision_goes_back_as_it_came_until_it_is_trained(tmp_path):
    keys, sizes = CASES["openai-clip"]
    tensors = {name: tensor.half() for name, tensor in fill_by_name(keys(), 0.05).items()}
    torch.save(tensors, tmp_path / "clip.pt")
    module = load_published("openai-clip", tmp_path / "clip.pt", **sizes)
    assert module.logit_scale.dtype == torch.float32
    save_published(module, "openai-clip", tmp_path / "again.pt")
    same(read_checkpoint(tmp_path / "again.pt").tensors, tensors)
    with torch.no_grad():
        module.visual.proj += 1e-6
    save_published(module, "openai-clip", tmp_path / "trained.pt")
    assert read_checkpoint(tmp_path / "trained.pt").tensors["visual.proj"].dtype == torch.float32


class Named(torch.nn.Module):
    """A module tree with given tensors, for TorchScript."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def module_tree(tensors):
    root = Named()
    for name, tensor in tensors.items():
        node = root
        *path, last = name.split(".")
        for part in path:
            if part not in dict(node.named_children()):
                node.add_module(part, Named())
            node = getattr(node, part)
        node.register_parameter(last, torch.nn.Parameter(tensor, requires_grad=False))
    return root


@pytest.mark.parametrize("case", ["openai-clip", "openai-clip/resnet"])
def test_clip_as_the_torchscript_archive_that_openai_publishes(tmp_path, case):
    keys, sizes = CASES[case]
    tensors = {
        name: tensor.half()
        for name, tensor in fill_by_name(keys(), 0.05).items()
        if not name.endswith("num_batches_tracked")
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript; the published files stay
        torch.jit.save(torch.jit.script(module_tree(tensors)), tmp_path / "clip.pt")
    loaded = read_published("openai-clip", tmp_path / "clip.pt", **sizes)
    assert loaded.file.format == "torchscript"
    assert not loaded.ignored
    save_published(loaded.module, "openai-clip", tmp_path / "again.pt")
    again = read_checkpoint(tmp_path / "again.pt").tensors
    assert set(again) == set(tensors)
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


def test_a_missing_tensor_is_named_and_a_random_fusion_refused(tmp_path):
    torch.save({"model": fill_by_name(blip_keys(), 0.05)}, tmp_path / "blip.pth")
    with pytest.raises(UserError, match=r"2 tensors are missing, the first prompt_proj.weight; the fusion"):
        load_published("bse-covr", tmp_path / "blip.pth", **HEADS)
    loaded = read_published("bse-covr", tmp_path / "blip.pth", fresh=["prompt_proj."], **HEADS)
    assert loaded.origin.fresh == ("prompt_proj.weight", "prompt_proj.bias")
    save_published(loaded.module, "bse-covr", tmp_path / "bse.ckpt")
    assert set(read_checkpoint(tmp_path / "bse.ckpt").tensors) >= {"prompt_proj.weight", "text_proj.weight"}


@pytest.mark.parametrize("case", CASES)
def test_every_single_missing_or_misshapen_tensor_is_refused(tmp_path, case):
    keys, sizes = CASES[case]
    layout = case.split("/")[0]
    tensors = fill_by_name(keys(), 0.05)
    module = load_from(tmp_path, layout, tensors, sizes)
    free = set(find_layout(layout).derived(module)) | {name for name in tensors if name.endswith("num_batches_tracked")}
    names = [name for name in tensors if name not in free]
    for name in names[:: max(1, len(names) // 8)]:
        with pytest.raises(UserError) as missing:
            load_from(tmp_path, layout, {other: t for other, t in tensors.items() if other != name}, sizes)
        assert "\n" not in str(missing.value)
        wrong = tensors | {name: torch.zeros([*tensors[name].shape, 3])}
        with pytest.raises(UserError) as misshapen:
            load_from(tmp_path, layout, wrong, sizes)
        assert "\n" not in str(misshapen.value)


def load_from(tmp_path, layout, tensors, sizes):
    torch.save(tensors, tmp_path / "file.ckpt")
    return load_published(layout, tmp_path / "file.ckpt", **sizes)


def test_what_the_caller_can_get_wrong(tmp_path):
    torch.save(fill_by_name(blip_keys(), 0.05), tmp_path / "blip.pth")
    with pytest.raises(UserError, match="choose one of aim, openai-clip"):
        load_published("clip2", tmp_path / "blip.pth")
    with pytest.raises(UserError, match="not of the layout aim"):
        load_published("aim", tmp_path / "blip.pth")
    with pytest.raises(UserError, match="give num_heads=N"):
        load_published("covr", tmp_path / "blip.pth")
    with pytest.raises(UserError, match="has no size heads"):
        load_published("covr", tmp_path / "blip.pth", heads=4)
    with pytest.raises(UserError, match="a Combiner is not of the layout covr"):
        save_published(Combiner(8, 4, 4), "covr", tmp_path / "out.ckpt")


@pytest.mark.parametrize("wrong", [{"num_heads": 0}, {"num_heads": "abc"}, {"enc_token_id": -1}, {"query": "both"}])
def test_sizes_that_mean_nothing_are_refused(tmp_path, wrong):
    torch.save(fill_by_name(blip_keys(), 0.05), tmp_path / "blip.pth")
    with pytest.raises(UserError, match=next(iter(wrong))):
        load_published("covr", tmp_path / "blip.pth", **{**HEADS, **wrong})


def test_a_small_file_cannot_ask_for_a_huge_module(tmp_path):
    tensors = Combiner(8, 4, 6).state_dict()
    tensors["output_layer.weight"] = torch.zeros(1, 100_000)  # hidden layers of 100,000 x 200,000
    tensors["text_projection_layer.weight"] = torch.zeros(100_000, 1)
    with pytest.raises(UserError, match="the file is damaged or mixed"):
        load_from(tmp_path, "combiner", tensors, {})


def test_whole_numbers_are_no_weights(tmp_path):
    tensors = {**Combiner(8, 4, 6).state_dict(), "output_layer.weight": torch.zeros(8, 6, dtype=torch.int64)}
    with pytest.raises(UserError, match=r"output_layer.weight holds torch.int64"):
        load_from(tmp_path, "combiner", tensors, {})


def test_constants_of_other_values_than_ours_are_kept_aside(tmp_path):
    name = "text_encoder.embeddings.position_ids"
    tensors = {**fill_by_name(blip_keys(), 0.05), name: torch.arange(512)[None].flip(1)}
    torch.save({"model": tensors}, tmp_path / "blip.pth")
    assert set(read_published("covr", tmp_path / "blip.pth", **HEADS).ignored) == {name}


def test_clip_text_tower_at_the_root_of_a_tf_covr_file(tmp_path):
    keys, sizes = CASES["tf-covr/clip"]
    tensors = {name.removeprefix("clip."): tensor for name, tensor in fill_by_name(keys(), 0.05).items()}
    module = load_from(tmp_path, "tf-covr", tensors, sizes)
    save_published(module, "tf-covr", tmp_path / "again.ckpt")
    same(read_checkpoint(tmp_path / "again.ckpt").tensors, tensors)


def test_heads_of_a_small_resnet_tower_are_given(tmp_path):
    keys, sizes = CASES["openai-clip/resnet"]
    module = load_from(tmp_path, "openai-clip", fill_by_name(keys(), 0.05), {**sizes, "num_heads": 4})
    assert module.visual.head.num_heads == 4
    assert load_from(tmp_path, "openai-clip", fill_by_name(keys(), 0.05), sizes).visual.head.num_heads == 2


def test_safetensors_go_out_by_the_suffix(tmp_path):
    keys, sizes = CASES["tf-covr"]
    tensors = fill_by_name(keys(), 0.05)
    module = load_from(tmp_path, "tf-covr", tensors, sizes)
    save_published(module, "tf-covr", tmp_path / "again.safetensors")
    again = read_checkpoint(tmp_path / "again.safetensors")
    assert again.format == "safetensors"
    same({name: again.tensors[name] for name in tensors}, tensors)


def test_an_untied_language_head_is_kept(tmp_path):
    keys, sizes = CASES["covr2"]
    tied = load_from(tmp_path, "covr2", fill_by_name(keys(), 0.05), sizes)
    assert tied.qformer.head.decoder is not None  # filled by name, the two tables differ
    tensors = published_tensors(
        Blip2Retriever(replace(tied.config, qformer=replace(tied.config.qformer, tied_head=True))), LAYOUTS["covr2"]
    )
    assert load_from(tmp_path, "covr2", tensors, sizes).qformer.head.decoder is None
