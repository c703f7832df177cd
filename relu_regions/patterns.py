"""Activation patterns: at points, and of the regions that a walk crossed, rebuilt from their flips."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relu_regions.gates import Gate, Maximum
from relu_regions.network import Network
from relu_regions.points import Flips
from relu_regions.steps import AffineStep

if TYPE_CHECKING:
    from relu_regions.paths import Paths

__all__ = ["activation_patterns", "flips_between", "pattern_keys", "patterns_along", "region_keys", "segments_of"]


def activation_patterns(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    """The pieces of every unit at points.

    A unit exactly on a knot is on the piece below it, and of several inputs that attain a maximum the first counts.
    Where x lies on a boundary, this may be the pattern of a region without interior.

    Args:
        network: in x's dtype, on its device.
        x: ``(N, *input_shape)``.

    Returns:
        For each gate ``(N, units)`` int64.
    """
    values = {network.input_name: x}
    patterns = []
    for step, released in zip(network.steps, network.releases):
        inputs = [values[name] for name in step.inputs]
        if isinstance(step, AffineStep):
            values[step.output] = step(*inputs)
        else:
            flat = inputs[0].reshape(len(x), prod(inputs[0].shape[1:]))
            patterns.append(_pieces(step.gate, flat))
            values[step.output] = step.gate.apply(flat).view(-1, *step.shape)
        for name in released:
            del values[name]
    return tuple(patterns)


def _pieces(gate: Gate, values: Tensor) -> Tensor:
    if isinstance(gate, Maximum):
        return gate.candidates(values).argmax(-1)
    return (values > gate.knots.unsqueeze(1)).sum(0)


def segments_of(paths: Paths, start: int, stop: int) -> Tensor:
    """The segments that regions start to stop lie on, ``(stop - start,)`` int64."""
    regions = torch.arange(start, stop, device=paths.offsets.device)
    return torch.bucketize(regions, paths.region_offsets[1:], right=True)


def flips_between(paths: Paths, first_row: int, last_row: int) -> tuple[Flips, Tensor]:
    """The flips at points first_row to last_row, the last included.

    Returns:
        The flips, in order, and the number of the region that each of them opens, ``(F,)`` int64.
    """
    ends = torch.tensor([first_row, last_row + 1], device=paths.offsets.device)
    lower, upper = torch.searchsorted(paths.flips.row, ends).tolist()
    flips = paths.flips[torch.arange(lower, upper, device=ends.device)]
    return flips, flips.row - torch.bucketize(flips.row, paths.offsets[1:], right=True)


def patterns_along(paths: Paths, start: int, stop: int) -> tuple[Tensor, ...]:
    """The patterns of the consecutive regions start to stop.

    Args:
        paths: what a walk found.
        start, stop: numbers of regions, as in ``paths.region_offsets``.

    Returns:
        For each gate ``(stop - start, units)`` int64.
    """
    if stop <= start:
        return tuple(first[:0] for first in paths.first_patterns)
    segment = segments_of(paths, start, stop)
    head = torch.cat([segment.new_zeros(1), segment.diff().nonzero()[:, 0] + 1])
    run = torch.bucketize(torch.arange(len(segment), device=segment.device), head[1:], right=True)
    flips, region = flips_between(paths, int(paths.offsets[segment[0]]), stop - 1 + int(segment[-1]))
    # What flips before the first region of all counts there.
    place = (region - start).clamp_min(0)
    result = []
    for gate, first in enumerate(paths.first_patterns):
        here = flips.gate == gate
        # The changes of one unit's piece telescope, so their running sum is its piece, in integers. Units come first
        # here because running sums are several times faster along the last dimension.
        total = first.new_zeros(first.shape[1], len(segment))
        total.index_put_((flips.unit[here], place[here]), (flips.after - flips.before)[here], accumulate=True)
        total = total.cumsum(1).T
        base = first[segment[head]]
        base[1:] -= total[head[1:] - 1]
        result.append(base[run] + total)
    return tuple(result)


# ---------------------------------------------------------------- keys

Words = NDArray[np.uint64]


def pattern_keys(network: Network, patterns: tuple[Tensor, ...]) -> list[str]:
    """A name for each pattern, the same for equal patterns of a network: 128 bits, as 32 hexadecimal digits.

    It is the sum, modulo 2^64 and twice, of a random number for each unit's piece (Zobrist, A New Hashing Method with
    Application for Game Playing, 1970), so that a flip changes it by a difference. Two different patterns share a key
    by a chance of 2^-128.

    Args:
        network: that the patterns are of.
        patterns: for each gate ``(R, units)`` int64.
    """
    return _digits(_sums(_tables(network), patterns, len(patterns[0]) if patterns else 1))


def region_keys(paths: Paths) -> list[str]:
    """The key of each region that a walk crossed, without building the patterns."""
    tables = _tables(paths.network)
    flips, region = flips_between(paths, 0, len(paths.position) - 1)
    changes = np.zeros((len(region) + 1, 2), np.uint64)
    gate, unit, before, after = (part.cpu().numpy() for part in (flips.gate, flips.unit, flips.before, flips.after))
    for number, table in enumerate(tables):
        mine = np.flatnonzero(gate == number)
        changes[mine + 1] = table[unit[mine], after[mine]] - table[unit[mine], before[mine]]
    total = changes.cumsum(0, dtype=np.uint64)
    count = int(paths.region_offsets[-1])
    segment = segments_of(paths, 0, count).cpu().numpy()
    done = np.searchsorted(region.cpu().numpy(), np.arange(count), side="right")
    opening = done[paths.region_offsets[:-1].cpu().numpy()]
    return _digits(_sums(tables, paths.first_patterns, len(paths))[segment] + total[done] - total[opening[segment]])


def _tables(network: Network) -> list[Words]:
    """Random numbers for each unit and piece of each gate, ``(units, pieces, 2)``; always the same ones."""
    shapes = [(step.units, step.gate.piece_count, 2) for step in network.gates]
    return [
        np.random.Philox(key=gate).random_raw(int(np.prod(shape))).reshape(shape) for gate, shape in enumerate(shapes)
    ]


def _sums(tables: list[Words], patterns: tuple[Tensor, ...], count: int) -> Words:
    sums = np.zeros((count, 2), np.uint64)
    for table, pieces in zip(tables, patterns):
        for row, chosen in enumerate(pieces.cpu().numpy()):
            sums[row] += table[np.arange(len(chosen)), chosen].sum(0, dtype=np.uint64)
    return sums


def _digits(words: Words) -> list[str]:
    return [f"{high:016x}{low:016x}" for high, low in words.tolist()]
