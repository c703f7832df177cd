"""The loop that numba compiles for faces of planes behind a gate with knots."""

import numpy as np
from numba import njit

from relu_regions.backends.cpu.polygon_loops import (
    EVALUATION,
    SMALLEST,
    add_halves,
    copy_corners,
    grown,
    is_sure,
    side_of,
)

__all__ = ["cut_at_knots"]


@njit(cache=True, nogil=True, error_model="numpy")
def note_extremes(polygon, start, count, forms, errors, knot, reach_s, reach_t, low, high, gap, bound):
    """Notes the smallest and largest height of every unit at a face's corners, and by how much signs are sure."""
    units = forms.shape[1]
    for u in range(units):
        size = abs(forms[0, u]) + abs(knot[u]) + reach_s * abs(forms[1, u]) + reach_t * abs(forms[2, u])
        bound[u] = errors[u] + EVALUATION * size + SMALLEST
        low[u], high[u], gap[u] = np.inf, -np.inf, np.inf
    for i in range(count):
        s, t, radius_s, radius_t = (
            polygon[start + i, 0], polygon[start + i, 1], polygon[start + i, 2], polygon[start + i, 3],
        )  # fmt: skip
        for u in range(units):
            b, c = forms[1, u], forms[2, u]
            height = (forms[0, u] - knot[u]) + s * b + t * c
            sure = abs(height) - (bound[u] + abs(b) * radius_s + abs(c) * radius_t)
            low[u] = height if height < low[u] else low[u]
            high[u] = height if height > high[u] else high[u]
            gap[u] = sure if sure < gap[u] else gap[u]


@njit(cache=True, nogil=True, error_model="numpy")
def all_sure(polygon, start, count, a, b, c, e, reach_s, reach_t):
    """Whether the sign of a form is sure at every corner."""
    for i in range(count):
        here, last = start + i, start + (i - 1 if i > 0 else count - 1)
        height = a + b * polygon[here, 0] + c * polygon[here, 1]
        if not is_sure(height, a, b, c, e, polygon, here, last, reach_s, reach_t):
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def cut_at_knots(offsets, numbers, names, forms, errors, known, knots, reach, label, bounded, kind):
    """Cuts every face along the lines on which its units are on a knot.

    Args:
        offsets: of the faces' corners, ``(F + 1,)``.
        numbers, names: of the corners, ``(K, 8)`` and ``(K, 3)``, as the polygon loops have them.
        forms: ``(F, 3, units)``, errors: ``(F, units)``, of the gate's inputs on each face.
        known: ``(F, units)`` int8, pieces that need no test, -1 for all others; ``(0, 0)`` where there are none.
        knots: ``(m, units)``.
        reach: the largest absolute s and t of each face's plane, ``(F, 2)``.
        label: that of the first unit's first knot; those of the others follow.
        bounded: whether signs must be sure.
        kind: of the type of pieces; without numbers.

    Returns:
        The parts, face by face: of which face, their offsets, numbers, names and pieces ``(P, units)``; and for each
        face whether a sign was in doubt, in which case it has no parts.
    """
    faces, units = errors.shape
    levels = knots.shape[0]
    doubt = np.zeros(faces, np.bool_)
    most = 16
    for f in range(faces):
        most = max(most, offsets[f + 1] - offsets[f])
    # The parts.
    parents = np.empty((2 * faces + 8, 1), np.int64)
    pieces = np.empty((2 * faces + 8, units), kind.dtype)
    ends = np.empty((2 * faces + 9, 1), np.int64)
    made = np.empty((2 * numbers.shape[0] + 64, 8), np.float64)
    made_names = np.empty((2 * numbers.shape[0] + 64, 3), np.uint64)
    parts = corners = 0
    ends[0, 0] = 0
    # A face, or what is left of it, and its halves.
    now, now_names = np.empty((4 * most, 8), np.float64), np.empty((4 * most, 3), np.uint64)
    above, above_names = np.empty((4 * most, 8), np.float64), np.empty((4 * most, 3), np.uint64)
    below, below_names = np.empty((4 * most, 8), np.float64), np.empty((4 * most, 3), np.uint64)
    heights, line = np.empty((4 * most, 1), np.float64), np.empty(4, np.float64)
    # Parts that wait, one behind the other, with the lines that cross them.
    waiting, waiting_names = np.empty((64, 8), np.float64), np.empty((64, 3), np.uint64)
    frames = np.empty((8, 2), np.int64)  # where its corners begin, and how many lines
    low, high, gap, bound = np.empty(units), np.empty(units), np.empty(units), np.empty(units)
    base = np.empty(units, kind.dtype)
    crossing_unit, crossing_level = np.empty(units * levels, np.int64), np.empty(units * levels, np.int64)
    for f in range(faces):
        start, count = offsets[f], offsets[f + 1] - offsets[f]
        reach_s, reach_t = reach[f, 0], reach[f, 1]
        base[:] = 0
        lines, open_face = 0, False
        for level in range(levels):
            note_extremes(
                numbers, start, count, forms[f], errors[f], knots[level], reach_s, reach_t, low, high, gap, bound
            )
            for u in range(units):
                if known.shape[0] > 0 and known[f, u] >= 0:
                    if level == 0:
                        base[u] = known[f, u]
                    continue
                if bounded and not (gap[u] > 0 and bound[u] < 1e290):
                    a, b, c = forms[f, 0, u] - knots[level, u], forms[f, 1, u], forms[f, 2, u]
                    if not bound[u] < 1e290 or not all_sure(numbers, start, count, a, b, c, bound[u], reach_s, reach_t):
                        open_face = True
                        break
                if low[u] < 0 and high[u] > 0:
                    crossing_unit[lines], crossing_level[lines] = u, level
                    lines += 1
                elif high[u] > 0:
                    base[u] += 1
            if open_face:
                break
        if open_face:
            doubt[f] = True
            continue
        first_part, first_corner = parts, corners
        if lines == 0:
            made, made_names = grown(made, corners + count), grown(made_names, corners + count)
            copy_corners(numbers, names, start, count, made, made_names, corners)
            corners += count
            parents, pieces, ends = grown(parents, parts + 1), grown(pieces, parts + 1), grown(ends, parts + 2)
            parents[parts, 0] = f
            for u in range(units):
                pieces[parts, u] = base[u]
            parts += 1
            ends[parts, 0] = corners
            continue
        crossing = np.empty((lines, 4), np.float64)
        labels = np.empty(lines, np.uint64)
        for k in range(lines):
            u, level = crossing_unit[k], crossing_level[k]
            a, b, c = forms[f, 0, u] - knots[level, u], forms[f, 1, u], forms[f, 2, u]
            size = abs(forms[f, 0, u]) + abs(knots[level, u]) + reach_s * abs(b) + reach_t * abs(c)
            crossing[k, 0], crossing[k, 1], crossing[k, 2] = a, b, c
            crossing[k, 3] = errors[f, u] + EVALUATION * size + SMALLEST
            labels[k] = label + np.uint64(u * levels + level)
        sides = np.zeros((lines + 1, lines), np.uint8)
        left = np.empty((lines + 1, lines), np.int64)
        # The current part is frame ``depth``; its lines and sides are in its row.
        depth, current_lines = 0, lines
        for k in range(lines):
            left[0, k] = k
        copy_corners(numbers, names, start, count, now, now_names, 0)
        size_now, waiting_corners = count, 0
        while not open_face:
            if current_lines == 0:
                made, made_names = grown(made, corners + size_now), grown(made_names, corners + size_now)
                copy_corners(now, now_names, 0, size_now, made, made_names, corners)
                corners += size_now
                parents, pieces, ends = grown(parents, parts + 1), grown(pieces, parts + 1), grown(ends, parts + 2)
                parents[parts, 0] = f
                for u in range(units):
                    pieces[parts, u] = base[u]
                for k in range(lines):
                    pieces[parts, crossing_unit[k]] += sides[depth, k]
                parts += 1
                ends[parts, 0] = corners
                if depth == 0:
                    break
                # The part that came to wait last.
                depth -= 1
                begin = frames[depth, 0]
                size_now, current_lines = waiting_corners - begin, frames[depth, 1]
                copy_corners(waiting, waiting_names, begin, size_now, now, now_names, 0)
                waiting_corners = begin
                continue
            k = left[depth, 0]
            line[0], line[1], line[2], line[3] = crossing[k, 0], crossing[k, 1], crossing[k, 2], crossing[k, 3]
            if 2 * size_now + 4 > above.shape[0]:
                now, now_names = grown(now, 4 * size_now), grown(now_names, 4 * size_now)
                above, above_names = grown(above, 4 * size_now), grown(above_names, 4 * size_now)
                below, below_names = grown(below, 4 * size_now), grown(below_names, 4 * size_now)
                heights = grown(heights, 4 * size_now)
            for i in range(size_now):
                heights[i, 0] = line[0] + line[1] * now[i, 0] + line[2] * now[i, 1]
            up, down = add_halves(
                now, now_names, 0, size_now, heights[:, 0], line, labels[k], reach_s, reach_t, bounded,
                above, above_names, below, below_names,
            )  # fmt: skip
            # The half above waits; that below goes on.
            up_lines = down_lines = 0
            for j in range(lines):
                sides[depth + 1, j] = sides[depth, j]
            sides[depth, k] = 1
            for j in range(1, current_lines):
                other = left[depth, j]
                a, b, c, e = crossing[other, 0], crossing[other, 1], crossing[other, 2], crossing[other, 3]
                side = side_of(a, b, c, e, above, 0, up, reach_s, reach_t, bounded)
                side_below = side_of(a, b, c, e, below, 0, down, reach_s, reach_t, bounded)
                if side == 2 or side_below == 2:
                    open_face = True
                    break
                # Row ``depth`` is read before it is written here: up_lines < j.
                if side == 0:
                    left[depth, up_lines] = other
                    up_lines += 1
                elif side == 1:
                    sides[depth, other] = 1
                if side_below == 0:
                    left[depth + 1, down_lines] = other
                    down_lines += 1
                elif side_below == 1:
                    sides[depth + 1, other] = 1
            if open_face:
                break
            waiting, waiting_names = grown(waiting, waiting_corners + up), grown(waiting_names, waiting_corners + up)
            copy_corners(above, above_names, 0, up, waiting, waiting_names, waiting_corners)
            frames = grown(frames, depth + 1)
            frames[depth, 0], frames[depth, 1] = waiting_corners, up_lines
            waiting_corners += up
            now, below, now_names, below_names = below, now, below_names, now_names
            size_now, current_lines = down, down_lines
            depth += 1
        if open_face:
            doubt[f] = True
            parts, corners = first_part, first_corner
    return (
        parents[:parts, 0].copy(), ends[: parts + 1, 0].copy(), made[:corners].copy(), made_names[:corners].copy(),
        pieces[:parts].copy(), doubt,
    )  # fmt: skip
