"""What Triton compiles for the values of a chain on a CUDA device: tiles of rows and units.

A crossing belongs to the interval that starts at its row; the crossings of row r are those from ``starts[r]`` to
``starts[r + 1]``. Numbers of rows that differ from stack to stack are not specialized, so that nothing is compiled
again.
"""

import triton
import triton.language as tl

__all__ = ["apply_gate", "locate", "look", "settle"]


@triton.jit
def _distances(numbers, row, there, inner, unit, known, knot, units, WEIGHTED: tl.constexpr):
    """Of units from a knot at both ends of the intervals that start at some rows, a tile each."""
    values, weight, knots = numbers
    level = tl.load(knots + knot * units + unit, mask=known, other=0.0)[None, :]
    at = row[:, None] * units + unit[None, :]
    here = tl.load(values + at, mask=there[:, None] & known[None, :], other=1.0)
    ahead = tl.load(values + at + units, mask=inner[:, None] & known[None, :], other=1.0)
    if WEIGHTED:
        here = here - level * tl.load(weight + row, mask=there, other=0.0)[:, None]
        ahead = ahead - level * tl.load(weight + row + 1, mask=inner, other=0.0)[:, None]
    else:
        here, ahead = here - level, ahead - level
    tile = there[:, None] & known[None, :]
    return tl.where(tile, here, 1.0), tl.where(inner[:, None] & known[None, :], ahead, 1.0)


@triton.jit
def _crosses(here, ahead, inner, known):
    return (((here < 0) & (ahead > 0)) | ((here > 0) & (ahead < 0))) & inner[:, None] & known[None, :]


@triton.jit
def _largest(values, row, there, units, BLOCK: tl.constexpr):
    """The largest absolute number of each row."""
    result = tl.zeros_like(row).to(values.dtype.element_ty)
    for first in range(0, units, BLOCK):
        unit = first + tl.arange(0, BLOCK)
        mask = there[:, None] & (unit < units)[None, :]
        result = tl.maximum(
            result, tl.max(tl.abs(tl.load(values + row[:, None] * units + unit[None, :], mask=mask, other=0.0)), 1)
        )
    return result


@triton.jit(do_not_specialize=["rows"])
def look(
    numbers, segment, near, sizes, found, rows, shape,
    WEIGHTED: tl.constexpr, BOUNDED: tl.constexpr, LEVEL: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """How many crossings each interval has, whether a unit is on its knot, and the segments where a sign is in doubt.

    Args:
        near: what nearness gives, if ``BOUNDED``.
        sizes: as in chain_points.
        found: filled in: how many crossings, and the largest number of each row, ``(rows,)``; segments in doubt; one
            number, whether any unit is on a knot.
    """
    values, _, _ = numbers
    counts, size, uncertain, on_knot = found
    units, knot_count = shape
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    there = row < rows
    own = tl.load(segment + row, mask=there, other=-1)
    inner = there & (tl.load(segment + row + 1, mask=row + 1 < rows, other=-1) == own)
    most = _largest(values, row, there, units, BLOCK)
    if BOUNDED:
        # Not masked by inner: of a mask that is read itself, Triton 3.6 makes code that does not compile for some
        # tiles.
        following = row + 1 < rows
        limit = tl.load(near + row, mask=there, other=0.0)
        limit_ahead = tl.load(near + row + 1, mask=following, other=0.0)
        after = tl.load(near + 2 * rows + row, mask=there, other=0.0)
        before = tl.load(near + rows + row + 1, mask=following, other=0.0)
        if LEVEL:
            largest, level = tl.load(sizes + 6), 8 * tl.load(sizes + 8)
            limit += level * (most + largest)
            limit_ahead += level * (_largest(values, row + 1, inner, units, BLOCK) + largest)
    total, zero, doubt = tl.zeros_like(own), tl.zeros_like(own), tl.zeros_like(own)
    for knot in range(knot_count):
        for first in range(0, units, BLOCK):
            unit = first + tl.arange(0, BLOCK)
            known = unit < units
            here, ahead = _distances(numbers, row, there, inner, unit, known, knot, units, WEIGHTED)
            total += tl.sum(_crosses(here, ahead, inner, known).to(tl.int32), 1)
            zero += tl.sum((here == 0).to(tl.int32), 1)
            if BOUNDED:
                change = tl.abs(ahead - here)
                # Asked in this way, what overflowed to NaN is in doubt.
                certain = tl.abs(here) > (limit[:, None] + after[:, None] * change)
                certain = certain & (tl.abs(ahead) > (limit_ahead[:, None] + before[:, None] * change))
                open_to_doubt = (certain == 0) & inner[:, None] & known[None, :]
                doubt += tl.sum(open_to_doubt.to(tl.int32), 1)
    tl.store(counts + row, total.to(tl.int64), mask=there)
    tl.store(size + row, most, mask=there)
    tl.store(on_knot + tl.zeros_like(row), tl.zeros_like(row) + 1, mask=there & (zero > 0))
    if BOUNDED:
        tl.store(uncertain + own, (tl.zeros_like(own) + 1).to(tl.int8), mask=there & (doubt > 0))


@triton.jit(do_not_specialize=["rows"])
def locate(numbers, starts, found, rows, shape, WEIGHTED: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Every crossing with its unit's distances from the knot at both ends of the interval; by row, knot and unit."""
    row_found, unit_found, knot_found, before, behind = found
    units, knot_count = shape
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    free = tl.load(starts + row, mask=row < rows, other=0)
    inner = (row < rows) & (tl.load(starts + row + 1, mask=row < rows, other=0) > free)
    for knot in range(knot_count):
        for first in range(0, units, BLOCK):
            unit = first + tl.arange(0, BLOCK)
            known = unit < units
            here, ahead = _distances(numbers, row, inner, inner, unit, known, knot, units, WEIGHTED)
            crosses = _crosses(here, ahead, inner, known)
            number = crosses.to(tl.int32)
            to = free[:, None] + tl.cumsum(number, 1) - 1
            free += tl.sum(number, 1)
            tl.store(row_found + to, row[:, None] + tl.zeros_like(to), mask=crosses)
            tl.store(unit_found + to, unit[None, :].to(tl.int64) + tl.zeros_like(to), mask=crosses)
            tl.store(knot_found + to, knot + tl.zeros_like(to), mask=crosses)
            tl.store(before + to, here, mask=crosses)
            tl.store(behind + to, ahead, mask=crosses)


@triton.jit(do_not_specialize=["rows"])
def apply_gate(
    values, weight, source, shares, gate, result, rows, shape,
    WEIGHTED: tl.constexpr, RELU: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gate's output at all points, but for the units that are on a knot there."""
    left, right = shares
    knots, slopes, offsets = gate
    units, knot_count = shape
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    there = row < rows
    old = tl.load(source + row, mask=there, other=0)
    one, other = tl.load(left + row, mask=there, other=0.0), tl.load(right + row, mask=there, other=0.0)
    # What opens a new point lies strictly inside of its interval, so that no end of it has a weight of 0.
    new, w = there & (other != 0), tl.zeros_like(one) + 1.0
    if WEIGHTED:
        w = tl.load(weight + row, mask=there, other=1.0)
    for first in range(0, units, BLOCK):
        unit = first + tl.arange(0, BLOCK)
        known = unit < units
        at, tile = old[:, None] * units + unit[None, :], there[:, None] & known[None, :]
        value = tl.load(values + at, mask=tile, other=0.0)
        following = tl.load(values + at + units, mask=new[:, None] & known[None, :], other=0.0)
        value = tl.where(new[:, None], value * one[:, None] + following * other[:, None], value)
        if RELU:
            output = tl.where(value > 0, value, 0.0)
        else:
            slope = tl.load(slopes + unit, mask=known, other=0.0)[None, :]
            offset = tl.load(offsets + unit, mask=known, other=0.0)[None, :]
            output = slope * value + offset * w[:, None]
            for knot in range(knot_count):
                level = tl.load(knots + knot * units + unit, mask=known, other=0.0)[None, :]
                slope = tl.load(slopes + (knot + 1) * units + unit, mask=known, other=0.0)[None, :]
                offset = tl.load(offsets + (knot + 1) * units + unit, mask=known, other=0.0)[None, :]
                output = tl.where(value > level * w[:, None], slope * value + offset * w[:, None], output)
        tl.store(result + row[:, None] * units + unit[None, :], output, mask=tile)


@triton.jit(do_not_specialize=["count"])
def settle(
    crossing_row, unit, knot, weight, gate, result, count, units,
    WEIGHTED: tl.constexpr, RELU: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Put units that cross a knot at a new point onto it exactly, whatever rounding made of them."""
    knots, slopes, offsets = gate
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    r, u = tl.load(crossing_row + m, mask=m < count, other=-1), tl.load(unit + m, mask=m < count, other=0)
    inside = r >= 0
    value = tl.zeros_like(r).to(result.dtype.element_ty)
    if not RELU:
        at = tl.load(knot + m, mask=inside, other=0) * units + u
        value = tl.load(slopes + at, mask=inside, other=0.0) * tl.load(knots + at, mask=inside, other=0.0)
        value += tl.load(offsets + at, mask=inside, other=0.0)
        if WEIGHTED:
            value *= tl.load(weight + r, mask=inside, other=0.0)
    tl.store(result + r * units + u, value, mask=inside)
