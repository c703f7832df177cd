"""The loops that numba compiles for faces of planes behind a maximum: where each input of a window leads."""

import numpy as np
from numba import njit

from relu_regions.backends.cpu.plane_arrays import (
    DONE,
    DOUBT,
    FACE,
    OPEN,
    PARTS,
    PARTS_SHORT,
    ROOM_SHORT,
    STEP,
    WAITING,
)
from relu_regions.backends.cpu.plane_window_loops import (
    Gate,
    candidates_of,
    lead_of,
    name_inside,
    name_on_edge,
    pair_of,
    signs_of,
    still_leading,
)
from relu_regions.backends.cpu.polygon_loops import (
    EVALUATION,
    LARGEST,
    SMALLEST,
    copy_corners,
    put_crossing,
    put_edge,
    put_part,
    take_back,
)
from relu_regions.backends.plane_corners import Plane

__all__ = ["cut_by_leads"]


@njit(**STEP)
def note_bounds(face, inputs, bound):
    """Writes the bounds of a gate's inputs on a face, that of evaluating them included; whether all are finite."""
    forms, plane_s, plane_t, finite = inputs.forms[face], inputs.reach[face, 0], inputs.reach[face, 1], True
    for u in range(bound.shape[0]):
        size = abs(forms[0, u]) + plane_s * abs(forms[1, u]) + plane_t * abs(forms[2, u])
        bound[u] = inputs.errors[face, u] + EVALUATION * size + SMALLEST
        finite &= bound[u] < LARGEST
    return finite


@njit(**STEP)
def open_windows(gate, corners, start, size, leading, heights, row):
    """Notes the windows of which several inputs may lead somewhere on a face, and how many; of others which one does.

    Args:
        row: the place that leads each window, filled in.
    """
    opened, found = 0, leading.found
    for unit in range(gate.windows.shape[0]):
        kept = candidates_of(gate.windows[unit], gate.known, found)
        if kept > 1:
            kept = still_leading(unit, found, kept, gate, corners, start, size, heights)
        row[unit] = found[0]
        if kept > 1:
            leading.units[opened], leading.counts[opened] = unit, kept
            for j in range(kept):
                leading.places[opened, j] = found[j]
            opened += 1
    return opened


@njit(**STEP)
def begin_face(face, faces, gate, leading, made, room):
    """Makes a face on which no window is open a part, and lets any other wait to be divided.

    Returns:
        DONE, PARTS_SHORT or ROOM_SHORT.
    """
    start, count = faces.offsets[face], faces.offsets[face + 1] - faces.offsets[face]
    if count > room.heights.shape[0]:
        return ROOM_SHORT
    opened = open_windows(gate, faces.corners, start, count, leading, room.heights, room.pieces[0])
    if opened == 0:
        # Most faces are one part.
        if not put_part(face, faces.corners, start, count, made):
            return PARTS_SHORT
        put_pieces(room.pieces[0], made)
        return DONE
    copy_corners(faces.corners, start, count, room.corners, 0)
    room.frames[0, 0], room.frames[0, 1], room.frames[0, 2] = 0, count, 0
    made.counts[WAITING], made.counts[OPEN] = 1, opened
    return DONE


@njit(**STEP)
def put_pieces(row, made):
    """Writes the pieces of the last part."""
    part = made.counts[PARTS] - 1
    for unit in range(row.shape[0]):
        made.parts.pieces[part, unit] = row[unit]


@njit(**STEP)
def next_window(at, opened, gate, leading, room):
    """Goes on to the first of the open windows of which several inputs may lead in the part that waits last.

    Returns:
        Its number among these, and how many may lead, which are then in ``leading.found``; 0 if there is no such one.
    """
    begin, size, number = room.frames[at, 0], room.frames[at, 1], room.frames[at, 2]
    while number < opened:
        unit, kept = leading.units[number], leading.counts[number]
        for j in range(kept):
            leading.found[j] = leading.places[number, j]
        kept = still_leading(unit, leading.found, kept, gate, room.corners, begin, size, room.heights)
        if kept > 1:
            return number, kept
        room.pieces[at, unit] = leading.found[0]
        number += 1
    return number, 0


@njit(**STEP)
def divide(at, unit, kept, after, gate, found, room):
    """Divides the part that waits last into the regions on which one input of a window leads; these wait instead.

    Args:
        at: the part's number among those that wait.
        kept: how many of the places ``found`` may lead.
        after: the next of the open windows.

    Returns:
        How many parts wait then; -1 for a doubt, and -2 if room is short.
    """
    begin, size = room.frames[at, 0], room.frames[at, 1]
    end, waiting = begin + size, at + 1
    for j in range(kept):
        if waiting >= room.frames.shape[0]:
            return -2
        count = put_region(unit, j, kept, begin, size, end, gate, found, room)
        if count < 0:
            return count
        if count > 0:
            room.frames[waiting, 0], room.frames[waiting, 1], room.frames[waiting, 2] = end, count, after
            for u in range(room.pieces.shape[1]):
                room.pieces[waiting, u] = room.pieces[at, u]
            room.pieces[waiting, unit] = found[j]
            end += count
            waiting += 1
    # Nothing is left of the part itself.
    room.frames[at, 1] = 0
    return waiting


@njit(**STEP)
def put_region(unit, number, kept, begin, size, end, gate, found, room):
    """Writes the region of a part on which one of the places leads all others.

    Args:
        number: of the place among the ``kept`` first of ``found``.
        begin, size: where the part's corners are.
        end: where the region's go.

    Returns:
        How many corners it has; -1 for a doubt, and -2 if room is short.
    """
    corners, heights, start, count = room.corners, room.heights, end, size
    if end + size > heights.shape[0]:
        return -2
    copy_corners(corners, begin, size, corners, end)
    for i in range(size):
        room.origins[end + i] = i
    for m in range(kept):
        if m == number or count == 0:
            continue
        pair = pair_of(gate, unit, found[number], found[m])
        line = lead_of(gate, pair)
        above, below, doubt = signs_of(line, pair, gate, corners, start, count, heights)
        if doubt:
            return -1
        if not below and (above or pair.lead < pair.rival):
            continue
        if not above:
            count = 0
            continue
        # What is left of it goes behind it.
        if start + 3 * count > heights.shape[0]:
            return -2
        left = cut_region(start, count, begin, size, line, pair, gate, room)
        start, count = start + count, left
    if start > end:
        copy_corners(corners, start, count, corners, end)
    return count


@njit(**STEP)
def cut_region(start, count, begin, size, line, pair, gate, room):
    """Writes what is left of a region where an input leads another, behind the region; how many corners that has."""
    corners, origins, heights = room.corners, room.origins, room.heights
    end = start + count
    made = end
    for i in range(count):
        here, after = start + i, i + 1 if i + 1 < count else 0
        height, height_after = heights[i], heights[after]
        if height >= 0:
            copy_corners(corners, here, 1, corners, made)
            origins[made] = origins[here]
            if height == 0 and not height_after > 0:
                put_edge(corners, made, line)
                origins[made] = -1 - pair.rival
            made += 1
        if (height > 0 and height_after < 0) or (height < 0 and height_after > 0):
            copy_corners(corners, here, 1, corners, made)
            put_crossing(corners, here, start + after, height, height_after, line, gate.plane, made)
            if origins[here] >= 0:
                name_on_edge(origins[here], begin, size, pair, gate, corners.names, made)
            else:
                name_inside(-1 - origins[here], begin, size, pair, gate, corners.names, made)
            origins[made] = origins[here]
            if height > 0:
                put_edge(corners, made, line)
                origins[made] = -1 - pair.rival
            made += 1
    return made - end


@njit(**STEP)
def divide_waiting(face, gate, leading, made, room):
    """Divides the parts of a face that wait, the last one first, until none is left.

    Returns:
        DONE, DOUBT, PARTS_SHORT or ROOM_SHORT.
    """
    counts, frames = made.counts, room.frames
    while counts[WAITING] > 0:
        at = counts[WAITING] - 1
        if frames[at, 1] == 0:
            counts[WAITING] = at
            continue
        number, kept = next_window(at, counts[OPEN], gate, leading, room)
        frames[at, 2] = number
        if kept == 0:
            if not put_part(face, room.corners, frames[at, 0], frames[at, 1], made):
                return PARTS_SHORT
            put_pieces(room.pieces[at], made)
            counts[WAITING] = at
            continue
        waiting = divide(at, leading.units[number], kept, number + 1, gate, leading.found, room)
        if waiting < 0:
            return DOUBT if waiting == -1 else ROOM_SHORT
        counts[WAITING] = waiting
    return DONE


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, no_cfunc_wrapper=True)
def cut_by_leads(faces, inputs, windows, origins, label, leading, made, room):
    """Cuts every face into the parts on which each unit is one input of its window, as long as there is room.

    Args:
        faces, inputs: as in the loop for knots; ``known`` is ``(F, 0)`` where nothing is known.
        windows: ``(units, k)``.
        origins: ``(inputs,)``, the label of the edges on which an input that a ReLU has passed on is 0, 0 for all
            others; ``(0,)`` where all are others.
        label: the first of those for the gate.
        leading, room: what is said of one face, and parts of it that wait.
        made: as there; pieces are places in the windows.

    Returns:
        DONE; PARTS_SHORT or ROOM_SHORT to go on, with more room, from where it is.
    """
    width = windows.shape[1]
    labels = np.uint64((width + 2) * (width + 2) + width * width * width)
    for face in range(made.counts[FACE], inputs.errors.shape[0]):
        made.counts[FACE] = face
        plane, end = Plane(inputs.reach[face, 0], inputs.reach[face, 1], inputs.bounded), DONE
        gate = Gate(
            inputs.forms[face], leading.bound, inputs.known[face], windows, origins, label, labels, plane,
        )  # fmt: skip
        if made.counts[WAITING] == 0:
            if not note_bounds(face, inputs, leading.bound) and inputs.bounded:
                end = DOUBT
            else:
                end = begin_face(face, faces, gate, leading, made, room)
        if end == DONE:
            end = divide_waiting(face, gate, leading, made, room)
        if end == DOUBT:
            take_back(face, made)
            made.counts[WAITING] = 0
        elif end != DONE:
            return end
    return DONE
