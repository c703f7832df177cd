"""Where units cross their knots between two neighbouring points: loops that numba compiles, for one interval at a time.

They become part of the loops that call them, in whose compiled form numba does not notice a change made here: after
one, remove ``__pycache__``.
"""

import numpy as np
from numba import njit

# Units whose signs are compared at once.
SPAN = 32
# Up to so many crossings are put in order by comparing neighbours.
FEW = 16

__all__ = ["extent", "gather", "in_order", "place_interval"]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def extent(bits, k, a, b, extremes, own):
    """Note the largest and the smallest absolute number of ``bits[k, b]``.

    Absolute floats are in the order of their bits as integers, whose maxima a compiler takes several at once.

    Args:
        bits: of floats, ``(kinds, 2, numbers)``.
        extremes: ``(2, 1 + kinds)``, bits of floats: the largest number of kind ``own`` and the smallest of each,
            filled in at b.

    Returns:
        Negative if some number of ``bits[k, a]`` has another sign.
    """
    # Each result is brought back to the numbers' own width, which numba leaves in any operation on integers.
    integer = bits.dtype.type
    mask = integer(~(integer(1) << (8 * bits.itemsize - 1)))
    most, least, changed = integer(0), mask, integer(0)
    for u in range(bits.shape[2]):
        number = bits[k, b, u]
        changed = integer(changed | integer(number ^ bits[k, a, u]))
        size = integer(number & mask)
        most, least = integer(max(most, size)), integer(min(least, size))
    if k == own:
        extremes[b, 0] = most
    extremes[b, 1 + k] = least
    return changed


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def gather(distance, bits, k, a, b, knot, ends, weighted, stop, integers, reals):
    """Note every unit that crosses a knot between two neighbouring points.

    Args:
        distance: of units from that knot at both points, ``distance[k, a]`` and ``distance[k, b]``.
        bits: of the same numbers.
        knot: which one it is.
        ends: position, weight and t of the one point, then of the other.
        stop: the first free place.
        integers: row, unit, knot and new row of each crossing, ``(4, places)``; unit and knot are filled in.
        reals: t, the weights of both ends, and the rise of each crossing, ``(4, places)``, filled in.

    Returns:
        The first place that is still free.
    """
    p, w, t, q, v, s = ends
    units, integer, half = distance.shape[2], bits.dtype.type, distance.dtype.type(0.5)
    for first in range(0, units, SPAN):
        # A span of units is looked at one by one only if one of them changes its sign; that is found out several at
        # once.
        changed, beyond = integer(0), min(first + SPAN, units)
        if beyond == first + SPAN:
            for n in range(SPAN):
                changed = integer(changed | integer(bits[k, a, first + n] ^ bits[k, b, first + n]))
            if changed >= 0:
                continue
        for u in range(first, beyond):
            if integer(bits[k, a, u] ^ bits[k, b, u]) >= 0:
                continue
            here, there = distance[k, a, u], distance[k, b, u]
            if not (((here < 0) & (there > 0)) | ((here > 0) & (there < 0))):
                continue
            rise = there - here
            # A rise may overflow; that of halves does not, and parts the interval alike.
            if abs(rise) == np.inf:
                here, there = here * half, there * half
            left, right = there / (there - here), here / (here - there)
            at = left * p + right * q
            if weighted:
                at = at / (left * w + right * v)
            at = min(max(at, t), s)
            integers[1, stop], integers[2, stop] = u, knot
            reals[0, stop], reals[1, stop], reals[2, stop], reals[3, stop] = at, left, right, rise
            stop += 1
    return stop


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def in_order(start, stop, integers, reals):
    """Put the crossings of an interval in order of t, of knots and of units, in place.

    Shell's sort, of which one last pass is left where there were so many that it paid to share them out first. There
    must be room for as many crossings again behind them.
    """
    gap, shared_out = 1, stop - start > FEW and share_out(start, stop, integers, reals)
    while not shared_out and 3 * gap + 1 < stop - start:
        gap = 3 * gap + 1
    while gap > 0:
        for n in range(start + gap, stop):
            unit, knot, at, m = integers[1, n], integers[2, n], reals[0, n], n
            if not comes_later(n - gap, at, knot, unit, integers, reals):
                continue
            left, right, rise = reals[1, n], reals[2, n], reals[3, n]
            while m - gap >= start and comes_later(m - gap, at, knot, unit, integers, reals):
                integers[1, m], integers[2, m] = integers[1, m - gap], integers[2, m - gap]
                for part in range(4):
                    reals[part, m] = reals[part, m - gap]
                m -= gap
            integers[1, m], integers[2, m] = unit, knot
            reals[0, m], reals[1, m], reals[2, m], reals[3, m] = at, left, right, rise
        gap //= 3


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def share_out(start, stop, integers, reals):
    """Put crossings in order of equal parts of their interval, one part for each; within a part they stay as they are.

    Returns:
        Whether that was done; not so where many are in one part.
    """
    count, most = stop - start, 0
    for n in range(start, stop):
        integers[3, n] = 0
    for n in range(start, stop):
        place = reals[2, n] * count
        part = min(int(place), count - 1) if place >= 0 else 0
        integers[0, n] = part
        integers[3, start + part] += 1
        most = max(most, integers[3, start + part])
    if most > FEW:
        return False
    to = stop
    for n in range(start, stop):
        size = integers[3, n]
        integers[3, n] = to
        to += size
    for n in range(start, stop):
        part = integers[0, n]
        to = integers[3, start + part]
        integers[3, start + part] = to + 1
        integers[1, to], integers[2, to] = integers[1, n], integers[2, n]
        for number in range(4):
            reals[number, to] = reals[number, n]
    for n in range(start, stop):
        integers[1, n], integers[2, n] = integers[1, n + count], integers[2, n + count]
        for number in range(4):
            reals[number, n] = reals[number, n + count]
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def comes_later(m, at, knot, unit, integers, reals):
    if reals[0, m] != at:
        return reals[0, m] > at
    return integers[2, m] > knot or (integers[2, m] == knot and integers[1, m] > unit)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def place_interval(i, start, stop, fresh, t, s, integers, reals, inside, spots, shares):
    """Where the crossings of the interval that starts in row i come to lie.

    Args:
        start, stop: the places of its crossings.
        fresh: how many new points there are before.
        t, s: of its ends.
        integers, reals: of each crossing, as in gather; row and new row are filled in.
        inside: whether each crossing has a new point, ``(1, places)``, filled in.
        spots, shares: interval ``(1, places)`` and weights of both ends ``(2, places)`` of each new point, filled in.

    Returns:
        How many new points there are then.
    """
    first = fresh
    for m in range(start, stop):
        at = reals[0, m]
        integers[0, m] = i
        inside[0, m] = at != t and at != s
        if inside[0, m] and (m == start or not inside[0, m - 1] or at != reals[0, m - 1]):
            spots[0, fresh], shares[0, fresh], shares[1, fresh] = i, reals[1, m], reals[2, m]
            fresh += 1
        integers[3, m] = i + fresh if inside[0, m] else i + first
    for m in range(start, stop):
        if not inside[0, m] and reals[0, m] != t:
            integers[3, m] = i + 1 + fresh
    return fresh
