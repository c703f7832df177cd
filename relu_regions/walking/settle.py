"""Settling in rational arithmetic what float64 leaves in doubt."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from relu_regions.backends.points import Flips
from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.interval import exact_interval
from relu_regions.exactness.rational.paths import RationalPath
from relu_regions.exactness.rational.walk import walk
from relu_regions.exactness.resolving import POINTS_TO_BEGIN, Heard, Resolve, products, without_limit
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import LineBatch
from relu_regions.network.network import Network

__all__ = [
    "Settled",
    "left_open",
    "nearest",
    "rounding_of",
    "settle",
    "settle_intervals",
    "worth_settling",
]


# A rational walk handles some 10^8 products a second, so "auto" spends at most about ten seconds on a line.
AFFORDABLE_PRODUCTS = 10**9


def left_open(certain: Tensor, points: Tensor, resolve: Resolve, network: Network) -> tuple[int, int, int]:
    """How many lines are not proven, for how many of these time was up, and how many there are in all.

    Args:
        certain: ``(N,)`` bool.
        points: how many points each line has, ``(N,)`` int64.
    """
    count = int((~certain).sum())
    return count, len(worth_settling(~certain, points, resolve, network)) if count else 0, len(certain)


def worth_settling(doubt: Tensor, points: Tensor, resolve: Resolve, network: Network) -> list[int]:
    """The lines in doubt to take to rational arithmetic.

    Args:
        doubt: ``(N,)`` bool.
        points: how many points each line has, ``(N,)`` int64.
    """
    if not doubt.any():
        return []
    affordable = (points + POINTS_TO_BEGIN) * products(network) <= AFFORDABLE_PRODUCTS
    return (doubt & affordable if resolve == "auto" else doubt).nonzero()[:, 0].tolist()


@dataclass(frozen=True)
class Settled:
    """One segment as the rational walk has it, its numbers rounded to the walk's dtype.

    Attributes:
        position, weight: ``(P,)``; two breakpoints may round to one float.
        values: ``(P, *output_shape)``, times the weight.
        at_x: the output at x, ``output_shape``.
        first: for each gate ``(units,)`` int64.
        flips: ``row`` counts the segment's own points.
    """

    position: Tensor
    weight: Tensor
    values: Tensor
    at_x: Tensor
    first: list[Tensor]
    flips: Flips


def settle(lines: LineBatch, numbers: list[int], heard: Heard = without_limit) -> list[Settled]:
    """Walk some lines of a batch in rational arithmetic: the first of them if time is up before the last."""
    return [_rounded(walk(*line)[0], lines) for line in _while_time(lines, numbers, heard)]


def settle_intervals(
    lines: LineBatch, numbers: list[int], decision: Decision, heard: Heard = without_limit
) -> dict[str, Tensor]:
    """The generalization intervals of some lines of a batch in rational arithmetic, rounded.

    Returns:
        ``lo``, ``hi`` and their errors ``lo_error`` and ``hi_error``, float64; ``label``, ``label_lo``, ``label_hi``
        and ``tied``; ``(K,)`` each, on the CPU, of the first K lines if time is up before the last.
    """
    questions = _while_time(lines, numbers, heard)
    found = [exact_interval(*line, decision=decision.classes)[0] for line in questions]
    named = {name: torch.bool if name == "tied" else torch.int64 for name in ("label", "label_lo", "label_hi", "tied")}
    columns = {n: torch.tensor([getattr(one, n) for one in found], dtype=dtype) for n, dtype in named.items()}
    for name in ("lo", "hi"):
        ends = torch.tensor([nearest(getattr(interval, name)) for interval in found], dtype=torch.float64)
        columns[name] = ends
        # An end of the range is what was given.
        columns[f"{name}_error"] = torch.where(columns[f"label_{name}"] >= 0, rounding_of(ends), 0.0)
    return columns


_Question = tuple[ExactNetwork, Tensor, Tensor, tuple[Tensor, Tensor]]


def _while_time(lines: LineBatch, numbers: list[int], heard: Heard) -> Iterator[_Question]:
    """One line after another, as long as time is left when one begins."""
    network, x, d, (low, high) = _exact(lines, numbers)
    for number in range(len(x)):
        if not heard(number):
            return
        one = slice(number, number + 1)
        yield network, x[one], d[one], (low[one], high[one])


def _exact(lines: LineBatch, numbers: list[int]) -> _Question:
    network = ExactNetwork(lines.network.to(torch.float64, "cpu"))
    x, d, low, high = (part[numbers].double().cpu() for part in (lines.x, lines.d, lines.low, lines.high))
    return network, x, d, (low, high)


def _rounded(path: RationalPath, lines: LineBatch) -> Settled:
    t = path.t
    finite = [isinstance(end, Fraction) or math.isfinite(end) for end in t]
    position = [nearest(end) if ok else math.copysign(1.0, end) for end, ok in zip(t, finite)]
    shape = lines.network.output_shape
    values = [_value(path, number, ok) for number, ok in enumerate(finite)]
    rows = [number for number, flips in enumerate(path.flips, 1) for _ in flips]
    flips = [flip for flips in path.flips for flip in flips]
    columns = (rows, *([getattr(flip, name) for flip in flips] for name in ("gate", "unit", "before", "after")))
    device = lines.x.device

    def floats(numbers: object) -> Tensor:
        return torch.tensor(numbers, dtype=lines.x.dtype, device=device)

    def integers(numbers: object) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=device)

    return Settled(
        position=floats(position),
        weight=floats([float(ok) for ok in finite]),
        values=floats(values).view(len(t), *shape),
        at_x=floats([nearest(value) for value in path.outputs_at(0)]).view(shape),
        first=[integers(pieces) for pieces in path.first_patterns],
        flips=Flips(*(integers(column) for column in columns)),
    )


def nearest(number: Fraction | float) -> float:
    """The nearest float; infinite where the number is beyond all of them."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def rounding_of(nearest: Tensor) -> Tensor:
    """Bounds of the rounding of numbers to these nearest floats; infinite where a number is beyond all floats."""
    limits = torch.finfo(nearest.dtype)
    return limits.eps * (nearest.abs() + limits.tiny)


def _value(path: RationalPath, number: int, finite: bool) -> list[float]:
    """The logits at a point; at infinity their growth for each unit of t, outwards."""
    regions, t = path.regions, path.t
    region = regions[min(number, len(regions) - 1)]
    if finite:
        return [nearest(value) for value in region.outputs_at(Fraction(t[number]))]
    return [nearest(-slope if number == 0 else slope) for slope in region.slope]
