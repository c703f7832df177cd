"""Claims one after another: whether a unit's flips follow each other, and where they are so close that a post is
needed between them."""

from __future__ import annotations

import torch
from torch import Tensor

from relu_regions.exactness.equal_by_construction import EqualNumbers
from relu_regions.exactness.judge.claims import Claims
from relu_regions.network.gates import Knots
from relu_regions.network.network import Network

__all__ = ["matches", "parted", "unchained"]


def matches(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Every pair of a wanted number and a key that is equal to it: places among both, ``(M,)`` int64 each."""
    ordered, order = keys.sort()
    lower, upper = (torch.searchsorted(ordered, wanted, right=right) for right in (False, True))
    count = upper - lower
    each = torch.arange(len(count), device=count.device).repeat_interleave(count)
    place = torch.arange(len(each), device=count.device) - (count.cumsum(0) - count)[each] + lower[each]
    return each, order[place]


def unchained(claims: Claims) -> Tensor:
    """The lines on which a unit's piece before a flip is not the one that it has got to, ``(N,)`` bool.

    Args:
        claims: of units and pieces that there are.
    """
    bad = torch.zeros(len(claims), dtype=torch.bool, device=claims.t.device)
    if not len(claims.point):
        return bad
    line = torch.bucketize(claims.point, claims.offsets[1:], right=True)
    order = claims.point.argsort(stable=True)
    for part in (claims.unit, claims.gate, line):
        order = order[part[order].argsort(stable=True)]
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
    made: list[tuple[Tensor, Tensor]] = []
    for number, step in enumerate(network.gates):
        own = claims.gate == number
        point, unit = claims.point[own], claims.unit[own]
        if made and _reads_gates(network, equal, step.inputs[0]):
            points, sources = (torch.cat(parts) for parts in zip(*made))
            each, place = matches(equal.roots(step.inputs[0]).to(sources.device), sources)
            points = points[each]
            if not isinstance(step.gate, Knots):
                windows = step.gate.windows
                each, place = matches(windows.flatten(), place)
                points, place = points[each], place // windows.shape[1]
            point, unit = torch.cat([point, points]), torch.cat([unit, place])
        if len(point):
            # In order of units and points, each pair once.
            pairs = torch.unique(unit * (1 + len(claims.t)) + point)
            unit, point = pairs // (1 + len(claims.t)), pairs % (1 + len(claims.t))
            beside = (unit.diff() == 0) & (point.diff() == 1)
            found[point[1:][beside]] = True
            made.append((point, equal.sources(step.output).to(point.device)[unit].abs()))
    return found


def _reads_gates(network: Network, equal: EqualNumbers, name: str) -> bool:
    """Whether a value is that of a gate, or may have multiples of numbers of one."""
    return name in equal.multiples or any(step.output == name for step in network.gates)
