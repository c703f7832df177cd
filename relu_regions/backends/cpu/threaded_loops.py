"""Where gates bend, and where rounding leaves that in doubt, on a CPU: the loops gate by gate on several threads.

What a loop says of a point depends on the points beside it, so each part is looked at with a few more on either side.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch

from relu_regions.backends.cpu import loops, maximum_loops
from relu_regions.backends.cpu.loop_arrays import Room, Tied, Windows, bits_of
from relu_regions.backends.threads import each_on_one_thread, parts_of
from relu_regions.network.arrays import Numbers

__all__ = ["Located", "close_to_knots", "crossings_of_knots", "followed", "leads_that_are_open", "overtakings"]

# A part has so many numbers at least: to share out fewer costs more than it saves.
_NUMBERS = 1 << 17


class Located(NamedTuple):
    """Crossings in order of interval and t, their new points as crossing_loops.py makes them, and each one's count."""

    integers: Numbers
    reals: Numbers
    inside: Numbers
    spots: Numbers
    shares: Numbers
    added: Numbers


def crossings_of_knots(
    values: Numbers,
    ends: Numbers,
    knots: Numbers,
    at_zero: bool,
    weighted: bool,
    starts_interval: Numbers,
    extremes: Numbers,
) -> Located:
    """Every crossing of a gate with knots; arguments as loops.locate, values ``(P, units)``."""

    def of_part(part: tuple[int, int]) -> Located:
        start, stop = part
        own, starts = slice(start, min(stop + 1, len(values))), starts_interval[start : stop + 1].copy()
        starts[-1] = False
        z, at, most = values[own][None], ends[own], np.empty((3, len(starts)), values.dtype)
        distance, added = np.empty((1, 2, values.shape[1]), values.dtype), np.empty(len(starts), np.int64)
        given = (z, bits_of(z), at, knots, at_zero, weighted, starts, bits_of(most), distance, bits_of(distance))
        found, places = -1, 2 * (len(starts) + len(knots) * values.shape[1])
        while found < 0:
            room = Room.of(places, values.dtype)
            found, fresh = loops.locate(*given, room, added)
            places *= 4
        extremes[:, start:stop] = most[:, : stop - start]
        crossings = (room.integers[:, :found], room.reals[:, :found], room.inside[0, :found])
        return Located(*crossings, room.spots[0, :fresh], room.shares[:, :fresh], added[: stop - start])

    parts = _parts(values)
    found = each_on_one_thread(of_part, parts, torch.get_num_threads())
    if len(found) == 1:
        return found[0]
    tops = accumulate((len(part.spots) for part in found), initial=0)
    for (start, _), part, top in zip(parts, found, tops):
        part.integers[0] += start
        part.integers[3] += start + top
        part.spots[:] += start
    return Located(*(np.concatenate(column, -1) for column in zip(*found)))


def overtakings(
    values: Numbers,
    windows: Windows,
    tied: Tied,
    starts_interval: Numbers,
    record: bool,
    outputs: Numbers,
    extremes: Numbers,
    leads: Numbers,
) -> tuple[Numbers, Numbers]:
    """Where the winners of a maximum gate differ; arguments and results as maximum_loops.winners."""

    def of_part(part: tuple[int, int]) -> tuple[Numbers, Numbers]:
        (start, stop), own = part, _with_neighbours(part, 1, len(values))
        # Rows of its own: the loop goes on from what it writes there, and no other part may change that meanwhile.
        largest = np.empty((own.stop - own.start, outputs.shape[1]), values.dtype)
        rows, most = values[own], np.empty((3, len(largest)), values.dtype)
        least = np.empty((2, len(largest) if leads.shape[1] else 0), values.dtype)
        asked = (windows, tied.only(own), starts_interval[own], record)
        found: tuple[Numbers, Numbers] = maximum_loops.winners(
            rows, bits_of(rows), *asked, largest, bits_of(most), bits_of(least)
        )
        here = slice(start - own.start, stop - own.start)
        outputs[start:stop], extremes[:, start:stop] = largest[here], most[:, here]
        leads[:, start:stop] = least[:, here]
        for columns in found:
            columns[0] += own.start
        crossings, changes = (columns[:, (columns[0] >= start) & (columns[0] < stop)] for columns in found)
        return crossings, changes

    crossings, changes = zip(*each_on_one_thread(of_part, _parts(values), torch.get_num_threads()))
    return np.concatenate(crossings, 1), np.concatenate(changes, 1)


def followed(values: Numbers, windows: Numbers, between: Numbers) -> tuple[Numbers, Numbers]:
    """The crossings of units whose winners differ, as maximum_loops.follow fills them in."""
    found, places = -1, 2 * between.shape[1]
    while found < 0:
        integers, reals = np.empty((4, places), np.int64), np.empty((3, places), values.dtype)
        found = maximum_loops.follow(values, windows, between.copy(), integers, reals)
        places *= 2
    return integers[:, :found], reals[:, :found]


def close_to_knots(distance: Numbers, bound: Numbers, before: Numbers, after: Numbers, asked: Numbers) -> Numbers:
    """The rows in doubt, ``(P,)`` bool; arguments as reference.rows_in_doubt."""
    doubt = np.empty(len(distance), np.bool_)

    def of_part(part: tuple[int, int]) -> None:
        own = _with_neighbours(part, 1, len(distance))
        found = np.zeros(own.stop - own.start, np.bool_)
        loops.rows_in_doubt(distance[own], bound[own], before[own], after[own], asked[own], found)
        doubt[slice(*part)] = found[part[0] - own.start : part[1] - own.start]

    each_on_one_thread(of_part, _parts(distance), torch.get_num_threads())
    return doubt


def leads_that_are_open(
    values: Numbers,
    windows: Windows,
    known: tuple[Numbers, ...],
    asked: tuple[Numbers, ...],
) -> Numbers:
    """The rows in doubt, ``(P,)`` bool; arguments as maximum_loops.leads_in_doubt.

    Args:
        known: alike, column, whole and zeros.
        asked: table, between, bound, before, after and starts_interval.
    """

    def of_part(part: tuple[int, int]) -> tuple[slice, Numbers]:
        # What is open at a point can be asked about at the next one, and so of that one's neighbour.
        own = _with_neighbours(part, 2, len(values))
        found, rows = np.zeros(own.stop - own.start, np.bool_), values[own]
        maximum_loops.leads_in_doubt(rows, bits_of(rows), windows, *known, *(part[own] for part in asked), found)
        return own, found

    doubt = np.zeros(len(values), np.bool_)
    for own, found in each_on_one_thread(of_part, _parts(values), torch.get_num_threads()):
        # A point that lacks a neighbour in one part has it in another, where it is in doubt if it is so here.
        doubt[own] |= found
    return doubt


def _parts(values: Numbers) -> list[tuple[int, int]]:
    return parts_of(len(values), max(1, _NUMBERS // max(1, values.shape[1])))


def _with_neighbours(part: tuple[int, int], more: int, count: int) -> slice:
    return slice(max(0, part[0] - more), min(count, part[1] + more))
