"""A mixed-integer program as an oracle: the largest lead of one logit over another on a piece of a line.

It knows nothing of breakpoints: every ReLU and every maximum is a choice that the solver (HiGHS, through cvxpy) makes,
with bounds from interval arithmetic. The solver works to a tolerance, so that what it finds is evaluated again exactly.
"""

from __future__ import annotations

from fractions import Fraction

import cvxpy as cp
import numpy as np

from tests.oracles.fractions_walk import Layers, evaluate

__all__ = ["largest_lead", "true_lead"]


def largest_lead(
    layers: Layers, x: list[float], d: list[float], lo: float, hi: float, label: int, rival: int
) -> tuple[float, float]:
    """The most that the rival's logit is ahead of the label's on ``x + t d``, t from lo to hi, and the t where it is.

    Args:
        layers: affine layers, ReLUs and maxima, each on the one before.
    """
    t = cp.Variable()
    value, low, high = np.array(x) + t * np.array(d), *_interval(np.array(x), np.array(d), lo, hi)
    constraints = [t >= lo, t <= hi]
    for kind, *numbers in layers:
        if kind == "affine":
            weight, bias = (
                np.array(numbers[0]),
                np.zeros(len(numbers[0])) if numbers[1] is None else np.array(numbers[1]),
            )
            positive, negative = weight.clip(0, None), weight.clip(None, 0)
            value = weight @ value + bias
            low, high = positive @ low + negative @ high + bias, positive @ high + negative @ low + bias
        elif kind == "maximum":
            value, low, high = _maximum(numbers[0], value, low, high, constraints)
        else:
            assert (list(numbers[0]), list(numbers[1]), list(numbers[2])) == ([0], [0, 1], [0, 0]), "only ReLUs"
            value, low, high = _relu(value, low, high, constraints)
    problem = cp.Problem(cp.Maximize(value[rival] - value[label]), constraints)
    problem.solve(solver=cp.HIGHS)
    assert problem.status == cp.OPTIMAL
    return float(problem.value), float(t.value)


def true_lead(layers: Layers, x: list[float], d: list[float], t: float, label: int, rival: int) -> Fraction:
    """The rival's lead at one t, exactly."""
    logits = evaluate(layers, [Fraction(a) + Fraction(t) * Fraction(b) for a, b in zip(x, d)])[0]
    return logits[rival] - logits[label]


def _interval(x: np.ndarray, d: np.ndarray, lo: float, hi: float) -> tuple[np.ndarray, np.ndarray]:
    ends = np.stack([x + lo * d, x + hi * d])
    return ends.min(0), ends.max(0)


def _relu(value: cp.Expression, low: np.ndarray, high: np.ndarray, constraints: list) -> tuple:
    output, active = cp.Variable(len(low)), cp.Variable(len(low), boolean=True)
    below, above = np.minimum(low, 0) - 1, np.maximum(high, 0) + 1
    constraints += [output >= 0, output >= value]
    constraints += [output <= value - cp.multiply(below, 1 - active), output <= cp.multiply(above, active)]
    return output, low.clip(0, None), high.clip(0, None)


def _maximum(
    windows: list[list[int]], value: cp.Expression, low: np.ndarray, high: np.ndarray, constraints: list
) -> tuple:
    output, lows, highs = cp.Variable(len(windows)), [], []
    for unit, window in enumerate(windows):
        inputs = sorted(set(window))
        chosen, top = cp.Variable(len(inputs), boolean=True), high[inputs].max()
        constraints += [cp.sum(chosen) == 1]
        for place, j in enumerate(inputs):
            room = top - low[j] + 1
            constraints += [output[unit] >= value[j], output[unit] <= value[j] + room * (1 - chosen[place])]
        lows.append(low[inputs].max())
        highs.append(top)
    return output, np.array(lows), np.array(highs)
