"""Steps folded into the step before them: for the walk one step where the model has two.

A gate acts on flat values: a change of shape behind a maximum is folded into it, so that the matrix that reads it comes
next, and is multiplied at the points there were alone. Batch norm is folded into the matrix or convolution before it.

With s and c of a channel, ``s (Σ a v + b) + c`` becomes ``Σ (s a) v + (s b + c)``. Each new coefficient is rounded
once, so that relative to itself it is off by u, like a product of a sum; so is the new bias, which is computed exactly
and then rounded. Two more terms in the step's count of terms cover both, with every bound of errors that is made from
that count. The network itself, which rational arithmetic asks, stays as it was read.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from relu_regions.network.gates import Maximum
from relu_regions.network.steps import AffineStep, GateStep, Step
from relu_regions.network.taking import keeps_order

__all__ = ["folded_steps"]


def folded_steps(steps: tuple[Step, ...], releases: list[tuple[str, ...]]) -> tuple[Step, ...]:
    """The steps with each batch norm folded into the step whose output it alone reads, where rounding allows it.

    Args:
        releases: for each step, the values that no later step needs.
    """
    result: list[Step] = []
    for step, released in zip(steps, releases):
        previous = result[-1] if result else None
        one = _one(previous, step) if previous is not None and previous.output in released else None
        if one is None:
            result.append(step)
        else:
            result[-1] = one
    return tuple(result)


def _one(first: Step, second: Step) -> Step | None:
    """Both steps as one; None where they stay two."""
    if not isinstance(first, GateStep):
        return _scaled(first, second)
    if not isinstance(first.gate, Maximum) or not isinstance(second, AffineStep) or second.inputs != (first.output,):
        return None
    return replace(first, output=second.output, shape=second.shape) if keeps_order(second, first.shape) else None


def _scaled(first: AffineStep, second: Step) -> AffineStep | None:
    """Both steps as one; None if the second is no scaling of the first, or a coefficient leaves the range of floats."""
    if not isinstance(second, AffineStep) or first.form is None:
        return None
    kernel, channels = first.constants[0], first.constants[0].shape[0]
    if not second.elementwise or second.inputs != (first.output,) or second.constants[0].numel() != channels:
        return None
    scale = second.constants[0].reshape(-1, *[1] * (kernel.ndim - 1))
    scaled, size = kernel * scale, (kernel * scale).abs()
    zero = (kernel == 0) | (scale == 0)
    if not (torch.isfinite(scaled) & (zero | (size >= torch.finfo(kernel.dtype).tiny))).all():
        return None
    own, bias = (None if bias is None else bias.reshape(-1) for bias in (first.bias, second.bias))
    if any(numbers is not None and len(numbers) != channels for numbers in (own, bias)):
        return None
    if own is not None:
        bias = _bias(scale.reshape(-1), own, bias)
        if bias is None:
            return None
    shaped = None if bias is None else bias.view(-1, *[1] * (len(second.shape) - 1))
    terms = first.terms + 2
    return replace(first, output=second.output, origin=second.origin, constants=(scaled,), bias=shaped, terms=terms)


def _bias(scale: Tensor, first: Tensor, second: Tensor | None) -> Tensor | None:
    """``scale * first + second``, rounded once; None if a number leaves the range of normal floats."""
    others = torch.zeros_like(first) if second is None else second
    numbers = (numbers.tolist() for numbers in (scale, first, others))
    exact, range_of = [Fraction(a) * Fraction(b) + Fraction(c) for a, b, c in zip(*numbers)], torch.finfo(first.dtype)
    if any(number and not range_of.tiny <= abs(number) <= range_of.max for number in exact):
        return None
    return torch.tensor([float(number) for number in exact], dtype=first.dtype, device=first.device)
