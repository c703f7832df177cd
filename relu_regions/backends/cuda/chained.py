"""A chain on a CUDA device: a stack of segments as a whole, by a few programs for each gate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from relu_regions.backends import reference
from relu_regions.backends.crossings import changes_at_points, edge_pieces
from relu_regions.backends.cuda import chain_loops as loops
from relu_regions.backends.cuda import chain_points as of_points
from relu_regions.backends.points import Flips, Passed, Points
from relu_regions.network.chains import Chain, Link
from relu_regions.network.gates import flattened

__all__ = ["through"]

# Multiplications and additions are not fused, so that they round as the reference's do.
_OPTIONS: dict[str, Any] = {"enable_fp_fusion": False}
# How many numbers a program takes at once: of a tile of rows and units, and of points or crossings.
_TILE, _LANES = 2048, 128
# What a point and a crossing take on their way besides values: integers of 8 bytes, and numbers.
_POINT, _CROSSING = (8, 20), (13, 10)


def through(
    chain: Chain, points: Points, record: bool, bounded: bool, allowance: int, each: float | None, threads: int
) -> Passed | None:
    """As chained.through. None only where the points would take more memory than allowed; threads do not matter."""
    segments = len(points.segments)
    if each is not None and each * segments > allowance:
        return None
    stack = _Stack(chain, points, record, bounded)
    for link in chain.links:
        if not stack.pass_link(link, allowance):
            return None
    return Passed(stack.finished(points), stack.most / segments)


class _Stack:
    """All segments of a stack on their way.

    Attributes:
        offsets, position, weight: of the points found so far; position in place of weight where all weights are 1.
        segment: of each point, ``(P,)`` int64.
        value: at these points, ``(P, units)``.
        errors: bounds of the errors of value, shift, position and weight, ``(4, P)``.
        flips: ``(5, F)`` of each gate: row, number of the gate, unit, pieces before and after.
        first, last: by gate, its pieces at both ends of the segments.
        uncertain: ``(S,)`` int8.
        most: bytes that it has taken at most.
    """

    def __init__(self, chain: Chain, points: Points, record: bool, bounded: bool) -> None:
        self.chain, self.record, self.bounded, self.most = chain, record, bounded, 0
        self.offsets, self.position = points.offsets, points.position.contiguous()
        self.weighted = points.weight is not None
        self.weight = self.position if points.weight is None else points.weight.contiguous()
        counts = self.offsets.diff()
        self.segment = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        self.value = flattened(points.values[chain.name]).contiguous()
        self.errors = self.position.new_zeros(4, len(self.position) if bounded else 0)
        if bounded:
            for part, name in zip(self.errors, (chain.name, "shift", "position", "weight")):
                if name in points.errors:
                    part.copy_(points.errors[name])
        old = points.flips
        self.flips = [torch.stack([old.row, old.gate, old.unit, old.before, old.after])] if len(old.row) else []
        self.first, self.last = dict(points.first), dict(points.last)
        self.uncertain = points.uncertain.to(torch.int8)

    def pass_link(self, link: Link, allowance: int) -> bool:
        """Go through a gate and the matrix behind it; False where there is not enough memory, and then no further."""
        crossings = _Crossings(self, link)
        total = len(self.position) + crossings.fresh
        needed = self._needed(link, total, crossings.count)
        if needed > allowance:
            return False
        self.most = max(self.most, needed)
        self.value = crossings.put_in_place(self, total)
        del crossings
        self.value = reference.multiplied(self.value, self.weight if self.weighted else None, link.step)
        return True

    def _needed(self, link: Link, total: int, crossings: int) -> int:
        """Bytes at the peak of a link, with what is held for the end."""
        size, outputs = self.position.element_size(), link.step.shape[0] * total
        # What comes out of the gate needs what goes in; the product needs that, and its bias, where weighted, a copy.
        values = link.units * total + max(self.value.numel(), (2 if self.weighted else 1) * outputs)
        numbers = values + _POINT[1] * total + _CROSSING[1] * crossings
        integers = _POINT[0] * total + _CROSSING[0] * crossings
        if self.record:
            # Flips are put together and chosen from at the end.
            integers += 3 * sum(flips.numel() for flips in self.flips) + 10 * crossings
            ends = [*self.first.values(), *self.last.values()]
            integers += sum(pieces.numel() for pieces in ends) + 2 * link.units * len(self.uncertain)
        return size * numbers + 8 * integers

    def finished(self, points: Points) -> Points:
        """The points behind the chain."""
        chain, name = self.chain, self.chain.links[-1].step.output
        flips = torch.cat(self.flips, 1) if self.flips else torch.stack([points.offsets[:0]] * 5)
        flips = flips[:, flips[3] != flips[4]]
        errors = {}
        if self.bounded:
            errors = dict(zip((name, "shift", "position", "weight"), self.errors))
        if not self.weighted:
            errors.pop("weight", None)
        return replace(
            points,
            offsets=self.offsets,
            position=self.position,
            weight=self.weight if self.weighted else None,
            values={name: self.value},
            step=chain.start + 2 * len(chain.links),
            flips=Flips(*flips),
            uncertain=self.uncertain.bool(),
            errors=errors,
            first=self.first,
            last=self.last,
        )


class _Crossings:
    """The crossings of a gate in order, and where they come to lie among the points of a stack.

    Attributes:
        starts: where those of each row start, ``(P + 1,)``.
        row, unit, knot, at, left, right, rise: of each, ``(K,)``, as crossings.Crossings; at is its t.
        ordinal: how many new points come before each, and all of them, ``(K + 1,)``.
        fresh: how many new points there are.
    """

    def __init__(self, stack: _Stack, link: Link) -> None:
        self.link, count = link, len(stack.position)
        gate, units, like = link.gate, link.units, stack.position
        self.knots, self.slopes, self.offsets = (
            numbers.expand(-1, units).contiguous() for numbers in (gate.knots, gate.slopes, gate.offsets)
        )
        self.t = stack.position / stack.weight if stack.weighted else stack.position
        self.near = like.new_empty(3, count if stack.bounded else 0)
        if stack.bounded:
            given = (stack.errors, stack.segment, stack.position, link.sizes, self.near, stack.uncertain)
            of_points.nearness[_lanes(count)](*given, count, BLOCK=_LANES, **_OPTIONS)
        self.size, counts = torch.empty_like(like), like.new_empty(count, dtype=torch.int64)
        on_knot = counts.new_zeros(1)
        self.tile = _tile(units)
        self.shape = (units, len(self.knots))
        self.numbers = (stack.value, stack.weight, self.knots)
        loops.look[_grid(count, self.tile)](
            self.numbers, stack.segment, self.near, link.sizes, (counts, self.size, stack.uncertain, on_knot),
            count, self.shape, WEIGHTED=stack.weighted, BOUNDED=stack.bounded, LEVEL=gate.sizes.knot > 0,
            **self.tile, **_OPTIONS,
        )  # fmt: skip
        self.starts = pad(counts.cumsum(0), (1, 0))
        self.count, on = torch.cat([self.starts[-1:], on_knot]).tolist()
        self.on_knot = on > 0
        self._located(stack)
        opens = counts.new_empty(self.count)
        if self.count:
            of_points.opening[_lanes(self.count)](
                self.row, self.at, self.t, opens, self.count, BLOCK=_LANES, **_OPTIONS
            )
        self.ordinal = pad(opens.cumsum(0), (1, 0))
        self.fresh = int(self.ordinal[-1])

    def _located(self, stack: _Stack) -> None:
        """Find the crossings, and order them."""
        count, like, lanes = len(stack.position), stack.position, _lanes(self.count)
        self.row, unit, knot, self.unit, self.knot = _several(self.starts, 5, self.count)
        self.at, self.left, self.right, self.rise = _several(like, 4, self.count)
        if not self.count:
            return
        distances, unordered = _several(like, 2, self.count), _several(like, 4, self.count)
        loops.locate[_grid(count, self.tile)](
            self.numbers, self.starts, (self.row, unit, knot, *distances), count, self.shape,
            WEIGHTED=stack.weighted, **self.tile, **_OPTIONS,
        )  # fmt: skip
        given = (self.row, distances, like, stack.weight, self.t, unordered)
        of_points.weigh[lanes](*given, self.count, WEIGHTED=stack.weighted, BLOCK=_LANES, **_OPTIONS)
        ordered = (self.unit, self.knot, self.at, self.left, self.right, self.rise)
        of_points.order[lanes](
            self.row, (unit, knot, *unordered), self.starts, ordered, self.count, BLOCK=_LANES, **_OPTIONS
        )

    def put_in_place(self, stack: _Stack, total: int) -> Tensor:
        """Give the stack its new points, with bounds and flips, and give the gate's output at all points."""
        count, old = len(stack.position), (stack.segment, stack.position, stack.weight)
        before, errors, weighted = stack.offsets, stack.errors, stack.weighted
        moved = self.starts.new_empty(count + 1)
        crossing_row = torch.empty_like(self.row)
        stack.segment, stack.position = old[0].new_empty(total), old[1].new_empty(total)
        stack.weight = old[1].new_empty(total) if weighted else stack.position
        source, shares = old[0].new_empty(total), _several(old[1], 2, total)
        new = (stack.segment, stack.position, stack.weight, source, *shares)
        of_points.move[_lanes(count + 1)](
            self.starts, self.ordinal, old, moved, new, count, WEIGHTED=weighted, BLOCK=_LANES, **_OPTIONS
        )
        if self.count:
            places = ((self.row, self.at, self.left, self.right), self.t, self.starts, self.ordinal)
            of_points.place[_lanes(self.count)](
                *places, old, crossing_row, new, self.count, WEIGHTED=weighted, BLOCK=_LANES, **_OPTIONS
            )
        stack.offsets = moved[before]
        if stack.bounded:
            stack.errors = errors.new_zeros(4, total)
            of_points.bounds[_lanes(count)](
                old, (self.starts, self.right, self.rise, crossing_row), moved, self.size, self.near, errors,
                self.link.sizes, stack.uncertain, stack.errors, count, total,
                WEIGHTED=weighted, LEVEL=self.link.gate.sizes.knot > 0, BLOCK=_LANES, **_OPTIONS,
            )  # fmt: skip
        if stack.record:
            self._record(stack, before, old[2] if weighted else None, moved, crossing_row)
        return self._applied(stack, source, shares, crossing_row)

    def _record(
        self, stack: _Stack, before: Tensor, weight: Tensor | None, moved: Tensor, crossing_row: Tensor
    ) -> None:
        """Keep the gate's pieces at the segments' ends, and its changes of piece at all points.

        Args:
            before, weight: offsets and weights of the points there were, at which the stack's value still is.
        """
        gate, number, column = self.link.gate, self.link.number, None if weight is None else weight[:, None]
        first, last = before[:-1], before[1:] - 1
        ends = tuple(edge_pieces(gate, stack.value, column, *pair) for pair in ((first, first + 1), (last, last - 1)))
        for flips in stack.flips:
            flips[0] = moved[flips[0]]
        if self.on_knot:
            starts_interval = torch.ones_like(moved[:-1], dtype=torch.bool)
            starts_interval[last] = False
            changes = changes_at_points(gate, stack.value, column, starts_interval)
            gates = torch.full_like(changes.row, number)
            stack.flips.append(torch.stack([moved[changes.row], gates, changes.unit, changes.before, changes.after]))
        if self.count:
            flips = crossing_row.new_empty(5, self.count)
            crossings = (crossing_row, self.unit, self.knot, self.rise)
            found = (crossings, stack.segment, stack.offsets, ends, flips)
            of_points.record[_lanes(self.count)](number, *found, self.count, self.link.units, BLOCK=_LANES, **_OPTIONS)
            stack.flips.append(flips)
        stack.first[number], stack.last[number] = ends

    def _applied(self, stack: _Stack, source: Tensor, shares: tuple[Tensor, ...], crossing_row: Tensor) -> Tensor:
        total, gate, kind = len(source), (self.knots, self.slopes, self.offsets), self.link.gate.is_relu
        result = stack.value.new_empty(total, self.link.units)
        options = {"WEIGHTED": stack.weighted, "RELU": kind, **_OPTIONS}
        loops.apply_gate[_grid(total, self.tile)](
            stack.value, stack.weight, source, shares, gate, result, total, self.shape, **self.tile, **options
        )
        if self.count:
            given = (crossing_row, self.unit, self.knot, stack.weight, gate, result)
            loops.settle[_lanes(self.count)](*given, self.count, self.link.units, BLOCK=_LANES, **options)
        return result


def _several(like: Tensor, number: int, count: int) -> tuple[Tensor, ...]:
    """Room for several lists of numbers, each a tensor: rows of one would be aligned differently for other counts."""
    return tuple(like.new_empty(count) for _ in range(number))


def _tile(units: int) -> dict[str, int]:
    """How many rows and units a program takes at once."""
    block = min(_TILE // 2, 1 << max(4, (units - 1).bit_length()))
    return {"ROWS": max(1, _TILE // block), "BLOCK": block}


def _grid(count: int, tile: dict[str, int]) -> tuple[int]:
    return (max(1, -(-count // tile["ROWS"])),)


def _lanes(count: int) -> tuple[int]:
    return (max(1, -(-count // _LANES)),)
