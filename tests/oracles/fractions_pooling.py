"""Max pooling of one plane along one line in plain fractions, by brute force: every place where anything could bend.

Nothing here is shared with the library, nor with the other oracles: a window is a list of pixels, a pixel is a function
of t, and the maximum is taken at enough values of t to know it everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations, pairwise
from typing import NamedTuple

__all__ = ["Pooling", "bends", "pooled", "size_after", "windows"]

Plane = Sequence[Sequence[Fraction]]
Pixel = tuple[int, int]


class Pooling(NamedTuple):
    """A pooling layer; each pair is for rows and columns."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    ceil_mode: bool


def size_after(size: int, dimension: int, layer: Pooling) -> int:
    """How many windows fit: with ceil_mode also one that goes over the edge, if it starts before the padding's end."""
    kernel, stride, padding, dilation = (part[dimension] for part in layer[:4])
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if room < 0:
        return 0
    if not layer.ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count if (count - 1) * stride < size + padding else count - 1


def windows(height: int, width: int, layer: Pooling) -> list[list[Pixel]]:
    """The pixels of each window, row by row; padding takes no part."""

    def places(size: int, dimension: int, start: int) -> list[int]:
        found = [start + layer.dilation[dimension] * k for k in range(layer.kernel[dimension])]
        return [place for place in found if 0 <= place < size]

    corners = [
        (row * layer.stride[0] - layer.padding[0], column * layer.stride[1] - layer.padding[1])
        for row in range(size_after(height, 0, layer))
        for column in range(size_after(width, 1, layer))
    ]
    return [[(r, c) for r in places(height, 0, top) for c in places(width, 1, left)] for top, left in corners]


def pooled(x: Plane, d: Plane, t: Fraction, layer: Pooling, relu: bool) -> list[Fraction]:
    """The largest pixel of every window at t, after a ReLU if there is one."""

    def pixel(row: int, column: int) -> Fraction:
        value = x[row][column] + t * d[row][column]
        return max(value, Fraction(0)) if relu else value

    return [max(pixel(*place) for place in window) for window in windows(len(x), len(x[0]), layer)]


def bends(x: Plane, d: Plane, low: Fraction, high: Fraction, layer: Pooling, relu: bool) -> list[Fraction]:
    """Every t strictly between low and high at which a ReLU changes its piece or a window's maximum bends."""
    lines = [(a, b) for values, slopes in zip(x, d) for a, b in zip(values, slopes)]
    zeros = {-a / b for a, b in lines if b} if relu else set()
    crossings = {(a - c) / (e - b) for (a, b), (c, e) in combinations(lines, 2) if b != e}
    candidates = sorted(t for t in zeros | crossings if low < t < high)
    slopes = [_slopes(lambda t: pooled(x, d, t, layer, relu), *ends) for ends in pairwise([low, *candidates, high])]
    return [t for t, before, after in zip(candidates, slopes, slopes[1:]) if t in zeros or before != after]


def _slopes(function: Callable[[Fraction], list[Fraction]], low: Fraction, high: Fraction) -> list[Fraction]:
    """Of functions that are affine between two values of t."""
    return [(there - here) / (high - low) for here, there in zip(function(low), function(high))]
