"""Where each of our tensors lies in a published file: names and the few changes of form.

Every layout lists one `Source` for each tensor of our module; the same list reads a file and writes one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One tensor of our module and the published tensor that it is, or is a part of."""

    own: str
    """Name in the module's state."""
    published: str
    """Name in the file, without the file's prefix."""
    dropped: tuple[int, ...] = ()
    """Axes of length 1 that ours has and the published one has not."""
    transposed: bool = False
    """The published matrix is kept the other way round."""
    grid: bool = False
    """Positions (1, N, D) of a square grid of patches: another size of the picture takes them resized."""
    part: int | None = None
    """Which third of the published tensor's first axis ours is: query, key or value of a packed projection."""

    def read(self, published: Tensor) -> Tensor:
        """Our tensor of the published one."""
        if self.transposed and published.ndim == 2:  # another number of axes is found out by its shape
            published = published.T
        if self.part is not None:
            published = published.chunk(3)[self.part]
        for axis in self.dropped:
            published = published.unsqueeze(axis)
        return published

    def write(self, own: Tensor) -> Tensor:
        """The published tensor, or its part, of ours."""
        if self.transposed:
            return own.T
        return own.squeeze(self.dropped) if self.dropped else own


Rules = Sequence[tuple[str, str]]
Special = Callable[[str], Source | None]


def renamed(module: nn.Module, rules: Rules, special: Special = lambda own: None) -> list[Source]:
    """A `Source` for each tensor of `module`: the special one, or its name after all `rules` (regular expressions)."""
    return [special(own) or Source(own=own, published=_rename(own, rules)) for own in module.state_dict()]


def below(prefix: str, published_prefix: str, sources: Sequence[Source]) -> list[Source]:
    """The sources of a child module, seen from its parent."""
    return [
        replace(source, own=prefix + source.own, published=published_prefix + source.published) for source in sources
    ]


def _rename(own: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        own = re.sub(pattern, replacement, own)
    return own


AIM_RULES: Rules = (
    (r"^vit\.patch_embed\.proj\.", "conv1."),
    (r"^vit\.norm_pre\.", "ln_pre."),
    (r"^vit\.norm\.", "ln_post."),
    (r"^vit\.blocks\.", "transformer.resblocks."),
    (r"\.norm([12])\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".attn.in_proj_"),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"\.mlp_adapter\.fc", ".MLP_Adapter.D_fc"),
    (r"\.spatial_adapter\.fc", ".S_Adapter.D_fc"),
    (r"\.temporal_adapter\.fc", ".T_Adapter.D_fc"),
    (r"\.temporal_adapter_in\.fc", ".T_Adapter_in.D_fc"),
)
"""timm's transformer and AIM's adapters, to OpenAI's and mmaction's names."""


def clip_vit(module: nn.Module) -> list[Source]:
    """A timm transformer called `vit`, with or without AIM's adapters."""

    def special(own: str) -> Source | None:
        match own:
            case "vit.cls_token":
                return Source(own=own, published="class_embedding", dropped=(0, 1))
            case "vit.pos_embed":
                return Source(own=own, published="positional_embedding", dropped=(0,))
            case "temporal_embedding":
                return Source(own=own, published=own, dropped=(2,))
        return None

    return renamed(module, AIM_RULES, special)


RESNET_RULES: Rules = (
    (r"^stem\.conv(\d)\.conv\.", r"conv\1."),
    (r"^stem\.conv(\d)\.bn\.", r"bn\1."),
    (r"\.conv(\d)_[0-9a-z]+\.conv\.", r".conv\1."),
    (r"\.conv(\d)_[0-9a-z]+\.bn\.", r".bn\1."),
    (r"\.shortcut\.conv\.conv\.", ".downsample.0."),
    (r"\.shortcut\.conv\.bn\.", ".downsample.1."),
    (r"^stages\.0\.", "layer1."),
    (r"^stages\.1\.", "layer2."),
    (r"^stages\.2\.", "layer3."),
    (r"^stages\.3\.", "layer4."),
    (r"^head\.pos_embed", "attnpool.positional_embedding"),
    (r"^head\.proj\.", "attnpool.c_proj."),
    (r"^head\.([qkv])\.", r"attnpool.\1_proj."),
)
"""timm's ResNet with attention pooling, to OpenAI's names."""


def clip_resnet(module: nn.Module) -> list[Source]:
    """CLIP's ResNet tower."""
    return renamed(module, RESNET_RULES)


TEXT_RULES: Rules = (
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)
"""transformers' CLIP text tower, to OpenAI's names."""


def clip_text(module: nn.Module) -> list[Source]:
    """CLIP's text tower: query, key and value are published as one, the last projection as a matrix."""

    def special(own: str) -> Source | None:
        if own == "text_projection.weight":
            return Source(own=own, published="text_projection", transposed=True)
        packed = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", own)
        if packed is None:
            return None
        layer, which, kind = packed.groups()
        published = f"transformer.resblocks.{layer}.attn.in_proj_{kind}"
        return Source(own=own, published=published, part="qkv".index(which))

    return renamed(module, TEXT_RULES, special)


QFORMER_RULES: Rules = (
    (r"^embeddings\.", "Qformer.bert.embeddings."),
    (r"^bert\.layernorm\.", "Qformer.bert.embeddings.LayerNorm."),
    (r"^bert\.encoder\.", "Qformer.bert.encoder."),
    (r"attention\.attention\.", "attention.self."),
    (r"^head\.dense\.", "Qformer.cls.predictions.transform.dense."),
    (r"^head\.norm\.", "Qformer.cls.predictions.transform.LayerNorm."),
    (r"^head\.", "Qformer.cls.predictions."),
)
"""transformers' Q-Former, to LAVIS's names."""


def qformer(module: nn.Module) -> list[Source]:
    """A Q-Former with its embeddings, queries and language-model head."""
    return renamed(module, QFORMER_RULES)
