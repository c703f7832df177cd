"""The inner loops on a CUDA device, by Triton: the same results as the reference, bit for bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from relu_regions.backends import reference
from relu_regions.backends.crossings import Changes, Crossings, changes_at_points
from relu_regions.backends.cuda import loops
from relu_regions.backends.cuda.chained import through
from relu_regions.backends.placement import Placement
from relu_regions.backends.reference import equalise, exits, fading, leads_in_doubt, workspace
from relu_regions.backends.ties import Ties
from relu_regions.network.gates import Gate, Knots, flattened
from relu_regions.network.steps import AffineStep

__all__ = [
    "bend",
    "bend_and_multiply",
    "equalise",
    "exits",
    "fading",
    "insert",
    "largest",
    "leads_in_doubt",
    "place",
    "rows_in_doubt",
    "through",
    "workspace",
]

# Multiplications and additions are not fused, so that they round as the reference's do.
_OPTIONS: dict[str, Any] = {"enable_fp_fusion": False}


def place(
    gate: Gate,
    inputs: Tensor,
    position: Tensor,
    weight: Tensor | None,
    starts_interval: Tensor,
    record: bool,
    leads: bool = False,
    ties: Ties | None = None,
) -> Placement:
    """As reference.place."""
    if not isinstance(gate, Knots):
        return reference.place(gate, inputs, position, weight, starts_interval, record)
    inputs = inputs.contiguous()
    count, units = inputs.shape
    knots = gate.knots.expand(-1, units).contiguous()
    w = torch.ones_like(position) if weight is None else weight
    counts = position.new_zeros(count, dtype=torch.int64)
    grid, block = (max(count, 1),), _block(units)
    numbers, shape = (inputs, w, knots), (units, len(knots))
    loops.count[grid](numbers, starts_interval, counts, shape, BLOCK=block, **_OPTIONS)
    starts = counts.cumsum(0) - counts
    total = int(counts.sum())
    row, unit, before, after = counts.new_empty(4, total)
    left, right, rise = inputs.new_empty(3, total)
    found = (row, unit, left, right, rise, before, after)
    loops.locate[grid](numbers, counts, starts, found, shape, BLOCK=block, **_OPTIONS)
    changes = Changes.none(inputs.device)
    if record:
        changes = changes_at_points(gate, inputs, None if weight is None else weight[:, None], starts_interval)
    return reference.placed(Crossings(*found), changes, position, weight)


def insert(values: Tensor, placement: Placement) -> Tensor:
    """As reference.insert."""
    return _inserted(flattened(values), placement, False).view(len(placement), *values.shape[1:])


def bend(gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement) -> Tensor:
    """As reference.bend."""
    if not (isinstance(gate, Knots) and gate.is_relu):
        return reference.bend(gate, inputs, weight, placement)
    outputs = _inserted(inputs, placement, True)
    inside = placement.inside
    outputs[placement.crossing_row[inside], placement.crossings.unit[inside]] = 0.0
    return outputs


def bend_and_multiply(
    gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement, step: AffineStep
) -> Tensor:
    """As reference.bend_and_multiply: here a product for every point is cheaper than to go from point to point."""
    return reference.multiplied(bend(gate, inputs, weight, placement), weight, step)


def rows_in_doubt(
    distance: Tensor,
    bound: Tensor,
    before: Tensor,
    after: Tensor,
    zeros: Tensor | None = None,
    asked: Tensor | None = None,
) -> Tensor:
    """As reference.rows_in_doubt."""
    if zeros is not None:
        return reference.rows_in_doubt(distance, bound, before, after, zeros, asked)
    distance = distance.contiguous()
    count, units = distance.shape
    doubt = torch.zeros(count, dtype=torch.int8, device=distance.device)
    if distance.numel():
        parts = (bound.contiguous(), before.contiguous(), after.contiguous(), doubt)
        loops.rows_in_doubt[(count,)](distance, *parts, count, units, BLOCK=_block(units), **_OPTIONS)
    return (doubt if asked is None else doubt * asked).nonzero()[:, 0]


def largest(values: Tensor) -> Tensor:
    """As reference.largest."""
    flat = flattened(values).contiguous()
    result = flat.new_zeros(len(flat))
    if flat.numel():
        loops.largest[(len(flat),)](flat, result, flat.shape[1], BLOCK=_block(flat.shape[1]), **_OPTIONS)
    return result


def _inserted(flat: Tensor, placement: Placement, positive: bool) -> Tensor:
    flat = flat.contiguous()
    total, width = len(placement), flat.shape[1]
    source = placement.row.new_empty(total)
    left, right = flat.new_zeros(2, total)
    source[placement.old_rows] = torch.arange(len(flat), device=flat.device)
    source[placement.new_rows] = placement.row
    left[placement.new_rows], right[placement.new_rows] = placement.left, placement.right
    fresh = torch.zeros(total, dtype=torch.int8, device=flat.device)
    fresh[placement.new_rows] = 1
    result = flat.new_empty(total, width)
    if result.numel():
        parts = (flat, source, left, right, fresh, result, width)
        loops.insert[(total,)](*parts, POSITIVE=positive, BLOCK=_block(width), **_OPTIONS)
    return result


def _block(width: int) -> int:
    """How many numbers of a row a program takes at once: the next power of two, up to what its registers hold."""
    return min(1024, 1 << max(4, (width - 1).bit_length()))
