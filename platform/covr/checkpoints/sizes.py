"""Sizes of a model, from the shapes of its published tensors and from what the caller says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

from torch import Tensor

from covr.errors import UserError


class Shapes:
    """Read access to the shapes in a file.

    Args:
        tensors: published name, without prefix -> tensor.
        where: the file's name, for messages.
    """

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        self.tensors, self.where = tensors, where

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def size(self, name: str, axis: int) -> int:
        """Length of one axis of a tensor.

        Raises:
            UserError: the tensor is missing, or has fewer axes.
        """
        if name not in self.tensors:
            raise UserError(f"tensor {name} is missing", self.where, "give a whole file of this layout")
        shape = self.tensors[name].shape
        if axis >= len(shape) or shape[axis] == 0:
            raise UserError(f"tensor {name} has the shape {tuple(shape)}", self.where, "give a file of this layout")
        return shape[axis]

    def count(self, template: str) -> int:
        """How many consecutive indices, from 0, stand at `{}` in the names that begin like `template`."""
        before, _, after = template.partition("{}")
        pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
        found = {int(match[1]) for name in self.tensors if (match := pattern.match(name))}
        count = 0
        while count in found:
            count += 1
        if not count or len(found) != count:
            lacking = f"layer {count} of {template} is missing"
            raise UserError(lacking, self.where, "give a whole file of this layout")
        return count

    def side(self, num_tokens: int) -> int:
        """Side of a square grid of `num_tokens` tokens, the class token among them."""
        side = isqrt(num_tokens - 1)
        if side * side != num_tokens - 1:
            raise UserError(f"{num_tokens} tokens are no square and one", self.where, "give a file of this layout")
        return side

    def heads(self, width: int, given: int | None, option: str, head_width: int = 64) -> int:
        """Attention heads: as given, or of the width that the published models have.

        Raises:
            UserError: not given, and not to be told from the width.
        """
        heads = given or width // head_width
        if not heads or width % heads or (given is None and width % head_width):
            raise UserError(f"the number of heads of width {width} is not in the file", option, f"give {option}=N")
        return heads
