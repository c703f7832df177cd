"""Walks in float32 that are proven: what float32 leaves in doubt is walked in float64, and rounded."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from relu_regions.lines.line_batch import LineBatch
from relu_regions.paths.paths import Paths
from relu_regions.walking.splicing import Splice, with_rows

__all__ = ["in_float32", "with_lines"]


def in_float32(paths: Paths, lines: LineBatch) -> Paths:
    """Paths in float64 as those of the same lines in float32; bounds of positions cover the rounding.

    Args:
        lines: in float32.
    """
    here = paths.t.to(torch.float32)
    weight = torch.ones_like(here) if paths.weight is None else _weights(paths.t, here)
    column = (-1, *[1] * (paths.values.ndim - 1))
    finite, plain = weight.view(column) > 0, weight == 1
    values = torch.where(finite, paths.outputs * weight.view(column), paths.values)
    t_error = paths.t_error
    if t_error is not None:
        room = 1 + 4 * torch.finfo(torch.float64).eps
        t_error = _rounded_up((t_error + torch.where(weight > 0, (here.double() - paths.t).abs(), 0.0)) * room)
    return replace(
        paths,
        network=lines.network,
        x=lines.x,
        d=lines.d,
        position=torch.where(plain, here, paths.t.sign().to(torch.float32)),
        weight=None if paths.weight is None else weight,
        values=values.to(torch.float32),
        outputs_at_x=paths.outputs_at_x.to(torch.float32),
        t_error=t_error,
    )


def with_lines(paths: Paths, numbers: list[int], others: Paths) -> Paths:
    """The paths with some segments replaced by others, those of the same lines.

    Args:
        numbers: of the segments, K of them, in increasing order.
        others: K segments.
    """
    splice = Splice.of(paths.offsets, numbers, others.offsets.diff().tolist())
    weight = torch.ones_like(others.position) if others.weight is None else others.weight
    assert paths.t_error is not None and others.t_error is not None  # both are walked with bounds
    first = zip(paths.first_patterns, others.first_patterns)
    flips = replace(others.flips, row=splice.fresh[others.flips.row])
    return replace(
        paths,
        offsets=splice.offsets,
        position=splice.points(paths.position, [others.position]),
        weight=None if paths.weight is None else splice.points(paths.weight, [weight]),
        values=splice.points(paths.values, [others.values]),
        outputs_at_x=with_rows(paths.outputs_at_x, numbers, others.outputs_at_x),
        first_patterns=tuple(with_rows(old, numbers, new) for old, new in first),
        flips=splice.placed(paths.flips, flips),
        t_error=splice.points(paths.t_error, [others.t_error]),
        certain=with_rows(paths.certain, numbers, others.certain),
        settled=with_rows(paths.settled, numbers, others.settled),
        judged=with_rows(paths.judged, numbers, others.judged),
        digits=with_rows(paths.digits, numbers, others.digits),
    )


def _weights(t: Tensor, here: Tensor) -> Tensor:
    """Homogeneous coordinates in float32: 1, 0 at infinity, and between them where t is too large for float32."""
    between = (1 / t.abs()).to(torch.float32).clamp_min(torch.finfo(torch.float32).smallest_normal * 2.0**-23)
    return torch.where(torch.isfinite(here), 1.0, torch.where(torch.isfinite(t), between, 0.0))


def _rounded_up(bounds: Tensor) -> Tensor:
    """Bounds in float32, no smaller than they are."""
    other = bounds.to(torch.float32)
    return torch.where(other.double() < bounds, torch.nextafter(other, torch.full_like(other, torch.inf)), other)
