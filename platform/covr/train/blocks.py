"""Memory and speed of the repeated blocks of a model: activations computed twice, or blocks compiled.

A block is a layer of a transformer, whichever library it comes from, or the fusion.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from timm.models.vision_transformer import Block
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from covr.models.fusion import Fusion


def recompute_blocks(model: nn.Module) -> None:
    """Gradient checkpointing: of each block keep only the input, and compute the rest again on the way back.

    Dropout is drawn alike both times: gradients are bit for bit those without it.
    """
    for block in _blocks(model):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]


def compile_blocks(model: nn.Module) -> None:
    """`torch.compile` for each block by itself, so that blocks of one kind are compiled once and names stay.

    The way around them, which takes lists of strings, stays as it is.
    """
    for block in _blocks(model):
        block.compile()


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    return (module for module in model.modules() if isinstance(module, (Block, GradientCheckpointingLayer, Fusion)))
