"""The inequalities that hold on a region, and what bends across each of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import prod

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from relu_regions.network.gates import Knots, Maximum, OrderStatistic
from relu_regions.network.network import Network
from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.regions.affine_maps import Replay, dtype_of

__all__ = ["Inequalities"]


@dataclass(frozen=True)
class Inequalities:
    """``matrix @ x <= bounds``, with x flattened.

    Attributes:
        matrix: ``(m, n)``.
        bounds: ``(m,)``.
        gate, unit: that bend where an inequality is tight, ``(m,)`` int64; for a side of a box -1 and the coordinate.
        piece: that the unit has beyond, ``(m,)`` int64; for a side of a box 0 where it bounds from below, else 1.
    """

    matrix: Float[Tensor, " m n"]
    bounds: Float[Tensor, " m"]
    gate: Int64[Tensor, " m"]
    unit: Int64[Tensor, " m"]
    piece: Int64[Tensor, " m"]

    @classmethod
    def of_pattern(cls, network: Network, pattern: tuple[Tensor, ...], x: Tensor | None = None) -> Inequalities:
        """Those of an activation pattern.

        Args:
            pattern: for each gate ``(units,)`` int64.
            x: a point that has it, ``(*input_shape)``: where inputs change places in an order without a change of
                pattern, it says which side is meant.

        Raises:
            UnsupportedOperation: there is no point, and the network has order statistics.
        """
        replay = Replay.of(network, tuple(pieces[None] for pieces in pattern), 1)
        size, names = prod(network.input_shape), {step.inputs[0] for step in network.gates}
        basis = torch.eye(size, dtype=dtype_of(network), device=replay.device).view(1, size, *network.input_shape)
        slopes = replay.forward(basis, network.input_name, names, affine=False)
        offsets = replay.forward(torch.zeros_like(basis[:, :1]), network.input_name, names, affine=True)
        parts = [cls.box(basis[0, :0].flatten(1), basis.new_zeros(0), 0)]
        for number, (step, pieces) in enumerate(zip(network.gates, pattern)):
            name = step.inputs[0]
            maps = slopes[name].view(size, -1).T, offsets[name].view(-1)
            if not isinstance(step.gate, OrderStatistic):
                parts.append(_of_gate(step.gate, number, pieces, *maps))
            elif x is not None:
                parts.append(_of_order(step.gate, number, pieces, *maps, maps[0] @ x.flatten() + maps[1]))
            else:
                raise UnsupportedOperation(
                    f"{step.origin} sorts its numbers. A rank can be one input's in several places that don't hang "
                    "together, so that a pattern alone is no polytope: Polytope.at gives the one around a point."
                )
        return cls.joined(parts)

    @classmethod
    def box(cls, matrix: Tensor, bounds: Tensor, piece: int) -> Inequalities:
        """Sides of a box, a row for each coordinate; those at infinity are left out."""
        coordinate = torch.arange(len(bounds), device=bounds.device)
        sides = cls(matrix, bounds, torch.full_like(coordinate, -1), coordinate, torch.full_like(coordinate, piece))
        return sides[torch.isfinite(bounds)]

    @classmethod
    def joined(cls, parts: list[Inequalities]) -> Inequalities:
        """All of several lists of inequalities."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, chosen: Tensor) -> Inequalities:
        return Inequalities(*(getattr(self, field.name)[chosen] for field in fields(self)))


def _of_gate(gate: Knots | Maximum, number: int, pieces: Tensor, slopes: Tensor, offsets: Tensor) -> Inequalities:
    """What keeps a gate's units on their pieces; its inputs are ``slopes @ x + offsets``."""
    if isinstance(gate, Maximum):
        unit, piece, matrix, bounds = _of_maximum(gate, pieces, slopes, offsets)
    else:
        unit, piece, matrix, bounds = _of_knots(gate, pieces, slopes, offsets)
    return Inequalities(matrix, bounds, torch.full_like(unit, number), unit, piece)


def _of_order(
    gate: OrderStatistic, number: int, pieces: Tensor, slopes: Tensor, offsets: Tensor, values: Tensor
) -> Inequalities:
    """What is above the input of a rank stays above it, and what is below stays below.

    Args:
        values: of the inputs at a point. Of those that are equal to the rank's there, as many count as above it as the
            rank needs.
    """
    winner = gate.windows.gather(1, pieces[:, None])
    lead = values[gate.windows] - values[winner]
    own = gate.windows == winner
    equal = (lead == 0) & ~own
    above = (lead > 0) | (equal & (equal.cumsum(1) <= gate.ranks[:, None] - (lead > 0).sum(1, keepdim=True)))
    unit, piece = (~own).nonzero(as_tuple=True)
    rival, winner, sign = gate.windows[unit, piece], winner[unit, 0], 1 - 2 * above[unit, piece].to(slopes)
    matrix, bounds = sign[:, None] * (slopes[rival] - slopes[winner]), sign * (offsets[winner] - offsets[rival])
    return Inequalities(matrix, bounds, torch.full_like(unit, number), unit, piece)


def _of_knots(gate: Knots, pieces: Tensor, slopes: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each unit stays below its upper knot and above its lower one, where it has them."""
    knots = gate.knots.expand(-1, len(pieces))
    below = (pieces < len(knots)).nonzero()[:, 0]
    above = (pieces > 0).nonzero()[:, 0]
    unit = torch.cat([below, above])
    piece = torch.cat([pieces[below] + 1, pieces[above] - 1])
    matrix = torch.cat([slopes[below], -slopes[above]])
    upper, lower = knots[pieces[below], below] - offsets[below], offsets[above] - knots[pieces[above] - 1, above]
    return unit, piece, matrix, torch.cat([upper, lower])


def _of_maximum(
    gate: Maximum, pieces: Tensor, slopes: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """No input of a window exceeds the one that wins."""
    winner = gate.windows.gather(1, pieces[:, None])
    filling = gate.windows == gate.windows[:, :1]
    filling[:, 0] = False
    unit, piece = ((gate.windows != winner) & ~filling).nonzero(as_tuple=True)
    rival, winner = gate.windows[unit, piece], winner[unit, 0]
    return unit, piece, slopes[rival] - slopes[winner], offsets[winner] - offsets[rival]
