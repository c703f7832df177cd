"""The true distance to another class in the ∞-norm, as a mixed-integer program (cvxpy, HiGHS).

It shares nothing with the library's walk: a ReLU is a binary variable and four inequalities, whose constants come from
intervals of the pre-activations on the box that is searched. For small networks only.
"""

from __future__ import annotations

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
from torch import nn

from relu_regions.network.arrays import Floats

__all__ = ["Nearest", "minimal_distance"]

# HiGHS's own tolerances, at their smallest: how far a constraint may be broken, and how far from 0 or 1 a binary is.
OPTIONS = {
    "primal_feasibility_tolerance": 1e-10,
    "mip_feasibility_tolerance": 1e-10,
    "mip_rel_gap": 1e-9,
    "mip_abs_gap": 1e-10,
}


@dataclass(frozen=True)
class Nearest:
    """The nearest point at which another class has as large a logit.

    Attributes:
        distance: from the point asked about, in the ∞-norm.
        point: (n,).
        label: the class that catches up there.
    """

    distance: float
    point: Floats
    label: int


def minimal_distance(model: nn.Sequential, x: Floats, radius: float) -> Nearest | None:
    """The nearest point of another class, no farther than a radius.

    Args:
        model: linear layers with ReLU between them, two or more logits.
        x: (n,) float64.
        radius: of the box around x that is searched; the smaller, the faster.

    Returns:
        None where no point of the box has another class.
    """
    layers = [
        (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
        for layer in model
        if isinstance(layer, nn.Linear)
    ]
    logits = x
    for number, (weight, bias) in enumerate(layers):
        logits = weight @ (np.maximum(logits, 0) if number else logits) + bias
    own = int(logits.argmax())
    best: Nearest | None = None
    # The likeliest first: what it finds narrows the box for the others.
    for other in np.argsort(-logits).tolist():
        if other != own:
            found = _nearest_of(layers, x, own, other, best.distance if best else radius)
            if found is not None and (best is None or found.distance < best.distance):
                best = found
    return best


def _nearest_of(layers: list[tuple[Floats, Floats]], x: Floats, own: int, other: int, radius: float) -> Nearest | None:
    """The nearest point where one other class has as large a logit as the own."""
    point, distance = cp.Variable(len(x)), cp.Variable()
    constraints = [cp.abs(point - x) <= distance, distance <= radius]
    values, low, high = point, x - radius, x + radius
    for weight, bias in layers[:-1]:
        low, high = _interval(weight, bias, low, high)
        before, after = weight @ values + bias, cp.Variable(len(bias))
        active = cp.Variable(len(bias), boolean=True)
        constraints += [after >= 0, after >= before, after <= cp.multiply(np.maximum(high, 0), active)]
        constraints += [after <= before - cp.multiply(np.minimum(low, 0), 1 - active)]
        values, low, high = after, np.maximum(low, 0), np.maximum(high, 0)
    weight, bias = layers[-1]
    difference, shift = weight[other] - weight[own], bias[other] - bias[own]
    if _interval(difference[None], np.array([shift]), low, high)[1][0] < 0:
        return None  # it stays behind on the whole box
    constraints += [difference @ values + shift >= 0]
    problem = cp.Problem(cp.Minimize(distance), constraints)
    problem.solve(solver=cp.HIGHS, **OPTIONS)
    if problem.status == cp.INFEASIBLE:
        return None
    if problem.status != cp.OPTIMAL:
        raise RuntimeError(f"HiGHS ended with {problem.status}")
    return Nearest(float(distance.value), np.asarray(point.value), other)


def _interval(weight: Floats, bias: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Bounds of weight @ v + bias for v between low and high, a little wider than float64 makes them."""
    centre, reach = (low + high) / 2, (high - low) / 2
    middle, width = weight @ centre + bias, np.abs(weight) @ reach
    slack = 1e-9 * (1 + np.abs(middle) + width)
    return middle - width - slack, middle + width + slack
