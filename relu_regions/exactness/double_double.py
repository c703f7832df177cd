"""Products and gates in twice the working precision: a number is the sum of two floats, ``hi + lo``.

Error-free transformations: TwoSum (Knuth), and TwoProduct by Dekker's splitting (Ogita, Rump, Oishi, "Accurate sum and
dot product", SIAM Journal on Scientific Computing 26, 2005, algorithms 3.1 to 3.3). No operation may be reordered or
fused.
"""

import numpy as np
from numba import njit

__all__ = ["bend", "multiply", "on_line", "split"]

# 2^27 + 1 splits a float64 in two halves whose products are exact.
_SPLITTER = 134217729.0


@njit(cache=True, nogil=True, inline="always")
def two_sum(a, b):
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@njit(cache=True, nogil=True, inline="always")
def halves(a):
    scaled = _SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high


@njit(cache=True, nogil=True, inline="always")
def two_product(a, b):
    product = a * b
    a1, a2 = halves(a)
    b1, b2 = halves(b)
    return product, a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2)


@njit(cache=True, nogil=True)
def split(matrix, high, low):
    for j in range(matrix.shape[0]):
        for u in range(matrix.shape[1]):
            high[j, u], low[j, u] = halves(matrix[j, u])


@njit(cache=True, nogil=True)
def on_line(x, d, t, hi, lo):
    """x + t d for each row."""
    for r in range(x.shape[0]):
        for j in range(x.shape[1]):
            product, error = two_product(t[r], d[r, j])
            total, rest = two_sum(x[r, j], product)
            hi[r, j], lo[r, j] = two_sum(total, error + rest)


@njit(cache=True, nogil=True)
def multiply(columns, high, low, bias, hi, lo, out_hi, out_lo):
    """A matrix, given by its columns and their halves, times each double-double row, plus a bias: Dot2."""
    size = columns.shape[1]
    total, rest = np.empty(size), np.empty(size)
    for r in range(hi.shape[0]):
        for u in range(size):
            total[u], rest[u] = bias[u], 0.0
        for j in range(columns.shape[0]):
            v, small = hi[r, j], lo[r, j]
            if v == 0.0 and small == 0.0:
                continue
            v1, v2 = halves(v)
            for u in range(size):
                w = columns[j, u]
                product = w * v
                error = low[j, u] * v2 - (((product - high[j, u] * v1) - low[j, u] * v1) - high[j, u] * v2)
                old = total[u]
                new = old + product
                part = new - old
                lost = (old - (new - part)) + (product - part)
                total[u] = new
                rest[u] += lost + (error + w * small)
        for u in range(size):
            out_hi[r, u], out_lo[r, u] = two_sum(total[u], rest[u])


@njit(cache=True, nogil=True)
def bend(knots, slopes, offsets, bound, reach, slope_error, hi, lo, growth, undecided):
    """Apply a gate with knots in place to values and to their growth along the line.

    A unit counts as undecided where it might meet a knot within ``reach`` of the place.
    """
    unit = 2.0**-53
    for r in range(hi.shape[0]):
        for u in range(hi.shape[1]):
            room = bound[r] + reach[r] * (abs(growth[r, u]) + slope_error[r])
            piece = 0
            for k in range(knots.shape[0]):
                distance = (hi[r, u] - knots[k, u]) + lo[r, u]
                if not abs(distance) * (1 - 8 * unit) > room * (1 + 16 * unit):
                    undecided[r] += 1
                piece += distance > 0
            slope, offset = slopes[piece, u], offsets[piece, u]
            product, error = two_product(slope, hi[r, u])
            total, rest = two_sum(product, offset)
            hi[r, u], lo[r, u] = two_sum(total, rest + (error + slope * lo[r, u]))
            growth[r, u] *= slope
