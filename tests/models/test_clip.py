"""CLIP's towers, both kinds, against the architecture written out by hand; the retriever over them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from golden_values import fill_by_name

from covr.checkpoints.layouts import LAYOUTS
from covr.checkpoints.published import load_published, published_tensors
from covr.errors import UserError
from covr.models.image.clip import ClipResNetConfig, ClipViTConfig
from covr.models.joint import ClipConfig, ClipRetriever
from covr.models.text.clip import ClipTextConfig

TEXT = ClipTextConfig(vocab_size=40, dim=16, depth=2, num_heads=2, max_positions=9, projection_dim=12)
VIT = ClipViTConfig(image_size=32, patch_size=16, dim=16, depth=2, num_heads=2, projection_dim=12)
RESNET = ClipResNetConfig(image_size=64, layers=(2, 1, 1, 1), width=4, projection_dim=12)
PIXELS = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
IDS = torch.tensor([[38, 5, 6, 39, 0, 0], [38, 7, 39, 0, 0, 0], [38, 1, 2, 3, 4, 39]])


def published(image):
    """Weights by their published names."""
    module = ClipRetriever(ClipConfig(image=image, text=TEXT))
    shapes = {n: list(t.shape) for n, t in published_tensors(module, LAYOUTS["openai-clip"]).items()}
    weights = fill_by_name(shapes, 0.2)
    return weights | {n: t.abs() + 0.5 for n, t in weights.items() if n.endswith("running_var")}


def loaded(tmp_path, weights, **sizes):
    torch.save(weights, tmp_path / "clip.pt")
    return load_published("openai-clip", tmp_path / "clip.pt", text_num_heads=2, **sizes)


def attend(x, weights, name, heads, mask=None):
    """torch's own multi-head attention over (B, N, D), from packed weights."""
    width = x.shape[-1]
    attention = torch.nn.MultiheadAttention(width, heads, batch_first=True)
    packed = {key: weights[f"{name}.{key}"] for key in ("in_proj_weight", "in_proj_bias")}
    packed |= {f"out_proj.{key}": weights[f"{name}.out_proj.{key}"] for key in ("weight", "bias")}
    attention.load_state_dict(packed)
    return attention(x, x, x, need_weights=False, attn_mask=mask)[0]


def norm(x, weights, name):
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def transformer(x, weights, prefix, depth, heads, mask=None):
    for i in range(depth):
        block = f"{prefix}transformer.resblocks.{i}"
        x = x + attend(norm(x, weights, f"{block}.ln_1"), weights, f"{block}.attn", heads, mask)
        h = F.linear(
            norm(x, weights, f"{block}.ln_2"), weights[f"{block}.mlp.c_fc.weight"], weights[f"{block}.mlp.c_fc.bias"]
        )
        h = h * torch.sigmoid(1.702 * h)
        x = x + F.linear(h, weights[f"{block}.mlp.c_proj.weight"], weights[f"{block}.mlp.c_proj.bias"])
    return x


@torch.no_grad()
def test_vit_tower(tmp_path):
    w = published(VIT)
    pixels = PIXELS[..., :32, :32]
    x = F.conv2d(pixels, w["visual.conv1.weight"], stride=16).flatten(2).transpose(1, 2)
    x = torch.cat([w["visual.class_embedding"].expand(3, 1, -1), x], dim=1) + w["visual.positional_embedding"]
    x = norm(x, w, "visual.ln_pre")
    x = transformer(x, w, "visual.", 2, 2)
    expected = norm(x[:, 0], w, "visual.ln_post") @ w["visual.proj"]
    found = loaded(tmp_path, w, num_heads=2).encode_image(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_resnet_tower(tmp_path):
    w = {name.removeprefix("visual."): tensor for name, tensor in published(RESNET).items()}

    def conv(x, name, norm, **options):
        x = F.conv2d(x, w[f"{name}.weight"], **options)
        return F.batch_norm(x, *(w[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")))

    x = conv(PIXELS, "conv1", "bn1", stride=2, padding=1).relu()
    x = conv(x, "conv2", "bn2", padding=1).relu()
    x = F.avg_pool2d(conv(x, "conv3", "bn3", padding=1).relu(), 2)
    for stage, depth in enumerate(RESNET.layers, start=1):
        for i in range(depth):
            block = f"layer{stage}.{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            h = conv(x, f"{block}.conv1", f"{block}.bn1").relu()
            h = F.avg_pool2d(conv(h, f"{block}.conv2", f"{block}.bn2", padding=1).relu(), stride)
            h = conv(h, f"{block}.conv3", f"{block}.bn3")
            if i == 0:
                x = conv(F.avg_pool2d(x, stride), f"{block}.downsample.0", f"{block}.downsample.1")
            x = (h + x).relu()
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + w["attnpool.positional_embedding"]
    expected = F.multi_head_attention_forward(
        tokens[:, :1].transpose(0, 1),
        tokens.transpose(0, 1),
        tokens.transpose(0, 1),
        128,
        2,
        None,
        torch.cat([w[f"attnpool.{k}_proj.bias"] for k in "qkv"]),
        None,
        None,
        False,
        0,
        w["attnpool.c_proj.weight"],
        w["attnpool.c_proj.bias"],
        use_separate_proj_weight=True,
        q_proj_weight=w["attnpool.q_proj.weight"],
        k_proj_weight=w["attnpool.k_proj.weight"],
        v_proj_weight=w["attnpool.v_proj.weight"],
        need_weights=False,
    )[0][0]
    found = loaded(tmp_path, published(RESNET)).encode_image(PIXELS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_text_tower(tmp_path):
    w = published(VIT)
    x = w["token_embedding.weight"][IDS] + w["positional_embedding"][:6]
    x = transformer(x, w, "", 2, 2, torch.full((6, 6), -torch.inf).triu(1))
    x = norm(x, w, "ln_final")
    expected = x[torch.arange(3), IDS.argmax(dim=1)] @ w["text_projection"]
    model = loaded(tmp_path, w, num_heads=2)
    found = model.encode_text({"input_ids": IDS, "attention_mask": torch.ones_like(IDS)})
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_retriever_averages_frames_and_mixes_with_the_text(tmp_path):
    text = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    frames = PIXELS[..., :32, :32].unflatten(0, (3, 1)).expand(-1, 2, -1, -1, -1)
    unit = lambda x: F.normalize(x, dim=-1)  # noqa: E731
    w = published(VIT)
    for query in ("sum", "slerp", "text", "visual"):
        model = loaded(tmp_path, w, num_heads=2, query=query)
        video, words = unit(model.encode_video(frames)), unit(model.encode_text(text))
        found = model.embed_query(frames, text)
        expected = {"text": words, "visual": video}.get(query, unit(video + words))  # half-way on the sphere as well
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.embed_target(model.encode_video(frames)), video, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="combiner"):
        loaded(tmp_path, w, num_heads=2, query="mlp")


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (ClipConfig(), 149_620_737),
        (
            ClipConfig(image=ClipResNetConfig(), text=ClipTextConfig(projection_dim=1024)),
            102_007_137,
        ),
    ],
    ids=["ViT-B/16", "RN50"],
)
def test_full_size_is_openais(config, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in ClipRetriever(config).parameters()) == parameters
