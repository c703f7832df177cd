"""Where order statistics bend: a unit's number is followed from one crossing with another input to the next.

On an interval every input is affine. The number of a rank remains the same input's until it meets others. These then
lie in the opposite order, and the rank belongs to the one that takes its place among them: to another input, or to the
same one, where as many come down past it as go up. Inputs that are equal throughout go together, and the first of them
counts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.network.gates import OrderStatistic

__all__ = ["inverted", "rank_crossings"]


class _Followed(NamedTuple):
    """Units on intervals, K of them, whose number is followed.

    Attributes:
        row, unit: which, ``(K,)`` int64.
        goal: the piece just left of the right end, ``(K,)`` int64.
        here, there: the inputs of the unit at the interval's ends, ``(K, k)``.
        piece: whose number it is now, ``(K,)`` int64: the first of inputs that are equal.
        beside: how many of these are passed over before the rank is reached, ``(K,)`` int64.
        late, met: how late the last crossing came, ``(K,)``, and which inputs took part in it, ``(K, k)`` bool.
        left, right: the weights of the interval's ends there, ``(K,)``.
    """

    row: Tensor
    unit: Tensor
    goal: Tensor
    here: Tensor
    there: Tensor
    piece: Tensor
    beside: Tensor
    late: Tensor
    met: Tensor
    left: Tensor
    right: Tensor

    def only(self, kept: Tensor) -> _Followed:
        return _Followed(*(part[kept] for part in self))


def inverted(here: Tensor, there: Tensor, piece: Tensor) -> Tensor:
    """The inputs that lie on opposite sides of one of them at the two ends of an interval.

    Args:
        here, there: ``(..., k)``.
        piece: ``(...,)`` int64.
    """
    chosen = piece.unsqueeze(-1)
    one, other = here.gather(-1, chosen), there.gather(-1, chosen)
    return ((here < one) & (there > other)) | ((here > one) & (there < other))


def rank_crossings(
    gate: OrderStatistic, values: Tensor, starts_interval: Tensor, first: Tensor, last: Tensor
) -> tuple[Tensor, ...]:
    """What `relu_regions.backends.crossings.Crossings` holds; those of one unit and interval in the order of t.

    Rounding may order crossings that are close together so that the last one does not lead to what comes out at the
    right end. A last step then does, with an infinite rise, by which error bounds know it.

    Args:
        values: the gate's inputs at the points, ``(points, inputs)``.
        starts_interval: False at the last point of each segment, ``(points,)`` bool.
        first, last: the pieces just inside the two ends of each interval, ``(points - 1, units)`` int64.
    """
    followed = _start(gate, values, starts_interval, first, last)
    found = [_crossings(followed, followed.piece, followed.left, torch.zeros_like(followed.piece, dtype=torch.bool))]
    while len(followed.row):
        going, ratio = _next(followed)
        done = ~going & (followed.piece != followed.goal)
        found.append(_crossings(followed, followed.goal, torch.full_like(followed.left, torch.inf), done))
        followed, ratio = followed.only(going), ratio[going]
        after, rise = _passed(followed, ratio)
        found.append(_crossings(after._replace(piece=followed.piece), after.piece, rise, after.piece != followed.piece))
        followed = after
    return tuple(map(torch.cat, zip(*found)))


def _start(gate: OrderStatistic, values: Tensor, starts_interval: Tensor, first: Tensor, last: Tensor) -> _Followed:
    """The units on whose interval some input passes the first piece's."""
    candidates = gate.candidates(values)
    passed = inverted(candidates[:-1], candidates[1:], first).any(-1)
    row, unit = ((passed | (first != last)) & starts_interval[:-1, None]).nonzero(as_tuple=True)
    here, there, piece = candidates[row, unit], candidates[row + 1, unit], first[row, unit]
    one, other = here.gather(1, piece[:, None]), there.gather(1, piece[:, None])
    larger = ((here > one) | ((here == one) & (there > other))).sum(1)
    left, none = torch.ones_like(here[:, 0]), torch.zeros_like(here[:, 0])
    return _Followed(
        row, unit, last[row, unit], here, there, piece, gate.ranks[unit] - larger, none - 1,
        torch.zeros_like(here, dtype=torch.bool), left, none,
    )  # fmt: skip


def _next(followed: _Followed) -> tuple[Tensor, Tensor]:
    """Whether there is a next crossing, ``(K,)`` bool; and how late each input crosses, infinite for none, ``(K, k)``.

    The ratio of an input's distances at the two ends grows with the place of its crossing, and does not round to 1 for
    all that come late.
    """
    behind, ahead = _distances(followed)
    ratio = behind / ahead
    later = inverted(followed.here, followed.there, followed.piece) & ~followed.met & (ratio > followed.late[:, None])
    ratio = torch.where(later, ratio, torch.inf)
    return torch.isfinite(ratio).any(1), ratio


def _distances(followed: _Followed) -> tuple[Tensor, Tensor]:
    """How far every input is below the piece's at the left end, and above it at the right end, ``(K, k)``.

    Where that overflows they are quarters of it.
    """
    here, there, chosen = followed.here, followed.there, followed.piece[:, None]
    behind, ahead = here.gather(1, chosen) - here, there - there.gather(1, chosen)
    if (behind + ahead).isfinite().all():
        return behind, ahead
    quarter = torch.where((behind + ahead).isfinite().all(1), 1.0, 0.25).to(here)[:, None]
    here, there = here * quarter, there * quarter
    return here.gather(1, chosen) - here, there - there.gather(1, chosen)


def _passed(followed: _Followed, ratio: Tensor) -> tuple[_Followed, Tensor]:
    """What is followed behind the next crossing; and the rise there of what becomes the piece."""
    here, there, chosen = followed.here, followed.there, followed.piece[:, None]
    late = ratio.amin(1)
    equal = (here == here.gather(1, chosen)) & (there == there.gather(1, chosen))
    met = (ratio == late[:, None]) | equal
    # Those that meet lie in falling order before it, and in that of the other end behind it.
    place = (met & (here > here.gather(1, chosen))).sum(1) + followed.beside
    order = there.masked_fill(~met, -torch.inf).sort(1, descending=True).values
    reached = order.gather(1, place.clamp(0, here.shape[1] - 1)[:, None])
    piece = (met & (there == reached)).to(torch.uint8).argmax(1)
    beside = place - (met & (there > reached)).sum(1)
    behind, ahead = (distance.gather(1, piece[:, None])[:, 0] for distance in _distances(followed))
    both, same = behind + ahead, piece == followed.piece
    left = torch.where(same, followed.left, torch.minimum(followed.left, ahead / both))
    right = torch.where(same, followed.right, torch.maximum(followed.right, behind / both))
    first, second = (part.gather(1, piece[:, None])[:, 0] - part.gather(1, chosen)[:, 0] for part in (there, here))
    return followed._replace(piece=piece, beside=beside, late=late, met=met, left=left, right=right), first - second


def _crossings(followed: _Followed, after: Tensor, rise: Tensor, chosen: Tensor) -> tuple[Tensor, ...]:
    """The fields of crossings, of some of the units."""
    parts = (followed.row, followed.unit, followed.left, followed.right, rise, followed.piece, after)
    return tuple(part[chosen] for part in parts)
