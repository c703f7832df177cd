"""The loop that numba compiles for faces of planes behind a maximum: where each input of a window leads."""

import numpy as np
from numba import njit

from relu_regions.backends.cpu.polygon_loops import (
    EVALUATION,
    SMALLEST,
    copy_corners,
    crossing_name,
    grown,
    is_sure,
    mixed,
    put_crossing,
    put_edge,
)

__all__ = ["cut_by_leads"]


@njit(cache=True, nogil=True, error_model="numpy")
def candidates_of(window, known, found):
    """The places in a window whose inputs can lead, each input once, and how many.

    Of inputs that are known to be 0 the first stands for all, and none can lead where one is known to be above 0.
    """
    count, is_above = 0, False
    if known.shape[0] > 0:
        for k in range(window.shape[0]):
            is_above |= known[window[k]] == 1
    has_zero = is_above
    for k in range(window.shape[0]):
        source, again = window[k], False
        if known.shape[0] > 0 and known[source] == 0:
            if has_zero:
                continue
            has_zero = True
        for j in range(count):
            again |= window[found[j]] == source
        if not again:
            found[count] = k
            count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def lead_over(forms, bound, one, other, line):
    """Writes the form by which one input leads another, and its bound."""
    for j in range(3):
        line[j] = forms[j, one] - forms[j, other]
    line[3] = bound[one] + bound[other]


@njit(cache=True, nogil=True, error_model="numpy")
def pair_on(edge, windows, label, pairs):
    """The two inputs that are equal on an edge, by its label, if this gate made it: -1, -1 for other edges."""
    if edge < label or (edge - label) // pairs >= np.uint64(windows.shape[0]):
        return -1, -1
    window, number = np.int64((edge - label) // pairs), np.int64((edge - label) % pairs)
    width = windows.shape[1] + 2
    return windows[window, number // width], windows[window, number % width]


@njit(cache=True, nogil=True, error_model="numpy")
def are_equal_at(one, other, origins, windows, label, pairs, names, here, last):
    """Whether two inputs are equal at a corner by what the two edges are that meet there.

    They are where both come from ReLUs and are 0, and where another window of the gate has compared them, or each with
    the same third input.
    """
    edge, before = names[here, 2], names[last, 2]
    if origins.shape[0] > 0 and origins[one] > 0 and origins[other] > 0 and origins[one] != origins[other]:
        on_one, on_other = edge == origins[one] or before == origins[one], edge == origins[other]
        if on_one and (on_other or before == origins[other]):
            return True
    p, q = pair_on(edge, windows, label, pairs)
    r, s = pair_on(before, windows, label, pairs)
    if p >= 0 and ((p == one and q == other) or (p == other and q == one)):
        return True
    if r >= 0 and ((r == one and s == other) or (r == other and s == one)):
        return True
    if p < 0 or r < 0:
        return False
    # What is left of the two pairs without the input that they share.
    if p == r:
        p, r = q, s
    elif p == s:
        p = q
    elif q == r:
        r = s
    elif q != s:
        return False
    return (p == one and r == other) or (p == other and r == one)


@njit(cache=True, nogil=True, error_model="numpy")
def signs_of(
    line, one, other, origins, windows, label, pairs, polygon, names, start, count, reach_s, reach_t, bounded, heights
):
    """Writes a form's heights at corners; whether some are above 0, some below, and some in doubt."""
    above = below = doubt = False
    a, b, c, e = line[0], line[1], line[2], line[3]
    for i in range(count):
        here = start + i
        height = a + b * polygon[here, 0] + c * polygon[here, 1]
        heights[i] = height
        if bounded and not abs(height) > e + abs(b) * polygon[here, 2] + abs(c) * polygon[here, 3]:
            last = start + (i - 1 if i > 0 else count - 1)
            if not is_sure(height, a, b, c, e, polygon, here, last, reach_s, reach_t):
                if not are_equal_at(one, other, origins, windows, label, pairs, names, here, last):
                    doubt = True
                    continue
                heights[i] = height = 0.0
        above |= height > 0
        below |= height < 0
    return above, below, doubt


@njit(cache=True, nogil=True, error_model="numpy")
def still_leading(
    window, found, count, forms, bound, origins, windows, label, pairs, polygon, names, start, corners,
    reach_s, reach_t, bounded, line, heights,
):  # fmt: skip
    """Keeps those of the candidates that the one in front in the middle does not lead at all corners; how many."""
    best, most = 0, -np.inf
    for j in range(count):
        source, total = window[found[j]], 0.0
        for i in range(corners):
            total += polygon[start + i, 0] * forms[1, source] + polygon[start + i, 1] * forms[2, source]
        total += corners * forms[0, source]
        if total > most:
            best, most = j, total
    leader, kept = found[best], 0
    for j in range(count):
        if j != best:
            lead_over(forms, bound, window[leader], window[found[j]], line)
            above, below, doubt = signs_of(
                line, window[leader], window[found[j]], origins, windows, label, pairs, polygon, names, start, corners,
                reach_s, reach_t, bounded, heights,
            )  # fmt: skip
            if not below and not doubt and (above or leader < found[j]):
                continue
        found[kept] = found[j]
        kept += 1
    return kept


@njit(cache=True, nogil=True, error_model="numpy")
def cut_by_leads(offsets, numbers, names, forms, errors, known, origins, windows, reach, label, bounded):
    """Cuts every face into the parts on which each unit is one input of its window.

    Args:
        offsets, numbers, names: of the faces' corners, as in the loop for knots.
        forms: ``(F, 3, inputs)``, errors: ``(F, inputs)``.
        known: ``(F, inputs)`` int8: 0 for inputs that are 0 on the face, 1 for those above 0 inside, -1 for all others;
            ``(0, 0)`` where all are others.
        origins: ``(inputs,)``, the label of the edges on which an input that a ReLU has passed on is 0, 0 for all
            others; ``(0,)`` where all are others.
        windows: ``(units, k)``.
        reach, bounded: as there.
        label: the first of those for the gate.

    Returns:
        As there; pieces are places in the windows.
    """
    faces, inputs = errors.shape
    units, width = windows.shape
    doubt = np.zeros(faces, np.bool_)
    parents = np.empty((2 * faces + 8, 1), np.int64)
    pieces = np.empty((2 * faces + 8, units), np.int32)
    ends = np.empty((2 * faces + 9, 1), np.int64)
    made = np.empty((2 * numbers.shape[0] + 64, 8), np.float64)
    made_names = np.empty((2 * numbers.shape[0] + 64, 3), np.uint64)
    parts = corners = 0
    ends[0, 0] = 0
    now, now_names = np.empty((64, 8), np.float64), np.empty((64, 3), np.uint64)
    region, region_names = np.empty((64, 8), np.float64), np.empty((64, 3), np.uint64)
    other, other_names = np.empty((64, 8), np.float64), np.empty((64, 3), np.uint64)
    origin, other_origin = np.empty((64, 1), np.int64), np.empty((64, 1), np.int64)
    heights, line = np.empty((64, 1), np.float64), np.empty(4, np.float64)
    waiting, waiting_names = np.empty((64, 8), np.float64), np.empty((64, 3), np.uint64)
    frames = np.empty((8, 2), np.int64)
    frame_pieces = np.empty((8, units), np.int32)
    row = np.empty(units, np.int32)
    bound = np.empty(inputs, np.float64)
    open_windows = np.empty(units, np.int64)
    open_counts = np.empty(units, np.int64)
    open_found = np.empty((units, width), np.int64)
    found = np.empty(width, np.int64)
    nothing = np.empty(0, np.int8)
    pairs = np.uint64((width + 2) * (width + 2) + width * width * width)
    for f in range(faces):
        start, count = offsets[f], offsets[f + 1] - offsets[f]
        reach_s, reach_t = reach[f, 0], reach[f, 1]
        known_here = known[f] if known.shape[0] > 0 else nothing
        open_face = False
        for u in range(inputs):
            size = abs(forms[f, 0, u]) + reach_s * abs(forms[f, 1, u]) + reach_t * abs(forms[f, 2, u])
            bound[u] = errors[f, u] + EVALUATION * size + SMALLEST
            open_face |= bounded and not bound[u] < 1e290
        heights = grown(heights, count)
        opened = 0
        for w in range(units):
            if open_face:
                break
            kept = candidates_of(windows[w], known_here, found)
            if kept > 1:
                kept = still_leading(
                    windows[w], found, kept, forms[f], bound, origins, windows, label, pairs, numbers, names, start,
                    count, reach_s, reach_t, bounded, line, heights[:, 0],
                )  # fmt: skip
            row[w] = found[0]
            if kept > 1:
                open_windows[opened], open_counts[opened] = w, kept
                for j in range(kept):
                    open_found[opened, j] = found[j]
                opened += 1
        if opened == 0 and not open_face:
            # Most faces are one part.
            made, made_names = grown(made, corners + count), grown(made_names, corners + count)
            copy_corners(numbers, names, start, count, made, made_names, corners)
            corners += count
            parents, pieces, ends = grown(parents, parts + 1), grown(pieces, parts + 1), grown(ends, parts + 2)
            parents[parts, 0] = f
            for u in range(units):
                pieces[parts, u] = row[u]
            parts += 1
            ends[parts, 0] = corners
            continue
        first_part, first_corner = parts, corners
        now, now_names = grown(now, count), grown(now_names, count)
        copy_corners(numbers, names, start, count, now, now_names, 0)
        size_now, depth, waiting_corners, at = count, 0, 0, 0
        while not open_face:
            # On to the first window of which more than one input may lead in this part.
            kept = 0
            while at < opened:
                w, kept = open_windows[at], open_counts[at]
                for j in range(kept):
                    found[j] = open_found[at, j]
                heights = grown(heights, 4 * size_now + 4)
                kept = still_leading(
                    windows[w], found, kept, forms[f], bound, origins, windows, label, pairs, now, now_names, 0,
                    size_now, reach_s, reach_t, bounded, line, heights[:, 0],
                )  # fmt: skip
                if kept > 1:
                    break
                row[w] = found[0]
                at += 1
            if at == opened:
                made, made_names = grown(made, corners + size_now), grown(made_names, corners + size_now)
                copy_corners(now, now_names, 0, size_now, made, made_names, corners)
                corners += size_now
                parents, pieces, ends = grown(parents, parts + 1), grown(pieces, parts + 1), grown(ends, parts + 2)
                parents[parts, 0] = f
                for u in range(units):
                    pieces[parts, u] = row[u]
                parts += 1
                ends[parts, 0] = corners
            else:
                w = open_windows[at]
                window = windows[w]
                part_one, part_other = np.uint64(0), np.uint64(0)
                for i in range(size_now):
                    part_one, part_other = part_one + now_names[i, 0], part_other + now_names[i, 1]
                base = label + np.uint64(w) * pairs
                for j in range(kept):
                    lead = found[j]
                    size = size_now
                    region, region_names = grown(region, size), grown(region_names, size)
                    origin = grown(origin, size)
                    copy_corners(now, now_names, 0, size_now, region, region_names, 0)
                    for i in range(size_now):
                        origin[i, 0] = i
                    for m in range(kept):
                        if m == j or size == 0:
                            continue
                        rival = found[m]
                        lead_over(forms[f], bound, window[lead], window[rival], line)
                        heights = grown(heights, 4 * size + 4)
                        above, below, unsure = signs_of(
                            line, window[lead], window[rival], origins, windows, label, pairs, region, region_names,
                            0, size, reach_s, reach_t, bounded, heights[:, 0],
                        )  # fmt: skip
                        if unsure:
                            open_face = True
                            break
                        if not below and (above or lead < rival):
                            continue
                        if not above:
                            size = 0
                            continue
                        other, other_names = grown(other, 2 * size + 4), grown(other_names, 2 * size + 4)
                        other_origin = grown(other_origin, 2 * size + 4)
                        edge_label = base + np.uint64(min(lead, rival) * (width + 2) + max(lead, rival))
                        up = 0
                        for i in range(size):
                            after = i + 1 if i + 1 < size else 0
                            height, height_after = heights[i, 0], heights[after, 0]
                            if height >= 0:
                                copy_corners(region, region_names, i, 1, other, other_names, up)
                                other_origin[up, 0] = origin[i, 0]
                                if height == 0 and not height_after > 0:
                                    put_edge(other, other_names, up, line[0], line[1], line[2], line[3], edge_label)
                                    other_origin[up, 0] = -1 - rival
                                up += 1
                            if (height > 0 and height_after < 0) or (height < 0 and height_after > 0):
                                copy_corners(region, region_names, i, 1, other, other_names, up)
                                put_crossing(
                                    region, i, after, height, height_after, line[0], line[1], line[2], line[3],
                                    reach_s, reach_t, bounded, other, up,
                                )  # fmt: skip
                                o = origin[i, 0]
                                if o >= 0:
                                    # An edge of the part: a neighbour names the corner alike, so inputs that are equal
                                    # on all of the edge go by one name: those that are 0 there, and two that a window
                                    # has compared.
                                    one, two = lead, rival
                                    edge = now_names[o, 2]
                                    p, q = pair_on(edge, windows, label, pairs)
                                    if p >= 0:
                                        shared = width + 1
                                        if known_here.shape[0] > 0 and (known_here[p] == 0 or known_here[q] == 0):
                                            shared = width
                                        one = shared if window[lead] == p or window[lead] == q else one
                                        two = shared if window[rival] == p or window[rival] == q else two
                                    if known_here.shape[0] > 0:
                                        if known_here[window[lead]] == 0 or edge == origins[window[lead]]:
                                            one = width
                                        if known_here[window[rival]] == 0 or edge == origins[window[rival]]:
                                            two = width
                                    crossing_name(
                                        now_names,
                                        o,
                                        o + 1 if o + 1 < size_now else 0,
                                        base + np.uint64(min(one, two) * (width + 2) + max(one, two)),
                                        other_names,
                                        up,
                                    )
                                else:
                                    third = -1 - o
                                    low = min(lead, rival, third)
                                    high = max(lead, rival, third)
                                    middle = lead + rival + third - low - high
                                    triple = base + np.uint64(
                                        (width + 2) * (width + 2) + (low * width + middle) * width + high
                                    )
                                    other_names[up, 0] = mixed(part_one + mixed(triple + np.uint64(1)))
                                    other_names[up, 1] = mixed(part_other + mixed(triple + np.uint64(2)))
                                other_origin[up, 0] = o
                                if height > 0:
                                    put_edge(other, other_names, up, line[0], line[1], line[2], line[3], edge_label)
                                    other_origin[up, 0] = -1 - rival
                                up += 1
                        region, other, region_names, other_names = other, region, other_names, region_names
                        origin, other_origin = other_origin, origin
                        size = up
                    if open_face:
                        break
                    if size == 0:
                        continue
                    waiting = grown(waiting, waiting_corners + size)
                    waiting_names = grown(waiting_names, waiting_corners + size)
                    copy_corners(region, region_names, 0, size, waiting, waiting_names, waiting_corners)
                    frames, frame_pieces = grown(frames, depth + 1), grown(frame_pieces, depth + 1)
                    frames[depth, 0], frames[depth, 1] = waiting_corners, at + 1
                    frame_pieces[depth] = row
                    frame_pieces[depth, w] = lead
                    waiting_corners += size
                    depth += 1
            if open_face or depth == 0:
                break
            depth -= 1
            begin, at = frames[depth, 0], frames[depth, 1]
            size_now = waiting_corners - begin
            now, now_names = grown(now, size_now), grown(now_names, size_now)
            copy_corners(waiting, waiting_names, begin, size_now, now, now_names, 0)
            row[:] = frame_pieces[depth]
            waiting_corners = begin
        if open_face:
            doubt[f] = True
            parts, corners = first_part, first_corner
    return (
        parents[:parts, 0].copy(), ends[: parts + 1, 0].copy(), made[:corners].copy(), made_names[:corners].copy(),
        pieces[:parts].copy(), doubt,
    )  # fmt: skip
