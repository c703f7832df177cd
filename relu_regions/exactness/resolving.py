"""What callers say of proofs: whether what floats leave in doubt may be settled; and what that costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

from relu_regions.network.step_graph import StepGraph
from relu_regions.network.steps import AffineStep

__all__ = ["POINTS_TO_BEGIN", "Heard", "Resolve", "may_settle", "products", "without_limit"]

Resolve = Literal["auto", "always", "never"]
# Told how many lines or planes are done; says whether there is time for more.
Heard = Callable[[int], bool]

# Making the exact network costs as much as some tens of points, and 140 bytes for each product. It counts as so many
# points, so that "auto" never makes one of more than 10^7 products, which would take gigabytes.
POINTS_TO_BEGIN = 100


def without_limit(done: int) -> bool:
    """There is time for more, however many are done."""
    return True


def may_settle(resolve: Resolve) -> bool:
    """Whether lines or planes in doubt may be settled, so that error bounds are needed.

    Raises:
        ValueError: resolve is none of its values.
    """
    if resolve not in get_args(Resolve):
        raise ValueError(f"resolve must be one of {get_args(Resolve)}, not {resolve!r}.")
    return resolve != "never"


def products(network: StepGraph) -> int:
    """How many products an evaluation of a network's affine steps at one point takes."""
    affine = (step for step in network.steps if isinstance(step, AffineStep))
    return sum(step.terms * math.prod(step.shape) for step in affine if step.constants)
