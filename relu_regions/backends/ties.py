"""Ties: which numbers of a stack of points are equal by construction, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from relu_regions.network.equal_grids import Grid
from relu_regions.network.gates import Gate, Maximum

__all__ = ["TieTables", "Ties"]


@dataclass(frozen=True)
class TieTables:
    """Tables of what is equal among the numbers that a gate reads.

    Where channels are alike (`relu_regions.network.equal_grids`), the tables are of one channel behind what stands in
    front; else of all numbers, as of a single channel.

    Attributes:
        alike: one id for numbers that are equal, 0 for those that are 0, ``(K, front + places)`` int64.
        column, apart: which column of these is each number's, and what its id has more there if it is not 0,
            ``(numbers,)`` int64.
        channels: how many numbers stand in front, how many channels there are, and how many places a channel has.
        offsets, target, source: in table k number ``target[m]`` of a channel is equal to ``source[m]``, or 0 where that
            is -1, for m from ``offsets[k]`` to ``offsets[k + 1]``; ``(K + 1,)`` and ``(M,)`` int64. No source is a
            target.
        whole: the windows all of whose inputs are equal, ``(K, units)`` bool; without units for other gates.
        begun, partly: the windows some of whose inputs are equal, but not all: those of table k are ``partly[m]`` for m
            from ``begun[k]`` to ``begun[k + 1]``, ``(K + 1,)`` and ``(W,)`` int64.
    """

    alike: Tensor
    column: Tensor
    apart: Tensor
    channels: tuple[int, int, int]
    offsets: Tensor
    target: Tensor
    source: Tensor
    whole: Tensor
    begun: Tensor
    partly: Tensor

    @classmethod
    def of(cls, first: Tensor | Grid, sources: Tensor, gate: Gate) -> TieTables:
        """From the first number that each is equal to.

        Args:
            first: -1 for numbers that are 0, ``(K, numbers)`` int64, or a grid that says so.
            sources: ids of numbers that are equal in every table, ``(numbers,)`` int64.
        """
        windows = gate.windows if isinstance(gate, Maximum) else None
        if isinstance(first, Grid):
            each = None if windows is None else first.windows(windows)
            if not _all_differ(sources, first.front) or (windows is not None and each is None):
                first, each = first.full(), windows
        else:
            each = windows
        grid = first if isinstance(first, Grid) else Grid(0, 1, first)
        device, (front, count, places) = grid.first.device, (grid.front, grid.channels, grid.places)
        table = grid.with_front()
        alike = torch.where(table < 0, 0, sources[table.clamp_min(0)])
        moved = grid.first != torch.arange(places, device=device)
        number = torch.arange(count * places, device=device)
        whole = torch.zeros(len(table), 0, dtype=torch.bool, device=device)
        partly = whole
        if each is not None:
            whole, partly = (
                part.repeat(1, count) for part in _equal_inputs(alike, pad(moved, (front, 0), value=True), each)
            )
        return cls(
            alike=alike,
            column=torch.cat([torch.arange(front, device=device), front + number % places]),
            apart=pad(number - number % places, (front, 0)),
            channels=(front, count, places),
            offsets=_offsets(moved),
            target=moved.nonzero()[:, 1],
            source=grid.first[moved],
            whole=whole,
            begun=_offsets(partly),
            partly=partly.nonzero()[:, 1],
        )

    @classmethod
    def everywhere(cls, sources: Tensor, gate: Gate) -> TieTables:
        """One table, of what is equal by ids ``(numbers,)`` int64 alone."""
        return cls.of(torch.arange(len(sources), device=sources.device)[None], sources, gate)

    @cached_property
    def with_zeros(self) -> Tensor:
        """Which tables say of some number that it is 0, ``(K,)`` bool."""
        return (self.alike == 0).any(1)


class Ties(NamedTuple):
    """The tables of a gate, and which of them holds where.

    Attributes:
        tables: of the gate.
        table: which one holds at each row, ``(P,)`` int64.
        between: which one holds on the interval that starts at each row, ``(P,)`` int64.
    """

    tables: TieTables
    table: Tensor
    between: Tensor

    @classmethod
    def everywhere(cls, sources: Tensor, gate: Gate, rows: int) -> Ties:
        """What is equal at every row alike, by ids ``(numbers,)`` int64."""
        return cls.all_alike(TieTables.everywhere(sources, gate), rows)

    @classmethod
    def all_alike(cls, tables: TieTables, rows: int) -> Ties:
        """The first of some tables at so many rows."""
        table = torch.zeros(rows, dtype=torch.int64, device=tables.alike.device)
        return cls(tables, table, table)

    def ids(self, row: Tensor, numbers: Tensor) -> Tensor:
        """The ids of numbers on the intervals that start at some rows, ``(B, k)`` for ``(B,)`` and ``(B, k)``."""
        tables = self.tables
        ids = tables.alike[self.between[row][:, None], tables.column[numbers]]
        return torch.where(ids == 0, 0, ids + tables.apart[numbers])

    def has_zeros(self, rows: Tensor) -> Tensor:
        """Which rows have numbers that are 0, ``(R,)`` bool."""
        return self.tables.with_zeros[self.table[rows]]

    def zeros(self, rows: Tensor) -> Tensor:
        """The numbers that are 0 at some rows, ``(R, numbers)`` bool."""
        return (self.tables.alike[self.table[rows]] == 0)[:, self.tables.column]


def _offsets(chosen: Tensor) -> Tensor:
    """Where what is chosen in each row begins in a list of all, ``(K + 1,)`` from ``(K, n)`` bool."""
    return pad(chosen.sum(1).cumsum(0), (1, 0))


def _all_differ(sources: Tensor, front: int) -> bool:
    """Whether no table of its own says that a number is equal to another one, but for the zeros in front."""
    return not sources[:front].any() and bool((sources[front:] > 0).all() and (sources[front:].diff() == 1).all())


def _equal_inputs(alike: Tensor, moved: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Which windows have equal inputs alone, and which others have some, ``(K, units)`` bool each.

    Args:
        moved: which numbers are equal to an earlier one or 0; of two equal inputs one is.
    """
    partly = torch.stack([moved[:, places] for places in windows.T]).any(0)
    table, unit = partly.nonzero(as_tuple=True)
    inputs, whole = alike[table[:, None], windows[unit]], torch.zeros_like(partly)
    whole[table, unit] = (inputs == inputs[:, :1]).all(1)
    return whole, partly & ~whole
