"""The loops that numba compiles for faces of planes behind a gate with knots."""

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
from relu_regions.backends.cpu.polygon_loops import (
    EVALUATION,
    LARGEST,
    SMALLEST,
    add_halves,
    copy_corners,
    form_at,
    is_sure,
    put_part,
    side_of,
    take_back,
)
from relu_regions.backends.plane_corners import Line, Plane

__all__ = ["cut_at_knots"]


@njit(**STEP)
def note_extremes(numbers, start, count, forms, errors, knot, plane, extremes):
    """Notes the smallest and largest height of every unit at a face's corners, and by how much signs are sure."""
    low, high, gap, bound = extremes.low, extremes.high, extremes.gap, extremes.bound
    units = forms.shape[1]
    for u in range(units):
        size = abs(forms[0, u]) + abs(knot[u]) + plane.s * abs(forms[1, u]) + plane.t * abs(forms[2, u])
        bound[u] = errors[u] + EVALUATION * size + SMALLEST
        low[u], high[u], gap[u] = np.inf, -np.inf, np.inf
    for i in range(start, start + count):
        s, t, radius_s, radius_t = numbers[i, 0], numbers[i, 1], numbers[i, 2], numbers[i, 3]
        for u in range(units):
            b, c = forms[1, u], forms[2, u]
            height = (forms[0, u] - knot[u]) + s * b + t * c
            sure = abs(height) - (bound[u] + abs(b) * radius_s + abs(c) * radius_t)
            low[u] = height if height < low[u] else low[u]
            high[u] = height if height > high[u] else high[u]
            gap[u] = sure if sure < gap[u] else gap[u]


@njit(**STEP)
def all_sure(line, corners, start, count, plane):
    """Whether the sign of a form is sure at every corner."""
    if not line.error < LARGEST:
        return False
    for i in range(count):
        here, last = start + i, start + (i - 1 if i > 0 else count - 1)
        if not is_sure(form_at(line, corners, here), line, corners, here, last, plane):
            return False
    return True


@njit(**STEP)
def note_lines(face, faces, inputs, knots, label, plane, extremes, made, room):
    """Notes which lines cross a face, and for each unit the piece that it has below all of these.

    Returns:
        DONE; DOUBT if a sign is not sure; ROOM_SHORT.
    """
    start, count = faces.offsets[face], faces.offsets[face + 1] - faces.offsets[face]
    forms, known, levels, units = inputs.forms[face], inputs.known, knots.shape[0], knots.shape[1]
    low, high, gap, bound, base = extremes
    lines = 0
    for u in range(units):
        base[u] = 0
    for level in range(levels):
        note_extremes(faces.corners.numbers, start, count, forms, inputs.errors[face], knots[level], plane, extremes)
        for u in range(units):
            if known.shape[0] > 0 and known[face, u] >= 0:
                if level == 0:
                    base[u] = known[face, u]
                continue
            number = label + np.uint64(u * levels + level)
            line = Line(forms[0, u] - knots[level, u], forms[1, u], forms[2, u], bound[u], number)
            doubtful = plane.bounded and not (gap[u] > 0 and bound[u] < LARGEST)
            if doubtful and not all_sure(line, faces.corners, start, count, plane):
                return DOUBT
            if low[u] < 0 and high[u] > 0:
                if lines == room.units.shape[0]:
                    return ROOM_SHORT
                put_line(line, u, lines, room)
                lines += 1
            elif high[u] > 0:
                base[u] += 1
    made.counts[OPEN] = lines
    return DONE


@njit(**STEP)
def put_line(line, unit, at, room):
    """Notes a line that crosses a face."""
    room.units[at], room.labels[at] = unit, line.label
    room.lines[at, 0], room.lines[at, 1], room.lines[at, 2], room.lines[at, 3] = line.a, line.b, line.c, line.error


@njit(**STEP)
def line_of(room, at):
    """A line that crosses a face."""
    lines = room.lines
    return Line(lines[at, 0], lines[at, 1], lines[at, 2], lines[at, 3], room.labels[at])


@njit(**STEP)
def begin_face(face, faces, base, made, room):
    """Makes a face that no line crosses a part, and lets any other wait to be cut.

    Returns:
        DONE, PARTS_SHORT or ROOM_SHORT.
    """
    start, count, lines = faces.offsets[face], faces.offsets[face + 1] - faces.offsets[face], made.counts[OPEN]
    if lines == 0:
        if not put_part(face, faces.corners, start, count, made):
            return PARTS_SHORT
        part = made.counts[PARTS] - 1
        for u in range(base.shape[0]):
            made.parts.pieces[part, u] = base[u]
        return DONE
    if max(lines, count) > min(room.left.shape[0], room.sides.shape[0], room.heights.shape[0]):
        return ROOM_SHORT
    copy_corners(faces.corners, start, count, room.corners, 0)
    for k in range(lines):
        room.left[k], room.sides[k] = k, 0
    put_frame(room, 0, 0, count, 0, lines)
    made.counts[WAITING] = 1
    return DONE


@njit(**STEP)
def put_frame(room, at, begin, corners, first, lines):
    """Notes where a part that waits has its corners and lines, and how many."""
    frames = room.frames
    frames[at, 0], frames[at, 1], frames[at, 2], frames[at, 3] = begin, corners, first, lines


@njit(**STEP)
def put_pieces(base, frame, made, room):
    """Writes the pieces of the last part, one more for each line that it is above of."""
    part, lines, pieces = made.counts[PARTS] - 1, made.counts[OPEN], made.parts.pieces
    for u in range(base.shape[0]):
        pieces[part, u] = base[u]
    for k in range(lines):
        pieces[part, room.units[k]] += room.sides[frame * lines + k]


@njit(**STEP)
def halve(at, lines, plane, room):
    """Cuts the part that waits last along the first line that crosses it; the half below waits behind that above.

    Args:
        at: its number among the parts that wait.
        lines: how many cross the face.

    Returns:
        DONE; DOUBT if it is in doubt whether another line crosses a half; ROOM_SHORT.
    """
    begin, size, first, count = room.frames[at, 0], room.frames[at, 1], room.frames[at, 2], room.frames[at, 3]
    corners, heights = room.corners, room.heights
    if begin + 5 * size > heights.shape[0] or first + 2 * count > room.left.shape[0]:
        return ROOM_SHORT
    if (at + 2) * lines > room.sides.shape[0] or at + 2 > room.frames.shape[0]:
        return ROOM_SHORT
    line = line_of(room, room.left[first])
    for i in range(size):
        heights[i] = form_at(line, corners, begin + i)
    above, below = begin + size, begin + 3 * size
    up, down = add_halves(corners, begin, size, heights, line, plane, above, below)
    up_lines, down_lines = share_lines(at, lines, above, up, below, down, plane, room)
    if up_lines < 0:
        return DOUBT
    copy_corners(corners, above, up, corners, begin)
    copy_corners(corners, below, down, corners, begin + up)
    put_frame(room, at, begin, up, first, up_lines)
    put_frame(room, at + 1, begin + up, down, first + count, down_lines)
    return DONE


@njit(**STEP)
def share_lines(at, lines, above, up, below, down, plane, room):
    """Notes which of a part's other lines cross its halves, and on which side the halves are of those that don't.

    Returns:
        How many cross the half above and that below; -1, -1 if that is in doubt.
    """
    first, count = room.frames[at, 2], room.frames[at, 3]
    left, sides, row, row_below = room.left, room.sides, at * lines, (at + 1) * lines
    for k in range(lines):
        sides[row_below + k] = sides[row + k]
    sides[row + left[first]] = 1
    up_lines = down_lines = 0
    for j in range(1, count):
        k = left[first + j]
        line = line_of(room, k)
        side = side_of(line, room.corners, above, up, plane)
        side_below = side_of(line, room.corners, below, down, plane)
        if side == 2 or side_below == 2:
            return -1, -1
        # The lines that cross the half above take the place of the part's: up_lines < j.
        if side == 0:
            left[first + up_lines] = k
            up_lines += 1
        elif side == 1:
            sides[row + k] = 1
        if side_below == 0:
            left[first + count + down_lines] = k
            down_lines += 1
        elif side_below == 1:
            sides[row_below + k] = 1
    return up_lines, down_lines


@njit(**STEP)
def cut_waiting(face, base, plane, made, room):
    """Cuts the parts of a face that wait, the last one first, until none is left.

    Returns:
        DONE, DOUBT, PARTS_SHORT or ROOM_SHORT.
    """
    counts = made.counts
    while counts[WAITING] > 0:
        at = counts[WAITING] - 1
        if room.frames[at, 3] == 0:
            if not put_part(face, room.corners, room.frames[at, 0], room.frames[at, 1], made):
                return PARTS_SHORT
            put_pieces(base, at, made, room)
            counts[WAITING] = at
        else:
            end = halve(at, counts[OPEN], plane, room)
            if end != DONE:
                return end
            counts[WAITING] = at + 2
    return DONE


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, no_cfunc_wrapper=True)
def cut_at_knots(faces, inputs, knots, label, extremes, made, room):
    """Cuts every face along the lines on which its units are on a knot, as long as there is room.

    Args:
        faces, inputs: as groups of arrays say, as `relu_regions.backends.plane_cuts` has them.
        knots: ``(m, units)``.
        label: that of the first unit's first knot; those of the others follow.
        extremes, room: what is said of one face, and parts of it that wait.
        made: the parts, face by face, each with the piece of every unit; and how far the loop is.

    Returns:
        DONE; PARTS_SHORT or ROOM_SHORT to go on, with more room, from where it is.
    """
    for face in range(made.counts[FACE], inputs.errors.shape[0]):
        made.counts[FACE] = face
        plane, end = Plane(inputs.reach[face, 0], inputs.reach[face, 1], inputs.bounded), DONE
        if made.counts[WAITING] == 0:
            end = note_lines(face, faces, inputs, knots, label, plane, extremes, made, room)
            if end == DONE:
                end = begin_face(face, faces, extremes.base, made, room)
        if end == DONE:
            end = cut_waiting(face, extremes.base, plane, made, room)
        if end == DOUBT:
            take_back(face, made)
            made.counts[WAITING] = 0
        elif end != DONE:
            return end
    return DONE
