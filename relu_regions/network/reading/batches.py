"""Sizes that a traced model computes from that of its batch, and where each of its tensors has the members."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.reading.operations import BATCH, Batch, Call, FromBatch
from relu_regions.network.reading.operations.registry import replay
from relu_regions.network.reading.operations.values import STANDARD, Layout, numbered, values_in

__all__ = ["BatchSizes", "for_one"]


class BatchSizes:
    """Knows the symbol that a trace has for the size of its batch."""

    def __init__(self, size: torch.SymInt) -> None:
        self.symbol = size.node.expr

    def number(self, size: Any) -> Any:
        """A size: a plain number as it is, or what it is to the size of the batch."""
        if not isinstance(size, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            return size
        factor = self.factor(size)
        return BATCH if factor == 1 else FromBatch(factor)

    def factor(self, size: Any) -> int | None:
        """How many times the size of the batch a size is; None where it is something else."""
        if not isinstance(size, torch.SymInt):
            return None
        ratio = size.node.expr / self.symbol
        return int(ratio) if ratio.is_Integer and ratio > 0 else None

    def one(self, size: Any) -> Any:
        """A size for a batch of one."""
        return for_one(self.number(size))

    def axes(self, tensor: Tensor) -> list[int]:
        """The axes of a traced tensor whose sizes depend on that of the batch."""
        return [axis for axis, size in enumerate(tensor.shape) if isinstance(size, torch.SymInt)]

    def place(self, call: Call, meta: Tensor) -> None:
        """Set the shape of one point's part of what a call makes, and where the traced tensor has the batch.

        Raises:
            UnsupportedOperation: the batch is on no axis, on several, or mixed with another axis.
        """
        axes = self.axes(meta)
        if len(axes) != 1:
            raise call.refuse(f"its output of shape {tuple(meta.shape)} does not keep the batch dimension")
        [axis], factor = axes, self.factor(meta.shape[axes[0]])
        if factor is None:
            raise call.refuse(f"it folds other dimensions into the batch ({meta.shape[axis]} rows)")
        call.shape = tuple(factor if place == axis else int(size) for place, size in enumerate(meta.shape))
        values = values_in([*call.args, *call.kwargs.values()])
        plain: Layout = Layout(axis, 1, factor)
        found: Layout | None
        if not values or (plain == STANDARD and all(value.layout == STANDARD for value in values)):
            found = plain
        else:
            found = next((one for one in self._candidates(call, plain) if _is_laid_out(call, one)), None)
        if found is None:
            raise call.refuse("it moves numbers between the members of a batch, or treats them differently")
        call.layout, call.shape = found, call.shape[1:] if found == STANDARD else call.shape

    def _candidates(self, call: Call, plain: Layout) -> Iterator[Layout]:
        for value in values_in([*call.args, *call.kwargs.values()]):
            if value.layout.axis == plain.axis and value.layout.folded == plain.folded:
                yield value.layout
        outer = (number for number in range(1, plain.folded + 1) if plain.folded % number == 0)
        yield from (Layout(plain.axis, number, plain.folded // number) for number in outer)


def _is_laid_out(call: Call, layout: Layout) -> bool:
    """Whether an operation's result has the members of a batch where the layout says, each made of itself alone.

    Numbers tell where the members are, to rounding. That a member takes nothing of another one, however little, is
    decided without a tolerance: with NaN for the others it has the NaN that it has alone, and no more.
    """
    values = list(dict.fromkeys(values_in([*call.args, *call.kwargs.values()])))
    function = replay(replace(call, layout=layout), values)
    stacks = [numbered(value.shape, 3, 1 + place).sin() for place, value in enumerate(values)]
    try:
        together = function(*stacks)
        alone = torch.cat([function(*(stack[row : row + 1] for stack in stacks)) for row in range(3)])
    except (RuntimeError, IndexError, TypeError, ValueError):
        return False  # the operation does not take a batch of that size so
    if together.shape != alone.shape or not torch.allclose(together, alone, rtol=1e-6, atol=1e-6, equal_nan=True):
        return False
    for row in range(3):
        others = torch.arange(3) != row
        own = function(*(stack.masked_fill(others.view(-1, *[1] * (stack.ndim - 1)), torch.nan) for stack in stacks))
        if not torch.equal(own[row].isnan(), alone[row].isnan()):
            return False
    return True


def for_one(argument: Any) -> Any:
    """Sizes for a batch of one."""
    if isinstance(argument, (list, tuple)):
        return [for_one(item) for item in argument]
    if isinstance(argument, FromBatch) and argument.factor is not None:
        return argument.factor
    return 1 if isinstance(argument, Batch) else argument
