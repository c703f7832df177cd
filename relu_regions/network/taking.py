"""Steps that only take numbers of their inputs, or their negatives, and put them elsewhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from relu_regions.network.steps import AffineStep

__all__ = ["keeps_order", "taken"]


def taken(step: AffineStep, shapes: list[tuple[int, ...]]) -> tuple[Tensor, Tensor] | None:
    """Where a step only takes numbers of its inputs or their negatives: which, and their signs; None for other steps.

    With absolute values the coefficients of an output are not negative. Where they add up to 1 and the mean position
    has no variance, there is one coefficient, and it is 1.

    Args:
        shapes: of its inputs.

    Returns:
        The positions counted over all inputs, -1 where an output takes none, and 1 or -1; ``(outputs,)`` int64 each.
        The step's bias is left out of account.
    """
    device = step.constants[0].device if step.constants else torch.device("cpu")
    if any(constant.abs().ne(1).any() for constant in step.constants):
        return None
    sizes = [math.prod(shape) for shape in shapes]
    position = torch.arange(sum(sizes), dtype=torch.float64, device=device)
    probes = torch.split(torch.stack([torch.ones_like(position), position, position**2]), sizes, 1)
    inputs = [probe.reshape(3, *shape) for probe, shape in zip(probes, shapes)]
    constants = [constant.double() for constant in step.constants]
    total, mean, square = step.function(*inputs, *(constant.abs() for constant in constants)).reshape(3, -1).cpu()
    sign = step.function(*(part[:1] for part in inputs), *constants).reshape(-1).cpu()
    takes = total == 1
    if not (takes | (total == 0)).all() or not (mean**2 == square).all():
        return None
    return torch.where(takes, mean, -1).long(), sign.long()


def keeps_order(step: AffineStep, shape: tuple[int, ...]) -> bool:
    """Whether a step that reads one value, of this shape, only changes the shape."""
    if step.constants or step.bias is not None or step.terms > 1 or math.prod(shape) != math.prod(step.shape):
        return False
    numbers = torch.arange(math.prod(shape), dtype=torch.float64)
    return bool((step.linear(numbers.view(1, *shape)).reshape(-1) == numbers).all())
