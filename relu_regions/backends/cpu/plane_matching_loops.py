"""The loops that numba compiles for putting polygons of planes together: corners by name, sides by their ends."""

import numpy as np
from numba import njit

from relu_regions.backends.cpu.polygon_loops import mixed

__all__ = ["number_corners", "number_sides"]


@njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def number_corners(names, first, last):
    """Numbers the corners ``first`` to ``last`` by their names: the number of each, and the place of each new one."""
    count, size = last - first, 8
    while size < 2 * count:
        size *= 2
    table = np.full(size, -1, np.int64)
    mask = np.uint64(size - 1)
    numbers, places = np.empty(count, np.int64), np.empty(count, np.int64)
    found = 0
    for i in range(count):
        one, other = names[first + i, 0], names[first + i, 1]
        slot = mixed(one + other) & mask
        while True:
            number = table[slot]
            if number < 0:
                table[slot], places[found], numbers[i] = found, first + i, found
                found += 1
                break
            place = places[number]
            if names[place, 0] == one and names[place, 1] == other:
                numbers[i] = number
                break
            slot = (slot + np.uint64(1)) & mask
    return numbers, places[:found].copy()


@njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def number_sides(corners, offsets):
    """The sides of polygons: their two ends, and the polygons to the left and to the right, -1 for none.

    A side that two polygons have in the same direction, or that more than two have, is there more than once.
    """
    count, size = corners.shape[0], 8
    while size < 2 * count:
        size *= 2
    table = np.full(size, -1, np.int64)
    mask = np.uint64(size - 1)
    ends, beside = np.empty((count, 2), np.int64), np.empty((count, 2), np.int64)
    found = 0
    for f in range(offsets.shape[0] - 1):
        for i in range(offsets[f], offsets[f + 1]):
            start, end = corners[i], corners[i + 1 if i + 1 < offsets[f + 1] else offsets[f]]
            low, high = min(start, end), max(start, end)
            slot = mixed((np.uint64(low) << np.uint64(32)) ^ np.uint64(high)) & mask
            while True:
                side = table[slot]
                if side < 0:
                    table[slot] = found
                    ends[found, 0], ends[found, 1], beside[found, 0], beside[found, 1] = start, end, f, -1
                    found += 1
                    break
                if ends[side, 0] == end and ends[side, 1] == start and beside[side, 1] < 0 and beside[side, 0] != f:
                    beside[side, 1] = f
                    break
                slot = (slot + np.uint64(1)) & mask
    return ends[:found].copy(), beside[:found].copy()
