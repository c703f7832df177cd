"""Activation patterns at points."""

from __future__ import annotations

from math import prod

from torch import Tensor

from relu_regions.network.gates import Gate, Selection
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep

__all__ = ["activation_patterns"]


def activation_patterns(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    """The pieces of every unit at points.

    A unit exactly on a knot is on the piece below it, and of several inputs that attain a maximum, or have a rank, the
    first counts.
    Where x lies on a boundary, this may be the pattern of a region without interior.

    Args:
        network: in x's dtype, on its device.
        x: ``(N, *input_shape)``.

    Returns:
        For each gate ``(N, units)`` int64.
    """
    values = {network.input_name: x}
    patterns = []
    for step, released in zip(network.steps, network.releases):
        inputs = [values[name] for name in step.inputs]
        if isinstance(step, AffineStep):
            values[step.output] = step(*inputs)
        else:
            flat = inputs[0].reshape(len(x), prod(inputs[0].shape[1:]))
            patterns.append(_pieces(step.gate, flat))
            values[step.output] = step.gate.apply(flat).view(-1, *step.shape)
        for name in released:
            del values[name]
    return tuple(patterns)


def _pieces(gate: Gate, values: Tensor) -> Tensor:
    if isinstance(gate, Selection):
        return gate.pieces_beside(values, values)
    return (values > gate.knots.unsqueeze(1)).sum(0)
