"""How much a network's output can change: its layers' norms, and what follows from them (paper, appendix A).

All norms here are the ∞-norm and its operator norm, the largest absolute row sum. The bounds are sound in real
arithmetic and computed in float64, not rounded outwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Integer
from torch import Tensor

from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import Array, Model, PointBatch
from relu_regions.network.gates import Selection
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep, Step
from relu_regions.regions.affine_maps import device_of, dtype_of
from relu_regions.regions.norms import norms_of

__all__ = [
    "Labels",
    "factor_needed",
    "guaranteed_radius",
    "layer_norms",
    "linear_network",
    "linear_network_norm",
    "logit_bounds",
    "margins",
    "product_bound",
    "training_range",
]

Labels = int | Sequence[int] | Integer[Array, " ..."]


# ---------------------------------------------------------------- the network alone


def layer_norms(network: Network) -> Float[Tensor, " L"]:
    """‖W_l‖_∞ of every affine step, in order: the largest absolute row sum of its matrix.

    A convolution is the matrix that it stands for, a step of several inputs acts on all of them together, and one
    that only rearranges numbers has norm 1. Batch norm is a layer of its own. Where a step lets terms of one input
    cancel, as in ``x - x``, the norm counts both.

    Returns:
        ``(L,)``, in the network's dtype and on its device.
    """
    ones = {network.input_name: _ones(network, network.input_shape)}
    ones |= {step.output: _ones(network, step.shape) for step in network.steps}
    steps = (step for step in network.steps if isinstance(step, AffineStep))
    norms = [step.magnitude(*(ones[name] for name in step.inputs)).max() for step in steps]
    return torch.stack(norms) if norms else _ones(network, ())[:0]


def product_bound(network: Network) -> float:
    """Π_l ‖W_l‖_∞: no region's ‖W_x‖_∞ is larger, and no change of the output exceeds that of the input by more.

    A gate multiplies by its steepest slope, 1 for a ReLU and for a maximum. Where values join, as in a residual
    network, there is no product: the bound of each value follows from the bounds of those that it is made of, and in
    a chain of layers that is the product.
    """
    return float(_propagated(network, uniform=True).flatten()[0])


def logit_bounds(network: Network) -> Float[Tensor, " *output_shape"]:
    """The row sums of |W_L| ⋯ |W_1|: how much each output can change for each unit of ‖Δx‖_∞.

    Like ``product_bound``, with a bound for each number instead of the largest of each layer: never larger, and
    as cheap as one forward pass.

    Returns:
        ``(*output_shape)``, in the network's dtype and on its device.
    """
    return _propagated(network, uniform=False)


def linear_network(network: Network) -> Network:
    """The network with its elementwise gates removed, W = W_L ⋯ W_1 with the biases (paper, appendix A).

    Raises:
        ValueError: a gate is a maximum of several inputs, which nothing is left of without it.
    """
    return replace(network, steps=tuple(_without_gate(step) for step in network.steps))


def linear_network_norm(network: Network) -> float:
    """‖W‖_∞ of the linear network; a region's ‖W_x‖_∞ may be larger.

    Raises:
        ValueError: as ``linear_network``.
    """
    return float(norms_of(linear_network(network), (), math.inf, 1))


def factor_needed(ratios: Float[Array, " N"], share: float = 0.99, weights: Float[Array, " N"] | None = None) -> float:
    """The smallest K such that at least this share of regions has ‖W_x‖ ≤ K ‖W‖ (paper, appendix A).

    Args:
        ratios: ‖W_x‖ / ‖W‖, ``(N,)``.
        share: above 0 and at most 1; the paper's norm distribution assumption is about 0.99.
        weights: ``(N,)``, such as the lengths of regions; equal ones by default.

    Raises:
        ValueError: there are no ratios, or they contain NaN; weights do not match, are negative or add up to
            nothing; or share is no share.
    """
    numbers = torch.as_tensor(ratios).double().flatten()
    own = torch.ones_like(numbers) if weights is None else torch.as_tensor(weights).double().flatten()
    if not len(numbers) or torch.isnan(numbers).any():
        raise ValueError("ratios must be numbers, at least one of them, and none of them NaN.")
    if len(own) != len(numbers) or not (own >= 0).all() or not own.sum() > 0:
        raise ValueError(f"weights must be {len(numbers)} numbers that are not negative and not all 0.")
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}.")
    ordered, order = numbers.sort()
    total = own[order].cumsum(0)
    return float(ordered[torch.searchsorted(total, share * total[-1]).clamp_max(len(ordered) - 1)])


def _propagated(network: Network, uniform: bool) -> Tensor:
    """For each number of the output, a bound of its change where no input number changes by more than 1."""
    bounds = {network.input_name: _ones(network, network.input_shape)}
    for step, released in zip(network.steps, network.releases):
        inputs = [bounds[name] for name in step.inputs]
        found = step.magnitude(*inputs) if isinstance(step, AffineStep) else _gate_bound(step, inputs[0], uniform)
        bounds[step.output] = found.max().expand(1, *step.shape) if uniform else found
        for name in released:
            del bounds[name]
    return bounds[network.output_name][0]


def _gate_bound(step: GateStep, bounds: Tensor, uniform: bool) -> Tensor:
    flat = bounds.reshape(1, -1)
    if isinstance(step.gate, Selection):
        return step.gate.candidates(flat).amax(-1).view(1, *step.shape)
    steepest = step.gate.slopes.abs().amax(0)
    return ((steepest.max() if uniform else steepest) * flat).view(1, *step.shape)


def _without_gate(step: Step) -> Step:
    if isinstance(step, AffineStep):
        return step
    if isinstance(step.gate, Selection):
        raise ValueError(f"{step.origin} chooses among several inputs: without it there is no linear network.")
    return AffineStep(step.output, step.inputs, step.shape, step.origin, _unchanged)


def _unchanged(values: Tensor) -> Tensor:
    return values


def _ones(network: Network, shape: tuple[int, ...]) -> Tensor:
    return torch.ones(1, *shape, dtype=dtype_of(network), device=device_of(network))


# ---------------------------------------------------------------- samples


def margins(model: Model, x: Float[Array, " N *shape"], labels: Labels) -> Float64[Tensor, " N"]:
    """How far the logit of each sample's label is ahead of the largest other; negative where it is behind.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, or a Network; not modified. A single output
            competes with 0: class 1 where it is positive.
        x: samples, ``(N, *input_shape)``, tensor or array of floats.
        labels: ``(N,)`` integers, or one for all.

    Returns:
        ``(N,)`` float64, on x's device.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be read; the text says why.
    """
    decision, outputs, own = _decided(PointBatch.of(model, x), labels)
    return decision.margins(outputs, own)


def training_range(model: Model, x: Float[Array, " N *shape"], labels: Labels) -> float:
    """The largest r by which every sample's labelled logit exceeds all others (paper, appendix A).

    Takes and raises what ``margins`` does; inf where there are no samples.
    """
    found = margins(model, x, labels)
    return float(found.min()) if len(found) else math.inf


def guaranteed_radius(
    model: Model,
    x: Float[Array, " N *shape"],
    labels: Labels | None = None,
    *,
    lipschitz: float | Float[Tensor, " ..."] | None = None,
) -> Float64[Tensor, " N"]:
    """How far each sample can be moved in the ∞-norm, in any direction, and provably keep its label.

    Two logits come closer by at most the sum of their Lipschitz constants for each unit of ‖Δx‖_∞. With one constant
    for all logits this is half the margin divided by it (paper, appendix A).

    Args:
        model: as ``margins``.
        x: samples, ``(N, *input_shape)``.
        labels: ``(N,)`` integers, or one for all; the classes that the model gives by default.
        lipschitz: how much logits change at most for each unit of ‖Δx‖_∞: a number, or ``(*output_shape)`` for each
            of them, such as ``logit_bounds``; ``product_bound`` by default. What is given decides what is
            guaranteed.

    Returns:
        ``(N,)`` float64, on x's device; 0 where another logit is as large, inf where nothing can change.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be read; the text says why.
    """
    points = PointBatch.of(model, x)
    decision, outputs, own = _decided(points, labels)
    constants = torch.as_tensor(product_bound(points.network) if lipschitz is None else lipschitz).to(outputs)
    if not (constants >= 0).all():
        raise ValueError(f"lipschitz must not be negative or NaN, got {lipschitz!r}.")
    try:
        constants = constants.expand(points.network.output_shape)
    except RuntimeError:
        raise ValueError(
            f"lipschitz has shape {tuple(constants.shape)}, but the network's output {points.network.output_shape}."
        ) from None
    constants, ahead = decision.logits(constants[None])[0], decision.leads(outputs, own)
    radius = torch.where(ahead > 0, ahead / (constants + constants[own, None]), 0)
    return torch.where(torch.isinf(ahead), math.inf, radius).amin(1)


def _decided(points: PointBatch, labels: Labels | None) -> tuple[Decision, Tensor, Tensor]:
    """The decision between all classes, the outputs ``(N, outputs)``, and each point's class ``(N,)``."""
    decision = Decision.of(points.network.output_shape)
    with torch.no_grad():
        outputs = points.network(points.x)
    if labels is None:
        return decision, outputs, decision.labels(outputs)
    own = torch.from_numpy(labels) if isinstance(labels, np.ndarray) else torch.as_tensor(labels)
    if own.dtype == torch.bool or own.dtype.is_floating_point or tuple(own.shape) not in ((), (len(points),)):
        raise ValueError(f"labels must be one integer, or {len(points)} of them, one for each point; not {labels!r}.")
    if ((own < 0) | (own >= decision.count)).any():
        raise ValueError(f"labels must be classes from 0 to {decision.count - 1}, not {labels!r}.")
    return decision, outputs, own.to(outputs.device).long().expand(len(points))
