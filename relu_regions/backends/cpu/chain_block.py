"""Some neighbouring segments on their way through a chain on a CPU, few enough to stay near the processor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from relu_regions.backends.cpu import chain_loops, chain_points
from relu_regions.backends.cpu.loop_arrays import Bounds, Gate, Lines, Outputs, Pieces, Products, Room, Stack
from relu_regions.backends.points import Points
from relu_regions.network.arrays import Numbers
from relu_regions.network.chains import Chain, Link
from relu_regions.network.gates import flattened

__all__ = ["WORTH_SHARING", "Block", "Done", "Start"]

# What the values at one stage of a block may take: more falls out of the cache, less costs more calls.
_BLOCK_BYTES = 4 << 20
# What takes more than so much is shared out, in a multiple of so many blocks, however many threads there are: products
# of other blocks could round in another way.
WORTH_SHARING = 1 << 20
_SHARES = 2
# Of more segments than go in one block, the first by this go before the others.
_FIRST = 32
# A matrix with so few outputs is multiplied row by row, in the loops: libraries multiply by such matrices slowly.
_NARROW = 16


class Start:
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

    def blocks(self, first: int, each: float) -> list[Block]:
        """Blocks of like size of the segments from one on, if each segment takes so many bytes."""
        segments = len(self.offsets) - 1 - first
        count = math.ceil(segments * each / _BLOCK_BYTES)
        if segments * each > WORTH_SHARING:
            count = min(segments, math.ceil(count / _SHARES) * _SHARES)
        bounds = [first + segments * number // max(1, count) for number in range(count + 1)]
        return [Block(self, *pair) for pair in pairwise(bounds)]


@dataclass
class Done:
    """Segments that have come to the chain's end.

    Attributes:
        segments, most: how many they are, and the bytes that their values have taken at most.
        products, points: what the values behind the last matrix follow from, and all points found.
        room: memory in which a part of that lies.
        offsets, flips: as those of a block, but counted in rows that stay.
        kept: the rows that stay; all of them if None.
        place: how many points stay before each row, ``(P + 1,)``.
        ordered: whether flips at one point are in order.
        asked, passing, at_x: the rows of x, the segments that pass it, and the output there, filled in by write.
        errors, ends, uncertain: as those of a block.
    """

    segments: int
    most: int
    products: Products
    points: Stack
    room: Room
    offsets: Numbers
    flips: Numbers
    kept: Numbers | None
    place: Numbers
    ordered: bool
    asked: Numbers
    passing: Numbers
    at_x: Numbers
    errors: Numbers
    ends: list[tuple[Numbers, Numbers]]
    uncertain: Numbers

    @property
    def bytes(self) -> int:
        """What is held, the part of the values behind the last matrix included."""
        values = self.products.values
        held = (values, self.flips, self.points.position, self.errors, self.place, *self.room)
        return int(sum(part.nbytes for part in held) + self.count * values[:1].nbytes)

    @property
    def count(self) -> int:
        """How many points stay."""
        return int(self.place[-1])

    def write(self, out: Numbers) -> None:
        """Fill in the values behind the last matrix at the points that stay."""
        chain_loops.outputs(self.products, self.points, self.place, self.asked, out, self.at_x)


class _Bent(NamedTuple):
    """What a gate's loop finds: its crossings, how many there are and how many new points, and what else it says."""

    room: Room
    found: int
    fresh: int
    made: Outputs
    near: Numbers


class Block:
    """Some neighbouring segments on their way.

    Attributes:
        points: those found so far.
        errors: bounds of the errors of value, shift, position and weight, ``(4, P)``.
        flips: ``(5, F)``: row, gate, unit, pieces before and after.
        ends: for each gate passed, its pieces at the first and the last point of the segments.
        most: bytes that its values have taken at most.
    """

    def __init__(self, start: Start, first: int, stop: int) -> None:
        self.start, self.segments, self.most = start, stop - first, 0
        top, bottom = start.offsets[first], start.offsets[stop]
        weight, offsets = start.weight[top:bottom], start.offsets[first : stop + 1] - top
        self.points = Stack(offsets, start.position[top:bottom], weight, len(start.weight) > 0)
        self.value = start.value[top:bottom]
        self.errors = np.ascontiguousarray(start.errors[:, top:bottom])
        lower, upper = np.searchsorted(start.flips[0], (top, bottom))
        self.flips = start.flips[:, lower:upper].copy()
        self.flips[0] -= top
        self.uncertain = np.zeros(self.segments, np.bool_)
        self.ends: list[tuple[Numbers, Numbers]] = []
        self.dtype = start.position.dtype
        self.unit = np.finfo(self.dtype).eps / 2

    def walk(self, allowance: int) -> Done | None:
        """Go through the chain; None where that can't be done, see chained.through."""
        start, products, room = self.start, self._nothing_passed(), Room.of(0, self.dtype)
        for link in start.chain.links:
            bent = self._at_gate(link, products)
            if bent is None:
                return None
            total, room = len(bent.made.size) + bent.fresh, bent.room
            if 4 * total * (link.step.shape[0] + _NARROW) * self.dtype.itemsize > allowance:
                return None
            applied, product = bent.made.applied, bent.made.product
            self.most = max(self.most, products.values.nbytes + applied.nbytes)
            # The bias is added row by row, in the loops.
            values = product if product.shape[1] else _times(applied, link.step.columns)
            products = self._behind(link, bent, values, total)
        # What comes out of the last matrix is not made before there is a place for the values of all blocks.
        done = self._done(products, room)
        done.most = max(self.most, products.values.nbytes + done.count * products.values[:1].nbytes)
        return done

    def _done(self, products: Products, room: Room) -> Done:
        """What is left of the block; where that is wanted, without points where nothing bends, see Points.at_bends."""
        points, flips, kept, ordered = self.points, self.flips, None, True
        offsets, place, asked = points.offsets, np.arange(len(points.position) + 1), np.empty(0, np.int64)
        if self.start.ends:
            place, stay = np.empty_like(place), np.empty(len(points.position), np.int64)
            count, ordered = chain_points.bent(flips, offsets, place, stay)
            asked, kept = np.flatnonzero(points.position == 0), stay[:count]
            flips[0] = place[flips[0]]
            offsets = place[offsets]
        passing = np.searchsorted(points.offsets, asked, side="right") - 1
        at_x = np.empty((len(asked), products.values.shape[1]), self.dtype)
        return Done(
            self.segments, self.most, products, points, room, offsets, flips, kept, place, ordered, asked, passing,
            at_x,
            self.errors, self.ends, self.uncertain,
        )  # fmt: skip

    def _nothing_passed(self) -> Products:
        """What the first gate's values follow from: themselves."""
        integers, reals = np.empty(0, np.int64), np.empty(0, self.dtype)
        units, added = self.value.shape[1], np.zeros(len(self.value), np.int64)
        bias, columns = np.zeros(units, self.dtype), np.empty((0, units), self.dtype)
        return Products(
            self.value, bias, columns, self.points.offsets, added, integers, integers, reals, integers, reals, 0, reals,
            np.empty(units, self.dtype),
        )  # fmt: skip

    def _at_gate(self, link: Link, products: Products) -> _Bent | None:
        """The gate's output and its bends; None where a unit is on its knot."""
        numbers, start, count = link.numbers, self.start, len(self.points.position)
        units, sizes = link.units, link.gate.sizes
        near = np.empty((3, count if start.bounded else 0), self.dtype)
        if start.bounded:
            chain_points.nearness(self.errors, self.points, sizes.knot, near, self.uncertain)
        first, last = np.empty((2, self.segments if start.record else 0, units), np.int64)
        self.ends.append((first, last))
        # Rows are compared through their distances from the knots; where all knots are 0, these are the values
        # themselves.
        kinds = 1 if len(numbers.knots) == 1 and sizes.knot == 0 else len(numbers.knots) + 1
        level = (8 * self.unit if sizes.knot > 0 else 0.0, sizes.knot)
        narrow = numbers.matrix if len(numbers.matrix) <= _NARROW else numbers.matrix[:0]
        product = np.empty((count if len(narrow) else 0, len(narrow)), self.dtype)
        applied = np.zeros((4, units), self.dtype) if len(narrow) else np.empty((count, units), self.dtype)
        made = Outputs(narrow, product, applied, np.empty(count, self.dtype), np.empty(count, np.int64))
        gate = Gate(numbers.knots, numbers.slopes, numbers.offsets, link.gate.is_relu, level)
        given = (
            products, self.points, gate, Bounds(start.bounded, near, self.uncertain), Pieces(start.record, first, last),
            Lines.of(kinds, units, self.dtype), made,
        )  # fmt: skip
        # The first gate's units bend at most once between neighbouring knots; behind others there may be more.
        found, places = -1, 2 * count + (self.segments + 2) * len(numbers.knots) * units
        while found < 0:
            room = Room.of(places, self.dtype)
            found, fresh, on_knot = chain_loops.through_gate(*given, room)
            places *= 4
        return None if on_knot and start.record else _Bent(room, found, fresh, made, near)

    def _behind(self, link: Link, bent: _Bent, values: Numbers, total: int) -> Products:
        """All points once the gate's bends are there, with bounds and flips; and the product there, given as values."""
        before, room, count, added = self.points, bent.room, bent.found, bent.made.added
        weight = np.empty(total if before.weighted else 0, self.dtype)
        self.points = Stack(np.empty_like(before.offsets), np.empty(total, self.dtype), weight, before.weighted)
        moved = np.empty(len(before.position), np.int64)
        chain_points.insert(before, added, room.shares, self.points, moved)
        if self.start.bounded:
            errors = np.zeros((4, total), self.dtype)
            norms = (*link.norms, *link.gate.sizes, self.unit)
            chain_points.bounds(
                before, added, count, room, bent.made.size, bent.near, self.errors, norms, self.uncertain, errors
            )
            self.errors = errors
        if self.start.record:
            flips = np.empty((5, self.flips.shape[1] + count), np.int64)
            kept = chain_points.record(
                link.number, self.flips, moved, count, room, self.points.offsets, *self.ends[-1], flips
            )
            self.flips = flips if kept == flips.shape[1] else np.ascontiguousarray(flips[:, :kept])
        row, unit, knot, crossing_row = room.integers
        kink, numbers = _kinks(link, unit[:count], knot[:count], room.reals[3, :count]), link.numbers
        return Products(
            values, numbers.bias, numbers.columns, before.offsets, added, row, unit, room.reals[1], crossing_row, kink,
            count, room.shares[1], np.empty(values.shape[1], self.dtype),
        )  # fmt: skip


def _times(rows: Numbers, columns: Tensor) -> Numbers:
    product: Numbers = torch.mm(torch.from_numpy(rows), columns).numpy()
    return product


def _kinks(link: Link, unit: Numbers, knot: Numbers, rise: Numbers) -> Numbers:
    """By how much the slope of a gate's output changes at each bend, with the interval as the unit of length."""
    change: Numbers = np.abs(rise)
    if not link.gate.is_relu:
        slopes = link.numbers.slopes
        change *= slopes[knot + 1, unit] - slopes[knot, unit]
    return change
