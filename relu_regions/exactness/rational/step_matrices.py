"""The matrices of affine steps, exactly: from the constants of a step, or from what it makes of chosen inputs.

Products with zeros and sums of zeros are exact, so that what a step makes of a basis vector is a column of its matrix.
"""

from __future__ import annotations

import re
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
_POOLING = re.compile(r"_?(?:adaptive_)?avg_pool([123])d")


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
    pooled = _POOLING.fullmatch(step.origin.operation)
    if pooled and len(step.constants) == 0:
        return [_pooling(step, shapes[0], int(pooled[1]))]
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
    """The matrix of one input, column by column, from what the step makes of the basis vectors.

    Products with zeros and sums of zeros are exact, so every entry is the coefficient itself.
    """
    width, height = prod(shapes[place]), prod(step.shape)
    count = max(1, _PROBE_NUMBERS // max(1, width, height, step.workspace))
    blocks = []
    for start in range(0, width, count):
        stop = min(width, start + count)
        probes = torch.zeros(stop - start, width, dtype=torch.float64)
        probes[torch.arange(stop - start), torch.arange(start, stop)] = 1
        inputs = [probes.new_zeros(stop - start, *shape) for shape in shapes]
        inputs[place] = probes.view(stop - start, *shapes[place])
        blocks.append(step.linear(*inputs).reshape(stop - start, height).to_sparse())
    rows = torch.cat(blocks) if blocks else torch.zeros(width, height, dtype=torch.float64).to_sparse()
    return transposed(rows.coalesce())


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


def _pooling(step: AffineStep, shape: tuple[int, ...], dimensions: int) -> Tensor:
    """The matrix of a mean over windows of the last dimensions, without a probe for every input.

    An output has a share of an input where their places meet in every dimension. Places so far apart that none of them
    meets an output of another share a probe, and all channels do.
    """
    space, made, size = shape[-dimensions:], step.shape[-dimensions:], prod(shape)
    meets = [_meeting(step, shape, axis) for axis in range(-dimensions, 0)]
    apart = [next(gap for gap in range(1, len(met) + 1) if _are_apart(met, gap)) for met in meets]
    numbers = np.arange(size).reshape(-1, prod(space))
    rows, columns, entries = [], [], []
    for first in np.ndindex(*apart):
        combs = [slice(start, None, gap) for start, gap in zip(first, apart)]
        comb = (slice(None), *combs)
        probe = torch.zeros(1, *shape, dtype=torch.float64)
        probe.view(-1, *space)[comb] = 1
        shares = step.linear(probe).numpy().reshape(-1, prod(made))
        places = [start + gap * met[part].argmax(0) for start, gap, met, part in zip(first, apart, meets, combs)]
        place = np.ravel_multi_index(np.meshgrid(*places, indexing="ij"), space).reshape(-1)
        channel, output = shares.nonzero()
        rows.append(channel * prod(made) + output)
        columns.append(numbers[channel, place[output]])
        entries.append(shares[channel, output])
    return _sparse(np.concatenate(rows), np.concatenate(columns), np.concatenate(entries), (prod(step.shape), size))


def _meeting(step: AffineStep, shape: tuple[int, ...], axis: int) -> NDArray[np.bool_]:
    """Which places of the input's axis have a share in which of the output's, ``(places, outputs)``.

    A mean's coefficients are not negative, so shares do not cancel.
    """
    found = []
    for place in range(shape[axis]):
        probe = torch.zeros(1, *shape, dtype=torch.float64)
        probe.select(axis, place).fill_(1)
        found.append((step.linear(probe)[0] != 0).movedim(axis, 0).flatten(1).any(1).numpy())
    return np.stack(found)


def _are_apart(meets: NDArray[np.bool_], gap: int) -> bool:
    """Whether places so far from each other have no output in common."""
    return all(meets[start::gap].sum(0).max(initial=0) <= 1 for start in range(min(gap, len(meets))))


def _sparse(
    rows: NDArray[np.int64], columns: NDArray[np.int64], entries: NDArray[np.float64], shape: tuple[int, int]
) -> Tensor:
    order = np.argsort(rows * shape[1] + columns)
    places = torch.from_numpy(np.stack([rows[order], columns[order]]))
    return torch.sparse_coo_tensor(places, torch.from_numpy(entries[order]), shape, is_coalesced=True)


def transposed(matrix: Tensor) -> Tensor:
    """A sparse matrix, rows and columns exchanged."""
    (rows, columns), (height, width) = matrix.indices().numpy(), matrix.shape
    return _sparse(columns, rows, matrix.values().numpy(), (width, height))
