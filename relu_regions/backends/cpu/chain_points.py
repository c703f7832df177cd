"""What a chain keeps for each point, in loops that numba compiles: places, flips, and bounds of errors."""

import numpy as np
from numba import njit

from relu_regions.network.rounding_constants import APART, CROSSING, NEW_ROW, PER_BEND, PER_INTERVAL, VALUE

__all__ = ["bent", "bounds", "insert", "nearness", "record"]


# ---------------------------------------------------------------- points and flips


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def insert(points, added, shares, to, moved):
    """All points once the new ones are there: fills in ``to``, and the rows at which the old points come to lie."""
    g, offsets, position, weight, weighted = 0, points.offsets, points.position, points.weight, points.weighted
    to_offsets, to_position, to_weight = to.offsets, to.position, to.weight
    for s in range(len(offsets) - 1):
        to_offsets[s] = offsets[s] + g
        for i in range(offsets[s], offsets[s + 1]):
            moved[i] = i + g
            to_position[i + g] = position[i]
            if weighted:
                to_weight[i + g] = weight[i]
            for _ in range(added[i]):
                g += 1
                left, right = shares[0, g - 1], shares[1, g - 1]
                to_position[i + g] = position[i] * left + position[i + 1] * right
                if weighted:
                    to_weight[i + g] = weight[i] * left + weight[i + 1] * right
    to_offsets[len(offsets) - 1] = offsets[len(offsets) - 1] + g


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def record(gate, flips, moved, count, room, offsets, first, last, to_flips):
    """Flips of earlier gates at their new rows, and those of this gate's crossings, in order of rows.

    A crossing that rounds to the end of a segment changes the pattern there, with no region before it.

    Args:
        flips: of earlier gates, ``(5, flips)``: row, gate, unit, piece before and after.
        moved: the new rows of the points there were.
        count, room: the gate's crossings.
        offsets: of the segments among all points.
        first, last: pieces at the segments' ends, ``(segments, units)``, changed in place.
        to_flips: ``(5, flips + crossings)``, filled in.

    Returns:
        How many flips there are.
    """
    old, total, s = 0, 0, 0
    unit, knot, crossing_row, rise = room.integers[1], room.integers[2], room.integers[3], room.reals[3]
    for m in range(count):
        row = crossing_row[m]
        while old < flips.shape[1] and moved[flips[0, old]] <= row:
            to_flips[0, total] = moved[flips[0, old]]
            for part in range(1, 5):
                to_flips[part, total] = flips[part, old]
            old, total = old + 1, total + 1
        while row >= offsets[s + 1]:
            s += 1
        rising = 1 if rise[m] > 0 else 0
        before, after = knot[m] + 1 - rising, knot[m] + rising
        # Several knots that a unit crosses there come in the order of the knots, whichever way it goes.
        if row == offsets[s]:
            piece = first[s, unit[m]]
            first[s, unit[m]] = max(piece, after) if rising else min(piece, after)
        elif row == offsets[s + 1] - 1:
            piece = last[s, unit[m]]
            last[s, unit[m]] = min(piece, before) if rising else max(piece, before)
        else:
            to_flips[0, total], to_flips[1, total], to_flips[2, total] = row, gate, unit[m]
            to_flips[3, total], to_flips[4, total] = before, after
            total += 1
    while old < flips.shape[1]:
        to_flips[0, total] = moved[flips[0, old]]
        for part in range(1, 5):
            to_flips[part, total] = flips[part, old]
        old, total = old + 1, total + 1
    return total


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def bent(flips, offsets, place, rows):
    """Which points are kept: those where something flips, and both ends of each segment.

    Args:
        flips: ``(5, flips)``, in order of rows.
        place: how many points are kept before each row, ``(P + 1,)``, filled in.
        rows: the rows that are kept, ``(P,)``, filled in.

    Returns:
        How many are kept, and whether the flips are in order of gate and unit too.
    """
    kept, f, ordered, total = 0, 0, True, flips.shape[1]
    for s in range(len(offsets) - 1):
        for i in range(offsets[s], offsets[s + 1]):
            start, place[i] = f, kept
            while f < total and flips[0, f] == i:
                if f > start and flips[1, f] == flips[1, f - 1] and flips[2, f] <= flips[2, f - 1]:
                    ordered = False
                f += 1
            if f > start or i == offsets[s] or i == offsets[s + 1] - 1:
                rows[kept] = i
                kept += 1
    place[offsets[-1]] = kept
    return kept, ordered


# ---------------------------------------------------------------- bounds


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def nearness(errors, points, knot, near, uncertain):
    """What a unit's distance from its knot is compared with at each row; see Certainty.

    Args:
        errors: bounds of the errors of values, of shifts, and of stored positions and weights, ``(4, P)``.
        knot: the largest of the gate.
        near: ``(3, P)``, filled in: the values' bound beside the row, and by which share of their change over the
            interval before, and over the one after, a shift of the row moves them.
    """
    position, offsets = points.position, points.offsets
    value, shift, stored = errors[0], errors[1], errors[2]
    for s in range(len(offsets) - 1):
        start, stop = offsets[s], offsets[s + 1]
        for i in range(start, stop):
            near[0, i] = max(value[max(i - 1, start)], value[i], value[min(i + 1, stop - 1)]) + knot * errors[3, i]
            near[1, i] = near[2, i] = 0
        for i in range(start, stop - 1):
            gap = abs(position[i + 1] - position[i]) - 2 * max(stored[i], stored[i + 1])
            if gap > 0:
                near[2, i], near[1, i + 1] = shift[i] / gap, shift[i + 1] / gap
            elif shift[i] > 0 or shift[i + 1] > 0:
                uncertain[s] = True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def bounds(points, added, count, room, size, near, errors, norms, uncertain, to_errors):
    """Bounds of the errors behind a gate and its matrix, and the segments where the order of bends is in doubt.

    The formulas, with the reasons for them, are those of Certainty.

    Args:
        points, added: the points there were, and how many new ones each interval gets.
        count, room: the gate's crossings.
        norms: of the matrix: gain, bias, rounding, floor; the gate's sizes; and half the distance of 1 from the next
            float.
        to_errors: ``(4, P + G)``, filled in.
    """
    gain, bias, rounding, floor, slope, turn, knot, offset, unit = norms
    offsets, position, weight = points.offsets, points.position, points.weight
    row, crossing_row, inside = room.integers[0], room.integers[3], room.inside[0]
    right, rise, stop, r = room.reals[2], room.reals[3], 0, 0
    for s in range(len(offsets) - 1):
        for i in range(offsets[s], offsets[s + 1]):
            inner = i + 1 < offsets[s + 1]
            j = i + 1 if inner else i
            largest = max(size[i], size[j])
            product = gain * (slope * largest + offset) + bias
            made = rounding * product + floor
            to_errors[0, r] = gain * slope * errors[0, i] + made
            for part in range(1, 4):
                to_errors[part, r] = errors[part, i]
            start = stop
            while stop < count and row[stop] == i:
                stop += 1
            reach = 2 * product + gain * 2 * turn * (largest + knot)
            made += (PER_BEND * (stop - start) + PER_INTERVAL) * unit * reach
            value = max(errors[0, i], errors[0, j]) + NEW_ROW * unit * max(
                size[i] + errors[0, i], size[j] + errors[0, j]
            )
            stored = max(errors[2, i], errors[2, j]) + NEW_ROW * unit * max(
                abs(position[i]) + errors[2, i], abs(position[j]) + errors[2, j]
            )
            heavy = 0.0
            if points.weighted:
                heavy = max(errors[3, i], errors[3, j]) + NEW_ROW * unit * max(
                    weight[i] + errors[3, i], weight[j] + errors[3, j]
                )
            for g in range(r + 1, r + 1 + added[i]):
                to_errors[0, g] = gain * slope * value + made
                to_errors[1, g], to_errors[2, g], to_errors[3, g] = 0, stored, heavy
            limit, length = max(near[0, i], near[0, j]), abs(position[j] - position[i])
            if knot > 0:
                limit = max(near[0, i] + VALUE * unit * (size[i] + knot), near[0, j] + VALUE * unit * (size[j] + knot))
            earlier = 0.0
            for m in range(start, stop):
                relative = limit / abs(rise[m]) + CROSSING * unit
                if not (inside[m] and abs(rise[m]) < np.inf):
                    uncertain[s] = True
                elif relative * length > to_errors[1, crossing_row[m]]:
                    to_errors[1, crossing_row[m]] = relative * length
                if m > start and (
                    crossing_row[m] == crossing_row[m - 1] or not right[m] - right[m - 1] > APART * (relative + earlier)
                ):
                    uncertain[s] = True
                earlier = relative
            r += 1 + added[i]
