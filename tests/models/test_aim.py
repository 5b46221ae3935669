"""AIM: the published numbers, what is trained, what starts without effect, what a frame's vector depends on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from covr.errors import UserError
from covr.models import AIM, AIMConfig

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = json.loads((GOLDEN / "aim_vit_clip.json").read_text())
ARRAYS = np.load(GOLDEN / "aim_vit_clip.npz")

SMALL = AIMConfig(image_size=32, patch_size=8, num_frames=4, dim=32, depth=3, num_heads=4)
TINY = AIMConfig(
    image_size=32,
    num_frames=4,
    dim=32,
    depth=2,
    num_heads=2,
    adapter_ratio=0.5,
    drop_path=0.0,
    stem="conv",
    frame_difference=True,
    init="xavier",
    pooling="mean",
)
OURS = {
    "conv1.": "vit.patch_embed.proj.",
    "ln_pre.": "vit.norm_pre.",
    "ln_post.": "vit.norm.",
    "transformer.resblocks.": "vit.blocks.",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "in_proj_": "qkv.",
    "out_proj": "proj",
    "c_fc": "fc1",
    "c_proj": "fc2",
    "MLP_Adapter": "mlp_adapter",
    "S_Adapter": "spatial_adapter",
    "T_Adapter": "temporal_adapter",
    "D_fc": "fc",
    "positional_embedding": "vit.pos_embed",
    "class_embedding": "vit.cls_token",
}


def ours(published: str) -> str:
    for theirs, name in OURS.items():
        published = published.replace(theirs, name)
    return published


def load_golden(variant: str) -> AIM:
    options = FACTS[f"{variant}/kw"]
    config = replace(
        SMALL, adapter_scale=options["adapter_scale"], num_temporal_adapters=options["num_tadapter"], drop_path=0.0
    )
    encoder = AIM(config).eval()
    prefix = f"{variant}/state_dict/"
    state = {ours(name.removeprefix(prefix)): torch.tensor(ARRAYS[name]) for name in ARRAYS if name.startswith(prefix)}
    own = encoder.state_dict()
    encoder.load_state_dict({name: tensor.view(own[name].shape) for name, tensor in state.items()})
    return encoder


@pytest.mark.parametrize("variant", ["t1", "t2"])
@torch.no_grad()
def test_features_are_the_published_ones(variant):
    encoder = load_golden(variant)
    frames_BTD = encoder(torch.tensor(ARRAYS[f"{variant}/x"]).transpose(1, 2))
    expected = torch.tensor(ARRAYS[f"{variant}/feat"])[..., 0, 0].transpose(1, 2)
    torch.testing.assert_close(frames_BTD, expected, atol=1e-5, rtol=1e-5)
    pooled = torch.tensor(ARRAYS[f"{variant}/pooled"])
    torch.testing.assert_close(encoder.pool(frames_BTD), pooled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["t1", "t2"])
@torch.no_grad()
def test_one_block_is_the_published_one(variant):
    block = load_golden(variant).vit.blocks[1]
    before, after = (torch.tensor(ARRAYS[f"{variant}/block_{end}"]) for end in ("in", "out"))  # (N, B T, D)
    found = block(before.unflatten(1, (2, 4)).permute(1, 2, 0, 3))
    torch.testing.assert_close(found.permute(2, 0, 1, 3).flatten(1, 2), after, atol=1e-5, rtol=1e-5)


def test_full_size_has_the_published_parameters():
    with torch.device("meta"):
        encoder = AIM(AIMConfig())
    total, trained = FACTS["full_counts"]
    sizes = sorted((ours(name), int(np.prod(shape))) for name, shape in FACTS["full_keys"].items())
    assert sizes == sorted((name, p.numel()) for name, p in encoder.named_parameters())
    assert sum(p.numel() for p in encoder.parameters()) == total == 96_460_032
    encoder.freeze()
    assert sum(p.numel() for p in encoder.parameters() if p.requires_grad) == trained == 10_662_144


def test_freezing_leaves_temporal_embedding_adapters_and_last_norm():
    encoder = AIM(replace(SMALL, num_temporal_adapters=2))
    encoder.freeze()
    kinds = {
        name.split(".")[3] if "blocks" in name else name for name, p in encoder.named_parameters() if p.requires_grad
    }
    assert kinds == {
        "temporal_embedding",
        "vit.norm.weight",
        "vit.norm.bias",
        "temporal_adapter_in",
        "temporal_adapter",
        "spatial_adapter",
        "mlp_adapter",
    }


@torch.no_grad()
def test_published_start_reads_each_frame_by_itself():
    encoder = AIM(replace(SMALL, num_temporal_adapters=2)).eval()
    pixels = torch.randn(2, 4, 3, 32, 32)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(encoder(pixels)[:, order], encoder(pixels[:, order]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_start_from_scratch_sees_the_order_of_frames():
    encoder = AIM(TINY).eval()
    pixels = torch.randn(2, 4, 3, 32, 32)
    forwards, backwards = encoder.pool(encoder(pixels)), encoder.pool(encoder(pixels.flip(1)))
    assert (forwards - backwards).abs().max() > 1e-2


@torch.no_grad()
def test_a_clips_vector_does_not_depend_on_its_batch():
    encoder = AIM(TINY).train()
    pixels = torch.randn(3, 4, 3, 32, 32)
    torch.testing.assert_close(encoder(pixels)[:1], encoder(pixels[:1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("unit", "distinct"), [("clip", range(2, 5)), ("token", range(1, 2))])
@torch.no_grad()
def test_stochastic_depth_drops_clips_or_tokens_of_the_whole_batch(unit, distinct):
    torch.manual_seed(0)
    config = replace(SMALL, depth=2, drop_path=0.5, drop_path_unit=unit, init="xavier")
    encoder = AIM(config).train()
    for name, parameter in encoder.named_parameters():
        if "adapter.fc2" in name:
            parameter.normal_(std=0.1)
    outputs = encoder(torch.randn(1, 4, 3, 32, 32).expand(48, -1, -1, -1, -1))
    seen = {tuple(row) for row in outputs.flatten(1)[:, :8].mul(1e3).round().tolist()}
    assert len(seen) in distinct  # two draws a clip, in the last block: at most four outcomes


def test_clips_of_another_length_are_refused():
    with pytest.raises(UserError, match="clips of 1 frames"):
        AIM(SMALL)(torch.randn(2, 1, 3, 32, 32))


def test_gradients_reach_every_weight():
    encoder = AIM(TINY)
    encoder(torch.randn(2, 4, 3, 32, 32)).square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "wrong",
    [{"image_size": 30}, {"num_heads": 5}, {"stem": "conv", "patch_size": 8}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_refuses_sizes_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("stem", "convolutional")):
        replace(SMALL, **wrong)
