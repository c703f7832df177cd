"""Claims one after another: whether a unit's flips follow each other, and where they are so close that a post is
needed between them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import torch
from torch import Tensor

from relu_regions.exactness.equal_by_construction import EqualNumbers, matches
from relu_regions.exactness.judge.claims import Claims
from relu_regions.network.gates import Knots
from relu_regions.network.network import Network

__all__ = ["parted", "unchained"]


def unchained(claims: Claims) -> Tensor:
    """The lines on which a unit's piece before a flip is not the one that it has got to, ``(N,)`` bool.

    Args:
        claims: of units and pieces that there are.
    """
    bad = torch.zeros(len(claims), dtype=torch.bool, device=claims.t.device)
    if not len(claims.point):
        return bad
    line = torch.bucketize(claims.point, claims.offsets[1:], right=True)
    # By gate and unit, and in order on each line, as points are.
    order = _pairs(claims.gate * (1 + claims.unit.max()) + claims.unit, claims.point, len(claims.t)).argsort()
    line, point, gate, unit, before, after = (
        part[order] for part in (line, claims.point, claims.gate, claims.unit, claims.before, claims.after)
    )
    again = torch.zeros_like(line, dtype=torch.bool)
    again[1:] = (line.diff() == 0) & (gate.diff() == 0) & (unit.diff() == 0)
    got = torch.empty_like(before)
    got[1:] = after[:-1]
    for number, pieces in enumerate(claims.first_patterns):
        own = ~again & (gate == number)
        got[own] = pieces[line[own], unit[own]]
    wrong = (before != got) | (before == after)
    wrong[1:] |= again[1:] & (point.diff() == 0)
    bad[line[wrong]] = True
    return bad


def parted(network: Network, equal: EqualNumbers, claims: Claims) -> Tensor:
    """The breakpoints that need a post before them, ``(K,)`` bool: those that concern a unit that the one before does.

    A breakpoint concerns the units that flip there, and those that read what these make, or a multiple of it.
    """
    found = torch.zeros_like(claims.t, dtype=torch.bool)
    counts = [0, *accumulate(step.units for step in network.gates)]
    starts = torch.tensor(counts, device=claims.unit.device)
    point, unit = claims.point, starts[claims.gate] + claims.unit
    if equal.shared:
        reading = list(_reading(network, equal, claims))
        point = torch.cat([point, *(points for points, _ in reading)])
        unit = torch.cat([unit, *(start + units for start, (_, units) in zip(counts, reading))])
    # In order of units and points, each pair once.
    pairs = torch.unique(_pairs(unit, point, len(claims.t)))
    # Where two pairs follow each other, so do their points, of one unit.
    after = pairs[1:][pairs.diff() == 1]
    found[after % (1 + len(claims.t))] = True
    return found


def _pairs(unit: Tensor, point: Tensor, points: int) -> Tensor:
    """Numbers of pairs of units and points."""
    return unit * (1 + points) + point


def _reading(network: Network, equal: EqualNumbers, claims: Claims) -> Iterator[tuple[Tensor, Tensor]]:
    """For each gate the points, and the units that read what other units that flip there make."""
    made: list[tuple[Tensor, Tensor]] = []
    for number, step in enumerate(network.gates):
        own = claims.gate == number
        point, unit = claims.point[own], claims.unit[own]
        points, units = point[:0], unit[:0]
        if made and step.inputs[0] in equal.shared:
            points, sources = (torch.cat(parts) for parts in zip(*made))
            each, units = matches(*equal.roots(step.inputs[0]).to(sources.device).sort(), sources)
            points = points[each]
            if not isinstance(step.gate, Knots):
                windows = step.gate.windows
                each, place = matches(*windows.flatten().sort(), units)
                points, units = points[each], place // windows.shape[1]
        yield points, units
        point, unit = torch.cat([point, points]), torch.cat([unit, units])
        # Each pair once.
        pairs = torch.unique(_pairs(unit, point, len(claims.t)))
        unit, point = pairs // (1 + len(claims.t)), pairs % (1 + len(claims.t))
        made.append((point, equal.sources(step.output).to(point.device)[unit].abs()))
