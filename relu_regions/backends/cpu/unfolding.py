"""Convolutions on a CPU as products of unfolded inputs: torch's own float64 ones take two to four times as long.

A point's channels are laid into planes with their padding, and each number of the kernel takes one contiguous stretch
of a
plane, over all rows of it: the few sums that reach across the end of a row are made and thrown away.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from relu_regions.backends.cpu.unfolding_loops import add_up, layout, unfold
from relu_regions.network.steps import AffineStep, Convolution

__all__ = ["Unfolding"]

# What is unfolded at once: it stays near to the core that multiplies it.
_COLUMN_BYTES = 3 << 18
# With more threads than this, points too few to be shared out are left to torch's own convolution, which uses them all.
_THREADS = 2


class Unfolding:
    """A convolution of stride 1 and without groups, with the memory that it works in.

    Args:
        step: whose form is a convolution.
        points: how many come at once, at most.
    """

    def __init__(self, step: AffineStep, points: int) -> None:
        assert isinstance(step.form, Convolution)
        kernel = step.constants[0]
        self.outputs, self.geometry = prod(step.shape), np.array(step.form.geometry, np.int64)
        _, span, plane = (int(number) for number in layout(self.geometry))
        self.matrix = kernel.reshape(len(kernel), -1).contiguous()
        self.bias = kernel.new_zeros(len(kernel)) if step.bias is None else step.bias.reshape(-1).contiguous()
        numbers = self.matrix.shape[1]
        self.block = max(1, min(points, _COLUMN_BYTES // max(1, numbers * span * kernel.element_size())))
        # A stretch that starts late in a plane ends a few numbers behind it.
        self.padded = kernel.new_zeros(step.form.inputs[0], plane)
        self.columns = kernel.new_zeros(numbers, self.block * span)
        self.sums = kernel.new_empty(len(kernel), self.block * span)
        self.arrays = (self.padded.numpy(), self.columns.numpy(), self.bias.numpy(), self.sums.numpy())
        self.ones = np.ones(points, self.arrays[0].dtype)

    @classmethod
    def of(cls, step: AffineStep, points: int) -> Unfolding | None:
        """That of a step, where it pays."""
        form, kernel = step.form, step.constants[0] if step.constants else None
        if not isinstance(form, Convolution) or kernel is None or kernel.dtype != torch.float64:
            return None
        if form.groups > 1 or any(stride > 1 for stride in form.stride) or torch.get_num_threads() > _THREADS:
            return None
        return cls(step, points)

    def __call__(self, values: Tensor, weight: Tensor | None, rectify: bool) -> Tensor:
        """The products of a stack of no more points than were announced, ``(P, inputs)`` to ``(P, outputs)``.

        Args:
            weight: of the bias at each point, ``(P,)``; None where all are 1.
            rectify: whether numbers below 0 count as 0.
        """
        result = values.new_empty(len(values), self.outputs)
        weights = self.ones if weight is None else weight.numpy()
        source, target, (padded, columns, bias, sums) = values.numpy(), result.numpy(), self.arrays
        for start in range(0, len(values), self.block):
            stop = min(start + self.block, len(values))
            unfold(source, start, stop, self.geometry, rectify, padded, columns)
            # The last points may be fewer: what others left behind them is multiplied for nothing.
            torch.mm(self.matrix, self.columns, out=self.sums)
            add_up(start, stop, bias, weights, sums, self.geometry, target)
        return result
