"""The inner loops compiled by numba, for a CPU: the same results as the reference, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from relu_regions.gates import Gate, Knots
from relu_regions.kernels import reference
from relu_regions.kernels.bends import Bends, Changes, changes_at_points
from relu_regions.kernels.placement import Placement

__all__ = ["bend", "insert", "place"]


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
    on_knot = _count(z, w, knots, starts_interval.numpy(), counts)
    changes = Changes.none(inputs.device)
    if record and on_knot:
        changes = changes_at_points(gate, inputs, None if weight is None else weight[:, None], starts_interval)
    starts = np.concatenate([[0], np.cumsum(counts)])
    total = int(starts[-1])
    found = _Found(total, p.dtype)
    added = np.zeros(len(p), np.int64)
    _locate(z, p, w, t, knots, counts, starts, *found.arrays, added, weight is not None)
    chosen = np.flatnonzero(found.opens)
    bend_row = np.empty(total, np.int64)
    _rows(counts, starts, added, np.cumsum(added) - added, found.inside, found.opens, found.ends, bend_row)
    row, unit, left, right = (torch.from_numpy(a) for a in (found.row, found.unit, found.left, found.right))
    bends = Bends(row, unit, left, right, torch.from_numpy(found.before), torch.from_numpy(found.after))
    picked = torch.from_numpy(chosen)
    return Placement(
        row[picked], left[picked], right[picked], torch.from_numpy(added), bends,
        torch.from_numpy(bend_row), torch.from_numpy(found.inside), changes,
    )  # fmt: skip


def insert(values: Tensor, placement: Placement) -> Tensor:
    """As reference.insert."""
    flat = values.reshape(len(values), -1)
    result = flat.new_empty(len(placement), flat.shape[1])
    arrays = (placement.added, placement.left, placement.right)
    _insert(flat.contiguous().numpy(), *(a.numpy() for a in arrays), _first_new(placement), result.numpy())
    return result.view(-1, *values.shape[1:])


def bend(gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement) -> Tensor:
    """As reference.bend."""
    if not (isinstance(gate, Knots) and gate.is_relu):
        outputs = gate.apply(insert(inputs, placement), None if weight is None else weight[:, None])
        inside, bends = placement.inside, placement.bends
        gate.settle(placement.bend_row[inside], bends.unit[inside], bends.before[inside], bends.after[inside], outputs, weight)
        return outputs
    outputs = inputs.new_empty(len(placement), inputs.shape[1])
    arrays = (placement.added, placement.left, placement.right)
    _insert_relu(inputs.contiguous().numpy(), *(a.numpy() for a in arrays), _first_new(placement), outputs.numpy())
    _zero(placement.bend_row.numpy(), placement.bends.unit.numpy(), placement.inside.numpy(), outputs.numpy())
    return outputs


def _first_new(placement: Placement) -> np.ndarray:
    added = placement.added.numpy()
    return np.cumsum(added) - added


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


@njit(cache=True, parallel=True, error_model="numpy")
def _count(z, w, knots, starts_interval, counts):  # type: ignore[no-untyped-def]
    on_knot = 0
    for i in prange(z.shape[0]):
        if starts_interval[i]:
            count, zeros = 0, 0
            for k in range(knots.shape[0]):
                for u in range(z.shape[1]):
                    here = z[i, u] - knots[k, u] * w[i]
                    there = z[i + 1, u] - knots[k, u] * w[i + 1]
                    count += ((here < 0) & (there > 0)) | ((here > 0) & (there < 0))
                    zeros += here == 0
            counts[i] = count
            on_knot += zeros
    return on_knot


@njit(cache=True, parallel=True, error_model="numpy")
def _locate(  # type: ignore[no-untyped-def]
    z, p, w, t, knots, counts, starts, row, unit, before, after, left, right, at, inside, opens, ends, added, weighted
):
    for i in prange(z.shape[0]):
        if counts[i] == 0:
            continue
        n = starts[i]
        for k in range(knots.shape[0]):
            for u in range(z.shape[1]):
                here = z[i, u] - knots[k, u] * w[i]
                there = z[i + 1, u] - knots[k, u] * w[i + 1]
                if ((here < 0) & (there > 0)) | ((here > 0) & (there < 0)):
                    rising = 1 if there > 0 else 0
                    lt, rt = there / (there - here), here / (here - there)
                    place = lt * p[i] + rt * p[i + 1]
                    if weighted:
                        place = place / (lt * w[i] + rt * w[i + 1])
                    place = min(max(place, t[i]), t[i + 1])
                    # Insertion from the back keeps equal ones in the order they were found in.
                    m = n
                    while m > starts[i] and at[m - 1] > place:
                        at[m], unit[m], left[m], right[m] = at[m - 1], unit[m - 1], left[m - 1], right[m - 1]
                        before[m], after[m] = before[m - 1], after[m - 1]
                        m -= 1
                    at[m], unit[m], left[m], right[m] = place, u, lt, rt
                    before[m], after[m] = k + 1 - rising, k + rising
                    n += 1
        fresh = 0
        for m in range(starts[i], n):
            row[m] = i
            inside[m] = at[m] != t[i] and at[m] != t[i + 1]
            ends[m] = (not inside[m]) and at[m] != t[i]
            opens[m] = inside[m] and (m == starts[i] or not inside[m - 1] or at[m] != at[m - 1])
            fresh += opens[m]
        added[i] = fresh


@njit(cache=True, error_model="numpy")
def _rows(counts, starts, added, first_new, inside, opens, ends, bend_row):  # type: ignore[no-untyped-def]
    for i in range(len(counts)):
        at = i + first_new[i]
        for m in range(starts[i], starts[i] + counts[i]):
            at += opens[m]
            if inside[m]:
                bend_row[m] = at
            elif ends[m]:
                bend_row[m] = i + 1 + first_new[i] + added[i]
            else:
                bend_row[m] = i + first_new[i]


@njit(cache=True, parallel=True, error_model="numpy")
def _insert(values, added, left, right, first_new, result):  # type: ignore[no-untyped-def]
    for i in prange(values.shape[0]):
        at, g = i + first_new[i], first_new[i]
        result[at] = values[i]
        for _ in range(added[i]):
            at += 1
            for u in range(values.shape[1]):
                result[at, u] = values[i, u] * left[g] + values[i + 1, u] * right[g]
            g += 1


@njit(cache=True, parallel=True, error_model="numpy")
def _insert_relu(values, added, left, right, first_new, result):  # type: ignore[no-untyped-def]
    for i in prange(values.shape[0]):
        at, g = i + first_new[i], first_new[i]
        for u in range(values.shape[1]):
            result[at, u] = max(values[i, u], 0.0)
        for _ in range(added[i]):
            at += 1
            for u in range(values.shape[1]):
                result[at, u] = max(values[i, u] * left[g] + values[i + 1, u] * right[g], 0.0)
            g += 1


@njit(cache=True, error_model="numpy")
def _zero(rows, units, inside, outputs):  # type: ignore[no-untyped-def]
    for m in range(len(rows)):
        if inside[m]:
            outputs[rows[m], units[m]] = 0.0
