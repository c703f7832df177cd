"""The inner loops compiled by numba, for a CPU: the same results as the reference, bit for bit.

There are none for order statistics, here or on a CUDA device: these take the reference's way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from relu_regions.backends import reference
from relu_regions.backends.cpu import loops, maximum_loops
from relu_regions.backends.cpu.chained import through
from relu_regions.backends.cpu.loop_arrays import Placed, Tied, Windows
from relu_regions.backends.cpu.threaded_loops import (
    close_to_knots,
    crossings_of_knots,
    followed,
    leads_that_are_open,
    overtakings,
)
from relu_regions.backends.cpu.unfolding import Unfolding
from relu_regions.backends.crossings import Changes, Crossings, changes_at_points
from relu_regions.backends.placement import Placement
from relu_regions.backends.threads import each_on_one_thread, parts_of
from relu_regions.backends.ties import Ties
from relu_regions.network.gates import Gate, Knots, Maximum, OrderStatistic, flattened
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

# What a core's own cache holds while a block of rows goes from a gate's input to its product.
_BLOCK_BYTES = 1 << 19
# Rows that take less are not shared out.
_WORTH_SHARING = 1 << 20


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
    if isinstance(gate, OrderStatistic):
        return reference.place(gate, inputs, position, weight, starts_interval, record)
    z, extremes = inputs.contiguous(), inputs.new_empty(3, len(inputs))
    if isinstance(gate, Maximum):
        outputs, least = inputs.new_empty(len(inputs), len(gate.windows)), inputs.new_empty(2, leads * len(inputs))
        found = overtakings(
            z.numpy(),
            Windows.of(gate),
            Tied.of(ties, len(inputs), len(gate.windows)),
            starts_interval.numpy(),
            record,
            outputs.numpy(),
            extremes.numpy(),
            least.numpy(),
        )
        between, at_points = found
        (row, unit, before, after), numbers = map(torch.from_numpy, followed(z.numpy(), gate.windows.numpy(), between))
        left, right, rise = numbers
        crossings = Crossings(row, unit, left, right, rise, before, after)
        placement = reference.placed(crossings, Changes(*_tensors(*at_points)), position, weight, True)
        return replace(placement, extremes=extremes, outputs=outputs, leads=least if leads else None)
    w = torch.ones_like(position) if weight is None else weight
    t = position if weight is None else position / weight
    knots, ends = gate.knots.expand(-1, inputs.shape[1]).contiguous(), torch.stack([position, w, t], 1)
    located = crossings_of_knots(
        z.numpy(), ends.numpy(), knots.numpy(), gate.sizes.knot == 0, weight is not None, starts_interval.numpy(),
        extremes.numpy(),
    )  # fmt: skip
    changes = Changes.none(inputs.device)
    if record and (gate.sizes.knot > 0 or not extremes[1].all()):
        changes = changes_at_points(gate, inputs, None if weight is None else weight[:, None], starts_interval)
    row, unit, knot, crossing_row = torch.from_numpy(located.integers)
    _, left, right, rise = torch.from_numpy(located.reals)
    rising = (rise > 0).long()
    crossings = Crossings(row, unit, left, right, rise, knot + 1 - rising, knot + rising)
    new = _tensors(located.spots, *located.shares)
    counted, within = _tensors(located.added, located.inside)
    return Placement(new[0], new[1], new[2], counted, crossings, crossing_row, within, changes, extremes)


def workspace(gate: Gate, units: int, inputs: int, multiplied: bool) -> int:
    """As reference.workspace: for a maximum its outputs, which each thread makes for itself first.

    Where no product follows, it needs all inputs at all points too.
    """
    if not isinstance(gate, Maximum):
        return reference.workspace(gate, units, inputs, multiplied)
    return 2 * units if multiplied else inputs + 2 * units


def _tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def insert(values: Tensor, placement: Placement) -> Tensor:
    """As reference.insert."""
    flat = flattened(values)
    result = flat.new_empty(len(placement), flat.shape[1])
    _inserted(loops.insert, flat, placement, result)
    return result.view(len(placement), *values.shape[1:])


def _inserted(loop: Callable[..., None], values: Tensor, placement: Placement, result: Tensor) -> None:
    """Fill in the rows of all points by a loop over those there were, shared out among threads."""
    old, out, left, right = (part.numpy() for part in (values.contiguous(), result, placement.left, placement.right))
    added, first_new = placement.added.numpy(), placement.first_new.numpy()

    def of_part(part: tuple[int, int]) -> None:
        loop(old[part[0] :], added[slice(*part)], left, right, first_new[slice(*part)], out[part[0] :])

    parts = parts_of(len(old), max(1, _WORTH_SHARING // max(1, out.itemsize * out.shape[1])))
    each_on_one_thread(of_part, parts, torch.get_num_threads())


def bend(gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement) -> Tensor:
    """As reference.bend."""
    if isinstance(gate, OrderStatistic):
        return reference.bend(gate, inputs, weight, placement)
    if isinstance(gate, Maximum):
        return _bent_maxima(Windows.of(gate).places, inputs, placement)
    if not gate.is_relu:
        outputs = gate.apply(insert(inputs, placement), None if weight is None else weight[:, None])
        inside, crossings = placement.inside, placement.crossings
        gate.put_on_knots(
            placement.crossing_row[inside],
            crossings.unit[inside],
            crossings.before[inside],
            crossings.after[inside],
            outputs,
            weight,
        )
        return outputs
    outputs = inputs.new_empty(len(placement), inputs.shape[1])
    _inserted(loops.insert_relu, inputs, placement, outputs)
    loops.zero(
        placement.crossing_row.numpy(), placement.crossings.unit.numpy(), placement.inside.numpy(), outputs.numpy()
    )
    return outputs


def bend_and_multiply(
    gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement, step: AffineStep
) -> Tensor:
    """As reference.bend_and_multiply, with a product only for the points there were, block by block on each thread."""
    if isinstance(gate, OrderStatistic):
        return reference.bend_and_multiply(gate, inputs, weight, placement, step)
    old = None if weight is None else weight[placement.old_rows]
    crossings, result = placement.crossings, inputs.new_empty(len(placement), prod(step.shape))
    parts = (
        placement.added, placement.old_rows, placement.first_new, placement.right, crossings.row, crossings.unit,
        crossings.left,
        placement.crossing_row, _kinks(gate, crossings),
    )  # fmt: skip
    placed, made = Placed(*(part.numpy() for part in parts)), result.numpy()
    maxima = _maxima(Windows.of(gate).places, inputs, placement) if isinstance(gate, Maximum) else None
    columns, geometry = step.columns.numpy(), np.array(step.form.geometry if step.form is not None else (), np.int64)
    applied = (inputs if maxima is None else maxima).contiguous()
    block, rectify = _rows_of_block(applied, result), isinstance(gate, Knots) and gate.is_relu

    def multiply(part: tuple[int, int]) -> None:
        """Fill the rows of a part of the points, and of the intervals between these."""
        unfolding, before = (
            Unfolding.of(step, min(block, part[1] - part[0])),
            np.empty_like(made, shape=result.shape[1]),
        )
        stop = int(np.searchsorted(placed.row, part[0]))
        for start in range(*part, block):
            rows_at = slice(start, min(start + block, part[1]))
            own, weights = applied[rows_at], None if old is None else old[rows_at]
            if maxima is None and (unfolding is None or not rectify):
                own = gate.apply(own, None if weights is None else weights[:, None])
            if unfolding is None:
                products = flattened(reference.multiplied(own, weights, step)).contiguous().numpy()
            else:
                products = unfolding(own, weights, rectify).numpy()
            stop = loops.multiply(products, before, start, stop, columns, geometry, placed, made)
            before = products[-1]

    shared = parts_of(len(inputs), block)
    each_on_one_thread(multiply, shared, torch.get_num_threads())
    for start, _ in shared[1:]:
        # The interval between two parts.
        before, here = (made[placed.old_rows[row]] for row in (start - 1, start))
        stop = int(np.searchsorted(placed.row, start - 1))
        loops.multiply(here[None].copy(), before, start, stop, columns, geometry, placed, made)
    return result.view(len(placement), *step.shape)


def _rows_of_block(inputs: Tensor, outputs: Tensor) -> int:
    """How many rows of what a step multiplies and of the product go through the cache together."""
    return max(1, _BLOCK_BYTES // max(1, (inputs.shape[1] + outputs.shape[1]) * inputs.element_size()))


def _maxima(places: np.ndarray, inputs: Tensor, placement: Placement) -> Tensor:
    """A maximum's outputs at the points there were; places are those of its inputs."""
    if placement.outputs is not None:
        return placement.outputs
    outputs = inputs.new_empty(len(inputs), places.shape[1])
    maximum_loops.maxima(inputs.contiguous().numpy(), places, outputs.numpy())
    return outputs


def _bent_maxima(places: np.ndarray, inputs: Tensor, placement: Placement) -> Tensor:
    """A maximum's outputs at all points."""
    outputs = inputs.new_empty(len(placement), places.shape[1])
    outputs[placement.old_rows] = _maxima(places, inputs, placement)
    arrays = (placement.row, placement.left, placement.right, placement.new_rows)
    maximum_loops.maxima_between(
        inputs.contiguous().numpy(), places, *(array.numpy() for array in arrays), outputs.numpy()
    )
    return outputs


def _kinks(gate: Knots | Maximum, crossings: Crossings) -> Tensor:
    """By how much the slope of a gate's output changes at each bend, with the interval as the unit of length."""
    if isinstance(gate, Maximum):
        # From an input to one that overtakes it, the slope grows by that of the lead.
        return crossings.rise
    if gate.is_relu:
        return crossings.rise.abs()
    column = crossings.unit if gate.slopes.shape[1] > 1 else torch.zeros_like(crossings.unit)
    return (gate.slopes[crossings.after, column] - gate.slopes[crossings.before, column]) * crossings.rise


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
    asked = torch.ones_like(bound, dtype=torch.bool) if asked is None else asked
    doubt = close_to_knots(*(part.numpy() for part in (distance.contiguous(), bound, before, after, asked)))
    return torch.from_numpy(np.flatnonzero(doubt))


def leads_in_doubt(
    gate: Maximum | OrderStatistic,
    values: Tensor,
    ties: Ties,
    zeros: Tensor,
    bound: Tensor,
    before: Tensor,
    after: Tensor,
    starts_interval: Tensor,
) -> Tensor:
    """As reference.leads_in_doubt."""
    if isinstance(gate, OrderStatistic):
        return reference.leads_in_doubt(gate, values, ties, zeros, bound, before, after, starts_interval)
    tables = ties.tables
    known = (tables.alike.numpy(), tables.column.numpy(), tables.whole.numpy(), zeros.numpy())
    asked = (
        ties.table.numpy(),
        ties.between.numpy(),
        bound.numpy(),
        before.numpy(),
        after.numpy(),
        starts_interval.numpy(),
    )
    doubt = leads_that_are_open(values.contiguous().numpy(), Windows.of(gate), known, asked)
    return torch.from_numpy(np.flatnonzero(doubt))


def equalise(values: Tensor, ties: Ties) -> None:
    """As reference.equalise."""
    tables = ties.tables
    parts = (ties.table, tables.offsets, tables.target, tables.source)
    loops.equalise(values.numpy(), *(part.numpy() for part in parts), *tables.channels)


def fading(values: Tensor, zeros: Tensor, least: float) -> Tensor:
    """As reference.fading."""
    found = np.zeros(len(values), np.bool_)
    loops.fading(values.contiguous().numpy(), zeros.numpy(), least, found)
    return torch.from_numpy(np.flatnonzero(found))


def largest(values: Tensor) -> Tensor:
    """As reference.largest."""
    result = values.new_zeros(len(values))
    loops.largest(flattened(values).contiguous().numpy(), result.numpy())
    return result


def exits(logits: Tensor, offsets: Tensor, label: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """As reference.exits."""
    first, close = torch.empty_like(label), torch.empty(len(label), dtype=torch.bool)
    parts = (logits.contiguous(), offsets, label, error, first, close)
    loops.exits(*(part.numpy() for part in parts))
    return first, close
