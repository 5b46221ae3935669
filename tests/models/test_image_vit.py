"""BLIP-2's image encoder against the architecture written out: EVA ViT without a last norm, no bias on the keys."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from golden_values import fill_by_name

from covr.checkpoints.layouts import LAYOUTS
from covr.checkpoints.published import load_published, published_tensors
from covr.models.image.vit import ImageConfig
from covr.models.joint import Blip2Config, Blip2Retriever
from covr.models.text.qformer import QFormerConfig

IMAGE = ImageConfig(image_size=28, patch_size=14, dim=24, depth=2, num_heads=4, ffn_dim=40, drop_path=0.0)
QFORMER = QFormerConfig(
    vocab_size=50, dim=32, depth=2, num_heads=4, ffn_dim=48, max_positions=20, num_queries=4, image_dim=24
)


@torch.no_grad()
def test_eva_tokens(tmp_path):
    module = Blip2Retriever(Blip2Config(image=IMAGE, qformer=QFORMER, projection_dim=8))
    shapes = {name: list(tensor.shape) for name, tensor in published_tensors(module, LAYOUTS["blip2"]).items()}
    weights = fill_by_name(shapes, 0.2)
    torch.save({"model": weights}, tmp_path / "blip2.pth")
    w = {name.removeprefix("visual_encoder."): tensor for name, tensor in weights.items()}
    pixels = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))

    def norm(x, name, eps):
        return F.layer_norm(x, (24,), w[f"{name}.weight"], w[f"{name}.bias"], eps)

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    x = F.conv2d(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=14).flatten(2).mT
    x = torch.cat([w["cls_token"].expand(3, -1, -1), x], dim=1) + w["pos_embed"]
    for block in ("blocks.0", "blocks.1"):
        bias = torch.cat([w[f"{block}.attn.q_bias"], torch.zeros(24), w[f"{block}.attn.v_bias"]])
        packed = F.linear(norm(x, f"{block}.norm1", 1e-6), w[f"{block}.attn.qkv.weight"], bias)
        q, k, v = packed.view(3, 5, 3, 4, 6).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.mT * 6**-0.5).softmax(dim=-1) @ v
        x = x + linear(mixed.transpose(1, 2).flatten(2), f"{block}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{block}.norm2", 1e-6), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
    model = load_published("blip2", tmp_path / "blip2.pth", num_heads=4, text_num_heads=4)
    torch.testing.assert_close(model.visual_encoder(pixels), x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.image_tokens(pixels), norm(x, "ln_vision", 1e-5), rtol=1e-5, atol=1e-5)
