"""What ties on the lines of a sweep: tables for every gate, and which of them holds at which row."""

from __future__ import annotations

import torch
from torch import Tensor

from relu_regions.backends.points import Points
from relu_regions.backends.ties import Ties, TieTables
from relu_regions.exactness.equal_by_construction import EqualNumbers
from relu_regions.exactness.equal_inputs import AT_INFINITY, AT_ONE, AT_X, KINDS
from relu_regions.exactness.equal_on_lines import equal_on_lines
from relu_regions.exactness.starts import Starts
from relu_regions.exactness.whole_forms import AnyTies
from relu_regions.network.gates import OrderStatistic
from relu_regions.network.network import Network

__all__ = ["LineTies", "still_open"]


class LineTies:
    """What ties on the lines of a block of segments.

    Args:
        network: as it was read, in float64 or float32.
        starts: the points that the segments start from.
        first: the number of the block's first segment.
        known: what ties on the lines of the block before.
    """

    def __init__(self, network: Network, starts: Starts, first: int, known: LineTies | None = None) -> None:
        x = starts.x
        self.first = first
        counts = starts.offsets.diff()
        width = int(counts.max())
        column = torch.arange(width, device=x.device)
        filled = column < counts[:, None]
        self._line = starts.line[starts.offsets[:-1]]
        self._position, self._weight = (
            torch.full(filled.shape, torch.nan, device=x.device, dtype=x.dtype) for _ in "pw"
        )
        self._position[filled] = starts.position
        self._weight[filled] = torch.ones_like(starts.position) if starts.weight is None else starts.weight
        # Those of all points between the starts, one for each line, and those at the starts.
        lines = torch.arange(len(x), device=x.device)
        self.asked, number = torch.unique(torch.cat([lines, _tables_at(starts)]), return_inverse=True)
        self._table = torch.zeros(filled.shape, dtype=torch.int64, device=x.device)
        self._table[filled] = number[len(x) :]
        self.starts = starts
        # Two segments of one line may come in two blocks.
        if known is not None and _same_lines(known.starts, starts) and torch.equal(known.asked, self.asked):
            self.tables: dict[str, TieTables] = known.tables
        else:
            self.tables = _tables(network, starts, self.asked)

    def at(self, points: Points, name: str) -> Ties | None:
        """What ties in the value that a gate reads, at the rows of a stack; None if nothing does.

        At a row that the sweep started from, and that stands for no bend of its own, more may tie than beside it.
        """
        if name not in self.tables:
            return None
        segment = (points.segments - self.first).repeat_interleave(points.offsets.diff())
        between = self._line[segment]
        table = between.clone()
        (row,) = (points.errors["shift"] == 0).nonzero(as_tuple=True)
        weight = 1.0 if points.weight is None else points.weight[row, None]
        same = (self._position[segment[row]] == points.position[row, None]) & (self._weight[segment[row]] == weight)
        found, place = same.max(1)
        table[row[found]] = self._table[segment[row[found]], place[found]]
        return Ties(self.tables[name], table, between)


def _same_lines(one: Starts, other: Starts) -> bool:
    """Whether two blocks are of the same rows of one batch of lines."""
    return (
        one.x.data_ptr() == other.x.data_ptr()
        and one.x.shape == other.x.shape
        and one.d.data_ptr() == other.d.data_ptr()
    )


def _tables(network: Network, starts: Starts, asked: Tensor) -> dict[str, TieTables]:
    """The tables with some numbers, of all gates but order statistics, by the name of what they read.

    None where nothing ties.
    """
    equal = EqualNumbers.of(network)
    gates = {step.inputs[0]: step.gate for step in network.gates if not isinstance(step.gate, OrderStatistic)}
    device = starts.x.device
    return {
        name: TieTables.of(firsts.to(device), equal.sources(name).to(device), gates[name])
        for name, firsts in equal_on_lines(network, starts.x, starts.d, starts.meetings, asked.cpu()).items()
        if name in gates
    }


def _tables_at(starts: Starts) -> Tensor:
    """Which table holds at each start, ``(P,)`` int64."""
    lines, t = len(starts.x), starts.t.double()
    kind = torch.where(t == 0, AT_X, 0).masked_fill(t == 1, AT_ONE).masked_fill(torch.isinf(t), AT_INFINITY)
    table = kind * lines + starts.line
    found, number = starts.is_meeting
    return torch.where(found, KINDS * lines + number, table)


def still_open(
    ties: AnyTies,
    rows: Tensor,
    distance: Tensor,
    bound: Tensor,
    before: Tensor,
    after: Tensor,
    zeros: Tensor | None,
) -> Tensor:
    """Those of some rows in doubt that are so even if what is 0 by construction counts as known.

    Args:
        rows: ``(R,)`` int64; the rest as `relu_regions.backends.reference.rows_in_doubt`.
    """
    known = ties.has_zeros(rows)
    asked, last = rows[known], len(distance) - 1
    open_ = []
    for some in torch.split(asked, max(1, (1 << 22) // max(1, distance.shape[1]))):
        here, zero = distance[some], ties.zeros(some)
        zero &= here == 0
        if zeros is not None:
            zero |= (here == 0) & zeros
        size = here.abs().masked_fill(zero, torch.inf)
        certain = size > bound[some, None]
        for share, beside in ((after, (some + 1).clamp_max(last)), (before, (some - 1).clamp_min(0))):
            certain &= size > bound[some, None] + share[some, None] * (distance[beside] - here).abs()
        open_.append(some[~certain.all(1)])
    return torch.cat([rows[~known], *open_])
