"""Maximum gates: whether rounding leaves any doubt about which input leads where.

On an interval of the walk every input of a window is affine, so the leads of the true winners at the interval's true
ends and the points where one winner overtakes another decide everything between:

- A winner at an end is certain if it leads every other input by more than the bounds of two values and of the end's
  own shift allow for. Inputs that are the same number, or both 0 by construction, can't be told apart and need not be;
  which of two zeros leads beside the point is decided at the other end.
- Where b overtakes a, the true place is within twice the values' bound, divided by the growth of their difference,
  of the computed one. If every other input is below a there, by more than the bounds, it is below both at the true
  place.
- Then each pair of neighbours in the computed sequence of winners has a true bend of the maximum, and between two of
  these bends, if their order is certain, the common winner leads at both ends and so throughout.
"""

from __future__ import annotations

import torch
from torch import Tensor

from relu_regions.backends import Placement
from relu_regions.backends.ties import Ties
from relu_regions.network.gates import Maximum, OrderStatistic

__all__ = ["coincident", "rivals_in_doubt", "sources_on"]


def rivals_in_doubt(
    gate: Maximum | OrderStatistic,
    ties: Ties,
    zeros: Tensor,
    inputs: Tensor,
    placed: Placement,
    error: Tensor,
    shift: Tensor,
) -> Tensor:
    """The intervals in which a third input may lead, or is as large, where one takes the place of another.

    Args:
        ties: which inputs are equal by construction.
        zeros: for each input whether a computed 0 is a true 0, ``(inputs,)`` bool.
        inputs: ``(P, inputs)``.
        error: of a difference of two inputs, for each bend, ``(K,)``.
        shift: of each bend relative to its interval, ``(K,)``.
    """
    crossings = placed.crossings
    window, row = gate.windows[crossings.unit], crossings.row[:, None]
    here, there = inputs[row, window], inputs[row + 1, window]
    leader, follower = crossings.before[:, None], crossings.after[:, None]
    lead_here, lead_there = here.gather(1, leader) - here, there.gather(1, leader) - there
    lead = crossings.left[:, None] * lead_here + crossings.right[:, None] * lead_there
    rounding = 8 * torch.finfo(inputs.dtype).eps * (lead_here.abs() + lead_there.abs())
    size = lead if isinstance(gate, Maximum) else lead.abs()
    open_lead = ~(size > error[:, None] + shift[:, None] * (lead_there - lead_here).abs() + rounding)
    open_lead.scatter_(1, leader, False).scatter_(1, follower, False)
    (close,) = open_lead.any(1).nonzero(as_tuple=True)
    # Most bends are far from all others: what is equal by construction is asked of the rest alone.
    ids = ties.ids(crossings.row[close], window[close])
    same = sources_on(ids, zeros[window[close]], here[close], there[close])
    third = (same != same.gather(1, leader[close])) & (same != same.gather(1, follower[close]))
    return crossings.row[close[(open_lead[close] & third).any(1)]]


def sources_on(ids: Tensor, zeros: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """Ids of equal numbers on intervals where some are 0 at both ends, and known to be; all of one shape."""
    return torch.where(zeros & (here == 0) & (there == 0), 0, ids)


def coincident(
    gate: Maximum | OrderStatistic, ties: Ties, zeros: Tensor, inputs: Tensor, placed: Placement, bends: Tensor
) -> Tensor:
    """Whether some bends are those of the same two numbers as the bends before them, ``(B,)`` bool.

    Args:
        bends: which, none of them the first, ``(B,)`` int64.
    """
    pairs = []
    for crossings in (placed.crossings[bends - 1], placed.crossings[bends]):
        pair = gate.windows[crossings.unit[:, None], torch.stack([crossings.before, crossings.after], 1)]
        row = crossings.row[:, None]
        ids = ties.ids(crossings.row, pair)
        same = sources_on(ids, zeros[pair], inputs[row, pair], inputs[row + 1, pair])
        # Two that change places in an order do so in two units, there and back.
        pairs.append(same.sort(1).values)
    return (pairs[0] == pairs[1]).all(1)
