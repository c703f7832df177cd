"""The loops that numba compiles: plain arrays in and out, no torch.

They run on one thread: on busy cores, a second pool of threads beside torch's own made the walk ten times slower.
"""

import numpy as np
from numba import njit

__all__ = [
    "count",
    "fading",
    "insert",
    "insert_relu",
    "largest",
    "leads_in_doubt",
    "locate",
    "maxima",
    "multiply",
    "rows_in_doubt",
    "winners",
    "zero",
]


@njit(cache=True, nogil=True, error_model="numpy")
def count(z, w, knots, starts_interval, counts):
    on_knot, at_zero = 0, not knots.any()
    for i in range(z.shape[0]):
        if starts_interval[i]:
            count, zeros = 0, 0
            for k in range(knots.shape[0]):
                if at_zero:
                    for u in range(z.shape[1]):
                        here, there = z[i, u], z[i + 1, u]
                        count += ((here < 0) & (there > 0)) | ((here > 0) & (there < 0))
                        zeros += here == 0
                    continue
                for u in range(z.shape[1]):
                    here = z[i, u] - knots[k, u] * w[i]
                    there = z[i + 1, u] - knots[k, u] * w[i + 1]
                    count += ((here < 0) & (there > 0)) | ((here > 0) & (there < 0))
                    zeros += here == 0
            counts[i] = count
            on_knot += zeros
    return on_knot


@njit(cache=True, nogil=True, error_model="numpy")
def locate(
    z, p, w, t, knots, counts, weighted, row, unit, left, right, rise, before, after,
    bend_row, inside, added, old_rows, new_interval, new_left, new_right,
):  # fmt: skip
    """Fills what comes after ``weighted`` and gives the number of new points."""
    at = np.empty(len(row), p.dtype)
    units = z.shape[1]
    # Eight units at a time are looked at once more only if one of them crosses.
    crosses = np.zeros((units + 7) // 8 * 8, np.uint8)
    eights = crosses.view(np.uint64)
    stop, fresh = 0, 0
    for i in range(z.shape[0]):
        old_rows[i] = i + fresh
        if counts[i] == 0:
            continue
        start, few = stop, counts[i] <= 64
        for k in range(knots.shape[0]):
            for u in range(units):
                here = z[i, u] - knots[k, u] * w[i]
                there = z[i + 1, u] - knots[k, u] * w[i + 1]
                crosses[u] = ((here < 0) & (there > 0)) | ((here > 0) & (there < 0))
            for eight in range(len(eights)):
                if eights[eight] == 0:
                    continue
                for u in range(8 * eight, min(8 * eight + 8, units)):
                    if crosses[u] == 0:
                        continue
                    here = z[i, u] - knots[k, u] * w[i]
                    there = z[i + 1, u] - knots[k, u] * w[i + 1]
                    rising = 1 if there > 0 else 0
                    lt, rt = there / (there - here), here / (here - there)
                    place = lt * p[i] + rt * p[i + 1]
                    if weighted:
                        place = place / (lt * w[i] + rt * w[i + 1])
                    place = min(max(place, t[i]), t[i + 1])
                    # Insertion from the back keeps equal ones in the order they were found in.
                    m = stop
                    while few and m > start and at[m - 1] > place:
                        at[m], unit[m], left[m], right[m] = at[m - 1], unit[m - 1], left[m - 1], right[m - 1]
                        rise[m], before[m], after[m] = rise[m - 1], before[m - 1], after[m - 1]
                        m -= 1
                    at[m], unit[m], left[m], right[m] = place, u, lt, rt
                    rise[m], before[m], after[m] = there - here, k + 1 - rising, k + rising
                    stop += 1
        if not few:
            order = np.argsort(at[start:stop], kind="mergesort")
            for numbers in (at, left, right, rise):
                numbers[start:stop] = numbers[start:stop][order]
            for integers in (unit, before, after):
                integers[start:stop] = integers[start:stop][order]
        first = fresh
        for m in range(start, stop):
            row[m] = i
            inside[m] = at[m] != t[i] and at[m] != t[i + 1]
            if inside[m] and (m == start or not inside[m - 1] or at[m] != at[m - 1]):
                new_interval[fresh], new_left[fresh], new_right[fresh] = i, left[m], right[m]
                fresh += 1
            bend_row[m] = i + fresh if inside[m] else i + first
        added[i] = fresh - first
        for m in range(start, stop):
            if not inside[m] and at[m] != t[i]:
                bend_row[m] = i + 1 + fresh
    return fresh


@njit(cache=True, nogil=True, error_model="numpy")
def insert(values, added, left, right, first_new, result):
    for i in range(values.shape[0]):
        at, g = i + first_new[i], first_new[i]
        result[at] = values[i]
        for _ in range(added[i]):
            at += 1
            for u in range(values.shape[1]):
                result[at, u] = values[i, u] * left[g] + values[i + 1, u] * right[g]
            g += 1


@njit(cache=True, nogil=True, error_model="numpy")
def insert_relu(values, added, left, right, first_new, result):
    for i in range(values.shape[0]):
        at, g = i + first_new[i], first_new[i]
        for u in range(values.shape[1]):
            value = values[i, u]
            result[at, u] = value if value > 0 else 0
        for _ in range(added[i]):
            at += 1
            for u in range(values.shape[1]):
                value = values[i, u] * left[g] + values[i + 1, u] * right[g]
                result[at, u] = value if value > 0 else 0
            g += 1


@njit(cache=True, nogil=True, error_model="numpy")
def zero(rows, units, inside, outputs):
    for m in range(len(rows)):
        if inside[m]:
            outputs[rows[m], units[m]] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def add_matrix_column(factor, column, slope):
    for u in range(len(slope)):
        slope[u] += factor * column[u]


@njit(cache=True, nogil=True, error_model="numpy")
def add_kernel(factor, column, unit, geometry, slope):
    """What an input number adds to the outputs of a convolution, which are ``outs`` channels at the kernel's places."""
    height, width, out_height, out_width, tall, wide = geometry[:6]
    stride, stride_x, padding, padding_x, dilation, dilation_x, channels = geometry[6:]
    channel, place = unit // (height * width), unit % (height * width)
    y, x = place // width + padding, place % width + padding_x
    outs, area = len(column) // (tall * wide), out_height * out_width
    first = channel // channels * outs * area
    for a in range(tall):
        down = y - a * dilation
        if down < 0 or down % stride != 0 or down // stride >= out_height:
            continue
        for b in range(wide):
            across = x - b * dilation_x
            if across < 0 or across % stride_x != 0 or across // stride_x >= out_width:
                continue
            at, number = first + down // stride * out_width + across // stride_x, (a * wide + b) * outs
            for o in range(outs):
                slope[at + o * area] += factor * column[number + o]


@njit(cache=True, nogil=True, error_model="numpy")
def add_column(factor, columns, unit, geometry, slope):
    if len(geometry) == 0:
        add_matrix_column(factor, columns[unit], slope)
    else:
        add_kernel(factor, columns[unit // (geometry[0] * geometry[1])], unit, geometry, slope)


@njit(cache=True, nogil=True, error_model="numpy")
def multiply(
    products, before, first, stop, columns, geometry, added, old_rows, first_new, right, row, unit, left, bend_row, kink, result
):  # fmt: skip
    """Fills the rows of a block of the points there were, and of the intervals before these.

    Args:
        products: at the points of the block, of which the first has the number ``first``.
        before: the product at the point before the block.
        stop: the first bend of the interval before the block.

    Returns:
        The first bend of the interval after the block.
    """
    size = products.shape[1]
    slope = np.empty(size, products.dtype)
    for r in range(products.shape[0]):
        here, start, i = products[r], stop, first + r - 1
        for u in range(size):
            result[old_rows[i + 1], u] = here[u]
        while stop < len(row) and row[stop] == i:
            stop += 1
        if i < 0 or added[i] == 0:
            continue
        last = before if r == 0 else products[r - 1]
        # From the whole change over the interval, what the bends after a place add is taken back.
        for u in range(size):
            slope[u] = here[u] - last[u]
        for m in range(start, stop):
            add_column(-(left[m] * kink[m]), columns, unit[m], geometry, slope)
        at, g, place = old_rows[i], first_new[i], products.dtype.type(0)
        end = at + added[i]
        for m in range(start, stop):
            if at < end and bend_row[m] == at + 1:
                step = right[g] - place
                for u in range(size):
                    result[at + 1, u] = result[at, u] + step * slope[u]
                place, at, g = right[g], at + 1, g + 1
            add_column(kink[m], columns, unit[m], geometry, slope)
    return stop


@njit(cache=True, nogil=True, error_model="numpy")
def take(row, places, candidates):
    """The inputs of every unit, ``(k, units)``, so that what follows goes through numbers side by side."""
    for j in range(places.shape[0]):
        for u in range(places.shape[1]):
            candidates[j, u] = row[places[j, u]]


@njit(cache=True, nogil=True, error_model="numpy")
def maxima(values, places, result):
    """The largest of several inputs for each unit; ``places`` are those of the inputs, ``(k, units)``."""
    candidates = np.empty(places.shape, values.dtype)
    for i in range(values.shape[0]):
        take(values[i], places, candidates)
        for u in range(places.shape[1]):
            result[i, u] = candidates[0, u]
        for j in range(1, places.shape[0]):
            for u in range(places.shape[1]):
                value = candidates[j, u]
                result[i, u] = value if value > result[i, u] else result[i, u]


@njit(cache=True, nogil=True, error_model="numpy")
def find_leaders(candidates, most, leader):
    """For each unit the first of its inputs that are largest."""
    for u in range(candidates.shape[1]):
        most[u], leader[u] = candidates[0, u], 0
    for j in range(1, candidates.shape[0]):
        for u in range(candidates.shape[1]):
            value, top = candidates[j, u], most[u]
            leader[u] = j if value > top else leader[u]
            most[u] = value if value > top else top


@njit(cache=True, nogil=True, error_model="numpy")
def appended(found, count, row, unit, before, after):
    """A list of columns row, unit, before, after with one more, longer where it was full."""
    if count == found.shape[1]:
        longer = np.empty((4, 2 * count), np.int64)
        longer[:, :count] = found
        found = longer
    found[0, count], found[1, count], found[2, count], found[3, count] = row, unit, before, after
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def winners(values, windows, places, starts_interval, record):
    """Where the winners at the two ends of an interval differ, and where they do on the two sides of a point.

    An input that is the first of the largest at both ends of an interval wins at both; only where there is none are the
    winners looked for one by one.
    """
    bends, changes = np.empty((4, 64), np.int64), np.empty((4, 64), np.int64)
    count, changed, units = 0, 0, len(windows)
    candidates, most = np.empty(places.shape, values.dtype), np.empty(units, values.dtype)
    here, there = np.empty(units, np.int64), np.empty(units, np.int64)
    # Eight units at a time are looked at only if the leader of one of them differs, in this interval or the one before.
    differs, differed = np.zeros((2, (units + 7) // 8 * 8), np.uint8)
    eights, eights_before = differs.view(np.uint64), differed.view(np.uint64)
    before = np.empty(units, np.int64)
    for i in range(values.shape[0] - 1):
        if not starts_interval[i]:
            continue
        follows = i > 0 and starts_interval[i - 1]
        if not follows:
            take(values[i], places, candidates)
            find_leaders(candidates, most, here)
            differed[:] = 0
        take(values[i + 1], places, candidates)
        find_leaders(candidates, most, there)
        for u in range(units):
            differs[u] = here[u] != there[u]
        for eight in range(len(eights)):
            if eights[eight] | eights_before[eight] == 0:
                continue
            for u in range(8 * eight, min(8 * eight + 8, units)):
                if differs[u] | differed[u] == 0:
                    continue
                first = first_best(values, i, i + 1, windows[u])
                last = first_best(values, i + 1, i, windows[u])
                if first != last:
                    bends, count = appended(bends, count, i, u, first, last), count + 1
                earlier = before[u] if differed[u] else here[u]
                if record and follows and earlier != first:
                    changes, changed = appended(changes, changed, i, u, earlier, first), changed + 1
                before[u] = last
        here, there = there, here
        differs, differed = differed, differs
        eights, eights_before = eights_before, eights
    return bends[:, :count], changes[:, :changed]


@njit(cache=True, nogil=True, error_model="numpy")
def first_best(v, at, other, window):
    """The first of the inputs that are largest at a row and, among these, largest at another."""
    best = 0
    for j in range(1, len(window)):
        here, there = v[at, window[j]], v[other, window[j]]
        top, then = v[at, window[best]], v[other, window[best]]
        if here > top or (here == top and there > then):
            best = j
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def rows_in_doubt(distance, bound, before, after, doubt):
    for i in range(distance.shape[0]):
        earlier, later = max(i - 1, 0), min(i + 1, distance.shape[0] - 1)
        count = 0
        for u in range(distance.shape[1]):
            size = abs(distance[i, u])
            count += (
                (size <= bound[i])
                | (size <= bound[i] + after[i] * abs(distance[later, u] - distance[i, u]))
                | (size <= bound[i] + before[i] * abs(distance[i, u] - distance[earlier, u]))
            )
        doubt[i] = count > 0


@njit(cache=True, nogil=True, error_model="numpy")
def fading(values, zeros, least, found):
    for i in range(values.shape[0]):
        count = 0
        for u in range(values.shape[1]):
            count += (values[i, u] != 0) & (abs(values[i, u]) < least) & zeros[u]
        found[i] = count > 0


@njit(cache=True, nogil=True, error_model="numpy")
def largest(values, result):
    # So many maxima side by side are taken several at once; a single one would be waited for at each number.
    most = np.empty(64, values.dtype)
    whole = values.shape[1] // 64 * 64
    for i in range(values.shape[0]):
        most[:] = 0
        for start in range(0, whole, 64):
            for u in range(64):
                number = abs(values[i, start + u])
                most[u] = number if number > most[u] else most[u]
        for u in range(whole, values.shape[1]):
            number = abs(values[i, u])
            most[0] = number if number > most[0] else most[0]
        result[i] = most.max()


@njit(cache=True, nogil=True, error_model="numpy")
def leads(v, at, after, before, a, b, bound, share_after, share_before):
    """Whether input a is certainly above input b at a row, with shares of what their difference changes by on either side."""
    lead = v[at, a] - v[at, b]
    change_after = abs(v[after, a] - v[after, b] - lead)
    change_before = abs(v[before, a] - v[before, b] - lead)
    return not (
        (lead <= bound) | (lead <= bound + share_after * change_after) | (lead <= bound + share_before * change_before)
    )


@njit(cache=True, nogil=True, error_model="numpy")
def open_leads(
    earlier, here, later, known, leader, most, most_after, most_before, bound, share_before, share_after, unsure
):
    """Marks the units at a row whose leader might be in doubt on either side; that is certain of no other.

    Args:
        earlier, here, later: the inputs of every unit at the row and its neighbours, ``(k, units)``.
        known: which of them are 0 where they are computed to be, ``(k, units)``.
        most_after, most_before: filled with the leader's values there.
    """
    for u in range(here.shape[1]):
        most_after[u], most_before[u], unsure[u] = later[0, u], earlier[0, u], 0
    for j in range(1, here.shape[0]):
        for u in range(here.shape[1]):
            most_after[u] = later[j, u] if leader[u] == j else most_after[u]
            most_before[u] = earlier[j, u] if leader[u] == j else most_before[u]
    for j in range(here.shape[0]):
        for u in range(here.shape[1]):
            lead = most[u] - here[j, u]
            change_after = abs(most_after[u] - later[j, u] - lead)
            change_before = abs(most_before[u] - earlier[j, u] - lead)
            doubtful = (
                (lead <= bound)
                | (lead <= bound + share_after * change_after)
                | (lead <= bound + share_before * change_before)
            )
            zero = (here[j, u] == 0) & (earlier[j, u] == 0) & (later[j, u] == 0)
            zero &= (most[u] == 0) & (most_before[u] == 0) & (most_after[u] == 0) & known[j, u]
            unsure[u] |= doubtful & ~zero & (leader[u] != j)
    for u in range(here.shape[1]):
        # Which of several zeros leads is no question, if the leader is one of them.
        known_leader = known[leader[u], u]
        unsure[u] |= (most[u] == 0) & (not known_leader)


@njit(cache=True, nogil=True, error_model="numpy")
def mark_open_lead(v, at, other, window, alike, zeros, bound, before, after, doubt):
    """The winner of one window just inside an interval, at one of its ends."""
    last = v.shape[0] - 1
    a = window[first_best(v, at, other, window)]
    for j in range(len(window)):
        b = window[j]
        if alike[a] == alike[b]:
            continue
        place = at
        if zeros[a] and zeros[b] and v[at, a] == 0 and v[at, b] == 0:
            if v[other, a] == 0 and v[other, b] == 0:
                continue
            place = other
        rows = min(place + 1, last), max(place - 1, 0)
        if not leads(v, place, rows[0], rows[1], a, b, bound[place], after[place], before[place]):
            doubt[place] = True


@njit(cache=True, nogil=True, error_model="numpy")
def leads_in_doubt(v, windows, places, alike, zeros, bound, before, after, starts_interval, doubt):
    last, units, shape = v.shape[0] - 1, len(windows), places.shape
    earlier, here, later = np.empty(shape, v.dtype), np.empty(shape, v.dtype), np.empty(shape, v.dtype)
    most, most_after, most_before = np.empty(units, v.dtype), np.empty(units, v.dtype), np.empty(units, v.dtype)
    leader, unsure = np.empty(units, np.int64), np.zeros((units + 7) // 8 * 8, np.uint8)
    eights, known = unsure.view(np.uint64), np.empty(shape, np.bool_)
    take(zeros, places, known)
    taken = -1
    for i in range(last + 1):
        to_right, to_left = i < last and starts_interval[i], i > 0 and starts_interval[i - 1]
        if not (to_right or to_left):
            continue
        if taken == i - 1 and i > 0:
            earlier, here, later = here, later, earlier
        else:
            take(v[max(i - 1, 0)], places, earlier)
            take(v[i], places, here)
        take(v[min(i + 1, last)], places, later)
        taken = i
        find_leaders(here, most, leader)
        open_leads(
            earlier, here, later, known, leader, most, most_after, most_before, bound[i], before[i], after[i], unsure
        )  # fmt: skip
        for eight in range(len(eights)):
            if eights[eight] == 0:
                continue
            for u in range(8 * eight, min(8 * eight + 8, units)):
                if unsure[u] and to_right:
                    mark_open_lead(v, i, i + 1, windows[u], alike, zeros, bound, before, after, doubt)
                if unsure[u] and to_left:
                    mark_open_lead(v, i, i - 1, windows[u], alike, zeros, bound, before, after, doubt)
