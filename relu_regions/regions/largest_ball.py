"""The largest ball inside a polyhedron, wherever and however small it is."""

from __future__ import annotations

import math

import numpy as np

from relu_regions.network.arrays import Floats
from relu_regions.regions.linear_programs import RESOLUTION, TOO_ILL_SHAPED, LinearProgram

__all__ = ["largest_ball"]


# A ball is looked for within so many times the scale that was found last, and so often.
_REACH, _SCALES = 1e4, 8


def largest_ball(rows: Floats, lengths: Floats, bounds: Floats) -> tuple[Floats, float]:
    """Centre and radius; where there is no largest, the centre of a ball of radius 1, and inf.

    Args:
        rows, bounds: ``rows @ x <= bounds``, ``(m, n)`` with rows of length 1 or 0, and ``(m,)``.
        lengths: by how much a ball of radius 1 reaches towards each row, ``(m,)``.

    Raises:
        ValueError: there is no ball, or float64 is too coarse for it.
    """
    scale = math.ldexp(1.0, math.frexp(np.abs(bounds[np.isfinite(bounds)]).max(initial=0.0) or 1.0)[1])
    centre, radius, dual = _ball(rows, lengths, bounds / scale)
    if math.isinf(radius):
        return _ball(rows, lengths, bounds, 1.0)[0], math.inf
    found = _refined(rows, lengths, bounds, centre * scale, radius, scale)
    if found is None:
        # Of many balls as large, one so far out that floats can't tell its ends apart.
        centre = _in_the_middle(rows, lengths, bounds / scale, centre, radius, dual)
        found = _refined(rows, lengths, bounds, centre * scale, radius, scale)
    if found is None:
        raise ValueError(f"The region has no interior, or one too thin to be found. {TOO_ILL_SHAPED}")
    return found


def _refined(
    rows: Floats, lengths: Floats, bounds: Floats, centre: Floats, radius: float, scale: float
) -> tuple[Floats, float] | None:
    """A ball with as many digits as it deserves, from one that was found at a scale; None if floats can't tell.

    Each linear program is solved in the coordinates of the last answer, at its size, until the radius is about 1.
    """
    for _ in range(_SCALES):
        if radius < -RESOLUTION:
            raise ValueError("The region has no interior: no point satisfies all inequalities strictly.")
        scale *= max(radius, RESOLUTION)
        if scale < np.finfo(np.float64).eps * np.abs(centre).max(initial=0.0):
            return None
        shift, radius, _ = _ball(rows, lengths, (bounds - rows @ centre) / scale, reach=_REACH)
        settled = np.abs(shift).max(initial=0.0) < _REACH / 2 or abs(radius - 1) < RESOLUTION
        if radius > 0.1 and settled:
            centre = centre + scale * shift
            fits = bounds - rows @ centre >= (1 - 1e-6) * radius * scale * lengths
            return (centre, float(radius * scale)) if fits.all() else None
        centre = centre + scale * shift
    return None


def _ball(
    rows: Floats, lengths: Floats, bounds: Floats, most: float = math.inf, reach: float = math.inf
) -> tuple[Floats, float, Floats]:
    """Centre and radius of a largest ball up to ``most`` (inf and NaN if there is none); the rows that bound it."""
    radius_alone = np.append(np.zeros(rows.shape[1]), 1.0)
    inequalities = np.vstack([np.column_stack([rows, lengths]), radius_alone])
    program = LinearProgram(inequalities, np.append(bounds, most), reach=reach)
    radius, solution = program.maximize(radius_alone)
    return solution[:-1], radius, program.dual[:-1]


def _in_the_middle(
    rows: Floats, lengths: Floats, bounds: Floats, centre: Floats, radius: float, dual: Floats
) -> Floats:
    """The centre of a ball nearly as large, as far as possible from the rows that do not bound it."""
    free = dual <= 0
    inequalities = np.column_stack([rows, np.where(free, lengths, 0.0)])
    program = LinearProgram(inequalities, np.where(free, bounds, bounds - lengths * (radius - RESOLUTION)))
    distance, solution = program.maximize(np.append(np.zeros(rows.shape[1]), 1.0))
    return solution[:-1] if math.isfinite(distance) else centre
