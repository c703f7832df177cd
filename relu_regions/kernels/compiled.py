"""The inner loops compiled by numba, for a CPU: the same results as the reference, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from relu_regions.gates import Gate, Knots, rows
from relu_regions.kernels import loops, reference
from relu_regions.kernels.bends import Bends, Changes, changes_at_points
from relu_regions.kernels.placement import Placement
from relu_regions.steps import AffineStep

__all__ = ["bend", "bend_and_multiply", "insert", "largest", "place", "rows_in_doubt"]


def place(
    gate: Gate, inputs: Tensor, position: Tensor, weight: Tensor | None, starts_interval: Tensor, record: bool
) -> Placement:
    """As reference.place."""
    if not isinstance(gate, Knots):
        return reference.place(gate, inputs, position, weight, starts_interval, record)
    knots = gate.knots.expand(-1, inputs.shape[1]).contiguous().numpy()
    z, p = inputs.contiguous().numpy(), position.numpy()
    w = np.ones_like(p) if weight is None else weight.numpy()
    t = p if weight is None else (position / weight).numpy()
    counts = np.zeros(len(p), np.int64)
    on_knot = loops.count(z, w, knots, starts_interval.numpy(), counts)
    changes = Changes.none(inputs.device)
    if record and on_knot:
        changes = changes_at_points(gate, inputs, None if weight is None else weight[:, None], starts_interval)
    starts = np.concatenate([[0], np.cumsum(counts)])
    total = int(starts[-1])
    found = _Found(total, p.dtype)
    added = np.zeros(len(p), np.int64)
    loops.locate(z, p, w, t, knots, counts, starts, *found.arrays, added, weight is not None)
    chosen = np.flatnonzero(found.opens)
    bend_row = np.empty(total, np.int64)
    loops.rows(counts, starts, added, np.cumsum(added) - added, found.inside, found.opens, found.ends, bend_row)
    row, unit, left, right = (torch.from_numpy(a) for a in (found.row, found.unit, found.left, found.right))
    bends = Bends(row, unit, left, right, torch.from_numpy(found.before), torch.from_numpy(found.after))
    picked = torch.from_numpy(chosen)
    return Placement(
        row[picked], left[picked], right[picked], torch.from_numpy(added), bends,
        torch.from_numpy(bend_row), torch.from_numpy(found.inside), changes,
    )  # fmt: skip


def insert(values: Tensor, placement: Placement) -> Tensor:
    """As reference.insert."""
    flat = rows(values)
    result = flat.new_empty(len(placement), flat.shape[1])
    arrays = (placement.added, placement.left, placement.right)
    loops.insert(flat.contiguous().numpy(), *(a.numpy() for a in arrays), _first_new(placement), result.numpy())
    return result.view(len(placement), *values.shape[1:])


def bend(gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement) -> Tensor:
    """As reference.bend."""
    if not (isinstance(gate, Knots) and gate.is_relu):
        outputs = gate.apply(insert(inputs, placement), None if weight is None else weight[:, None])
        inside, bends = placement.inside, placement.bends
        gate.settle(
            placement.bend_row[inside],
            bends.unit[inside],
            bends.before[inside],
            bends.after[inside],
            outputs,
            weight,
        )
        return outputs
    outputs = inputs.new_empty(len(placement), inputs.shape[1])
    arrays = (placement.added, placement.left, placement.right)
    loops.insert_relu(inputs.contiguous().numpy(), *(a.numpy() for a in arrays), _first_new(placement), outputs.numpy())
    loops.zero(placement.bend_row.numpy(), placement.bends.unit.numpy(), placement.inside.numpy(), outputs.numpy())
    return outputs


def bend_and_multiply(
    gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement, step: AffineStep
) -> Tensor:
    """As reference.bend_and_multiply, with a product only for the points there were."""
    if not isinstance(gate, Knots):
        return reference.bend_and_multiply(gate, inputs, weight, placement, step)
    old = None if weight is None else weight[placement.old_rows]
    products = step(gate.apply(inputs, None if old is None else old[:, None]), weight=old)
    bends = placement.bends
    loops.multiply(
        products.numpy(),
        step.columns.numpy(),
        placement.added.numpy(),
        _first_new(placement),
        placement.right.numpy(),
        bends.row.numpy(),
        bends.unit.numpy(),
        bends.left.numpy(),
        placement.bend_row.numpy(),
        _kinks(gate, inputs, old, bends),
        (result := products.new_empty(len(placement), products.shape[1])).numpy(),
    )
    return result


def _kinks(gate: Knots, inputs: Tensor, weight: Tensor | None, bends: Bends) -> np.ndarray:
    """By how much the slope of a gate's output changes at each bend, for a whole interval as the unit of length."""
    knots, slopes = (part.expand(-1, inputs.shape[1]).contiguous().numpy() for part in (gate.knots, gate.slopes))
    w = inputs.new_ones(len(inputs)) if weight is None else weight
    columns = (part.numpy() for part in (bends.row, bends.unit, bends.before, bends.after))
    result = inputs.new_empty(len(bends.row)).numpy()
    loops.kinks(inputs.contiguous().numpy(), w.numpy(), knots, slopes, *columns, result)
    return result


def rows_in_doubt(distance: Tensor, bound: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """As reference.rows_in_doubt."""
    doubt = np.zeros(len(distance), np.bool_)
    loops.rows_in_doubt(distance.contiguous().numpy(), bound.numpy(), before.numpy(), after.numpy(), doubt)
    return torch.from_numpy(np.flatnonzero(doubt))


def largest(values: Tensor) -> Tensor:
    """As reference.largest."""
    result = values.new_zeros(len(values))
    loops.largest(rows(values).contiguous().numpy(), result.numpy())
    return result


def _first_new(placement: Placement) -> np.ndarray:
    """The number of the first new point of each interval."""
    added: np.ndarray = placement.added.numpy()
    first: np.ndarray = np.cumsum(added) - added
    return first


class _Found:
    """Room for the crossings that the loops find."""

    def __init__(self, total: int, dtype: Any) -> None:
        self.row, self.unit, self.before, self.after = (np.empty(total, np.int64) for _ in range(4))
        self.left, self.right, self.at = (np.empty(total, dtype) for _ in range(3))
        self.inside, self.opens, self.ends = (np.empty(total, np.bool_) for _ in range(3))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (
            self.row, self.unit, self.before, self.after, self.left, self.right, self.at,
            self.inside, self.opens, self.ends,
        )  # fmt: skip
