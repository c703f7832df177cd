"""Faces of planes cut by loops that numba compiles; `relu_regions.backends.plane_reference` says what each does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from relu_regions.backends.cpu import plane_knot_loops, plane_lead_loops
from relu_regions.backends.cpu.plane_form_loops import bend_relu, summands
from relu_regions.backends.cpu.plane_matching_loops import number_corners, number_sides
from relu_regions.backends.plane_cuts import Cut, Polygons
from relu_regions.network.arrays import Floats, Integers, Numbers

__all__ = ["bend_relu", "cut_at_knots", "cut_by_leads", "number_corners", "number_sides", "summands"]


def cut_at_knots(
    polygons: Polygons,
    forms: Floats,
    errors: Floats,
    known: Numbers,
    knots: Floats,
    reach: Floats,
    label: int,
    bounded: bool,
) -> Cut:
    parents, offsets, numbers, names, pieces, doubt = _interruptible(
        plane_knot_loops.cut_at_knots,
        polygons.offsets,
        polygons.numbers,
        polygons.names,
        forms,
        errors,
        known,
        knots,
        reach,
        np.uint64(label),
        bounded,
        np.empty(0, np.uint8 if len(knots) < 256 else np.int16),
    )
    return Cut(parents, Polygons(offsets, numbers, names), pieces, doubt)


def cut_by_leads(
    polygons: Polygons,
    forms: Floats,
    errors: Floats,
    known: Numbers,
    origins: Numbers,
    windows: Integers,
    reach: Floats,
    label: int,
    bounded: bool,
) -> Cut:
    parents, offsets, numbers, names, pieces, doubt = _interruptible(
        plane_lead_loops.cut_by_leads,
        polygons.offsets,
        polygons.numbers,
        polygons.names,
        forms,
        errors,
        known,
        origins,
        windows,
        reach,
        np.uint64(label),
        bounded,
    )
    return Cut(parents, Polygons(offsets, numbers, names), pieces, doubt)


def _interruptible(loop: Callable[..., Any], *given: Any) -> Any:
    """What a compiled loop returns; Ctrl-C while its arrays are handed over is Ctrl-C."""
    try:
        return loop(*given)
    except SystemError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
