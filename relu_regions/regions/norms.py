"""Operator norms of the maps W_x, region by region, without keeping the maps."""

from __future__ import annotations

import math
from math import prod
from typing import Literal

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from relu_regions.lines.line_batch import Array, Model, PointBatch
from relu_regions.lines.progress import Progress
from relu_regions.network.network import Network
from relu_regions.regions.affine_maps import Replay, block_size, blocks, dtype_of
from relu_regions.regions.patterns import activation_patterns

__all__ = ["Norm", "check_norm", "flat", "norms_at", "norms_of", "operator_norm"]

Norm = Literal[1, 2, "fro"] | float


def operator_norm(matrices: Float[Tensor, " *batch rows columns"], p: Norm) -> Float[Tensor, " *batch"]:
    """The norm of each matrix.

    Args:
        matrices: ``(..., rows, columns)``.
        p: 1, 2 or inf for the operator norm with the p-norm on both sides (1: the largest absolute column sum; 2: the
            largest singular value; inf: the largest absolute row sum, the paper's appendix); "fro" for the square
            root of the sum of squares.

    Returns:
        ``(...)``.

    Raises:
        ValueError: p is none of these.
    """
    check_norm(p)
    if p == 2:
        # The largest eigenvalue of the smaller Gram matrix: it keeps its relative precision, unlike the small ones.
        wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT
        norm: Tensor = torch.linalg.eigvalsh(wide @ wide.mT)[..., -1].clamp_min(0).sqrt()
    elif p == "fro":
        norm = torch.linalg.vector_norm(matrices, 2, dim=(-2, -1))
    else:
        norm = matrices.abs().sum(-2).amax(-1) if p == 1 else torch.linalg.vector_norm(matrices, 1, dim=-1).amax(-1)
    return norm


def check_norm(p: object) -> None:
    """Refuse what names no norm.

    Raises:
        ValueError: p is none of 1, 2, math.inf and "fro".
    """
    if isinstance(p, bool) or p not in (1, 2, math.inf, "fro"):
        raise ValueError(f'p must be 1, 2, math.inf or "fro", not {p!r}.')


def norms_of(
    network: Network,
    patterns: tuple[Int64[Tensor, " R _"], ...],
    p: Norm,
    count: int = -1,
    *,
    memory_budget: int | None = None,
    progress: bool | None = False,
) -> Float[Tensor, " R"]:
    """The norm of W on the regions of activation patterns.

    Args:
        network, patterns, count, memory_budget, progress: as ``relu_regions.regions.affine_maps.affine_maps_of``.
        p: as ``operator_norm``.

    Returns:
        ``(R,)``.

    Raises:
        ValueError: the patterns do not fit the network, or p is no known norm.
    """
    check_norm(p)
    replay = Replay.of(network, patterns, count)
    parts = []
    with torch.no_grad(), Progress(len(replay), "norms", progress, "region") as bar:
        size = block_size(network, prod(network.output_shape), replay.device, memory_budget)
        for block in blocks(len(replay), size):
            bar.reach(block.start)
            parts.append(operator_norm(flat(network, replay.only(block).matrices()), p))
    return torch.cat(parts) if parts else torch.zeros(0, dtype=dtype_of(network), device=replay.device)


def norms_at(
    model: Model,
    x: Float[Array, " N *shape"],
    p: Norm,
    *,
    memory_budget: int | None = None,
    progress: bool | None = None,
) -> Float64[Tensor, " N"]:
    """The norm of W_x at points, without keeping the maps.

    Args:
        model, x: as ``relu_regions.affine_map``, and so is what counts on a knot.
        p: as ``operator_norm``.
        memory_budget: bytes that the work may take besides its result; a quarter of the free memory by default.
        progress: whether to show a progress bar; by default where a person is looking and it takes long.

    Returns:
        ``(N,)`` float64, on x's device.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be read, or p is no known norm.
    """
    points = PointBatch.of(model, x)
    with torch.no_grad():
        patterns = activation_patterns(points.network, points.x)
    return norms_of(points.network, patterns, p, len(points), memory_budget=memory_budget, progress=progress)


def flat(network: Network, matrices: Tensor) -> Tensor:
    """``(R, *output_shape, *input_shape)`` as ``(R, outputs, inputs)``."""
    return matrices.reshape(len(matrices), prod(network.output_shape), prod(network.input_shape))
