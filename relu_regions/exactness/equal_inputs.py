"""Which numbers of an input are equal on a line by construction, and where patches of an image meet."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from relu_regions.exactness.error_free import two_sum
from relu_regions.exactness.meeting_points import Meetings

__all__ = ["AT_INFINITY", "AT_ONE", "AT_X", "KINDS", "bits", "firsts", "of_inputs", "of_meetings"]

# Kinds of table; 0 is everywhere on the line.
AT_X, AT_ONE, AT_INFINITY, KINDS = 1, 2, 3, 4


def of_inputs(x: Tensor, d: Tensor) -> Tensor:
    """The first equal numbers of the input, kind by kind, from x and d, ``(L, numbers)`` float64."""
    at_x, along = firsts(bits(x)), firsts(bits(d))
    # x + d without rounding: a sum and what it lost.
    total, lost = two_sum(x, d)
    numbers = x.shape[1]
    everywhere = firsts(at_x * numbers + along)
    at_one = firsts(firsts(bits(total)) * numbers + firsts(bits(lost)))
    finite = torch.isfinite(lost).all(1, keepdim=True)
    kinds = [
        (everywhere, (x == 0) & (d == 0)),
        (at_x, x == 0),
        (torch.where(finite, at_one, everywhere), (total == 0) & (lost == 0)),
        (along, d == 0),
    ]
    return torch.cat([first.masked_fill(zero, -1) for first, zero in kinds])


def of_meetings(everywhere: Tensor, meetings: Meetings) -> Tensor:
    """The same where some pairs of numbers are equal besides those that are so everywhere on their line."""
    rows = [everywhere[:0]]
    for line, (start, stop) in enumerate(pairwise(meetings.offsets)):
        # Places in a table that begins with that of -1.
        first = everywhere[line] + 1
        for pairs in meetings.pairs[start:stop]:
            ids = torch.where(pairs < 0, 0, first[pairs.clamp_min(0)]).tolist()
            least: dict[int, int] = {}
            for pair in ids:
                one, other = (_least(least, number) for number in pair)
                least[max(one, other)] = min(one, other)
            changed = torch.tensor([[number, _least(least, number)] for number in least])
            goes = torch.arange(-1, len(first)).index_copy_(0, changed[:, 0], changed[:, 1] - 1)
            rows.append(goes[first][None])
    return torch.cat(rows)


def _least(least: dict[int, int], number: int) -> int:
    """The smallest number that one is equal to, where some are noted to be equal to smaller ones."""
    while least.get(number, number) != number:
        number = least[number]
    return number


def bits(numbers: Tensor) -> Tensor:
    """Integers that are equal where the numbers are; -0.0 counts as 0.0."""
    return (numbers + 0.0).view(torch.int64)


def firsts(keys: Tensor) -> Tensor:
    """For each number of a row the place of the first one with the same key, ``(M, n)`` int64."""
    keys, order = keys.sort(dim=1, stable=True)
    starts = torch.ones_like(keys, dtype=torch.bool)
    starts[:, 1:] = keys[:, 1:] != keys[:, :-1]
    place = torch.where(starts, torch.arange(keys.shape[1]), 0).cummax(1).values
    return torch.empty_like(order).scatter_(1, order, order.gather(1, place))
