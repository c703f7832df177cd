"""What Triton compiles for a CUDA device: one program for each row of a stack."""

import triton
import triton.language as tl

from relu_regions.backends.cuda.chain_points import shares

__all__ = ["count", "insert", "largest", "locate", "rows_in_doubt"]


@triton.jit
def _crossings(numbers, row, knot, unit, units):
    """A unit's distances from its knot at both ends of an interval, and whether it crosses it inside."""
    inputs, weight, knots = numbers
    known = unit < units
    level = tl.load(knots + knot * units + unit, mask=known, other=0.0)
    here = tl.load(inputs + row * units + unit, mask=known, other=0.0) - level * tl.load(weight + row)
    there = tl.load(inputs + (row + 1) * units + unit, mask=known, other=0.0) - level * tl.load(weight + row + 1)
    return here, there, ((here < 0) & (there > 0)) | ((here > 0) & (there < 0))


@triton.jit
def count(numbers, starts_interval, counts, shape, BLOCK: tl.constexpr):
    units, knot_count = shape
    row = tl.program_id(0).to(tl.int64)
    if tl.load(starts_interval + row):
        total = 0
        for knot in range(knot_count):
            for first in range(0, units, BLOCK):
                unit = first + tl.arange(0, BLOCK)
                _, _, crosses = _crossings(numbers, row, knot, unit, units)
                total += tl.sum((crosses & (unit < units)).to(tl.int32), 0)
        tl.store(counts + row, total.to(tl.int64))


@triton.jit
def locate(numbers, counts, starts, found, shape, BLOCK: tl.constexpr):
    rows, units_found, left, right, rise, before, after = found
    units, knot_count = shape
    row = tl.program_id(0).to(tl.int64)
    if tl.load(counts + row) > 0:
        place = tl.load(starts + row)
        for knot in range(knot_count):
            for first in range(0, units, BLOCK):
                unit = first + tl.arange(0, BLOCK)
                here, there, crosses = _crossings(numbers, row, knot, unit, units)
                crosses = crosses & (unit < units)
                number = crosses.to(tl.int32)
                at = place + tl.cumsum(number, 0) - 1
                rising = (there > 0).to(tl.int64)
                tl.store(rows + at, row + 0 * at, mask=crosses)
                tl.store(units_found + at, unit.to(tl.int64), mask=crosses)
                share, other = shares(here, there)
                tl.store(left + at, share, mask=crosses)
                tl.store(right + at, other, mask=crosses)
                tl.store(rise + at, there - here, mask=crosses)
                tl.store(before + at, knot + 1 - rising, mask=crosses)
                tl.store(after + at, knot + rising, mask=crosses)
                place += tl.sum(number, 0)


@triton.jit
def insert(values, source, left, right, fresh, result, width, POSITIVE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    old, new = tl.load(source + row), tl.load(fresh + row)
    for first in range(0, width, BLOCK):
        place = first + tl.arange(0, BLOCK)
        known = place < width
        value = tl.load(values + old * width + place, mask=known, other=0.0)
        if new != 0:
            following = tl.load(values + (old + 1) * width + place, mask=known, other=0.0)
            value = value * tl.load(left + row) + following * tl.load(right + row)
        if POSITIVE:
            value = tl.where(value > 0, value, 0.0)
        tl.store(result + row * width + place, value, mask=known)


@triton.jit
def rows_in_doubt(distance, bound, before, after, doubt, count, units, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    earlier, later = tl.maximum(row - 1, 0), tl.minimum(row + 1, count - 1)
    limit, share_before, share_after = tl.load(bound + row), tl.load(before + row), tl.load(after + row)
    found = 0
    for first in range(0, units, BLOCK):
        unit = first + tl.arange(0, BLOCK)
        known = unit < units
        here = tl.load(distance + row * units + unit, mask=known, other=0.0)
        back = tl.abs(here - tl.load(distance + earlier * units + unit, mask=known, other=0.0))
        ahead = tl.abs(tl.load(distance + later * units + unit, mask=known, other=0.0) - here)
        size = tl.abs(here)
        # Asked in this way, what overflowed to NaN is in doubt.
        certain = (size > limit) & (size > limit + share_after * ahead) & (size > limit + share_before * back)
        found += tl.sum((known & (certain == 0)).to(tl.int32), 0)
    tl.store(doubt + row, (found > 0).to(tl.int8))


@triton.jit
def largest(values, result, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    size = tl.abs(tl.load(values + row * width))
    for first in range(0, width, BLOCK):
        place = first + tl.arange(0, BLOCK)
        size = tl.maximum(size, tl.max(tl.abs(tl.load(values + row * width + place, mask=place < width, other=0.0)), 0))
    tl.store(result + row, size)
