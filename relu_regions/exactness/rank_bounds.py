"""Order statistics: whether rounding leaves any doubt about whose number has a rank.

On an interval every input is affine, and the computed pieces of a unit divide it into stretches, one for each piece.
A piece keeps its rank on a stretch if no other input passes it there, and it has that rank at one end of it. So it is
enough that

- at both ends of the interval every other input is certainly larger or certainly smaller than the piece's, or is the
  same number (`relu_regions.backends.reference.leads_in_doubt`);
- where b takes a's place every third input is certainly larger or smaller than both, so that a and b change places
  alone (`relu_regions.exactness.maximum_bounds.rivals_in_doubt`), and the order of these bends is certain;
- and each other input lies on the same side of a piece at both ends of the piece's stretch, as these signs have it,
  which are certain then. This file asks for that: inputs that pass a piece, but change no rank since others pass it the
  other way at the same place, as floats have it, are left to rational arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.backends import Placement
from relu_regions.backends.rank_crossings import inverted
from relu_regions.backends.ties import Ties
from relu_regions.exactness.maximum_bounds import sources_on
from relu_regions.network.gates import OrderStatistic

__all__ = ["nearest_rival", "passing_in_doubt"]


def passing_in_doubt(
    gate: OrderStatistic, ties: Ties, zeros: Tensor, inputs: Tensor, placed: Placement, starts_interval: Tensor
) -> Tensor:
    """The intervals in which some input passes a piece on its stretch, where no bend is, ``(K,)`` int64.

    Args:
        ties, zeros, inputs: as `relu_regions.exactness.maximum_bounds.rivals_in_doubt`.
        starts_interval: False at the last point of each segment, and where nobody asks, ``(P,)`` bool.
    """
    candidates, units = gate.candidates(inputs), len(gate.windows)
    first = gate.pieces_beside(inputs[:-1], inputs[1:])
    passed = inverted(candidates[:-1], candidates[1:], first).any(-1) & starts_interval[:-1, None]
    crossings = placed.crossings
    passed[crossings.row, crossings.unit] = False
    stretches = _Stretches.of(placed, units)
    here, there = candidates[stretches.row, stretches.unit], candidates[stretches.row + 1, stretches.unit]
    leads = [part.gather(1, stretches.piece[:, None]) - part for part in (here, there)]
    start, stop = (left[:, None] * leads[0] + right[:, None] * leads[1] for left, right in stretches.ends)
    passes = ((start > 0) & (stop < 0)) | ((start < 0) & (stop > 0))
    window = gate.windows[stretches.unit]
    same = sources_on(ties.ids(stretches.row, window), zeros[window], here, there)
    # The one before it and the one behind it pass it at its ends, and so do their copies.
    before, behind = (same.gather(1, torch.where(n < 0, stretches.piece, n)[:, None]) for n in stretches.beside)
    passes &= (same != before) & (same != behind)
    both = (before == behind)[:, 0] & (stretches.beside[0] >= 0) & (stretches.beside[1] >= 0)
    return torch.cat([passed.any(1).nonzero()[:, 0], stretches.row[passes.any(1) | both]])


def nearest_rival(gate: OrderStatistic, inputs: Tensor) -> Tensor:
    """How far a piece is from every other input of its window at least, over all units, ``(P,)``.

    The nearest is a neighbour in the order, which sorting finds without comparing all with all.

    Args:
        inputs: ``(P, inputs)``.
    """
    windows, window = gate.different_windows
    gaps = inputs[:, windows].sort(-1, descending=True).values.diff(dim=-1).abs()
    gaps = torch.nn.functional.pad(gaps, (1, 1), value=torch.inf)
    return torch.minimum(gaps[:, window, gate.ranks], gaps[:, window, gate.ranks + 1]).amin(1)


class _Stretches(NamedTuple):
    """The stretches of the units that bend on an interval, ``(K,)`` each.

    Attributes:
        row, unit, piece: which.
        ends: the weights of the interval's two ends at the beginning, and those at the end.
        beside: the piece before it and the piece behind it, -1 at the interval's ends.
    """

    row: Tensor
    unit: Tensor
    piece: Tensor
    ends: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    beside: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, placed: Placement, units: int) -> _Stretches:
        """Those before each crossing, and those behind the last one of a unit in an interval."""
        found = placed.crossings
        # Those of one unit and interval are in the order of t.
        crossings = found[torch.argsort(found.row * units + found.unit, stable=True)]
        follows = torch.zeros(len(crossings.row) + 1, dtype=torch.bool, device=crossings.row.device)
        follows[1:-1] = (crossings.row.diff() == 0) & (crossings.unit.diff() == 0)
        earlier = crossings[torch.arange(len(crossings.row), device=follows.device).sub(1).clamp_min(0)]
        started, last = follows[:-1], crossings[~follows[1:]]
        start = (
            torch.cat([torch.where(started, earlier.left, 1.0), last.left]),
            torch.cat([torch.where(started, earlier.right, 0.0), last.right]),
        )
        zeros = torch.zeros_like(last.left)
        stop = torch.cat([crossings.left, zeros]), torch.cat([crossings.right, zeros + 1])
        before = torch.cat([torch.where(started, earlier.before, -1), last.before])
        behind = torch.cat([crossings.after, torch.full_like(last.after, -1)])
        row, unit = torch.cat([crossings.row, last.row]), torch.cat([crossings.unit, last.unit])
        return cls(row, unit, torch.cat([crossings.before, last.after]), (start, stop), (before, behind))
