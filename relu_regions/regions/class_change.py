"""The smallest change inside a region after which another class is as likely, as a convex problem that reads as one."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from relu_regions.network.arrays import Floats
from relu_regions.regions.linear_programs import TOO_ILL_SHAPED, LinearProgram

__all__ = ["ClassChange", "nearest_change"]

# How much longer than proven a solver's answer may be.
_GAP = 1e-6
_DUAL = {1: math.inf, 2: 2, math.inf: 1}


@dataclass(frozen=True)
class ClassChange:
    """The nearest point of a region where another class has as large a logit.

    A solver that works in floats finds it. So ``point`` and ``distance`` are what it found, and two numbers that do not
    rest on the solver say how good that is: ``at_least`` and ``excess``.

    Attributes:
        distance: from the point asked about, in the norm asked for.
        point: ``(*input_shape)`` float64.
        label: the class that catches up there.
        at_least: no point of the region that is nearer than this has another class as likely. It follows from the
            solver's multipliers by weak duality, whatever they are, with rounding allowed for; it holds for the
            region's inequalities, and for slack and logits at the point asked about, as they stand in float64.
        excess: by how much ``point`` misses, as a distance in the same norm: the largest of how far it lies beyond an
            inequality, and of how far the network's own logits there, in float64, are from a tie. 0 or near rounding.
    """

    distance: float
    point: Float64[Tensor, " *input_shape"]
    label: int
    at_least: float
    excess: float


class Nearest(NamedTuple):
    """The shortest move after which another class is as likely, as a solver found it."""

    label: int
    move: Floats
    distance: float
    at_least: float
    steepness: float  # by how much a move of length 1 changes the difference of the two logits at most


def nearest_change(
    matrix: Floats, slack: Floats, slopes: Floats, behind: Floats, label: int, p: float
) -> Nearest | None:
    """The shortest move inside a region after which another class is as likely; None if there is none.

    Args:
        matrix: rows of the region's inequalities, ``(m, n)``.
        slack: what each has left at the point, ``(m,)``, not negative.
        slopes: of each logit over the logit of the point's own class, ``(C, n)``.
        behind: how far each logit is behind it, ``(C,)``, not negative.
        label: the point's own class.
        p: of the norm: 1, 2 or inf.

    Raises:
        ValueError: float64 is too coarse for the region.
    """
    steepness = _length(slopes, p)
    # By its slopes alone a class is at least so far away: most need no solver.
    least = np.divide(behind, steepness, out=np.full(len(behind), math.inf), where=steepness > 0)
    least[behind == 0] = 0.0
    best, at_least = None, math.inf
    for other in (int(k) for k in least.argsort(kind="stable") if k != label):
        if least[other] >= (best.distance if best else math.inf):
            break
        found: tuple[Floats, float] | None = (np.zeros(slopes.shape[1]), 0.0)
        if behind[other] > 0:
            found = _nearest_tie(matrix, slack, slopes[other], behind[other], p)
        if found is not None:
            distance, at_least = float(np.linalg.norm(found[0], p)), min(at_least, found[1])
            if best is None or distance < best.distance:
                best = Nearest(other, found[0], distance, 0.0, float(steepness[other]) or 1.0)
    return None if best is None else best._replace(at_least=min(at_least, best.distance))


def _nearest_tie(matrix: Floats, slack: Floats, slopes: Floats, ahead: float, p: float) -> tuple[Floats, float] | None:
    """The shortest move that stays inside a region and makes up what another class is behind; None if none does.

    Args:
        matrix: rows of the region's inequalities, ``(m, n)``.
        slack: what each has left at the point, ``(m,)``, not negative.
        slopes: of the other class's logit over the point's own, ``(n,)``.
        ahead: how far the point's own class is ahead; positive.
        p: of the norm: 1, 2 or inf.

    Returns:
        The move ``(n,)``, and a length below which none does, proven.

    Raises:
        ValueError: float64 is too coarse for the region.
    """
    import cvxpy  # takes seconds to load, and few ask for it

    # In units of the shortest move that slopes alone allow, each row of length 1: what a solver likes best.
    lengths, steepness = _length(matrix, p), _length(slopes[None], p)[0]
    unit, bounding = ahead / steepness, lengths > 0
    rows, room = matrix[bounding] / lengths[bounding, None], slack[bounding] / lengths[bounding] / unit
    towards = slopes / steepness

    move = cvxpy.Variable(len(slopes))
    inside, catches_up = rows @ move <= room, towards @ move >= 1
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm(move, p)), [inside, catches_up] if len(rows) else [catches_up])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")  # how accurate it is follows below
            problem.solve(cvxpy.CLARABEL, tol_feas=1e-10, tol_gap_abs=1e-10, tol_gap_rel=1e-10)
    except cvxpy.SolverError as error:
        raise ValueError(TOO_ILL_SHAPED) from error
    if problem.status in (cvxpy.INFEASIBLE, cvxpy.INFEASIBLE_INACCURATE):
        # Not on the word of one solver: nowhere in the region does the other class come so far.
        if LinearProgram(rows, room).maximize(towards)[0] < 1:
            return None
        raise ValueError(TOO_ILL_SHAPED)
    if problem.status not in (cvxpy.OPTIMAL, cvxpy.OPTIMAL_INACCURATE):
        raise ValueError(TOO_ILL_SHAPED)
    weights = np.zeros(0) if inside.dual_value is None else inside.dual_value
    at_least = _proven(rows, room, towards, weights, float(catches_up.dual_value), p)
    if not problem.value <= at_least + _GAP * max(problem.value, 1.0):
        raise ValueError(TOO_ILL_SHAPED)
    return move.value * unit, at_least * unit


def _proven(rows: Floats, room: Floats, towards: Floats, weights: Floats, weight: float, p: float) -> float:
    """A length below which no v has ``rows @ v <= room`` and ``towards @ v >= 1``, by any weights not negative.

    For such a v, ``(weight * towards - weights @ rows) @ v >= weight - weights @ room``, and the left side is at most
    |v| times the length of that vector in the dual norm.
    """
    weights, weight = np.maximum(weights, 0), max(weight, 0.0)
    rounding = _rounding(rows) + _rounding(rows.T)
    worth = weight - weights @ room - rounding * (weight + weights @ np.abs(room))
    taken = weight * np.abs(towards) + weights @ np.abs(rows)
    left = _length(np.stack([weight * towards - weights @ rows, taken]), p)
    length = float(left[0] + rounding * left[1]) * (1 + rounding)
    return max(float(worth) / float(length), 0.0) if length > 0 else 0.0


def _length(rows: Floats, p: float) -> Floats:
    """Of rows, in the norm dual to p: what a move of length 1 can change at most."""
    found: Floats = np.linalg.norm(rows, _DUAL[p], axis=1)
    return found


def _rounding(rows: Floats) -> float:
    """What rounding can do to a sum over a row, and to a few operations around it, relative to the sum of sizes."""
    return float((rows.shape[1] + 8) * np.finfo(np.float64).eps)
