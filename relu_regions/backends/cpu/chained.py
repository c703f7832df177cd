"""A chain on a CPU: block after block of segments, each small enough to stay near the processor on its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from relu_regions.backends.cpu.chain_block import WORTH_SHARING, Block, Done, Start
from relu_regions.backends.points import Flips, Passed, Points
from relu_regions.backends.threads import each_on_one_thread
from relu_regions.network.arrays import Numbers
from relu_regions.network.chains import Chain

__all__ = ["through"]


def through(
    chain: Chain, points: Points, record: bool, bounded: bool, allowance: int, each: float | None, threads: int
) -> Passed | None:
    """Take a stack of points through all gates and matrices of a chain in one go.

    Args:
        points: at the chain's first gate.
        record: whether to keep flips and patterns.
        bounded: whether to carry error bounds.
        allowance: bytes that the stack may take.
        each: what a segment took on its way through this chain before; None where nothing is known.
        threads: how many may work at once.

    Returns:
        None where the points would take more memory than allowed, or where a unit lies exactly on its knot at a point
        and patterns are asked for.
    """
    segments, start = len(points.segments), Start(chain, points, record, bounded)
    done: list[Done] = []
    if each is None:
        first = Block(start, 0, start.at_first(len(points) / max(1, segments))).walk(allowance)
        if first is None:
            return None
        done, each = [first], first.most / first.segments
        allowance -= first.bytes * segments // first.segments
    done += _walked(start.blocks(sum(block.segments for block in done), each), allowance, threads)
    if sum(block.segments for block in done) < segments:
        return None
    return Passed(_joined(start, points, done, threads), max(block.most / block.segments for block in done))


def _walked(blocks: list[Block], allowance: int, threads: int) -> list[Done]:
    """The blocks, walked one after another or on several threads; they end before the first that cannot go on."""
    done: list[Done] = []
    if threads < 2 or len(blocks) < 2:
        for block in blocks:
            walked = block.walk(allowance)
            if walked is None:
                break
            done.append(walked)
        return done
    several = each_on_one_thread(lambda block: block.walk(allowance // threads), blocks, threads)
    done = [walked for walked in several if walked is not None]
    return done if len(done) == len(blocks) else []


def _joined(start: Start, points: Points, done: list[Done], threads: int) -> Points:
    """The blocks of a stack as one."""
    chain = start.chain
    values = _values(start, done, threads)
    for block, top in zip(done[1:], accumulate(block.count for block in done)):
        block.flips[0] += top
        block.offsets = block.offsets[1:] + top
    flips = Flips(*torch.from_numpy(_together([block.flips for block in done], 1)))
    first, last = points.first, points.last
    if start.record:
        ends = list(zip(*(block.ends for block in done)))
        first = first | {link.number: _of_blocks([end[0] for end in own]) for link, own in zip(chain.links, ends)}
        last = last | {link.number: _of_blocks([end[1] for end in own]) for link, own in zip(chain.links, ends)}
    return replace(
        points,
        offsets=_of_blocks([block.offsets for block in done]),
        position=_kept([block.points.position for block in done], done),
        weight=None if points.weight is None else _kept([block.points.weight for block in done], done),
        values={chain.links[-1].step.output: values},
        step=chain.start + 2 * len(chain.links),
        flips=flips if all(block.ordered for block in done) else flips.ordered(),
        uncertain=points.uncertain | _of_blocks([block.uncertain for block in done]),
        errors=_errors(start, points, done),
        first=first,
        last=last,
        at_x=_at_x(done) if start.ends else None,
    )


def _values(start: Start, done: list[Done], threads: int) -> Tensor:
    """The values behind the chain's last matrix at the points that stay; this also finds them at x."""
    tops = list(accumulate((block.count for block in done), initial=0))
    values = np.empty((tops[-1], done[0].products.values.shape[1]), start.value.dtype)
    parts = [(block, values[slice(*bounds)]) for block, bounds in zip(done, pairwise(tops))]
    each_on_one_thread(lambda part: part[0].write(part[1]), parts, threads if values.nbytes > WORTH_SHARING else 1)
    return torch.from_numpy(values)


def _errors(start: Start, points: Points, done: list[Done]) -> dict[str, Tensor]:
    """The bounds at the points that stay; behind the network's last step nobody asks for that of the values."""
    name, weighted = start.chain.links[-1].step.output, points.weight is not None
    wanted = {name: not start.ends, "shift": True, "position": True, "weight": weighted}
    if not start.bounded:
        return {}
    return {
        part: _kept([block.errors[row] for block in done], done)
        for row, (part, asked) in enumerate(wanted.items())
        if asked
    }


def _at_x(done: list[Done]) -> tuple[Tensor, Tensor]:
    """Which segments pass x, and the output there."""
    tops = accumulate((block.segments for block in done), initial=0)
    passing = [block.passing + top for block, top in zip(done, tops)]
    return _of_blocks(passing), _of_blocks([block.at_x for block in done])


def _together(parts: Sequence[Numbers], axis: int = 0) -> Numbers:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)


def _of_blocks(parts: Sequence[Numbers]) -> Tensor:
    """The numbers of all blocks, one block after another."""
    return torch.from_numpy(_together(parts))


def _kept(parts: list[Numbers], done: list[Done]) -> Tensor:
    """Numbers of the points of all blocks, those that stay."""
    if len(parts) == 1 and done[0].kept is None:
        return torch.from_numpy(parts[0])
    counts = [len(part) if block.kept is None else len(block.kept) for part, block in zip(parts, done)]
    result, top = np.empty((sum(counts), *parts[0].shape[1:]), parts[0].dtype), 0
    for part, block, count in zip(parts, done, counts):
        if block.kept is None:
            result[top : top + count] = part
        else:
            np.take(part, block.kept, 0, result[top : top + count], "clip")
        top += count
    return torch.from_numpy(result)
