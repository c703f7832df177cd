"""Settling in rational arithmetic what float64 leaves in doubt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from relu_regions.gates import Knots
from relu_regions.lines import LineBatch
from relu_regions.network import Network
from relu_regions.points import Flips
from relu_regions.steps import AffineStep

if TYPE_CHECKING:
    from relu_regions.rational import RationalPath

__all__ = ["Settled", "can_be_certain", "products_per_point", "settle"]


def can_be_certain(network: Network) -> bool:
    """Whether the error bounds cover the network: they do where every gate has knots."""
    return all(isinstance(step.gate, Knots) for step in network.gates)


def products_per_point(network: Network) -> int:
    """How many products one evaluation of the network takes: what a rational walk costs for each region, at most."""
    affine = (step for step in network.steps if isinstance(step, AffineStep))
    return sum(step.terms * math.prod(step.shape) for step in affine if step.constants)


@dataclass(frozen=True)
class Settled:
    """One segment as the rational walk has it, its numbers rounded to the walk's dtype.

    Attributes:
        position, weight: ``(P,)``; two breakpoints may round to one float.
        values: ``(P, *output_shape)``, times the weight.
        first: for each gate ``(units,)`` int64.
        flips: ``row`` counts the segment's own points.
    """

    position: Tensor
    weight: Tensor
    values: Tensor
    first: list[Tensor]
    flips: Flips


def settle(lines: LineBatch, segments: list[int]) -> list[Settled]:
    """Walk some segments of a batch in rational arithmetic."""
    from relu_regions import rational

    network = rational.ExactNetwork(lines.network.to(torch.float64, "cpu"))
    result = []
    for index in segments:
        x, d = (part[index : index + 1].double().cpu() for part in (lines.x, lines.d))
        path = rational.walk(network, x, d, (lines.low[index].item(), lines.high[index].item()))[0]
        result.append(_rounded(path, lines))
    return result


def _rounded(path: RationalPath, lines: LineBatch) -> Settled:
    t = path.t
    finite = [isinstance(end, Fraction) or math.isfinite(end) for end in t]
    position = [float(end) if ok else math.copysign(1.0, end) for end, ok in zip(t, finite)]
    shape = lines.network.output_shape
    values = [_value(path, number, ok) for number, ok in enumerate(finite)]
    rows = [number for number, flips in enumerate(path.flips, 1) for _ in flips]
    flips = [flip for flips in path.flips for flip in flips]
    columns = (rows, *([getattr(flip, name) for flip in flips] for name in ("gate", "unit", "before", "after")))
    like = {"dtype": lines.x.dtype, "device": lines.x.device}
    return Settled(
        position=torch.tensor(position, **like),
        weight=torch.tensor([float(ok) for ok in finite], **like),
        values=torch.tensor(values, **like).view(len(t), *shape),
        first=[torch.tensor(pieces, dtype=torch.int64, device=lines.x.device) for pieces in path.first_patterns],
        flips=Flips(*(torch.tensor(column, dtype=torch.int64, device=lines.x.device) for column in columns)),
    )


def _value(path: RationalPath, number: int, finite: bool) -> list[float]:
    """The logits at a point; at infinity their growth for each unit of t, outwards."""
    regions, t = path.regions, path.t
    region = regions[min(number, len(regions) - 1)]
    if finite:
        return [float(value) for value in region.outputs_at(Fraction(t[number]))]
    return [float(-slope if number == 0 else slope) for slope in region.slope]
