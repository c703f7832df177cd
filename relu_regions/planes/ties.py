"""What is equal by construction on each plane, of the numbers that a gate reads: copies, and equal patches."""

from __future__ import annotations

import math
from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

import numpy as np

from relu_regions.exactness.can_tie import can_tie
from relu_regions.exactness.equal_on_planes import equal_on_planes
from relu_regions.lines.plane_batch import PlaneBatch
from relu_regions.network.arrays import Floats, Integers, Numbers
from relu_regions.network.gates import Knots
from relu_regions.planes.form_bounds import GATE, FormBounds

__all__ = ["GateTies", "PlaneTies"]

# Planes of which tables are made together and kept, at most; and bytes of a table of theirs.
_TOGETHER, _KEPT, _TABLE_BYTES = 256, 8, 32 << 20


class GateTies(NamedTuple):
    """What is equal on a plane, of the numbers that a gate reads.

    Attributes:
        source: for each number the first that it is equal to, or the negative of; itself if there is none before it.
        sign: 1, or -1 for negatives.
        zero: which are 0.
    """

    source: Integers
    sign: Integers
    zero: Numbers

    @property
    def same(self) -> Integers:
        """For each number the first that it is equal to; all that are 0 are equal."""
        key = 2 * self.source + (self.sign < 0)
        _, places, number = np.unique(key, return_index=True, return_inverse=True)
        first: Integers = places[number]
        if self.zero.any():
            first[self.zero] = np.flatnonzero(self.zero)[0]
        return first


class PlaneTies:
    """What is equal on the planes of a walk.

    Args:
        planes: in float64, on the processor.
        bounds: of the walk, which know copies.
    """

    def __init__(self, planes: PlaneBatch, bounds: FormBounds) -> None:
        network = planes.network
        self._planes, self._gates = planes, network.gates
        self._copies = [bounds.copies(step.inputs[0]) for step in network.gates]
        self._can_tie = can_tie(network)
        sizes = [math.prod(network.shapes[step.inputs[0]]) for step in network.gates]
        self._sizes = sizes
        self._together = max(1, min(_TOGETHER, _TABLE_BYTES // (8 * max(1, sum(sizes)))))
        self._tables: OrderedDict[int, list[Integers | None]] = OrderedDict()
        self._made: dict[tuple[int, int], GateTies | None] = {}
        self._lock = Lock()

    def at(self, plane: int, gate: int) -> GateTies | None:
        """What is equal on a plane where a gate reads; None if nothing is."""
        with self._lock:
            table = self._table(plane, gate)
            # One for all planes on which no more than copies is equal.
            key = (-1 if table is None else plane, gate)
            if key not in self._made:
                self._made[key] = self._ties(table, gate)
            return self._made[key]

    def origins(self, plane: int, labels: Numbers) -> Numbers:
        """Labels of lines on which units are 0, as those of the first unit with each line."""
        made: Numbers = labels.copy()
        gates: Numbers = labels // np.uint64(GATE)
        for gate in np.unique(gates[labels > 0]).tolist():
            ties, own = self.at(plane, gate - 1), (gates == gate) & (labels > 0)
            if ties is not None:
                made[own] = np.uint64(gate * GATE) + ties.source[labels[own] % np.uint64(GATE)].astype(np.uint64)
        return made

    def _table(self, plane: int, gate: int) -> Integers | None:
        if not self._can_tie:
            return None
        start = plane - plane % self._together
        if start not in self._tables:
            if len(self._tables) == _KEPT:
                gone, _ = self._tables.popitem(last=False)
                kept = self._made.items()
                self._made = {key: ties for key, ties in kept if not gone <= key[0] < gone + self._together}
            self._tables[start] = self._of(start)
        self._tables.move_to_end(start)
        tables = self._tables[start][gate]
        if tables is None:
            return None
        row: Integers = tables[(plane - start) % len(tables)]
        return None if (row == np.arange(len(row))).all() else row

    def _of(self, start: int) -> list[Integers | None]:
        some = slice(start, start + self._together)
        planes = self._planes
        found = equal_on_planes(planes.network, planes.x[some], planes.u[some], planes.v[some])
        return [found[step.inputs[0]].numpy() if step.inputs[0] in found else None for step in self._gates]

    def _ties(self, table: Integers | None, gate: int) -> GateTies | None:
        step, own = self._gates[gate], np.arange(self._sizes[gate])
        copies = self._copies[gate]
        source, sign = (own, np.ones_like(own)) if copies is None else copies
        zero = np.zeros(len(own), dtype=bool)
        if table is not None:
            zero = table < 0
            first = np.where(zero, own, table)
            if isinstance(step.gate, Knots):
                first = np.where(_alike(step.gate, own, first), first, own)
            source, sign = source[first], sign[first]
        if isinstance(step.gate, Knots) and not _is_even(step.gate):
            source, sign = np.where(sign > 0, source, own), np.ones_like(sign)
            source = np.where(_alike(step.gate, own, source), source, own)
        while (source[source] != source).any():
            source, sign = source[source], sign * sign[source]
        return None if (source == own).all() and not zero.any() else GateTies(source, sign, zero)


def _is_even(gate: Knots) -> bool:
    """Whether a number and its negative have one line: that on which they are 0."""
    return gate.knots.shape[0] == 1 and not gate.knots.any()


def _alike(gate: Knots, one: Integers, other: Integers) -> Numbers:
    """Whether two units have the same knots."""
    knots: Floats = gate.knots.cpu().double().expand(-1, len(one)).numpy()
    alike: Numbers = (knots[:, one] == knots[:, other]).all(0)
    return alike
