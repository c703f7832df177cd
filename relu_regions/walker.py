"""walk(): every breakpoint of a batch of segments, collected from a sweep and settled where rounding leaves doubt."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from relu_regions.certainty import Certainty
from relu_regions.collecting import Collected
from relu_regions.lines import Array, LineBatch, Model, Range
from relu_regions.memory import room
from relu_regions.paths import Paths
from relu_regions.points import Flips
from relu_regions.progress import Progress
from relu_regions.segments import Segments
from relu_regions.settling import Resolve, Settled, may_settle, rounding_of, settle, worth_settling
from relu_regions.sweep import Sweep

__all__ = ["walk"]


def walk(
    model: Model,
    x: Array,
    d: Array,
    t_range: Range = (-1.0, 2.0),
    *,
    dtype: torch.dtype = torch.float64,
    resolve: Resolve = "auto",
    memory_budget: int | None = None,
    progress: bool | None = None,
) -> Paths:
    """Every breakpoint of the network along ``x + t d``, found without sampling.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, or a Network; not modified.
        x: points, ``(N, *input_shape)``, tensor or array of floats.
        d: directions, broadcastable to x, none of them zero.
        t_range: lower and upper end of t, numbers or ``(N,)`` each, around 0; may be infinite.
        dtype: of the computation, float64 or float32.
        resolve: what to do about segments on which rounding may have decided something (breakpoints that coincide or
            nearly do, units that are exactly 0). "auto" walks them again in rational arithmetic where that takes
            seconds, "always" wherever bounds leave doubt, "never" leaves them. ``Paths.certain`` says what is proven.
        memory_budget: bytes that the walk may take besides its result; a quarter of the free memory by default.
        progress: whether to show a progress bar; by default where a person is looking and it takes long.

    Returns:
        Paths: on x's device.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be walked; the text says why.
    """
    lines = LineBatch.of(model, x, d, t_range, dtype)
    certainty = Certainty.of(lines.network, dtype) if may_settle(resolve) else None
    starts = torch.stack([lines.low, lines.low.clamp(0, 0), lines.high], 1).to(dtype)
    sweep = Sweep(lines.network, Segments(lines.x, lines.d, starts), True, memory_budget, certainty=certainty)
    collected = Collected(lines)
    with torch.no_grad(), sweep.surroundings(), Progress(len(lines), "walk", progress) as bar:
        for points in sweep:
            # What came before is whole.
            bar.reach(int(points.segments[0]))
            collected.add(points, sweep.halfway)
        bar.reach(len(lines))
        paths = collected.paths()
        if certainty is None:
            return paths
        doubtful = worth_settling(~paths.certain, paths.region_counts, resolve, lines.network)
        return with_settled(paths, doubtful, settle(lines, doubtful)) if doubtful else paths


def with_settled(paths: Paths, segments: list[int], settled: list[Settled]) -> Paths:
    """The paths with some segments replaced by what rational arithmetic says of them."""
    replaced = dict(zip(segments, settled))
    counts = paths.offsets.diff()
    chosen = torch.zeros(len(paths), dtype=torch.bool, device=counts.device)
    chosen[torch.tensor(segments, device=counts.device)] = True
    counts[chosen] = torch.tensor([len(replaced[i].position) for i in segments], device=counts.device)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    # The rows of the float walk that stay, in their new places; the rest is filled in segment by segment.
    stays = ~chosen.repeat_interleave(paths.offsets.diff())
    moved = stays.nonzero()[:, 0]
    owner = torch.bucketize(moved, paths.offsets[1:], right=True)
    target = moved - paths.offsets[owner] + offsets[owner]

    def rebuilt(old: Tensor, new: list[Tensor]) -> Tensor:
        result = room((int(offsets[-1]), *old.shape[1:]), old.dtype, old.device)
        result[target] = old[moved]
        for index, part in zip(segments, new):
            result[offsets[index] : offsets[index + 1]] = part
        return result

    weight = paths.weight
    position = rebuilt(paths.position, [s.position for s in settled])
    place = torch.zeros_like(stays, dtype=torch.int64)
    place[moved] = target
    kept = paths.flips[stays[paths.flips.row]]
    flips = [replace(kept, row=place[kept.row])]
    flips += [replace(s.flips, row=s.flips.row + offsets[index]) for index, s in replaced.items()]
    first = [pattern.clone() for pattern in paths.first_patterns]
    outputs_at_x = paths.outputs_at_x.clone()
    for index, part in replaced.items():
        outputs_at_x[index] = part.at_x
        for gate, pieces in enumerate(part.first):
            first[gate][index] = pieces
    t_error = [torch.where(s.weight == 0, 0.0, rounding_of(s.position)) for s in settled]
    return replace(
        paths,
        offsets=offsets,
        position=position,
        weight=None if weight is None else rebuilt(weight, [s.weight for s in settled]),
        values=rebuilt(paths.values, [s.values for s in settled]),
        outputs_at_x=outputs_at_x,
        first_patterns=tuple(first),
        flips=Flips.joined(flips).ordered(),
        t_error=None if paths.t_error is None else rebuilt(paths.t_error, t_error),
        certain=paths.certain | chosen,
        settled=paths.settled | chosen,
    )
