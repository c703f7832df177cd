"""What bounds leave in doubt goes before the judge: it confirms whole lines of a walk by an evaluation of its own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from relu_regions.exactness.cascade import proven
from relu_regions.exactness.effort import Effort
from relu_regions.exactness.judge import Claims
from relu_regions.lines.line_batch import LineBatch
from relu_regions.paths.paths import Paths

__all__ = ["claims_of", "with_confirmed"]


def claims_of(lines: LineBatch, paths: Paths, numbers: Tensor) -> Claims:
    """What paths in float64 say of some lines, ``(K,)`` int64 in increasing order."""
    counts = paths.offsets.diff()
    inner = torch.zeros_like(counts, dtype=torch.bool)
    inner[numbers] = True
    inner = inner.repeat_interleave(counts)
    inner[paths.offsets[:-1]], inner[paths.offsets[1:] - 1] = False, False
    place, flips = inner.cumsum(0) - 1, paths.flips[inner[paths.flips.row]].ordered()
    return Claims(
        x=paths.x[numbers],
        d=paths.d[numbers],
        low=lines.low[numbers],
        high=lines.high[numbers],
        offsets=torch.nn.functional.pad((counts[numbers] - 2).cumsum(0), (1, 0)),
        t=paths.t[inner],
        first_patterns=tuple(pieces[numbers] for pieces in paths.first_patterns),
        point=place[flips.row],
        gate=flips.gate,
        unit=flips.unit,
        before=flips.before,
        after=flips.after,
    )


def with_confirmed(lines: LineBatch, paths: Paths, effort: Effort) -> Paths:
    """Paths in float64: those in doubt that the judge confirms are marked certain, and bend within its bounds."""
    numbers = (~paths.certain).nonzero()[:, 0]
    if not len(numbers):
        return paths
    claims = claims_of(lines, paths, numbers)
    proof = proven(lines.network, claims, effort)
    judged, digits = torch.zeros_like(paths.certain), torch.zeros_like(paths.certain)
    judged[numbers], digits[numbers] = proof.confirmed, proof.digits
    chosen = proof.confirmed.repeat_interleave(claims.offsets.diff())
    counts = paths.offsets.diff()
    bends = judged.repeat_interleave(counts)
    bends[paths.offsets[:-1]], bends[paths.offsets[1:] - 1] = False, False
    t_error = paths.t_error
    if t_error is not None:
        t_error = t_error.masked_fill(judged.repeat_interleave(counts), 0.0)
        t_error[bends] = proof.t_error[chosen]
    certain = paths.certain | judged
    return replace(paths, certain=certain, judged=judged, digits=digits, t_error=t_error)
