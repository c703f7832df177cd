"""What Triton compiles for the points of a chain on a CUDA device: a point or a crossing for each lane; as chain_loops.

``sizes`` are those of a chain's Link: gain, bias, rounding and floor of the matrix; slope, turn, knot and offset of the
gate; and half the distance of 1 from the next float, in this order from 0 to 8. ``near`` holds for each row the bound
of its values, and by which share of their change over the interval before it, and after it, a shift moves them.
"""

import triton
import triton.language as tl

from relu_regions.network import rounding_constants

__all__ = ["bounds", "move", "nearness", "opening", "order", "place", "quotient", "record", "shares", "weigh"]

_VALUE, _NEW_ROW = tl.constexpr(rounding_constants.VALUE), tl.constexpr(rounding_constants.NEW_ROW)
_PER_BEND, _PER_INTERVAL = tl.constexpr(rounding_constants.PER_BEND), tl.constexpr(rounding_constants.PER_INTERVAL)
_CROSSING, _APART = tl.constexpr(rounding_constants.CROSSING), tl.constexpr(rounding_constants.APART)


@triton.jit
def quotient(dividend, divisor):
    """Rounded to the nearest float, which the operator is not for float32 on a device."""
    return tl.div_rn(dividend, divisor) if dividend.dtype == tl.float32 else dividend / divisor


@triton.jit
def shares(here, ahead):
    """The weights of an interval's ends where a distance from a knot is 0 that has these values, of two signs."""
    # A rise may overflow; that of halves does not, and parts the interval alike.
    half = tl.where(tl.abs(ahead - here) == float("inf"), 0.5, 1.0).to(here.dtype)
    here, ahead = here * half, ahead * half
    return quotient(ahead, ahead - here), quotient(here, here - ahead)


@triton.jit(do_not_specialize=["count"])
def weigh(row, distances, position, weight, t, found, count, WEIGHTED: tl.constexpr, BLOCK: tl.constexpr):
    """The t of each crossing, the weights of its interval's ends, and its rise, from the distances of locate."""
    before, behind = distances
    at, left, right, rise = found
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    known = m < count
    r, here = tl.load(row + m, mask=known, other=0), tl.load(before + m, mask=known, other=-1.0)
    ahead = tl.load(behind + m, mask=known, other=1.0)
    share, other = shares(here, ahead)
    place = share * tl.load(position + r, mask=known, other=0.0)
    place += other * tl.load(position + r + 1, mask=known, other=0.0)
    if WEIGHTED:
        w, v = tl.load(weight + r, mask=known, other=1.0), tl.load(weight + r + 1, mask=known, other=1.0)
        place = quotient(place, share * w + other * v)
    # What overflowed to NaN is put at the start of the interval, where it is in doubt.
    low, high = tl.load(t + r, mask=known, other=0.0), tl.load(t + r + 1, mask=known, other=0.0)
    place = tl.where(place >= low, place, low)
    tl.store(at + m, tl.where(place <= high, place, high), mask=known)
    tl.store(left + m, share, mask=known)
    tl.store(right + m, other, mask=known)
    tl.store(rise + m, ahead - here, mask=known)


@triton.jit(do_not_specialize=["count"])
def order(row, crossings, starts, ordered, count, BLOCK: tl.constexpr):
    """The crossings of each interval in order of t; equal ones keep their order. Each is compared with all others.

    Args:
        crossings, ordered: unit, knot, t, weights of the interval's ends, and rise, before and behind.
    """
    unit, knot, at, left, right, rise = crossings
    to_unit, to_knot, to_at, to_left, to_right, to_rise = ordered
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    known = m < count
    r = tl.load(row + m, mask=known, other=0)
    begin = tl.load(starts + r, mask=known, other=0)
    others = tl.load(starts + r + 1, mask=known, other=0) - begin
    mine, place = tl.load(at + m, mask=known, other=0.0), begin
    for j in range(tl.max(others, 0)):
        there = known & (j < others)
        other = tl.load(at + begin + j, mask=there, other=0.0)
        place += (there & ((other < mine) | ((other == mine) & (begin + j < m)))).to(tl.int64)
    tl.store(to_unit + place, tl.load(unit + m, mask=known), mask=known)
    tl.store(to_knot + place, tl.load(knot + m, mask=known), mask=known)
    tl.store(to_at + place, mine, mask=known)
    tl.store(to_left + place, tl.load(left + m, mask=known), mask=known)
    tl.store(to_right + place, tl.load(right + m, mask=known), mask=known)
    tl.store(to_rise + place, tl.load(rise + m, mask=known), mask=known)


@triton.jit
def _inside(row, at, t, m, known):
    """Whether crossings lie strictly inside of their intervals; what rounds to an end belongs to the point there."""
    r, place = tl.load(row + m, mask=known, other=0), tl.load(at + m, mask=known, other=0.0)
    low, high = tl.load(t + r, mask=known, other=0.0), tl.load(t + r + 1, mask=known, other=0.0)
    return known & (place != low) & (place != high)


@triton.jit(do_not_specialize=["count"])
def opening(row, at, t, opens, count, BLOCK: tl.constexpr):
    """Whether a crossing needs a new point: it is inside, and not where the crossing before it is."""
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    known, follows = m < count, (m < count) & (m > 0)
    same = tl.load(row + m - 1, mask=follows, other=-1) == tl.load(row + m, mask=known, other=0)
    place = tl.load(at + m, mask=known, other=0.0)
    same = follows & same & (tl.load(at + m - 1, mask=follows, other=0.0) == place)
    tl.store(opens + m, (_inside(row, at, t, m, known) & (same == 0)).to(tl.int64), mask=known)


@triton.jit(do_not_specialize=["rows"])
def move(starts, ordinal, points, moved, all_points, rows, WEIGHTED: tl.constexpr, BLOCK: tl.constexpr):
    """Where the points there were go, and what they take along.

    Args:
        ordinal: how many new points come before each crossing, and all of them.
        points: segment, position and weight of the points there were.
        moved: ``(rows + 1,)``, filled in; the last one is the number of all points.
        all_points: the same of all points, and the row that each comes from, and the weights of it and the next;
            filled in.
    """
    segment, position, weight = points
    to_segment, to_position, to_weight, source, left, right = all_points
    r = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = r < rows
    n = r + tl.load(ordinal + tl.load(starts + r, mask=r <= rows, other=0), mask=r <= rows, other=0)
    p = tl.load(position + r, mask=there, other=0.0)
    tl.store(moved + r, n, mask=r <= rows)
    tl.store(to_segment + n, tl.load(segment + r, mask=there), mask=there)
    tl.store(to_position + n, p, mask=there)
    tl.store(source + n, r, mask=there)
    tl.store(left + n, tl.zeros_like(p) + 1.0, mask=there)
    tl.store(right + n, tl.zeros_like(p), mask=there)
    if WEIGHTED:
        tl.store(to_weight + n, tl.load(weight + r, mask=there), mask=there)


@triton.jit(do_not_specialize=["count"])
def place(
    crossings, t, starts, ordinal, points, crossing_row, all_points, count, WEIGHTED: tl.constexpr, BLOCK: tl.constexpr
):
    """The row of each crossing's point, and the new points; as move.

    Args:
        crossings: row, t, and weights of the interval's ends.
        crossing_row: filled in; -1 - row where the crossing is not inside of its interval and belongs to a point there
            was.
    """
    row, at, left, right = crossings
    segment, position, weight = points
    to_segment, to_position, to_weight, source, to_left, to_right = all_points
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    known = m < count
    r, mine = tl.load(row + m, mask=known, other=0), tl.load(at + m, mask=known, other=0.0)
    later = mine != tl.load(t + r, mask=known, other=0.0)
    inside = later & (mine != tl.load(t + r + 1, mask=known, other=0.0))
    n = r + tl.load(ordinal + m + 1, mask=known, other=0)
    new = known & (n > r + tl.load(ordinal + m, mask=known, other=0))
    end = r + later.to(tl.int64)
    end += tl.load(ordinal + tl.load(starts + end, mask=known, other=0), mask=known, other=0)
    tl.store(crossing_row + m, tl.where(inside, n, -1 - end), mask=known)
    one, other = tl.load(left + m, mask=new, other=0.0), tl.load(right + m, mask=new, other=0.0)
    p, q = tl.load(position + r, mask=new, other=0.0), tl.load(position + r + 1, mask=new, other=0.0)
    tl.store(to_position + n, p * one + q * other, mask=new)
    tl.store(to_segment + n, tl.load(segment + r, mask=new), mask=new)
    tl.store(source + n, r, mask=new)
    tl.store(to_left + n, one, mask=new)
    tl.store(to_right + n, other, mask=new)
    if WEIGHTED:
        w, v = tl.load(weight + r, mask=new, other=0.0), tl.load(weight + r + 1, mask=new, other=0.0)
        tl.store(to_weight + n, w * one + v * other, mask=new)


@triton.jit(do_not_specialize=["count"])
def record(gate, crossings, segment, offsets, ends, flips, count, units, BLOCK: tl.constexpr):
    """The flips of a gate at all crossings, ``(5, count)``.

    A crossing that rounds to the end of a segment changes the pattern there, with no region before it: in its place
    stands a flip from a piece to itself, which is left out at the chain's end.

    Args:
        crossings: row of the point, unit, knot, and rise.
        segment, offsets: of all points.
        ends: pieces at the segments' first and last points, changed in place.
    """
    crossing_row, unit, knot, rise = crossings
    first, last = ends
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    known = m < count
    r, u = tl.load(crossing_row + m, mask=known, other=0), tl.load(unit + m, mask=known, other=0)
    r = tl.where(r < 0, -1 - r, r)
    rising, k = (tl.load(rise + m, mask=known, other=1.0) > 0).to(tl.int64), tl.load(knot + m, mask=known, other=0)
    before, after, own = k + 1 - rising, k + rising, tl.load(segment + r, mask=known, other=0)
    begins = known & (r == tl.load(offsets + own, mask=known, other=0))
    ends = known & (r + 1 == tl.load(offsets + own + 1, mask=known, other=0))
    # A unit may cross several knots there, in any order.
    at = own * units + u
    tl.atomic_max(first + at, after, mask=begins & (rising > 0))
    tl.atomic_min(first + at, after, mask=begins & (rising == 0))
    tl.atomic_min(last + at, before, mask=ends & (rising > 0))
    tl.atomic_max(last + at, before, mask=ends & (rising == 0))
    tl.store(flips + m, r, mask=known)
    tl.store(flips + count + m, tl.zeros_like(r) + gate, mask=known)
    tl.store(flips + 2 * count + m, u, mask=known)
    tl.store(flips + 3 * count + m, before, mask=known)
    tl.store(flips + 4 * count + m, tl.where(begins | ends, before, after), mask=known)


@triton.jit(do_not_specialize=["rows"])
def nearness(errors, segment, position, sizes, near, uncertain, rows, BLOCK: tl.constexpr):
    """As chain_points.nearness: ``near`` is filled in, ``(3, rows)``."""
    r = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there, own = r < rows, tl.load(segment + r, mask=r < rows, other=-1)
    inner = there & (tl.load(segment + r + 1, mask=r + 1 < rows, other=-1) == own)
    outer = there & (tl.load(segment + r - 1, mask=there & (r > 0), other=-1) == own)
    value = tl.load(errors + r, mask=there, other=0.0)
    value = tl.maximum(value, tl.load(errors + r + 1, mask=inner, other=0.0))
    value = tl.maximum(value, tl.load(errors + r - 1, mask=outer, other=0.0))
    value += tl.load(sizes + 6) * tl.load(errors + 3 * rows + r, mask=there, other=0.0)
    shift, ahead = errors + rows + r, tl.load(errors + rows + r + 1, mask=inner, other=0.0)
    shift = tl.load(shift, mask=there, other=0.0)
    place, stored = tl.load(position + r, mask=there, other=0.0), tl.load(errors + 2 * rows + r, mask=there, other=0.0)
    gap = tl.abs(tl.load(position + r + 1, mask=inner, other=0.0) - place)
    gap -= 2 * tl.maximum(stored, tl.load(errors + 2 * rows + r + 1, mask=inner, other=0.0))
    back = tl.abs(place - tl.load(position + r - 1, mask=outer, other=0.0))
    back -= 2 * tl.maximum(stored, tl.load(errors + 2 * rows + r - 1, mask=outer, other=0.0))
    tl.store(near + r, value, mask=there)
    tl.store(near + rows + r, tl.where(outer & (back > 0), quotient(shift, back), 0.0), mask=there)
    tl.store(near + 2 * rows + r, tl.where(inner & (gap > 0), quotient(shift, gap), 0.0), mask=there)
    closed = inner & ((gap > 0) == 0) & ((shift > 0) | (ahead > 0))
    tl.store(uncertain + own, (tl.zeros_like(own) + 1).to(tl.int8), mask=closed)


@triton.jit
def _two(numbers, r, j, there):
    """A number of each row and of the next one."""
    return tl.load(numbers + r, mask=there, other=0.0), tl.load(numbers + j, mask=there, other=0.0)


@triton.jit
def _between(error, error_there, size, size_there, roundoff):
    """The bound of what is interpolated between two numbers of these sizes, known within these errors."""
    bound = tl.maximum(error, error_there)
    bound += roundoff * _NEW_ROW * tl.maximum(size + error, size_there + error_there)
    return bound


@triton.jit
def _within(near, r, j, there):
    """How far the distances of units from a knot may be off at the ends of intervals."""
    limit, limit_there = _two(near, r, j, there)
    return tl.maximum(limit, limit_there)


@triton.jit
def _within_of_level(near, r, j, there, size, size_there, roundoff):
    """The same where a knot is not 0, so that distances from it are rounded; sizes are those of values and knots."""
    limit, limit_there = _two(near, r, j, there)
    return tl.maximum(limit + roundoff * _VALUE * size, limit_there + roundoff * _VALUE * size_there)


@triton.jit
def _store_four(to_errors, total, n, value, shift, stored, heavy, mask):
    tl.store(to_errors + n, value, mask=mask)
    tl.store(to_errors + total + n, shift, mask=mask)
    tl.store(to_errors + 2 * total + n, stored, mask=mask)
    tl.store(to_errors + 3 * total + n, heavy, mask=mask)


@triton.jit(do_not_specialize=["rows", "total"])
def bounds(
    points, crossings, moved, size, near, errors, sizes, uncertain, to_errors, rows, total,
    WEIGHTED: tl.constexpr, LEVEL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """As chain_points.bounds: ``to_errors`` is filled in, ``(4, total)``.

    Args:
        points: as in move.
        crossings: where those of each row start; the weight of the interval's second end, rise, and row of the point.
    """
    segment, position, weight = points
    starts, right, rise, crossing_row = crossings
    r = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there, own = r < rows, tl.load(segment + r, mask=r < rows, other=-1)
    j = r + (there & (tl.load(segment + r + 1, mask=r + 1 < rows, other=-1) == own)).to(tl.int64)
    gain, bias, rounding, floor = tl.load(sizes), tl.load(sizes + 1), tl.load(sizes + 2), tl.load(sizes + 3)
    slope, turn, knot, offset = tl.load(sizes + 4), tl.load(sizes + 5), tl.load(sizes + 6), tl.load(sizes + 7)
    roundoff, begin = tl.load(sizes + 8), tl.load(starts + r, mask=there, other=0)
    count = tl.load(starts + r + 1, mask=there, other=0) - begin
    size_here, size_there = _two(size, r, j, there)
    largest = tl.maximum(size_here, size_there)
    product = gain * (slope * largest + offset) + bias
    made = rounding * product + floor
    value, value_there = _two(errors, r, j, there)
    stored, stored_there = _two(errors + 2 * rows, r, j, there)
    heavy, heavy_there = _two(errors + 3 * rows, r, j, there)
    shift, n = tl.load(errors + rows + r, mask=there, other=0.0), tl.load(moved + r, mask=there, other=0)
    _store_four(to_errors, total, n, gain * slope * value + made, shift, stored, heavy, there)
    reach = 2 * product + gain * 2 * turn * (largest + knot)
    made += (count * _PER_BEND + _PER_INTERVAL).to(made.dtype) * roundoff * reach
    beside = _between(value, value_there, size_here, size_there, roundoff)
    place, place_there = _two(position, r, j, there)
    kept = _between(stored, stored_there, tl.abs(place), tl.abs(place_there), roundoff)
    heavier = tl.zeros_like(kept)
    if WEIGHTED:
        w, v = _two(weight, r, j, there)
        heavier = _between(heavy, heavy_there, w, v, roundoff)
    limit, length = _within(near, r, j, there), tl.abs(place_there - place)
    if LEVEL:
        limit = _within_of_level(near, r, j, there, size_here + knot, size_there + knot, roundoff)
    doubt, earlier, shift, before = tl.zeros_like(r), tl.zeros_like(kept), tl.zeros_like(kept), tl.zeros_like(r) - 1
    place_before = tl.zeros_like(kept)
    for number in range(tl.max(count, 0)):
        m, known = begin + number, number < count
        growth = tl.abs(tl.load(rise + m, mask=known, other=1.0))
        relative = quotient(limit, growth) + roundoff * _CROSSING
        to, share = tl.load(crossing_row + m, mask=known, other=-1), tl.load(right + m, mask=known, other=0.0)
        inside, same = known & (to >= 0), (number > 0) & (to == before)
        new, away = inside & (same == 0), relative * length
        shift = tl.where(new, away, tl.maximum(shift, away))
        _store_four(to_errors, total, to, gain * slope * beside + made, shift, kept, heavier, new)
        tl.store(to_errors + total + to, shift, mask=inside)
        apart = share - place_before > (relative + earlier) * _APART
        doubt += (known & ((to < 0) | (growth == float("inf")) | ((number > 0) & (same | (apart == 0))))).to(tl.int64)
        earlier, before, place_before = relative, to, share
    tl.store(uncertain + own, (tl.zeros_like(own) + 1).to(tl.int8), mask=there & (doubt > 0))
