"""Ties: which numbers of a stack of points are equal by construction, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.network.gates import Gate, Maximum

__all__ = ["TieTables", "Ties"]


@dataclass(frozen=True)
class TieTables:
    """Tables of what is equal among the numbers that a gate reads.

    Attributes:
        alike: one id for numbers that are equal, 0 for those that are 0, ``(K, numbers)`` int64.
        offsets, target, source: in table k number ``target[m]`` is equal to ``source[m]``, or 0 where that is -1, for m
            from ``offsets[k]`` to ``offsets[k + 1]``; ``(K + 1,)`` and ``(M,)`` int64. No source is a target.
        whole: the windows all of whose inputs are equal, ``(K, units)`` bool; without units for other gates.
    """

    alike: Tensor
    offsets: Tensor
    target: Tensor
    source: Tensor
    whole: Tensor

    @classmethod
    def of(cls, first: Tensor, sources: Tensor, gate: Gate) -> TieTables:
        """From the first number that each is equal to.

        Args:
            first: -1 for numbers that are 0, ``(K, numbers)`` int64.
            sources: ids of numbers that are equal in every table, ``(numbers,)`` int64.
        """
        alike = torch.where(first < 0, 0, sources[first.clamp_min(0)])
        moved = first != torch.arange(first.shape[1], device=first.device)
        counts = moved.sum(1)
        target = moved.nonzero()[:, 1]
        whole = torch.zeros(len(first), 0, dtype=torch.bool, device=first.device)
        if isinstance(gate, Maximum):
            inputs = alike[:, gate.windows]
            whole = (inputs == inputs[..., :1]).all(-1)
        return cls(alike, torch.nn.functional.pad(counts.cumsum(0), (1, 0)), target, first[moved], whole)

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
        nothing, table = sources[:0], torch.zeros(rows, dtype=torch.int64, device=sources.device)
        units = len(gate.windows) if isinstance(gate, Maximum) else 0
        whole = torch.zeros(1, units, dtype=torch.bool, device=sources.device)
        tables = TieTables(sources[None], torch.zeros(2, dtype=torch.int64), nothing, nothing, whole)
        return cls(tables, table, table)

    def ids(self, row: Tensor, numbers: Tensor) -> Tensor:
        """The ids of numbers on the intervals that start at some rows, ``(B, k)`` for ``(B,)`` and ``(B, k)``."""
        return self.tables.alike[self.between[row][:, None], numbers]

    def has_zeros(self, rows: Tensor) -> Tensor:
        """Which rows have numbers that are 0, ``(R,)`` bool."""
        return self.tables.with_zeros[self.table[rows]]

    def zeros(self, rows: Tensor) -> Tensor:
        """The numbers that are 0 at some rows, ``(R, numbers)`` bool."""
        return self.tables.alike[self.table[rows]] == 0
