"""Steps that only take numbers of their inputs, or their negatives, and put them elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from relu_regions.network.steps import AffineStep

__all__ = ["keeps_order", "places_read", "taken"]


def places_read(step: AffineStep, shapes: list[tuple[int, ...]], among: Sequence[int]) -> Tensor | None:
    """Which number of some inputs each output reads, whatever it is multiplied by; None if one reads several of them.

    With ones for constants the coefficients of an output are not negative. Where they add up to 1 and the mean
    position has no variance, there is one of them.

    Args:
        shapes: of all inputs.
        among: which inputs.

    Returns:
        Positions counted over these inputs, -1 where an output reads none of them; ``(outputs,)`` int64.
    """
    device = step.constants[0].device if step.constants else torch.device("cpu")
    sizes = [math.prod(shapes[number]) for number in among]
    position = torch.arange(sum(sizes), dtype=torch.float64, device=device)
    probes = torch.split(torch.stack([torch.ones_like(position), position, position**2]), sizes, 1)
    inputs = [position.new_zeros(3, *shape) for shape in shapes]
    for number, probe in zip(among, probes):
        inputs[number] = probe.reshape(3, *shapes[number])
    ones = (torch.ones_like(constant, dtype=torch.float64) for constant in step.constants)
    total, mean, square = step.function(*inputs, *ones).reshape(3, -1).cpu()
    reads = total == 1
    if not (reads | (total == 0)).all() or not (mean**2 == square).all():
        return None
    return torch.where(reads, mean, -1).long()


def taken(step: AffineStep, shapes: list[tuple[int, ...]]) -> tuple[Tensor, Tensor] | None:
    """Where a step only takes numbers of its inputs or their negatives: which, and their signs; None for other steps.

    Args:
        shapes: of its inputs.

    Returns:
        The positions counted over all inputs, -1 where an output takes none, and 1 or -1; ``(outputs,)`` int64 each.
        The step's bias is left out of account.
    """
    if any(constant.abs().ne(1).any() for constant in step.constants):
        return None
    places = places_read(step, shapes, range(len(shapes)))
    if places is None:
        return None
    device = step.constants[0].device if step.constants else torch.device("cpu")
    inputs = (torch.ones(1, *shape, dtype=torch.float64, device=device) for shape in shapes)
    sign = step.function(*inputs, *(constant.double() for constant in step.constants))
    return places, sign.reshape(-1).cpu().long()


def keeps_order(step: AffineStep, shape: tuple[int, ...]) -> bool:
    """Whether a step that reads one value, of this shape, only changes the shape."""
    if step.constants or step.bias is not None or step.terms > 1 or math.prod(shape) != math.prod(step.shape):
        return False
    numbers = torch.arange(math.prod(shape), dtype=torch.float64)
    return bool((step.linear(numbers.view(1, *shape)).reshape(-1) == numbers).all())
