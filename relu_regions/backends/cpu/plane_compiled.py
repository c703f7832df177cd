"""Faces of planes cut by loops that numba compiles; `relu_regions.backends.plane_reference` says what each does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from relu_regions.backends.cpu import plane_knot_loops, plane_lead_loops
from relu_regions.backends.cpu.plane_arrays import (
    DONE,
    PARTS_SHORT,
    Extremes,
    Faces,
    KnotRoom,
    Leading,
    LeadRoom,
    Made,
    enlarged,
)
from relu_regions.backends.cpu.plane_form_loops import bend_relu, summands
from relu_regions.backends.cpu.plane_matching_loops import number_corners, number_sides
from relu_regions.backends.plane_cuts import Cut, Inputs, Polygons
from relu_regions.network.arrays import Floats, Integers, Numbers

__all__ = ["bend_relu", "cut_at_knots", "cut_by_leads", "number_corners", "number_sides", "summands"]

Room = TypeVar("Room", bound=tuple[Any, ...])


def cut_at_knots(polygons: Polygons, inputs: Inputs, knots: Floats, label: int) -> Cut:
    dtype, units, faces = np.uint8 if len(knots) < 256 else np.int16, knots.shape[1], Faces.of(polygons)
    extremes, first = Extremes.of(units, dtype), np.uint64(label)
    return _with_room(
        lambda made, room: plane_knot_loops.cut_at_knots(faces, inputs, knots, first, extremes, made, room),
        Made.of(polygons, units, dtype),
        KnotRoom.of(),
    )


def cut_by_leads(polygons: Polygons, inputs: Inputs, windows: Integers, origins: Numbers, label: int) -> Cut:
    if len(inputs.known) == 0:
        inputs = inputs._replace(known=np.zeros((len(polygons), 0), np.int8))
    faces, leading, first = Faces.of(polygons), Leading.of(inputs.errors.shape[1], *windows.shape), np.uint64(label)
    return _with_room(
        lambda made, room: plane_lead_loops.cut_by_leads(faces, inputs, windows, origins, first, leading, made, room),
        Made.of(polygons, len(windows), np.int32),
        LeadRoom.of(len(windows)),
    )


def _with_room(loop: Callable[[Made, Room], int], made: Made, room: Room) -> Cut:
    """What a loop makes, in as much room as it needs."""
    while (end := _interruptible(loop, made, room)) != DONE:
        if end == PARTS_SHORT:
            made = made._replace(parts=enlarged(made.parts))
        else:
            room = enlarged(room)
    return made.cut()


def _interruptible(loop: Callable[[Made, Room], int], made: Made, room: Room) -> int:
    """How a compiled loop ends; Ctrl-C while that is handed over is Ctrl-C."""
    try:
        return loop(made, room)
    except SystemError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
