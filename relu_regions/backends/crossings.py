"""Where the units of a gate bend: crossings inside intervals, and changes of piece at the points there are."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from relu_regions.backends.rank_crossings import rank_crossings
from relu_regions.network.gates import Gate, Knots, Maximum, OrderStatistic, Selection

__all__ = [
    "Changes",
    "Crossings",
    "carry_over",
    "changes_at_points",
    "edge_pieces",
    "envelope_changes",
    "envelope_crossings",
    "find_bends",
    "winners",
]


@dataclass(frozen=True)
class Crossings:
    """Crossings strictly between two consecutive points of a segment.

    The crossing lies at ``left * point[row] + right * point[row + 1]``; the two weights are computed apart, so that
    neither loses precision where the crossing is close to a point.

    Attributes:
        row, unit: which interval and which unit, ``(K,)`` int64.
        left, right: weights of the interval's two ends, ``(K,)``, both positive, adding up to one.
        rise: by how much what is 0 at the crossing grows over the whole interval, ``(K,)``: the unit's distance from
            its knot, or the lead of the input that overtakes; infinite where that is beyond all floats.
        before, after: the unit's piece on either side, ``(K,)`` int64.
    """

    row: Tensor
    unit: Tensor
    left: Tensor
    right: Tensor
    rise: Tensor
    before: Tensor
    after: Tensor

    def __getitem__(self, chosen: Tensor) -> Crossings:
        return Crossings(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def joined(cls, several: list[Crossings]) -> Crossings:
        """All of several lists of crossings."""
        if len(several) == 1:
            return several[0]
        return cls(*(torch.cat([getattr(crossings, field.name) for crossings in several]) for field in fields(cls)))


@dataclass(frozen=True)
class Changes:
    """Units whose piece differs between the two sides of a point that was there already, each ``(K,)`` int64."""

    row: Tensor
    unit: Tensor
    before: Tensor
    after: Tensor

    @classmethod
    def none(cls, device: torch.device) -> Changes:
        """No changes."""
        return cls(*(torch.zeros(0, dtype=torch.int64, device=device) for _ in range(4)))


def find_bends(
    gate: Gate, values: Tensor, weight: Tensor | None, starts_interval: Tensor, record: bool
) -> tuple[Crossings, Changes]:
    """Every crossing strictly inside an interval, and every change exactly at a point between two intervals.

    Args:
        gate: which gate.
        values: its inputs at the points, ``(points, inputs)``.
        weight: homogeneous coordinate of each point, ``(points, 1)``, or None where all are 1.
        starts_interval: whether an interval of the walk starts at the point, ``(points,)`` bool: False at the last
            point of each segment.
        record: whether changes at points are asked for; else there are none.
    """
    none = Changes.none(values.device)
    if isinstance(gate, Knots):
        found = [_knot_crossings(gate, k, values, weight, starts_interval) for k in range(len(gate.knots))]
        return Crossings.joined(found), changes_at_points(gate, values, weight, starts_interval) if record else none
    first, last = winners(gate, values)
    if isinstance(gate, Maximum):
        crossings = envelope_crossings(gate, values, *_differing(starts_interval, first, last))
    else:
        crossings = Crossings(*rank_crossings(gate, values, starts_interval, first, last))
    return crossings, envelope_changes(starts_interval, first, last) if record else none


def changes_at_points(gate: Knots, values: Tensor, weight: Tensor | None, starts_interval: Tensor) -> Changes:
    """Every unit that changes its piece exactly at a point between two intervals; arguments as find_bends."""
    inner = starts_interval[1:-1] & starts_interval[:-2]
    found = [_knot_changes(gate, k, values, weight, inner) for k in range(len(gate.knots))]
    return Changes(*(torch.cat([getattr(c, field.name) for c in found]) for field in fields(Changes)))


def edge_pieces(gate: Gate, values: Tensor, weight: Tensor | None, edge: Tensor, neighbour: Tensor) -> Tensor:
    """The piece of every unit just beside a point, towards its neighbour.

    Args:
        edge, neighbour: rows of the points and of their neighbours, ``(S,)`` int64.

    Returns:
        ``(S, units)`` int64.
    """
    at, beyond = values[edge], values[neighbour]
    if isinstance(gate, Selection):
        return gate.pieces_beside(at, beyond)
    if weight is None:
        at, beyond = at - gate.knots.unsqueeze(1), beyond - gate.knots.unsqueeze(1)
    else:
        at = at - gate.knots.unsqueeze(1) * weight[edge]
        beyond = beyond - gate.knots.unsqueeze(1) * weight[neighbour]
    above = (at > 0) | ((at == 0) & (beyond > 0))
    return above[0].long() if len(above) == 1 else above.sum(0)


def carry_over(gate: Gate, pieces: Tensor, segment: Tensor, unit: Tensor, passed: Tensor, reached: Tensor) -> None:
    """Change the pieces at the ends of segments by crossings that round to there.

    Args:
        pieces: what edge_pieces gives, changed in place.
        segment, unit: of each crossing, ``(K,)`` int64; that nearest to the inside of its segment comes last.
        passed, reached: the unit's piece on the crossing's side of the end, and on the segment's, ``(K,)`` int64.
    """
    if not isinstance(gate, Knots):
        for crossing in zip(segment.tolist(), unit.tolist(), reached.tolist()):
            pieces[crossing[:2]] = crossing[2]
        return
    # A unit may cross several knots there; these come in the order of the knots, whichever way it goes.
    at, flat, up = segment * pieces.shape[1] + unit, pieces.view(-1), reached > passed
    flat.scatter_reduce_(0, at[up], reached[up], "amax")
    flat.scatter_reduce_(0, at[~up], reached[~up], "amin")


# ---------------------------------------------------------------- knots


def _distance(gate: Knots, knot: int, values: Tensor, weight: Tensor | None) -> Tensor:
    """How far above a knot every unit is; without a copy where the knot is 0."""
    knots = gate.knots[knot]
    if not knots.any():
        return values
    return values - (knots if weight is None else knots * weight)


def _knot_crossings(
    gate: Knots, knot: int, values: Tensor, weight: Tensor | None, starts_interval: Tensor
) -> Crossings:
    distance = _distance(gate, knot, values, weight)
    below = distance < 0
    row, unit = (below[:-1] != below[1:]).nonzero(as_tuple=True)
    here, there = distance[row, unit], distance[row + 1, unit]
    # A unit exactly on its knot at one end does not cross inside the interval.
    crosses = starts_interval[row] & (here != 0) & (there != 0)
    row, unit, here, there = row[crosses], unit[crosses], here[crosses], there[crosses]
    rising = (there > 0).long()
    rise, lower = there - here, knot + 1 - rising
    # A rise may overflow; that of halves does not, and parts the interval alike.
    half = torch.where(torch.isfinite(rise), 1.0, 0.5).to(rise)
    here, there = here * half, there * half
    return Crossings(row, unit, there / (there - here), here / (here - there), rise, lower, knot + rising)


def _knot_changes(gate: Knots, knot: int, values: Tensor, weight: Tensor | None, inner: Tensor) -> Changes:
    distance = _distance(gate, knot, values, weight)
    row, unit = ((distance[1:-1] == 0) & inner[:, None]).nonzero(as_tuple=True)
    before, after = (distance[row, unit] > 0).long(), (distance[row + 2, unit] > 0).long()
    changes = before != after
    return Changes(row[changes] + 1, unit[changes], before[changes] + knot, after[changes] + knot)


# ---------------------------------------------------------------- maximum


def winners(gate: Maximum | OrderStatistic, values: Tensor) -> tuple[Tensor, Tensor]:
    """For each interval and unit, the winner just right of its left end and just left of its right end."""
    return gate.pieces_beside(values[:-1], values[1:]), gate.pieces_beside(values[1:], values[:-1])


def envelope_changes(starts_interval: Tensor, first: Tensor, last: Tensor) -> Changes:
    """Every unit of a gate that selects whose winner changes exactly at a point between two intervals.

    Args:
        first, last: the winners, as winners gives them, ``(points - 1, units)`` int64.
    """
    inner = starts_interval[1:-1] & starts_interval[:-2]
    row, unit = ((last[:-1] != first[1:]) & inner[:, None]).nonzero(as_tuple=True)
    return Changes(row + 1, unit, last[row, unit], first[row + 1, unit])


def _differing(starts_interval: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The intervals and units whose winners at the two ends differ, and these."""
    row, unit = ((first != last) & starts_interval[:-1, None]).nonzero(as_tuple=True)
    return row, unit, first[row, unit], last[row, unit]


def envelope_crossings(
    gate: Maximum, values: Tensor, row: Tensor, unit: Tensor, winner: Tensor, goal: Tensor
) -> Crossings:
    """Follows the upper envelope of units whose winner differs between the two ends of an interval.

    Every turn of the loop goes on to an input that is strictly larger at the right end, as comparison of floats has it,
    so that a window of k inputs takes k - 1 turns at most. Where NaN lets nothing overtake, the goal ends the walk.

    Args:
        row, unit: the intervals and units, ``(K,)`` int64.
        winner, goal: the winners at the left and the right end, ``(K,)`` int64.
    """
    windows = gate.windows[unit]
    here, there = values[row[:, None], windows], values[row[:, None] + 1, windows]
    left, right = torch.ones_like(here[:, 0]), torch.zeros_like(here[:, 0])
    found = [Crossings(row[:0], unit[:0], left[:0], right[:0], left[:0], winner[:0], goal[:0])]
    while len(row):
        following, next_left, next_right, rise = _overtaking(here, there, winner)
        # Rounding may put a later bend of the envelope before an earlier one.
        left, right = torch.minimum(left, next_left), torch.maximum(right, next_right)
        reached = there.gather(1, following[:, None])[:, 0]
        going = (there.gather(1, winner[:, None])[:, 0] < reached) & (reached < there.amax(1))
        following = torch.where(going, following, goal)
        found.append(Crossings(row, unit, left, right, rise, winner, following))
        row, unit, here, there = row[going], unit[going], here[going], there[going]
        winner, goal, left, right = following[going], goal[going], left[going], right[going]
    return Crossings.joined(found)


def _overtaking(here: Tensor, there: Tensor, winner: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The input that overtakes the winner first (of several the steepest), both ends' weights there, and the rise."""
    chosen = winner[:, None]
    overtakes = there > there.gather(1, chosen)
    behind, ahead = _differences(here, there, chosen)
    rise = behind + ahead
    if not torch.isfinite(rise).all():
        # Where to, is still to be known of differences that overflow: their quarters do not.
        quarters = _differences(here / 4, there / 4, chosen)
        behind, ahead = (torch.where(rise.isfinite(), *pair) for pair in zip((behind, ahead), quarters))
    # behind / ahead grows with the place of the crossing, and does not round to 1 for all who come late. Of infinite
    # inputs it may be NaN; these come last.
    lateness = torch.where(overtakes, behind / ahead, torch.inf).nan_to_num(torch.inf, torch.inf)
    soonest = (lateness == lateness.amin(1, keepdim=True)) & overtakes
    following = there.masked_fill(~soonest, -torch.inf).argmax(1)
    behind, ahead, rise = (numbers.gather(1, following[:, None])[:, 0] for numbers in (behind, ahead, rise))
    both = behind + ahead
    return following, ahead / both, behind / both, rise


def _differences(here: Tensor, there: Tensor, winner: Tensor) -> tuple[Tensor, Tensor]:
    """How far every input is behind the winner, ``(K, 1)``, at the left end, and ahead of it at the right end."""
    return (here.gather(1, winner) - here).clamp_min(0), there - there.gather(1, winner)
