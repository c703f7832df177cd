"""How the output changes along a segment: region by region, and in the two parts of equation 10 (paper, appendix A)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from relu_regions.network.gates import flattened
from relu_regions.paths.paths import Path, Paths
from relu_regions.regions.affine_maps import Replay, block_size, blocks

__all__ = ["SegmentChange", "WeightChange", "segment_change", "weight_change"]


@dataclass(frozen=True)
class SegmentChange:
    """The change from one end of each of N segments to the other, put together from the regions in between.

    A segment from x_i to x spends the share λ_k of its length in its k-th region, so that
    ``f(x) - f(x_i) = Σ_k λ_k W_k (x - x_i)`` and ``‖f(x) - f(x_i)‖ ≤ (Σ_k λ_k ‖W_k‖) ‖x - x_i‖`` (paper, appendix A).

    Attributes:
        change: ``(N, *output_shape)``, f(x) - f(x_i), from the outputs at both ends.
        sum: ``(N, *output_shape)``, Σ_k λ_k W_k (x - x_i), from the activation patterns alone; the same to rounding.
        distance: ``(N,)``, ‖x - x_i‖_∞.
        mean_norm: ``(N,)``, Σ_k λ_k ‖W_k‖_∞.
        largest_norm: ``(N,)``, the largest ‖W_k‖_∞.
        variation: ``(N,)``, Σ_k λ_k ‖W_k (x - x_i)‖_∞: how far the outputs travel, there and back.
    """

    change: Float[Tensor, " N *output_shape"]
    sum: Float[Tensor, " N *output_shape"]
    distance: Float[Tensor, " N"]
    mean_norm: Float[Tensor, " N"]
    largest_norm: Float[Tensor, " N"]
    variation: Float[Tensor, " N"]

    @property
    def bound(self) -> Float[Tensor, " N"]:
        """``(N,)``: (Σ_k λ_k ‖W_k‖) ‖x - x_i‖, which no number of ``change`` exceeds."""
        return self.mean_norm * self.distance

    @property
    def size(self) -> Float[Tensor, " N"]:
        """``(N,)``: ‖f(x) - f(x_i)‖_∞."""
        return flattened(self.change).abs().amax(1)

    def __len__(self) -> int:
        return len(self.distance)


def segment_change(paths: Paths, *, memory_budget: int | None = None) -> SegmentChange:
    """The change along whole segments, region by region; ``walk(model, x_i, x - x_i, (0, 1))`` leads from x_i to x.

    Args:
        paths: what a walk over a finite range found.
        memory_budget: bytes that the work may take besides its result; a quarter of the free memory by default.

    Raises:
        ValueError: a segment is unbounded.
    """
    t, opening = paths.t, paths.region_rows
    first, last = paths.offsets[:-1], paths.offsets[1:] - 1
    if torch.isinf(t).any():
        raise ValueError("A segment is unbounded: the change along it has no end. Walk it over a finite t_range.")
    segment = torch.arange(len(paths), device=t.device).repeat_interleave(paths.region_counts)
    span = t[last] - t[first]
    moved = _times(span, paths.d)
    share = (t[opening + 1] - t[opening]) / span[segment]
    norms = paths.norms(math.inf, memory_budget=memory_budget)
    steps = _slopes(paths, 0, len(opening), memory_budget)
    # λ_k W_k (x - x_i), where nothing is divided by a length that may be tiny.
    moves = _times(t[opening + 1] - t[opening], steps)
    nothing = norms.new_zeros(len(paths))
    return SegmentChange(
        change=paths.outputs[last] - paths.outputs[first],
        sum=moves.new_zeros(len(paths), *paths.network.output_shape).index_add_(0, segment, moves),
        distance=flattened(moved).abs().amax(1),
        mean_norm=nothing.index_add(0, segment, share * norms),
        largest_norm=nothing.scatter_reduce(0, segment, norms, "amax"),
        variation=nothing.index_add(0, segment, flattened(moves).abs().amax(1)),
    )


@dataclass(frozen=True)
class WeightChange:
    """The two parts of f(x) - f(x_0) along a segment x = x_0 + t d (paper, equations 9 and 10).

    Both are continuous and, between two of the points, affine in t.

    Attributes:
        t: ``(P,)``, both ends of the range and every breakpoint.
        weights: ``(P, *output_shape)``, (W_x - W_{x_0}) x + b_x - b_{x_0}: what the change of regions does; exactly 0
            in the region of x_0.
        direction: ``(P, *output_shape)``, W_{x_0} (x - x_0): what the change would be without.
    """

    t: Float[Tensor, " P"]
    weights: Float[Tensor, " P *output_shape"]
    direction: Float[Tensor, " P *output_shape"]


def weight_change(path: Path, *, memory_budget: int | None = None) -> WeightChange:
    """How much of the change from x = ``path``'s point at t = 0 comes from other regions having other weights.

    Where t = 0 is a breakpoint, W_{x_0} is that of the region after it; where the range ends there, of the last one.
    The bias belongs to the first part: without it, that part would jump at every breakpoint, where either of two
    regions could be meant. It is summed over the regions in between, Σ_k (t_{k+1} - t_k) (W_k - W_{x_0}) d.

    Args:
        path: one segment of a walk over a finite range.
        memory_budget: bytes that the work may take besides its result; a quarter of the free memory by default.

    Raises:
        ValueError: the segment is unbounded.
    """
    t, paths = path.t, path.paths
    if torch.isinf(t).any():
        raise ValueError("The segment is unbounded: its change has no end. Walk it over a finite t_range.")
    start, stop = (int(paths.region_offsets[path.index + k]) for k in (0, 1))
    slopes = _slopes(paths, start, stop, memory_budget)
    own = int(torch.searchsorted(t[1:-1], t.new_zeros(()), right=True))
    parts = _times(t.diff(), slopes - slopes[own])
    sums = torch.cat([torch.zeros_like(parts[:1]), parts.cumsum(0)])
    return WeightChange(t, sums - sums[own], _times(t, slopes[own].expand(len(t), *slopes.shape[1:])))


def _slopes(paths: Paths, start: int, stop: int, memory_budget: int | None) -> Tensor:
    """W_k d on the regions start to stop, from their patterns: ``(stop - start, *output_shape)``."""
    network = paths.network
    parts = [paths.values[:0]]
    with torch.no_grad():
        for block in blocks(stop - start, block_size(network, 1, paths.x.device, memory_budget)):
            regions = paths.table.numbers(start + block.start, start + block.stop)
            replay = Replay.of(network, paths.table.patterns(regions), len(regions))
            along = paths.d[paths.table.segments(regions)].unsqueeze(1)
            found = replay.forward(along, network.input_name, [network.output_name], affine=False)
            parts.append(found[network.output_name][:, 0])
    return torch.cat(parts)


def _times(factors: Tensor, stack: Tensor) -> Tensor:
    """Each entry of a stack ``(R, *shape)`` times its own factor ``(R,)``."""
    return factors.view(-1, *[1] * (stack.ndim - 1)) * stack
