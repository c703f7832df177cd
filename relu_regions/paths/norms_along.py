"""Operator norms of W on every region along segments, carried from one region to the next."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from relu_regions.backends.points import Flips
from relu_regions.lines.progress import Progress
from relu_regions.network.gates import Selection
from relu_regions.network.network import Network
from relu_regions.network.steps import GateStep
from relu_regions.paths.region_table import RegionTable
from relu_regions.regions.affine_maps import Replay, block_size, dtype_of
from relu_regions.regions.norms import Norm, check_norm, flat, norms_of, operator_norm

__all__ = ["norms_along"]


def norms_along(
    network: Network, table: RegionTable, p: Norm, *, memory_budget: int | None = None, progress: bool | None = False
) -> Float[Tensor, " R"]:
    """The norm of W on every region that segments cross.

    Neighbouring regions differ in few units, so W changes by a matrix of low rank from one to the next. Where that
    takes fewer rows through the network than W itself, W is updated, and computed anew at the start of each segment
    and of each stretch of regions. Rounding then is relative to the largest W of a stretch.

    Args:
        network: in the dtype of the results, on the table's device.
        table: the regions.
        p: as ``operator_norm``.
        memory_budget: bytes that the work may take besides its result; a quarter of the free memory by default.
        progress: whether to show a progress bar; None shows it where a person is looking and it takes long.

    Returns:
        ``(R,)``, in order of segment and t.

    Raises:
        ValueError: p is no known norm.
    """
    check_norm(p)
    parts = [torch.zeros(0, dtype=dtype_of(network), device=table.offsets.device)]
    with torch.no_grad(), Progress(len(table), "norms", progress, "region") as bar:
        for start, stop in _stretches(network, table, memory_budget):
            bar.reach(start)
            regions = table.numbers(start, stop)
            segment, patterns = table.segments(regions), table.patterns(regions)
            flips, region = table.flips_between(start + int(segment[0]) + 1, stop - 1 + int(segment[-1]))
            anew = prod(network.output_shape) * int((segment.diff() == 0).sum())
            if 2 * len(region) < anew:
                replay = Replay.of(network, patterns, stop - start)
                parts.append(_updated_norms(replay, segment, flips, region - start, p))
            else:
                parts.append(norms_of(network, patterns, p, stop - start, memory_budget=memory_budget))
    return torch.cat(parts)


def _stretches(network: Network, table: RegionTable, memory_budget: int | None) -> Iterator[tuple[int, int]]:
    """Cut the regions into stretches that fit into memory: a row for each region and each flip, and W at the start."""
    count, numbers = len(table), table.numbers()
    _, region = table.flips_between(0, int(table.offsets[-1]) - 1)
    begun = table.segments(numbers) * prod(network.output_shape)
    cost = numbers + torch.searchsorted(region, numbers, right=True) + begun
    # Long stretches go on many segments at once: two to eight times what whole maps are best cut into was fastest.
    size = block_size(network, 1, region.device, memory_budget, reach=4)
    start = 0
    while start < count:
        stop = max(start + 1, int(torch.searchsorted(cost, int(cost[start]) + size, right=True)))
        yield start, stop
        start = stop


def _updated_norms(replay: Replay, segment: Tensor, flips: Flips, region: Tensor, p: Norm) -> Tensor:
    """The norms on consecutive regions, W carried from one to the next, on all segments at once.

    Args:
        replay: of the patterns of the regions.
        segment: that each region lies on, ``(R,)``.
        flips: in order, and the region that each of them opens, ``(F,)``.
    """
    opens = torch.cat([segment[:1] == segment[:1], segment[1:] != segment[:-1]])
    run = opens.cumsum(0) - 1
    columns, rows = _changes(replay, flips, region)
    counts = torch.bincount(run[region], minlength=int(run[-1]) + 1)
    first_flip = counts.cumsum(0) - counts
    # Segments with more flips come first, so that those still going are the first few.
    order = counts.argsort(descending=True)
    place = order.argsort()
    rank = torch.arange(len(region), device=region.device) - first_flip[run[region]]
    turn = (rank * len(counts) + place[run[region]]).argsort()
    columns, rows = columns[turn].unsqueeze(2), rows[turn].unsqueeze(1)
    matrices = flat(replay.network, replay.only(opens.nonzero()[:, 0][order]).matrices())
    norms = [operator_norm(matrices, p)]
    done = 0
    for going in torch.bincount(rank).tolist():
        now = slice(done, done + going)
        norms.append(operator_norm(matrices[:going].baddbmm_(columns[now], rows[now]), p))
        done += going
    last_flip = torch.searchsorted(region, torch.arange(len(run), device=run.device), right=True) - 1
    flipped = last_flip >= first_flip[run]
    state = torch.where(flipped, len(counts) + turn.argsort()[last_flip] if done else 0, place[run])
    return torch.cat(norms)[state]


def _changes(replay: Replay, flips: Flips, region: Tensor) -> tuple[Tensor, Tensor]:
    """Each flip's change of W, an outer product: its column ``(F, outputs)`` and its row ``(F, inputs)``.

    Gates are changed one after the other, the first gate first: a flip's row comes through the earlier gates as they
    were, and its column goes through the later gates as they become.
    """
    network, dtype = replay.network, dtype_of(replay.network)
    columns = torch.zeros(len(region), prod(network.output_shape), dtype=dtype, device=region.device)
    rows = torch.zeros(len(region), prod(network.input_shape), dtype=dtype, device=region.device)
    for number, step in enumerate(network.gates):
        mine = (flips.gate == number).nonzero()[:, 0]
        if len(mine):
            source, target = _jump(step, flips[mine], prod(replay.shape_of(step.inputs[0])), dtype)
            source = source.view(len(mine), 1, *replay.shape_of(step.inputs[0]))
            target = target.view(len(mine), 1, *step.shape)
            rows[mine] = replay.only(region[mine] - 1).backward(source, step.inputs[0]).flatten(1)
            name = network.output_name
            columns[mine] = (
                replay.only(region[mine]).forward(target, step.output, [name], affine=False)[name].flatten(1)
            )
    return columns, rows


def _jump(step: GateStep, flips: Flips, inputs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The change of a gate's own matrix, an outer product: what it reads ``(F, inputs)``, and writes ``(F, units)``."""
    index = torch.arange(len(flips.unit), device=flips.unit.device)
    source = torch.zeros(len(index), inputs, dtype=dtype, device=index.device)
    target = torch.zeros(len(index), step.units, dtype=dtype, device=index.device)
    if isinstance(step.gate, Selection):
        windows = step.gate.windows[flips.unit]
        source[index, windows[index, flips.before]] -= 1
        source[index, windows[index, flips.after]] += 1
        target[index, flips.unit] = 1
    else:
        source[index, flips.unit] = 1
        column = flips.unit if step.gate.slopes.shape[1] > 1 else torch.zeros_like(flips.unit)
        target[index, flips.unit] = step.gate.slopes[flips.after, column] - step.gate.slopes[flips.before, column]
    return source, target
