"""What stands for the tensors of a traced model: one point's part of each, and where the trace has the batch in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "BATCH",
    "STANDARD",
    "Batch",
    "FromBatch",
    "Layout",
    "Value",
    "laid_out",
    "numbered",
    "size_for",
    "taken_apart",
    "values_in",
]


class Batch:
    """Stands for the number of points wherever a traced model asks for its batch size."""

    def __repr__(self) -> str:
        return "BATCH"


BATCH = Batch()


@dataclass(frozen=True)
class FromBatch:
    """Stands for another number that the model computes from its batch size.

    Attributes:
        factor: that many times the size of the batch; None where it is something else.
    """

    factor: int | None


class Layout(NamedTuple):
    """Where a traced tensor has the members of the batch: axis ``axis`` counts ``outer`` × batch × ``inner``.

    A time-distributed layer folds an axis behind the batch (inner), ``stack(…).flatten(0, 1)`` one in front of it
    (outer), and a recurrent layer has time first (axis 1).
    """

    axis: int
    outer: int
    inner: int

    @property
    def folded(self) -> int:
        """How many numbers of the axis belong to one member."""
        return self.outer * self.inner


STANDARD = Layout(0, 1, 1)


@dataclass(frozen=True)
class Value:
    """A tensor of the model that depends on its input.

    Attributes:
        name: of the value.
        shape: of one point's part: without the batch axis in the standard layout; in another one the traced tensor's
            for a batch of one.
        layout: where the traced tensor has the batch.
        absent: places that hold minus infinity, ``shape`` bool, or None; only a maximum may read them.
    """

    name: str
    shape: tuple[int, ...]
    layout: Layout = STANDARD
    absent: Tensor | None = field(default=None, compare=False)

    @property
    def traced(self) -> tuple[int, ...]:
        """The traced tensor's shape for a batch of one."""
        return (1, *self.shape) if self.layout == STANDARD else self.shape


def values_in(arguments: Any) -> list[Value]:
    """Every value among the arguments, in order, also inside lists."""
    if isinstance(arguments, Value):
        return [arguments]
    if isinstance(arguments, (list, tuple)):
        return [value for argument in arguments for value in values_in(argument)]
    return []


def size_for(size: Any, count: int) -> Any:
    """A number, where it stands for the size of the batch or a multiple of it, for so many points."""
    if isinstance(size, Batch):
        return count
    return size if not isinstance(size, FromBatch) or size.factor is None else size.factor * count


def laid_out(points: Tensor, layout: Layout) -> Tensor:
    """A stack of points ``(N, *shape)`` as the trace has it for a batch of N."""
    if layout == STANDARD:
        return points
    before, after = points.shape[1 : layout.axis + 1], points.shape[layout.axis + 2 :]
    apart = points.reshape(len(points), *before, layout.outer, layout.inner, *after).movedim(0, layout.axis + 1)
    return apart.reshape(*before, layout.folded * len(points), *after)


def taken_apart(tensor: Tensor, layout: Layout, count: int) -> Tensor:
    """A traced tensor for a batch of ``count`` as a stack of points."""
    if layout == STANDARD:
        return tensor
    before, after = tensor.shape[: layout.axis], tensor.shape[layout.axis + 1 :]
    apart = tensor.reshape(*before, layout.outer, count, layout.inner, *after).movedim(layout.axis + 1, 0)
    return apart.reshape(count, *before, layout.folded, *after)


def numbered(shape: tuple[int, ...], count: int, start: int = 1) -> Tensor:
    """A stack of points that holds other whole numbers everywhere, ``(count, *shape)``."""
    return torch.arange(start, start + count * prod(shape), dtype=torch.float64).view(count, *shape)
