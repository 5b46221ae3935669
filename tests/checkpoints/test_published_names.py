"""The names of full-size published files, written out from their descriptions, are those that our modules read."""

from __future__ import annotations

import pytest
import torch
from golden_values import Golden

from covr.checkpoints.layouts import find_layout
from covr.models import AIM, AIMConfig, Combiner
from covr.models.image.clip import ClipResNetConfig
from covr.models.joint import (
    Blip2Config,
    Blip2Retriever,
    BlipConfig,
    BlipRetriever,
    BSEConfig,
    BSERetriever,
    ClipConfig,
    ClipRetriever,
    TFCoVRConfig,
    TFCoVRRetriever,
)
from covr.models.text.clip import ClipTextConfig

BOTH = ("weight", "bias")


def of(*modules: str, ends: tuple[str, ...] = BOTH) -> list[str]:
    return [f"{module}.{end}" for module in modules for end in ends]


def clip_blocks(prefix: str, depth: int) -> list[str]:
    names = []
    for block in (f"{prefix}transformer.resblocks.{i}" for i in range(depth)):
        names += of(f"{block}.ln_1", f"{block}.ln_2", f"{block}.mlp.c_fc", f"{block}.mlp.c_proj")
        names += [f"{block}.attn.in_proj_weight", f"{block}.attn.in_proj_bias", *of(f"{block}.attn.out_proj")]
    return names


CLIP_TEXT = ["positional_embedding", "text_projection", "token_embedding.weight", *of("ln_final"), *clip_blocks("", 12)]


def clip_vit() -> list[str]:
    visual = ["class_embedding", "positional_embedding", "proj", "conv1.weight", *of("ln_pre", "ln_post")]
    return ["logit_scale", *CLIP_TEXT, *(f"visual.{name}" for name in visual), *clip_blocks("visual.", 12)]


def clip_resnet() -> list[str]:
    norm = (*BOTH, "running_mean", "running_var", "num_batches_tracked")
    pairs = [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")]
    for stage, depth in enumerate((3, 4, 6, 3), start=1):
        for block in (f"layer{stage}.{i}" for i in range(depth)):
            pairs += [(f"{block}.conv{n}", f"{block}.bn{n}") for n in (1, 2, 3)]
            if block.endswith(".0"):
                pairs.append((f"{block}.downsample.0", f"{block}.downsample.1"))
    visual = [name for conv, bn in pairs for name in (f"{conv}.weight", *of(bn, ends=norm))]
    visual += ["attnpool.positional_embedding", *of(*(f"attnpool.{letter}_proj" for letter in "qkvc"))]
    return ["logit_scale", *CLIP_TEXT, *(f"visual.{name}" for name in visual)]


def bert_layer(layer: str, *, crossed: bool) -> list[str]:
    names = []
    for part in ("attention", "crossattention") if crossed else ("attention",):
        names += of(*(f"{layer}.{part}.self.{name}" for name in ("query", "key", "value")))
        names += of(f"{layer}.{part}.output.dense", f"{layer}.{part}.output.LayerNorm")
    return names + of(f"{layer}.intermediate.dense", f"{layer}.output.dense", f"{layer}.output.LayerNorm")


def embeddings(prefix: str) -> list[str]:
    tables = ["position_ids", "word_embeddings.weight", "position_embeddings.weight", *of("LayerNorm")]
    return [f"{prefix}embeddings.{name}" for name in tables]


def blip() -> list[str]:
    names = ["visual_encoder.cls_token", "visual_encoder.pos_embed", *of("visual_encoder.patch_embed.proj")]
    for block in (f"visual_encoder.blocks.{i}" for i in range(24)):
        names += of(*(f"{block}.{part}" for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")))
    for i in range(12):
        names += bert_layer(f"text_encoder.encoder.layer.{i}", crossed=True)
    return [*names, *embeddings("text_encoder."), *of("visual_encoder.norm", "vision_proj", "text_proj")]


def qformer() -> list[str]:
    names = ["query_tokens", *embeddings("Qformer.bert.")]
    for i in range(12):
        layer = f"Qformer.bert.encoder.layer.{i}"
        names += bert_layer(layer, crossed=i % 2 == 0)
        names += of(
            f"{layer}.intermediate_query.dense", f"{layer}.output_query.dense", f"{layer}.output_query.LayerNorm"
        )
    head = "Qformer.cls.predictions"
    return [*names, f"{head}.bias", *of(f"{head}.transform.dense", f"{head}.transform.LayerNorm", f"{head}.decoder")]


def blip2() -> list[str]:
    names = ["visual_encoder.cls_token", "visual_encoder.pos_embed", *of("visual_encoder.patch_embed.proj")]
    for block in (f"visual_encoder.blocks.{i}" for i in range(39)):
        names += of(*(f"{block}.{part}" for part in ("norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")))
        names += [f"{block}.attn.qkv.weight", f"{block}.attn.q_bias", f"{block}.attn.v_bias"]
    return [*names, *qformer(), *of("ln_vision", "vision_proj", "text_proj")]


COMBINER = of(
    *("text_projection_layer", "image_projection_layer", "combiner_layer", "output_layer"),
    *("dynamic_scalar.0", "dynamic_scalar.3"),
)
BELOW = [f"combiner.{name}" for name in COMBINER]
RN50_TEXT = ClipTextConfig(projection_dim=1024)

FILES = {
    "aim": (lambda: AIM(AIMConfig()), list(Golden("aim_vit_clip").facts["full_keys"])),
    "openai-clip": (lambda: ClipRetriever(ClipConfig()), clip_vit()),
    "openai-clip/RN50": (
        lambda: ClipRetriever(ClipConfig(image=ClipResNetConfig(), text=RN50_TEXT)),
        clip_resnet(),
    ),
    "covr": (lambda: BlipRetriever(BlipConfig()), blip()),
    "bse-covr": (lambda: BSERetriever(BSEConfig()), [*blip(), *of("prompt_proj")]),
    "covr2": (lambda: Blip2Retriever(Blip2Config()), blip2()),
    "tf-covr": (
        lambda: TFCoVRRetriever(TFCoVRConfig()),
        [*qformer(), *of("vision_proj", "text_proj"), *BELOW],
    ),
    "tf-covr/CLIP": (
        lambda: TFCoVRRetriever(TFCoVRConfig(text=RN50_TEXT)),
        [*(f"clip.{name}" for name in CLIP_TEXT), *of("text_proj"), *BELOW],
    ),
    "combiner": (lambda: Combiner(768, 3072, 6144), COMBINER),
}


@pytest.mark.parametrize("case", FILES)
def test_full_size_names_are_the_published_ones(case):
    build, expected = FILES[case]
    layout = find_layout(case.split("/")[0])
    with torch.device("meta"):
        module = build()
        found = {source.published for source in layout.sources(module)} | set(layout.derived(module))
    assert found == set(expected)
