"""A chain on a CPU: block after block of segments, each small enough to stay near the processor on its way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise, takewhile
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relu_regions.backends.cpu import chain_loops, chain_points
from relu_regions.backends.points import Flips, Passed, Points
from relu_regions.backends.threads import each_on_one_thread
from relu_regions.network.chains import Chain, Link
from relu_regions.network.gates import flattened

__all__ = ["Crossings", "through"]

Array = NDArray[Any]

# What the values at one stage of a block may take: more falls out of the cache, less costs more calls.
_BLOCK_BYTES = 4 << 20
# What takes more than so much is shared out, in a multiple of so many blocks, however many threads there are: products of
# other blocks could round in another way.
_WORTH_SHARING = 1 << 20
_SHARES = 2
# Of more segments than go in one block, the first by this go before the others.
_FIRST = 32
# A matrix with so few outputs is multiplied row by row, in the loops: libraries multiply by such matrices slowly.
_NARROW = 16


def through(
    chain: Chain, points: Points, record: bool, bounded: bool, allowance: int, each: float | None, threads: int
) -> Passed | None:
    """Take a stack of points through all gates and matrices of a chain in one go.

    Args:
        points: at the chain's first gate.
        record: whether to keep flips and patterns.
        bounded: whether to carry error bounds.
        allowance: bytes that the stack may take.
        each: what a segment took on its way through this chain before; None where nothing is known.
        threads: how many may work at once.

    Returns:
        None where the points would take more memory than allowed, or where a unit lies exactly on its knot at a point and
        patterns are asked for.
    """
    segments, done = len(points.segments), []
    start = _Start(chain, points, record, bounded)
    if each is None:
        done = [_Block(start, 0, start.at_first(len(points) / max(1, segments)))]
        if not done[0].walk(allowance):
            return None
        each = done[0].most / done[0].segments
        allowance -= done[0].bytes * segments // done[0].segments
    blocks = start.blocks(sum(block.segments for block in done), each)
    done += _walked(blocks, allowance, threads)
    if sum(block.segments for block in done) < segments:
        return None
    return Passed(_joined(start, points, done, threads), max(block.most / block.segments for block in done))


def _walked(blocks: list[_Block], allowance: int, threads: int) -> list[_Block]:
    """The blocks, walked one after another or on several threads; from the first that can't be on, they are left out."""
    if threads < 2 or len(blocks) < 2:
        return list(takewhile(lambda block: block.walk(allowance), blocks))
    walked = each_on_one_thread(lambda block: block.walk(allowance // threads), blocks, threads)
    return blocks if all(walked) else []


class Crossings(NamedTuple):
    """Room for crossings and the new points that they are made for, as crossing_loops.py fills them in.

    Attributes:
        integers: row, unit, knot, and row of the new point of each crossing, ``(4, room)``.
        reals: t, the weights of both ends of its interval, and its rise, ``(4, room)``.
        inside: whether it has a new point, ``(1, room)``.
        spots, shares: of each new point the interval, ``(1, room)``, and the weights of its ends, ``(2, room)``.
    """

    integers: Array
    reals: Array
    inside: Array
    spots: Array
    shares: Array

    @classmethod
    def of(cls, room: int, dtype: np.dtype[Any]) -> Crossings:
        return cls(
            np.empty((4, room), np.int64), np.empty((4, room), dtype), np.empty((1, room), np.bool_),
            np.empty((1, room), np.int64), np.empty((2, room), dtype),
        )  # fmt: skip


class _Start:
    """What a chain starts from, as arrays; flips in order of their rows."""

    def __init__(self, chain: Chain, points: Points, record: bool, bounded: bool) -> None:
        self.chain, self.record, self.bounded = chain, record, bounded
        # Behind the network's last step only the points at bends are wanted.
        self.ends = record and chain.ends
        self.offsets, self.position = points.offsets.numpy(), points.position.numpy()
        self.weight = np.empty(0, self.position.dtype) if points.weight is None else points.weight.numpy()
        self.value = flattened(points.values[chain.name]).contiguous().numpy()
        self.errors = np.zeros((4, len(self.position) if bounded else 0), self.position.dtype)
        if bounded:
            for part, name in zip(self.errors, (chain.name, "shift", "position", "weight")):
                if name in points.errors:
                    part[:] = points.errors[name].numpy()
        parts = (points.flips.row, points.flips.gate, points.flips.unit, points.flips.before, points.flips.after)
        flips = np.stack([part.numpy() for part in parts])
        self.flips = flips[:, np.argsort(flips[0], kind="stable")] if flips.shape[1] else flips
        self.widest = max(*chain.units, *(link.step.shape[0] for link in chain.links))

    def at_first(self, points: float) -> int:
        """How many segments go first, where it is not known what they take: half of all units may bend on each.

        All others wait for them, so they are a few of these.

        Args:
            points: of a segment, at the start.
        """
        bytes_each = (points + sum(self.chain.units) / 2) * self.widest * self.position.itemsize
        segments, fitting = len(self.offsets) - 1, max(1, int(_BLOCK_BYTES / max(1.0, bytes_each)))
        return segments if segments <= fitting else min(fitting, math.ceil(segments / _FIRST))

    def blocks(self, first: int, each: float) -> list[_Block]:
        """Blocks of like size of the segments from one on, if each segment takes so many bytes."""
        segments = len(self.offsets) - 1 - first
        count = math.ceil(segments * each / _BLOCK_BYTES)
        if segments * each > _WORTH_SHARING:
            count = min(segments, math.ceil(count / _SHARES) * _SHARES)
        bounds = [first + segments * number // max(1, count) for number in range(count + 1)]
        return [_Block(self, *pair) for pair in pairwise(bounds)]


class _Block:
    """Some neighbouring segments on their way.

    Attributes:
        offsets, position, weight: of the points found so far.
        value: behind the matrix last multiplied by, but for its bias, at the points that there were before the gate before it.
        passed, bends: what chain_loops.outputs reads of the last gate, and memory that this lies in.
        errors: bounds of the errors of value, shift, position and weight, ``(4, P)``.
        flips: ``(5, F)``: row, gate, unit, pieces before and after.
        ends: for each gate passed, its pieces at the first and the last point of the segments.
        kept: the rows that stay, and that offsets and flips count; all of them if None.
        place: how many points stay before each row, ``(P + 1,)``.
        ordered: whether flips at one point are in order.
        asked, passing, at_x: the rows of x, the segments that pass it, and the output there.
        most: bytes that its values have taken at most.
    """

    kept: Array | None = None
    ordered, most = True, 0
    passed: tuple[Any, ...]
    bends: Crossings
    place: Array
    asked: Array
    passing: Array
    at_x: Array

    def __init__(self, start: _Start, first: int, stop: int) -> None:
        self.start, self.segments = start, stop - first
        top, bottom = start.offsets[first], start.offsets[stop]
        self.offsets = start.offsets[first : stop + 1] - top
        self.position, self.value = start.position[top:bottom], start.value[top:bottom]
        self.weighted, self.weight = len(start.weight) > 0, start.weight[top:bottom]
        self.errors = np.ascontiguousarray(start.errors[:, top:bottom])
        lower, upper = np.searchsorted(start.flips[0], (top, bottom))
        self.flips = start.flips[:, lower:upper].copy()
        self.flips[0] -= top
        self.uncertain = np.zeros(self.segments, np.bool_)
        self.ends: list[tuple[Array, Array]] = []
        self.dtype = self.position.dtype
        self.unit = np.finfo(self.dtype).eps / 2

    @property
    def bytes(self) -> int:
        """What the block holds once it is done, its part of the values behind the last matrix included."""
        held = (self.value, self.flips, self.position, self.errors, self.place, *self.bends)
        return int(sum(part.nbytes for part in held) + self.count * self.value[:1].nbytes)

    @property
    def count(self) -> int:
        """How many points stay."""
        return int(self.place[-1])

    def walk(self, allowance: int) -> bool:
        """Go through the chain; False where that can't be done, see through."""
        start, passed = self.start, self._nothing_passed()
        for link in start.chain.links:
            found = self._at_gate(link, passed)
            if found is None:
                return False
            bends, count, fresh, opened, product, size, added, near = found
            total, behind = len(size) + fresh, link.step.shape[0]
            if 4 * total * (behind + _NARROW) * self.dtype.itemsize > allowance:
                return False
            self.most = max(self.most, self.value.nbytes + opened.nbytes)
            self.bends = bends
            # The bias is added row by row, in the loops.
            self.value = product if product.shape[1] else _times(opened, link.step.columns)
            passed = self._behind(link, bends, count, size, added, near, total)
        # What comes out of the last matrix is not made before there is a place for the values of all blocks.
        self.passed = (*passed, self.offsets, self.weight, self.weighted)
        if start.ends:
            self._keep_bends()
        else:
            self._keep_all()
        self.most = max(self.most, self.value.nbytes + self.count * self.value[:1].nbytes)
        return True

    def write(self, out: Array) -> None:
        """Fill in the values behind the last matrix at the points that stay."""
        slope = np.empty(out.shape[1], self.dtype)
        chain_loops.outputs(self.value, *self.passed, self.place, self.asked, slope, out, self.at_x)

    def _keep_all(self) -> None:
        self.place, self.asked = np.arange(len(self.position) + 1), np.empty(0, np.int64)
        self.at_x = self.value[:0]

    def _keep_bends(self) -> None:
        """Leave out points where nothing bends; see Points.at_bends."""
        self.place, rows = np.empty(len(self.position) + 1, np.int64), np.empty(len(self.position), np.int64)
        kept, self.ordered = chain_points.bent(self.flips, self.offsets, self.place, rows)
        self.asked = np.flatnonzero(self.position == 0)
        self.passing = np.searchsorted(self.offsets, self.asked, side="right") - 1
        self.at_x = np.empty((len(self.asked), self.value.shape[1]), self.dtype)
        self.kept = rows[:kept]
        self.flips[0] = self.place[self.flips[0]]
        self.offsets = self.place[self.offsets]

    def _nothing_passed(self) -> tuple[Any, ...]:
        """What chain_loops.rows reads of the bends of the gate before, where there is none."""
        integers, reals = np.empty(0, np.int64), np.empty(0, self.dtype)
        units, added = self.value.shape[1], np.zeros(len(self.position), np.int64)
        bias, columns = np.zeros(units, self.dtype), np.empty((0, units), self.dtype)
        return bias, columns, self.offsets, added, integers, integers, reals, integers, reals, 0, reals

    def _at_gate(self, link: Link, passed: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The gate's output and its bends; None where a unit is on its knot."""
        numbers, start, count = link.numbers, self.start, len(self.position)
        units, sizes = link.units, link.gate.sizes
        near = np.empty((3, count if start.bounded else 0), self.dtype)
        if start.bounded:
            chain_points.nearness(self.errors, self.position, self.offsets, sizes.knot, near, self.uncertain)
        first, last = np.empty((2, self.segments if start.record else 0, units), np.int64)
        self.ends.append((first, last))
        # Rows are compared through their distances from the knots; where all knots are 0, these are the values themselves.
        kinds = 1 if len(numbers.knots) == 1 and sizes.knot == 0 else len(numbers.knots) + 1
        lines, extremes = np.zeros((kinds, 2, units), self.dtype), np.zeros((2, 1 + kinds), self.dtype)
        integer = np.dtype(f"i{self.dtype.itemsize}")
        level = (8 * self.unit if sizes.knot > 0 else 0.0, sizes.knot)
        narrow = numbers.matrix if len(numbers.matrix) <= _NARROW else numbers.matrix[:0]
        product = np.empty((count if len(narrow) else 0, len(narrow)), self.dtype)
        opened = np.zeros((4, units), self.dtype) if len(narrow) else np.empty((count, units), self.dtype)
        size = np.empty(count, self.dtype)
        added = np.empty(count, np.int64)
        given = (
            self.value, *passed, self.offsets, self.position, self.weight, self.weighted,
            numbers.knots, numbers.slopes, numbers.offsets, link.gate.is_relu, level,
            start.bounded, near, self.uncertain, start.record, first, last,
            lines, lines.view(integer), extremes, extremes.view(integer), np.empty(units, self.dtype),
            narrow, product, opened, size, added,
        )  # fmt: skip
        # The first gate's units bend at most once between neighbouring knots; behind others there may be more.
        found, room = -1, 2 * count + (self.segments + 2) * len(numbers.knots) * units
        while found < 0:
            bends = Crossings.of(room, self.dtype)
            found, fresh, on_knot = chain_loops.rows(*given, *bends)
            room *= 4
        return None if on_knot and start.record else (bends, found, fresh, opened, product, size, added, near)

    def _behind(
        self, link: Link, bends: Crossings, count: int, size: Array, added: Array, near: Array, total: int
    ) -> tuple[Any, ...]:
        """All points once the gate's bends are there, with bounds and flips; gives what chain_loops.rows reads of the bends."""
        row, unit, knot, bend_row = bends.integers
        _, left, right, rise = bends.reals
        before = self.offsets, self.position, self.weight
        self.offsets, moved = np.empty_like(self.offsets), np.empty(len(self.position), np.int64)
        self.position, self.weight = np.empty(total, self.dtype), np.empty(total if self.weighted else 0, self.dtype)
        chain_points.points(
            *before, added, *bends.shares, self.weighted, self.offsets, self.position, self.weight, moved
        )
        if self.start.bounded:
            errors = np.zeros((4, total), self.dtype)
            norms = (*link.norms, *link.gate.sizes, self.unit)
            chain_points.bounds(
                *before, added, row, bend_row, bends.inside[0], right, rise, count,
                size, near, self.errors, norms, self.weighted, self.uncertain, errors,
            )  # fmt: skip
            self.errors = errors
        if self.start.record:
            flips = np.empty((5, self.flips.shape[1] + count), np.int64)
            kept = chain_points.record(
                link.number, self.flips, moved, count, unit, knot, rise, bend_row, self.offsets, *self.ends[-1], flips
            )
            self.flips = flips if kept == flips.shape[1] else np.ascontiguousarray(flips[:, :kept])
        kink, numbers = _kinks(link, unit[:count], knot[:count], rise[:count]), link.numbers
        return numbers.bias, numbers.columns, before[0], added, row, unit, left, bend_row, kink, count, bends.shares[1]


def _times(rows: Array, columns: Tensor) -> Array:
    product: Array = torch.mm(torch.from_numpy(rows), columns).numpy()
    return product


def _kinks(link: Link, unit: Array, knot: Array, rise: Array) -> Array:
    """By how much the slope of a gate's output changes at each bend, with the interval as the unit of length."""
    change: Array = np.abs(rise)
    if not link.gate.is_relu:
        slopes = link.numbers.slopes
        change *= slopes[knot + 1, unit] - slopes[knot, unit]
    return change


def _joined(start: _Start, points: Points, done: list[_Block], threads: int) -> Points:
    """The blocks of a stack as one."""
    chain, record = start.chain, start.record
    name = chain.links[-1].step.output
    tops = list(accumulate((block.count for block in done), initial=0))
    values = np.empty((tops[-1], done[0].value.shape[1]), start.value.dtype)
    parts = [(block, values[slice(*bounds)]) for block, bounds in zip(done, pairwise(tops))]
    each_on_one_thread(lambda part: part[0].write(part[1]), parts, threads if values.nbytes > _WORTH_SHARING else 1)
    for block, top in zip(done[1:], tops[1:]):
        block.flips[0] += top
        block.offsets = block.offsets[1:] + top
    bounded = {name: not start.ends, "shift": True, "position": True, "weight": points.weight is not None}
    errors = {
        part: _whole([block.errors[row] for block in done], done)
        for row, (part, wanted) in enumerate(bounded.items())
        if wanted and start.bounded
    }
    flips, at_x = Flips(*torch.from_numpy(_together([block.flips for block in done], 1))), None
    if start.ends:
        firsts = accumulate((block.segments for block in done), initial=0)
        passing = _together([block.passing + first for block, first in zip(done, firsts)])
        at_x = torch.from_numpy(passing), torch.from_numpy(_together([block.at_x for block in done]))
        flips = flips if all(block.ordered for block in done) else flips.ordered()
    ends = zip(*(block.ends for block in done))
    pieces = {
        link.number: [torch.from_numpy(_together(side)) for side in zip(*own)] for link, own in zip(chain.links, ends)
    }
    return replace(
        points,
        offsets=torch.from_numpy(_together([block.offsets for block in done])),
        position=_whole([block.position for block in done], done),
        weight=None if points.weight is None else _whole([block.weight for block in done], done),
        values={name: torch.from_numpy(values)},
        step=chain.start + 2 * len(chain.links),
        flips=flips,
        uncertain=points.uncertain | torch.from_numpy(_together([block.uncertain for block in done])),
        errors=errors,
        first=points.first | {number: own[0] for number, own in pieces.items()} if record else points.first,
        last=points.last | {number: own[1] for number, own in pieces.items()} if record else points.last,
        at_x=at_x,
    )


def _together(parts: Sequence[Array], axis: int = 0) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)


def _whole(parts: list[Array], done: list[_Block]) -> Tensor:
    """Numbers of the points of all blocks, those that are kept."""
    if len(parts) == 1 and done[0].kept is None:
        return torch.from_numpy(parts[0])
    counts = [len(part) if block.kept is None else len(block.kept) for part, block in zip(parts, done)]
    result, top = np.empty((sum(counts), *parts[0].shape[1:]), parts[0].dtype), 0
    for part, block, count in zip(parts, done, counts):
        if block.kept is None:
            result[top : top + count] = part
        else:
            np.take(part, block.kept, 0, result[top : top + count], "clip")
        top += count
    return torch.from_numpy(result)
