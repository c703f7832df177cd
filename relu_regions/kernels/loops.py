"""The loops that numba compiles: plain arrays in and out, no torch.

They run on one thread: on busy cores, a second pool of threads beside torch's own made the walk ten times slower.
"""

import numpy as np
from numba import njit

__all__ = ["count", "insert", "insert_relu", "kinks", "largest", "locate", "multiply", "rows", "rows_in_doubt", "zero"]


@njit(cache=True, nogil=True, error_model="numpy")
def count(z, w, knots, starts_interval, counts):
    on_knot = 0
    for i in range(z.shape[0]):
        if starts_interval[i]:
            count, zeros = 0, 0
            for k in range(knots.shape[0]):
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
    z,
    p,
    w,
    t,
    knots,
    counts,
    starts,
    row,
    unit,
    before,
    after,
    left,
    right,
    at,
    inside,
    opens,
    ends,
    added,
    weighted,
):
    for i in range(z.shape[0]):
        if counts[i] == 0:
            continue
        n = starts[i]
        for k in range(knots.shape[0]):
            for u in range(z.shape[1]):
                here = z[i, u] - knots[k, u] * w[i]
                there = z[i + 1, u] - knots[k, u] * w[i + 1]
                if ((here < 0) & (there > 0)) | ((here > 0) & (there < 0)):
                    rising = 1 if there > 0 else 0
                    lt, rt = there / (there - here), here / (here - there)
                    place = lt * p[i] + rt * p[i + 1]
                    if weighted:
                        place = place / (lt * w[i] + rt * w[i + 1])
                    place = min(max(place, t[i]), t[i + 1])
                    # Insertion from the back keeps equal ones in the order they were found in.
                    m = n
                    while m > starts[i] and at[m - 1] > place:
                        at[m], unit[m], left[m], right[m] = at[m - 1], unit[m - 1], left[m - 1], right[m - 1]
                        before[m], after[m] = before[m - 1], after[m - 1]
                        m -= 1
                    at[m], unit[m], left[m], right[m] = place, u, lt, rt
                    before[m], after[m] = k + 1 - rising, k + rising
                    n += 1
        fresh = 0
        for m in range(starts[i], n):
            row[m] = i
            inside[m] = at[m] != t[i] and at[m] != t[i + 1]
            ends[m] = (not inside[m]) and at[m] != t[i]
            opens[m] = inside[m] and (m == starts[i] or not inside[m - 1] or at[m] != at[m - 1])
            fresh += opens[m]
        added[i] = fresh


@njit(cache=True, nogil=True, error_model="numpy")
def rows(counts, starts, added, first_new, inside, opens, ends, bend_row):
    for i in range(len(counts)):
        at = i + first_new[i]
        for m in range(starts[i], starts[i] + counts[i]):
            at += opens[m]
            if inside[m]:
                bend_row[m] = at
            elif ends[m]:
                bend_row[m] = i + 1 + first_new[i] + added[i]
            else:
                bend_row[m] = i + first_new[i]


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
def kinks(z, w, knots, slopes, row, unit, before, after, kink):
    for m in range(len(row)):
        i, u, k = row[m], unit[m], max(before[m], after[m]) - 1
        rise = (z[i + 1, u] - knots[k, u] * w[i + 1]) - (z[i, u] - knots[k, u] * w[i])
        kink[m] = (slopes[after[m], u] - slopes[before[m], u]) * rise


@njit(cache=True, nogil=True, error_model="numpy")
def multiply(products, columns, added, first_new, right, row, unit, left, bend_row, kink, result):
    size = products.shape[1]
    slope = np.empty(size, products.dtype)
    stop = 0
    for i in range(len(added)):
        at, start = i + first_new[i], stop
        while stop < len(row) and row[stop] == i:
            stop += 1
        result[at] = products[i]
        if added[i] == 0:
            continue
        # From the whole change over the interval, what the bends after a place add is taken back.
        for u in range(size):
            slope[u] = products[i + 1, u] - products[i, u]
        for m in range(start, stop):
            column, share = columns[unit[m]], left[m] * kink[m]
            for u in range(size):
                slope[u] -= share * column[u]
        place, g = products.dtype.type(0), first_new[i]
        for m in range(start, stop):
            column, change = columns[unit[m]], kink[m]
            if bend_row[m] == at + 1 and at - i < first_new[i] + added[i]:
                here, there, step = result[at], result[at + 1], right[g] - place
                for u in range(size):
                    there[u] = here[u] + step * slope[u]
                    slope[u] += change * column[u]
                place, at, g = right[g], at + 1, g + 1
            else:
                for u in range(size):
                    slope[u] += change * column[u]


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


# That there are no NaN lets the compiler take several maxima at once; the result is the same.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
def largest(values, result):
    for i in range(values.shape[0]):
        size = result[i]
        for u in range(values.shape[1]):
            number = abs(values[i, u])
            size = number if number > size else size
        result[i] = size
