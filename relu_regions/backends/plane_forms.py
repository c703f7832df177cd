"""The forms of faces behind ReLUs, and what bounds of sums are made of, in numpy."""

from __future__ import annotations

import numpy as np

from relu_regions.network.arrays import Floats, Integers, Numbers

__all__ = ["bend_relu", "summands"]

# Above 1 by more than all that rounds here.
_MORE = 1 + 2.0**-40


def bend_relu(forms: Floats, errors: Floats, parents: Integers, pieces: Numbers) -> tuple[Floats, Floats]:
    """The output of ReLUs on the parts of faces, and its bounds.

    Args:
        forms: of the inputs on each face, ``(F, 3, units)``.
        errors: their bounds, ``(F, units)``; ``(0, 0)`` to do without.
        parents: the face of each part, ``(P,)``.
        pieces: of each part, ``(P, units)``.

    Returns:
        ``(P, 3, units)`` and ``(P, units)``.
    """
    active = pieces > 0
    made = np.where(active[:, None], forms[parents], 0.0)
    return made, np.where(active, errors[parents], 0.0) if len(errors) else errors


def summands(forms: Floats, errors: Floats, reach: Floats, rounding: float) -> Floats:
    """``(1 + rounding) e + rounding (|a| + S |b| + T |c|)``: bounds of numbers, with what a sum's rounding adds,
    and a little more.

    Args:
        forms: ``(F, 3, numbers)``.
        errors: ``(F, numbers)``.
        reach: S and T of each face, ``(F, 2)``.
    """
    sizes = np.abs(forms[:, 0]) + reach[:, :1] * np.abs(forms[:, 1]) + reach[:, 1:] * np.abs(forms[:, 2])
    made: Floats = (errors + rounding * (sizes + errors)) * _MORE
    return made
