"""The inner loops compiled by numba, for a CPU: the same results as the reference, bit for bit."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from relu_regions.gates import Gate, Maximum, rows
from relu_regions.kernels import loops, maximum_loops, reference
from relu_regions.kernels.bends import Bends, Changes, changes_at_points, envelope_bends
from relu_regions.kernels.chained import through
from relu_regions.kernels.placement import Placement
from relu_regions.steps import AffineStep

__all__ = [
    "bend",
    "bend_and_multiply",
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

# What a core's own cache holds while a block of rows goes from a gate's input to its product.
_BLOCK_BYTES = 1 << 19


def place(
    gate: Gate, inputs: Tensor, position: Tensor, weight: Tensor | None, starts_interval: Tensor, record: bool
) -> Placement:
    """As reference.place."""
    if isinstance(gate, Maximum):
        windows = gate.windows.numpy()
        found = maximum_loops.winners(
            inputs.contiguous().numpy(), windows, _places(gate), starts_interval.numpy(), record
        )
        between, at_points = (_tensors(*columns) for columns in found)
        return reference.placed(envelope_bends(gate, inputs, *between), Changes(*at_points), position, weight)
    knots = gate.knots.expand(-1, inputs.shape[1]).contiguous().numpy()
    z, p = inputs.contiguous().numpy(), position.numpy()
    w = np.ones_like(p) if weight is None else weight.numpy()
    t = p if weight is None else (position / weight).numpy()
    counts = np.zeros(len(p), np.int64)
    on_knot = loops.count(z, w, knots, starts_interval.numpy(), counts)
    changes = Changes.none(inputs.device)
    if record and on_knot:
        changes = changes_at_points(gate, inputs, None if weight is None else weight[:, None], starts_interval)
    total = int(counts.sum())
    integers, floats = np.empty((6, total), np.int64), np.empty((5, total), p.dtype)
    row, unit, before, after, bend_row, new_interval = integers
    left, right, rise, new_left, new_right = floats
    inside = np.empty(total, np.bool_)
    added, old_rows = np.zeros((2, len(p)), np.int64)
    fresh = loops.locate(
        z, p, w, t, knots, counts, weight is not None, row, unit, left, right, rise, before, after,
        bend_row, inside, added, old_rows, new_interval, new_left, new_right,
    )  # fmt: skip
    bends = Bends(*_tensors(row, unit, left, right, rise, before, after))
    new = _tensors(new_interval[:fresh], new_left[:fresh], new_right[:fresh])
    counted, places, within = _tensors(added, bend_row, inside)
    return Placement(new[0], new[1], new[2], counted, bends, places, within, changes)


def workspace(gate: Gate, units: int, inputs: int) -> int:
    """As reference.workspace: for a maximum all inputs at all points, and the outputs."""
    return inputs + units if isinstance(gate, Maximum) else reference.workspace(gate, units, inputs)


def _places(gate: Maximum) -> np.ndarray:
    """Of the inputs of every unit, ``(k, units)``; unsigned, so that no loop asks whether they count from the end."""
    return np.ascontiguousarray(gate.windows.numpy().T.astype(np.uint32))


def _tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def insert(values: Tensor, placement: Placement) -> Tensor:
    """As reference.insert."""
    flat = rows(values)
    result = flat.new_empty(len(placement), flat.shape[1])
    arrays = (placement.added, placement.left, placement.right)
    loops.insert(flat.contiguous().numpy(), *(a.numpy() for a in arrays), placement.first_new.numpy(), result.numpy())
    return result.view(len(placement), *values.shape[1:])


def bend(gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement) -> Tensor:
    """As reference.bend."""
    if isinstance(gate, Maximum):
        return _maxima(_places(gate), insert(inputs, placement))
    if not gate.is_relu:
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
    loops.insert_relu(
        inputs.contiguous().numpy(), *(a.numpy() for a in arrays), placement.first_new.numpy(), outputs.numpy()
    )
    loops.zero(placement.bend_row.numpy(), placement.bends.unit.numpy(), placement.inside.numpy(), outputs.numpy())
    return outputs


def bend_and_multiply(
    gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement, step: AffineStep
) -> Tensor:
    """As reference.bend_and_multiply, with a product only for the points there were, block by block."""
    old = None if weight is None else weight[placement.old_rows]
    bends, result = placement.bends, inputs.new_empty(len(placement), prod(step.shape))
    placed = (
        placement.added, placement.old_rows, placement.first_new, placement.right, bends.row, bends.unit, bends.left,
        placement.bend_row, _kinks(gate, bends), result,
    )  # fmt: skip
    arrays = [part.numpy() for part in placed]
    places = _places(gate) if isinstance(gate, Maximum) else None
    columns, geometry = step.columns.numpy(), np.array(step.form.geometry if step.form is not None else (), np.int64)
    block, stop, before = _rows_of_block(inputs, result), 0, result.numpy()[0] if len(result) else None
    for start in range(0, len(inputs), block):
        part = None if old is None else old[start : start + block]
        applied = _applied(gate, places, inputs[start : start + block], part)
        products = rows(reference.multiplied(applied, part, step)).contiguous().numpy()
        stop = loops.multiply(products, before, start, stop, columns, geometry, *arrays)
        before = products[-1]
    return result.view(len(placement), *step.shape)


def _rows_of_block(inputs: Tensor, outputs: Tensor) -> int:
    """How many rows of a gate's input and of a product go through the cache together."""
    return max(1, _BLOCK_BYTES // max(1, (inputs.shape[1] + outputs.shape[1]) * inputs.element_size()))


def _applied(gate: Gate, places: np.ndarray | None, inputs: Tensor, weight: Tensor | None) -> Tensor:
    """The gate's output at the points there were; places those of a maximum's inputs."""
    if places is not None:
        return _maxima(places, inputs)
    return gate.apply(inputs, None if weight is None else weight[:, None])


def _maxima(places: np.ndarray, inputs: Tensor) -> Tensor:
    outputs = inputs.new_empty(len(inputs), places.shape[1])
    maximum_loops.maxima(inputs.contiguous().numpy(), places, outputs.numpy())
    return outputs


def _kinks(gate: Gate, bends: Bends) -> Tensor:
    """By how much the slope of a gate's output changes at each bend, with the interval as the unit of length."""
    if isinstance(gate, Maximum):
        # From an input to one that overtakes it, the slope grows by that of the lead.
        return bends.rise
    if gate.is_relu:
        return bends.rise.abs()
    column = bends.unit if gate.slopes.shape[1] > 1 else torch.zeros_like(bends.unit)
    return (gate.slopes[bends.after, column] - gate.slopes[bends.before, column]) * bends.rise


def rows_in_doubt(
    distance: Tensor, bound: Tensor, before: Tensor, after: Tensor, zeros: Tensor | None = None
) -> Tensor:
    """As reference.rows_in_doubt."""
    if zeros is not None:
        return reference.rows_in_doubt(distance, bound, before, after, zeros)
    doubt = np.zeros(len(distance), np.bool_)
    loops.rows_in_doubt(distance.contiguous().numpy(), bound.numpy(), before.numpy(), after.numpy(), doubt)
    return torch.from_numpy(np.flatnonzero(doubt))


def leads_in_doubt(
    gate: Maximum,
    values: Tensor,
    alike: Tensor,
    zeros: Tensor,
    bound: Tensor,
    before: Tensor,
    after: Tensor,
    starts_interval: Tensor,
) -> Tensor:
    """As reference.leads_in_doubt."""
    doubt = np.zeros(len(values), np.bool_)
    parts = (part.numpy() for part in (alike, zeros, bound, before, after, starts_interval))
    maximum_loops.leads_in_doubt(values.contiguous().numpy(), gate.windows.numpy(), _places(gate), *parts, doubt)
    return torch.from_numpy(np.flatnonzero(doubt))


def fading(values: Tensor, zeros: Tensor, least: float) -> Tensor:
    """As reference.fading."""
    found = np.zeros(len(values), np.bool_)
    loops.fading(values.contiguous().numpy(), zeros.numpy(), least, found)
    return torch.from_numpy(np.flatnonzero(found))


def largest(values: Tensor) -> Tensor:
    """As reference.largest."""
    result = values.new_zeros(len(values))
    loops.largest(rows(values).contiguous().numpy(), result.numpy())
    return result


def exits(logits: Tensor, offsets: Tensor, label: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """As reference.exits."""
    first, close = torch.empty_like(label), torch.empty(len(label), dtype=torch.bool)
    parts = (logits.contiguous(), offsets, label, error, first, close)
    loops.exits(*(part.numpy() for part in parts))
    return first, close
