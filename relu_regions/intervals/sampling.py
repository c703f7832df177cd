"""Generalization intervals by sampling: the baseline that the exact answer replaces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from relu_regions.backends.memory import budget, stack_bytes
from relu_regions.intervals.interval import Interval
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import Array, LineBatch, Model, Range
from relu_regions.lines.progress import Progress
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep

__all__ = ["sampled_interval"]

# Bytes of a stack of samples that stay in the cache; larger ones are no faster.
_BLOCK_BYTES = {"cpu": 16 << 20}


def sampled_interval(
    model: Model,
    x: Float[Array, " N *shape"],
    d: Float[Array, " ..."],
    t_range: Range,
    *,
    num: int = 101,
    decision: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
    memory_budget: int | None = None,
    progress: bool | None = None,
) -> Interval:
    """How far along ``x + t d`` the class of x seems to hold, judged by samples (the paper's way, section 4).

    The samples of a line lie at ``t = lower + k / (num - 1) (upper - lower)`` for k = 0, ..., num - 1: equally
    spaced, both ends of the range among them. x itself, t = 0, is always evaluated too, whether or not it is one
    of them. Going outwards from 0, the interval ends at the last sample before the first one of another class,
    and at 0 if the very next sample has another class. An end is therefore up to one spacing too near where
    every change of class is seen, and can be anywhere beyond the true one where the class changes and changes
    back between two neighbouring samples.

    A line leaves the evaluation with the stack of samples in which its class was seen to change.

    Args:
        model: as for `exact_interval`.
        x: points, ``(N, *input_shape)``.
        d: directions, broadcastable to x.
        t_range: lower and upper end of t, numbers or ``(N,)`` each, around 0; finite.
        num: samples of each line, at least 2.
        decision: the classes that compete; all by default.
        dtype: of the computation, float64 or float32.
        memory_budget: bytes that the evaluation may take; a quarter of the free memory by default.
        progress: whether to show a progress bar; by default where a person is looking and it takes long.

    Returns:
        Interval: in the form of the exact answer. ``label_lo`` and ``label_hi`` are the classes of the first
        samples that differ, -1 where none does.

    Raises:
        TypeError: as `exact_interval`; also if num is not an integer.
        ValueError: as `exact_interval`; also if the range is not finite, or num is less than 2.
        UnsupportedOperation: as `exact_interval`.
    """
    _check_num(num)
    lines = LineBatch.of(model, x, d, t_range, dtype)
    _check_finite(lines)
    between = Decision.of(lines.network.output_shape, decision)
    rows = _rows_at_once(lines.network, lines.x, memory_budget)
    # Few enough lines together that a stack holds several samples of each, so that lines can leave early.
    size = max(1, rows // 16)
    parts = [_no_lines(lines)]
    with torch.no_grad(), Progress(len(lines), "sample", progress) as bar:
        for start in range(0, len(lines), size):
            block = torch.arange(start, min(len(lines), start + size), device=lines.x.device)
            parts.append(_searched(lines, between, block, num, rows))
            bar.reach(start + len(block))
    names = ("lo", "hi", "label", "label_lo", "label_hi", "tied")
    return Interval(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _check_num(num: int) -> None:
    if isinstance(num, bool) or not isinstance(num, int):
        raise TypeError(f"num must be an integer, the number of samples, not {num!r}.")
    if num < 2:
        raise ValueError(f"num must be at least 2, a sample for each end of the range, not {num}.")


def _check_finite(lines: LineBatch) -> None:
    infinite = torch.isinf(lines.low) | torch.isinf(lines.high)
    if infinite.any():
        row = int(infinite.nonzero()[0])
        raise ValueError(
            f"t_range ({lines.low[row].item()}, {lines.high[row].item()}) is unbounded, and only a finite range "
            "can be sampled; give one, such as (-1, 2), or call exact_interval, which answers on whole lines."
        )


def _rows_at_once(network: Network, x: Tensor, memory_budget: int | None) -> int:
    """How many samples go through the network together."""
    widest = max(
        (step.workspace if isinstance(step, AffineStep) else step.gate.workspace(step.units) for step in network.steps),
        default=0,
    )
    bytes_each = (widest + 3 * math.prod(network.input_shape)) * x.element_size()
    # Several values of the network are alive at a time.
    allowed = budget(memory_budget, x.device) // 4
    return max(1, stack_bytes(allowed, _BLOCK_BYTES, x.device) // bytes_each)


def _no_lines(lines: LineBatch) -> Interval:
    ends = lines.low[:0]
    labels = torch.zeros_like(ends, dtype=torch.int64)
    return Interval(ends, ends, labels, labels, labels, labels.bool())


def _searched(lines: LineBatch, decision: Decision, block: Tensor, num: int, rows: int) -> Interval:
    """The intervals of some of the lines, their numbers in ``block``."""
    outputs = lines.network(lines.x[block])
    label = decision.labels(outputs)
    lo, label_lo = _outwards(lines, decision, block, label, num, rows, -1)
    hi, label_hi = _outwards(lines, decision, block, label, num, rows, +1)
    return Interval(lo, hi, label, label_lo, label_hi, decision.ties(outputs))


def _outwards(
    lines: LineBatch, decision: Decision, block: Tensor, label: Tensor, num: int, rows: int, sign: int
) -> tuple[Tensor, Tensor]:
    """The last sample with the class of x, and the class of the one after it, going up or down from t = 0."""
    low, high = lines.low[block], lines.high[block]
    reached, beyond = torch.zeros_like(low), torch.full_like(label, -1)
    at_x = low / (low - high) * (num - 1)
    nearest = (at_x.ceil() if sign > 0 else at_x.floor()).long()
    active = torch.arange(len(block), device=block.device)
    while len(active):
        left = num - nearest[active] if sign > 0 else nearest[active] + 1
        width = min(max(1, rows // len(active)), int(left.max()))
        # Lines with fewer samples left repeat their last one, which changes nothing.
        steps = torch.minimum(torch.arange(width, device=block.device), left[:, None] - 1)
        share = (nearest[active, None] + sign * steps).double() / (num - 1)
        times = torch.lerp(low[active, None], high[active, None], share)
        times = times.clamp_min(0) if sign > 0 else times.clamp_max(0)
        seen = _labels(lines, decision, block[active], times)
        differs = seen != label[active, None]
        changed = differs.any(1)
        first = torch.where(changed, differs.long().argmax(1), width)
        reached[active] = torch.cat([reached[active, None], times], 1).gather(1, first[:, None])[:, 0]
        beyond[active[changed]] = seen[changed].gather(1, first[changed, None])[:, 0]
        nearest[active] += sign * width
        active = active[~changed & (left > width)]
    return reached, beyond


def _labels(lines: LineBatch, decision: Decision, numbers: Tensor, times: Tensor) -> Tensor:
    """The class at each sample: times ``(A, S)`` of the lines ``numbers`` ``(A,)`` to ``(A, S)``."""
    column = times.to(lines.x.dtype).view(*times.shape, *[1] * (lines.x.ndim - 1))
    samples = torch.addcmul(lines.x[numbers, None], column, lines.d[numbers, None])
    return decision.labels(lines.network(samples.flatten(0, 1))).view(times.shape)
