"""Shapes and dtypes in annotations, checked while tests run, in the modules of public names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from beartype import BeartypeConf, beartype

__all__ = ["CHECKED", "CHECKER", "after_the_call"]

F = TypeVar("F", bound=Callable[..., Any])

# The modules of public functions and results; not of the inner loops, where each call would pay for it.
CHECKED = (
    "relu_regions.exactness.rational.interval",
    "relu_regions.exactness.rational.walk",
    "relu_regions.intervals.certificates.certify",
    "relu_regions.intervals.interval",
    "relu_regions.intervals.sampling",
    "relu_regions.lines.directions",
    "relu_regions.paths.change",
    "relu_regions.paths.norms_along",
    "relu_regions.paths.paths",
    "relu_regions.planes.cells",
    "relu_regions.planes.edges",
    "relu_regions.planes.planes",
    "relu_regions.planes.segment",
    "relu_regions.regions.affine_maps",
    "relu_regions.regions.class_change",
    "relu_regions.regions.halfspaces",
    "relu_regions.regions.lipschitz_bounds",
    "relu_regions.regions.norms",
    "relu_regions.regions.polytope",
    "relu_regions.walking.attribution",
    "relu_regions.walking.walker",
)
CHECKER = f"{__name__}.after_the_call"

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # 2 is a float to mypy too


def after_the_call(function: F) -> F:
    """Checks what went into a call and what came out of it, once the call has come back.

    What the library refuses, it so refuses in its own words, in tests as everywhere; what it accepts must be as its
    annotations say. jaxtyping asks twice: before the call for the arguments alone, with a function that returns Any,
    and after the call for arguments and answer.
    """
    return function if function.__annotations__.get("return") is Any else _checked(function)
