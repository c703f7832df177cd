"""The loops that numba compiles: plain arrays in and out, no torch.

They run on one thread: on busy cores, a second pool of threads beside torch's own made the walk ten times slower.
"""

import numpy as np
from numba import njit

__all__ = [
    "count",
    "exits",
    "fading",
    "insert",
    "insert_relu",
    "largest",
    "locate",
    "multiply",
    "rows_in_doubt",
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
def exits(logits, offsets, label, error, first, close):
    for s in range(len(label)):
        own, row, near = label[s], offsets[s], False
        first[s] = logits.shape[0]
        while row < offsets[s + 1] and first[s] == logits.shape[0]:
            for k in range(logits.shape[1]):
                if k != own:
                    lead = logits[row, own] - logits[row, k]
                    near |= abs(lead) <= error[row]
                    if lead < 0:
                        first[s] = row
            row += 1
        close[s] = near
