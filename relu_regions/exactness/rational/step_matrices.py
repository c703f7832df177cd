"""The matrices of affine steps, exactly: from the constants of a step, or from what it makes of chosen inputs.

Products with zeros and sums of zeros are exact, so that what a step makes of a basis vector is a column of its matrix.
"""

from __future__ import annotations

from math import prod
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from relu_regions.network.steps import AffineStep
from relu_regions.network.taking import places_read

__all__ = ["StepMatrix", "step_matrices", "transposed"]

# A tensor is sparse, of coordinates in order and each there once.
StepMatrix: TypeAlias = NDArray[np.float64] | Tensor

# Numbers in one stack of probes: large enough to keep a matrix product busy, small beside any memory.
_PROBE_NUMBERS = 1 << 22


def step_matrices(step: AffineStep, shapes: list[tuple[int, ...]]) -> list[StepMatrix]:
    """The matrices of an affine step, one for each input: dense for a plain matrix product, sparse for everything else.

    Args:
        step: float64, on the CPU.
        shapes: of its inputs, for one point.
    """
    if len(shapes[0]) == 1 and len(step.constants) == 1 and step.constants[0].ndim == 2:
        matrix: NDArray[np.float64] = step.constants[0].numpy()
        if step.function is functional.linear:
            return [matrix]
        if step.function is torch.matmul:
            return [matrix.T]
    convolution = step.origin.operation.startswith("conv") and len(step.constants) == 1
    if convolution and len(shapes[0]) == step.constants[0].ndim - 1:  # not several images for each point
        return [_convolution(step, shapes[0])]
    found: list[StepMatrix] = []
    for place in range(len(shapes)):
        taken = _taken(step, shapes, place)
        found.append(_probed(step, shapes, place) if taken is None else taken)
    return found


def _taken(step: AffineStep, shapes: list[tuple[int, ...]], place: int) -> Tensor | None:
    """The matrix of one input where every output takes one number of it at most: a rearrangement, a scale, a sum."""
    places = places_read(step, shapes, [place])
    if places is None:
        return None
    inputs = [torch.full((1, *shape), float(k == place), dtype=torch.float64) for k, shape in enumerate(shapes)]
    entries, takes = step.linear(*inputs).reshape(-1).numpy(), (places >= 0).numpy()
    size = prod(step.shape), prod(shapes[place])
    return _sparse(takes.nonzero()[0], places.numpy()[takes], entries[takes], size)


def _probed(step: AffineStep, shapes: list[tuple[int, ...]], place: int) -> Tensor:
    """The matrix of one input, from what the step makes of combs: inputs that are 1 at places far apart, else 0.

    Along each axis the places of a comb lie so far apart that no output reads two of them. So an output's number is
    one coefficient, and where the output's reach lies tells of which input.
    """
    shape, width, height = shapes[place], prod(shapes[place]), prod(step.shape)
    reaches = [_reach(step, shapes, place, axis) for axis in range(len(shape))]
    gaps = tuple(1 + int((last - first).max(initial=0)) for first, last in reaches)
    combs = np.stack(np.unravel_index(np.arange(prod(gaps)), gaps)) if gaps else np.zeros((0, 1), dtype=np.int64)
    count = max(1, _PROBE_NUMBERS // max(1, width, height, step.workspace))
    rows, columns, entries = [], [], []
    for begin in range(0, combs.shape[1], count):
        starts = combs[:, begin : begin + count]
        probes = torch.zeros(starts.shape[1], *shape, dtype=torch.float64)
        for number, start in enumerate(starts.T):
            comb = [slice(first, None, gap) for first, gap in zip(start, gaps)]
            probes[number].numpy()[tuple(comb)] = 1
        inputs = [probes.new_zeros(len(probes), *other) for other in shapes]
        inputs[place] = probes
        made = step.linear(*inputs).reshape(len(probes), height).numpy()
        which, output = made.nonzero()
        column = np.zeros(len(output), dtype=np.int64)
        for (first, _), start, gap, length in zip(reaches, starts, gaps, shape):
            column = column * length + first[output] + (start[which] - first[output]) % gap
        rows.append(output)
        columns.append(column)
        entries.append(made[which, output])
    return _sparse(np.concatenate(rows), np.concatenate(columns), np.concatenate(entries), (height, width))


def _reach(
    step: AffineStep, shapes: list[tuple[int, ...]], place: int, axis: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last place of an input's axis that each output reads; the last is -1 where it reads none.

    With ones for constants the coefficients are not negative, so that they do not cancel.
    """
    ones = [torch.ones_like(constant) for constant in step.constants]
    inputs = [torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes]
    length, height = shapes[place][axis], prod(step.shape)
    first, last = np.full(height, length), np.full(height, -1)
    for number in range(length):
        inputs[place].zero_().select(1 + axis, number).fill_(1)
        reads = step.function(*inputs, *ones).reshape(-1).numpy() != 0
        first[reads & (last < 0)] = number
        last[reads] = number
    return first, last


def _convolution(step: AffineStep, shape: tuple[int, ...]) -> Tensor:
    """The matrix of a convolution, transposed or not, without a probe for every input.

    With each place of the kernel, an output takes at most one place of the input. The convolution itself tells which:
    for a kernel that is 1 at this place and 0 elsewhere it gives the numbers of the input's places.
    """
    weight, transposed = step.constants[0].numpy(), "transpose" in step.origin.operation
    kernel, space, size = weight.shape[2:], shape[1:], prod(shape[1:])
    groups = (step.shape[0] if transposed else shape[0]) // weight.shape[1]
    weight = weight.reshape(groups, -1, *weight.shape[1:])
    weight = weight.swapaxes(1, 2) if transposed else weight  # (groups, outputs, inputs, *kernel)
    outputs, inputs = (np.arange(groups * count).reshape(groups, count) for count in weight.shape[1:3])
    numbers = torch.arange(1, size + 1, dtype=torch.float64).view(1, 1, *space).expand(1, groups, *space)
    rows, columns, entries = [], [], []
    for place in np.ndindex(*kernel):
        at_place = (..., *place)
        probe = torch.zeros(groups, 1, *kernel, dtype=torch.float64)
        probe[at_place] = 1
        taken = step.function(numbers, probe)[0, 0].reshape(-1).numpy().astype(np.int64) - 1
        given = np.flatnonzero(taken >= 0)
        block = np.broadcast_to(weight[at_place][..., None], (*weight.shape[:3], len(given)))
        row = outputs[:, :, None, None] * len(taken) + given
        column = inputs[:, None, :, None] * size + taken[given]
        rows.append(np.broadcast_to(row, block.shape).reshape(-1))
        columns.append(np.broadcast_to(column, block.shape).reshape(-1))
        entries.append(block.reshape(-1))
    positions = np.concatenate(rows), np.concatenate(columns)
    return _sparse(*positions, np.concatenate(entries), (prod(step.shape), prod(shape)))


def _sparse(
    rows: NDArray[np.int64], columns: NDArray[np.int64], entries: NDArray[np.float64], shape: tuple[int, int]
) -> Tensor:
    order = np.argsort(rows * shape[1] + columns)
    places = torch.from_numpy(np.stack([rows[order], columns[order]]))
    return torch.sparse_coo_tensor(
        places, torch.from_numpy(entries[order]), shape, is_coalesced=True, check_invariants=False
    )


def transposed(matrix: Tensor) -> Tensor:
    """A sparse matrix, rows and columns exchanged."""
    (rows, columns), (height, width) = matrix.indices().numpy(), matrix.shape
    return _sparse(columns, rows, matrix.values().numpy(), (width, height))
