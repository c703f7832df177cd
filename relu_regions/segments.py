"""The lines of a batch, each as a segment or two that a sweep starts from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Segments"]


@dataclass(frozen=True)
class Segments:
    """The lines ``x + t d`` of a batch, each with the points that its sweep starts from.

    Attributes:
        x, d: ``(L, *input_shape)``.
        starts: ``(N, k)`` values of t in increasing order, from k = 2; may be infinite at either end. Equal
            neighbours count once.
        both_ways: whether each line has two segments, one after the other: along d, and along -d.
    """

    x: Tensor
    d: Tensor
    starts: Tensor
    both_ways: bool = False

    def __len__(self) -> int:
        return self.starts.shape[0]

    def block(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For consecutive segments: the x and d of their lines, the row of each segment's line among these, and its sign."""
        line = numbers // 2 if self.both_ways else numbers
        rows = slice(int(line[0]), int(line[-1]) + 1)
        sign = 1 - 2 * (numbers % 2) if self.both_ways else torch.ones_like(numbers)
        return self.x[rows], self.d[rows], line - line[0], sign.to(self.x.dtype)
