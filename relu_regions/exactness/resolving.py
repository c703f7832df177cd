"""What callers say of proofs: whether and how long rational arithmetic may settle what floats leave in doubt."""

from __future__ import annotations

import math
from typing import Literal, get_args

from relu_regions.network.step_graph import StepGraph
from relu_regions.network.steps import AffineStep

__all__ = ["POINTS_TO_BEGIN", "Resolve", "may_settle", "products", "seconds_for"]

Resolve = Literal["auto", "always", "never"]

# All lines or planes of a call together may take so many seconds by default.
_AUTO_SECONDS = 60.0

# Making the exact network costs as much as some tens of points, and 140 bytes for each product. It counts as so many
# points, so that "auto" never makes one of more than 10^7 products, which would take gigabytes.
POINTS_TO_BEGIN = 100


def may_settle(resolve: Resolve) -> bool:
    """Whether lines or planes in doubt may be settled, so that error bounds are needed.

    Raises:
        ValueError: resolve is none of its values.
    """
    if resolve not in get_args(Resolve):
        raise ValueError(f"resolve must be one of {get_args(Resolve)}, not {resolve!r}.")
    return resolve != "never"


def seconds_for(resolve: Resolve, given: float | None) -> float:
    """How many seconds rational arithmetic may take in a call.

    Args:
        given: by the caller; None for 60 with "auto", and for no limit else.

    Raises:
        TypeError, ValueError: what was given is not a number, or is negative.
    """
    if given is None:
        return _AUTO_SECONDS if resolve == "auto" else math.inf
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise TypeError(f"resolve_seconds must be a number of seconds or None, not {given!r}.")
    if not given >= 0:
        raise ValueError(f"resolve_seconds must not be negative, but is {given!r}.")
    return float(given)


def products(network: StepGraph) -> int:
    """How many products an evaluation of a network's affine steps at one point takes."""
    affine = (step for step in network.steps if isinstance(step, AffineStep))
    return sum(step.terms * math.prod(step.shape) for step in affine if step.constants)
