"""Polygons of planes put together in plain Python: corners by name, sides by their ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from relu_regions.network.arrays import Integers, Numbers

__all__ = ["number_corners", "number_sides"]


def number_corners(names: Numbers, first: int, last: int) -> tuple[Integers, Integers]:
    """Number the corners from ``first`` to ``last`` by their names.

    Returns:
        The number of each, and the place among all corners of the first with each number.
    """
    numbers: dict[tuple[int, int], int] = {}
    places, each = [], []
    for place in range(first, last):
        name = (int(names[place, 0]), int(names[place, 1]))
        if name not in numbers:
            numbers[name] = len(numbers)
            places.append(place)
        each.append(numbers[name])
    return np.array(each, dtype=np.int64), np.array(places, dtype=np.int64)


def number_sides(corners: Integers, offsets: Integers) -> tuple[Integers, Integers]:
    """The sides of polygons: their two ends, and the polygons to the left and to the right, -1 for none.

    A side that two polygons have in the same direction, or that more than two have, is there more than once.
    """
    waiting: dict[tuple[int, int], list[int]] = {}
    ends: list[tuple[int, int]] = []
    beside: list[list[int]] = []
    for polygon, (start, stop) in enumerate(pairwise(offsets.tolist())):
        around = corners[start:stop].tolist()
        for end in zip(around, [*around[1:], *around[:1]]):
            found = [side for side in waiting.get(end[::-1], []) if beside[side][0] != polygon]
            if found:
                beside[found[0]][1] = polygon
                waiting[end[::-1]].remove(found[0])
            else:
                waiting.setdefault(end, []).append(len(ends))
                ends.append(end)
                beside.append([polygon, -1])
    return np.array(ends, dtype=np.int64).reshape(-1, 2), np.array(beside, dtype=np.int64).reshape(-1, 2)
