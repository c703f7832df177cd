"""Exact integrated gradients: the path integral in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Integer
from torch import Tensor

from relu_regions.lines.line_batch import Array, Model, PointBatch
from relu_regions.paths.paths import Paths
from relu_regions.regions.affine_maps import Replay, block_size, blocks
from relu_regions.walking.walker import walk

__all__ = ["integrated_gradients"]


def integrated_gradients(
    model: Model,
    x: Float[Array, " N *shape"],
    baseline: Float[Array, " ..."],
    target: int | Sequence[int] | Integer[Tensor, " ..."],
    *,
    memory_budget: int | None = None,
    progress: bool | None = None,
) -> Float64[Tensor, " N *shape"]:
    """How much each input number adds to a logit on the way from a baseline to x.

    The integral of the gradient along the straight path is ``Σ_k (t_{k+1} - t_k) W_k[target] * (x - baseline)`` over
    the regions that it crosses, so that nothing is sampled (Sundararajan, Taly, Yan, Axiomatic Attribution for Deep
    Networks, 2017, equation 1). The attributions of a point sum up to ``logit(x) - logit(baseline)``.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, or a Network; not modified.
        x: points, ``(N, *input_shape)``, tensor or array of floats.
        baseline: broadcastable to x.
        target: which of the outputs, for all points or one for each of them; of a single output 0.
        memory_budget: bytes that the work may take besides what the walk finds; a quarter of the free memory by
            default.
        progress: whether to show a progress bar; by default where a person is looking and it takes long.

    Returns:
        ``(N, *input_shape)`` float64, on x's device; zero where x is the baseline.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be walked, or target names no logit; the
            text says why.
    """
    points = PointBatch.of(model, x)
    chosen = _targets(target, len(points), points.network.output_shape).to(points.x.device)
    start = _baseline(baseline, points.x)
    difference = points.x - start
    moves = (difference != 0).flatten(1).any(1)
    attributions = torch.zeros_like(points.x)
    # A region that rounding adds or misses has no length, and adds nothing.
    paths = walk(
        points.network,
        start[moves],
        difference[moves],
        (0.0, 1.0),
        breakpoints="function",
        resolve="never",
        memory_budget=memory_budget,
        progress=progress,
    )
    with torch.no_grad():
        attributions[moves] = _mean_gradients(paths, chosen[moves], memory_budget) * difference[moves]
    return attributions


def _mean_gradients(paths: Paths, target: Tensor, memory_budget: int | None) -> Tensor:
    """The gradient of a logit averaged along each segment, ``(N, *input_shape)``."""
    rows = paths.region_rows
    share, result = paths.t[rows + 1] - paths.t[rows], torch.zeros_like(paths.x)
    for block in blocks(len(rows), block_size(paths.network, 1, rows.device, memory_budget)):
        regions = paths.table.numbers(block.start, block.stop)
        segment = paths.table.segments(regions)
        first, last = int(segment[0]), int(segment[-1])
        weighted = torch.zeros(len(segment), 1, *paths.network.output_shape, dtype=paths.x.dtype, device=rows.device)
        weighted[:, 0].scatter_(1, target[segment, None], share[block, None])
        replay = Replay.of(paths.network, paths.table.patterns(regions), len(segment))
        merge = _sum_by(segment - first, last - first + 1)
        result[first : last + 1] += replay.backward(weighted, paths.network.output_name, merge)[:, 0]
    return result


def _sum_by(group: Tensor, count: int) -> Callable[[Tensor], Tensor]:
    return lambda rows: rows.new_zeros(count, *rows.shape[1:]).index_add_(0, group, rows)


def _baseline(given: Array, points: Tensor) -> Tensor:
    if isinstance(given, np.ndarray):
        given = torch.from_numpy(np.ascontiguousarray(given))
    if not isinstance(given, Tensor) or not given.dtype.is_floating_point:
        kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
        raise TypeError(f"baseline must be a tensor or array of floating-point numbers, not {kind}.")
    if not torch.isfinite(given).all():
        raise ValueError("baseline is not finite; only finite numbers can be walked.")
    try:
        return given.detach().to(points).expand_as(points)
    except RuntimeError:
        raise ValueError(
            f"baseline has shape {tuple(given.shape)}, which does not broadcast to x's shape {tuple(points.shape)}."
        ) from None


def _targets(target: int | Sequence[int] | Tensor, count: int, outputs: tuple[int, ...]) -> Tensor:
    if len(outputs) != 1:
        raise ValueError(f"The model's output for one input has shape {outputs}; a target needs a vector of logits.")
    chosen = torch.as_tensor(target)
    if chosen.dtype == torch.bool or chosen.dtype.is_floating_point or chosen.shape not in ((), (count,)):
        raise ValueError(f"target must be one integer, or {count} of them, one for each point; not {target!r}.")
    if ((chosen < 0) | (chosen >= outputs[0])).any():
        raise ValueError(f"target must name logits from 0 to {outputs[0] - 1}, not {target!r}.")
    return chosen.long().expand(count)
