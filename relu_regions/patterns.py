"""Activation patterns: at points, and of the regions that a walk crossed, rebuilt from their flips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from relu_regions.gates import Gate, Maximum
from relu_regions.network import Network
from relu_regions.steps import AffineStep

if TYPE_CHECKING:
    from relu_regions.paths import Paths

__all__ = ["activation_patterns", "flips_between", "patterns_along", "segments_of"]


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
    for step, released in zip(network.steps, network.releases()):
        inputs = [values[name] for name in step.inputs]
        if isinstance(step, AffineStep):
            values[step.output] = step(*inputs)
        else:
            flat = inputs[0].flatten(1)
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


def flips_between(paths: Paths, first_row: int, last_row: int) -> tuple[slice, Tensor]:
    """The flips at points first_row to last_row, the last included, and the regions that they open.

    Returns:
        Where they stand in ``paths.flips``, and the number of each one's region, ``(F,)`` int64.
    """
    ends = torch.tensor([first_row, last_row + 1], device=paths.offsets.device)
    lower, upper = torch.searchsorted(paths.flips.row, ends).tolist()
    row = paths.flips.row[lower:upper]
    return slice(lower, upper), row - torch.bucketize(row, paths.offsets[1:], right=True)


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
    chosen, region = flips_between(paths, int(paths.offsets[segment[0]]), stop - 1 + int(segment[-1]))
    # What flips before the first region of all counts there.
    place = (region - start).clamp_min(0)
    flips = paths.flips[chosen]
    result = []
    for gate, first in enumerate(paths.first_patterns):
        here = flips.gate == gate
        # The changes of one unit's piece telescope, so their running sum is its piece, in integers.
        total = first.new_zeros(len(segment), first.shape[1])
        total.index_put_((place[here], flips.unit[here]), (flips.after - flips.before)[here], accumulate=True)
        total = total.cumsum(0)
        base = first[segment[head]]
        base[1:] -= total[head[1:] - 1]
        result.append(base[run] + total)
    return tuple(result)
