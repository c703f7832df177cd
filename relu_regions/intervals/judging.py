"""Intervals that bounds leave in doubt go before the judge: the class is proven from x up to the ends."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.exactness.can_tie import can_tie
from relu_regions.exactness.cascade import leading, proven
from relu_regions.exactness.effort import Effort
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import LineBatch
from relu_regions.network.gates import Maximum
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep, Origin, Step
from relu_regions.paths.paths import Paths
from relu_regions.walking.judging import claims_of
from relu_regions.walking.walker import collected

__all__ = ["confirmed"]

# How much farther than to its ends a line is walked, relative to the interval: the ends must lie inside.
_BEYOND = 2.0**-16


def confirmed(
    lines: LineBatch,
    numbers: Tensor,
    lo: Tensor,
    hi: Tensor,
    decision: Decision,
    effort: Effort,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Walk some lines from one end of their interval to the other, the decision one more gate, and have that judged.

    The judge proves each region's pattern, and the decision's part of it is the class: so no class can take over and
    fall back between x and an end without being seen.

    Args:
        lines: in float64.
        numbers: of the lines, ``(K,)`` int64.
        lo, hi: where their intervals seem to end, ``(K,)`` float64.
        effort: that the judge may make.

    Returns:
        Which of them are confirmed, ``(K,)`` bool; and for these their numbers among the lines and the attributes
        ``lo``, ``hi``, ``label``, ``label_lo``, ``label_hi``, ``lo_error``, ``hi_error``, ``digits`` of an Interval.
    """
    network = lines.network.derived(("decision", decision), lambda: _with_decision(lines, decision))
    low, high = _range(lines.low[numbers], lines.high[numbers], lo, hi)
    around = LineBatch(network, lines.x[numbers], lines.d[numbers], low, high)
    # Where numbers can be equal by construction, a walk with bounds gives them one value, so that they bend together.
    certainty = Certainty.of(network, low.dtype) if can_tie(network) else None
    paths = collected(around, certainty, effort.memory_budget)
    claims = claims_of(around, paths, torch.arange(len(numbers), device=numbers.device))
    proof, (place, sure) = proven(network, claims, effort), leading(network, claims.x)
    turns, first = _Turns.of(paths, proof.t_error), paths.first_patterns[-1][:, 0].tolist()
    ends = [_ends(turns.on(k), first[k], int(place[k])) for k in range(len(numbers))]
    columns = {name: torch.tensor([end[name] for end in ends], device=low.device) for name in ("label_lo", "label_hi")}
    for name in ("lo", "hi", "lo_error", "hi_error"):
        columns[name] = torch.tensor([end[name] for end in ends], dtype=torch.float64, device=low.device)
    whole = torch.tensor([end["whole"] for end in ends], device=low.device)
    for name, end, given in (("lo", low, lines.low[numbers]), ("hi", high, lines.high[numbers])):
        reaches = columns[f"label_{name}"] < 0
        columns[name] = torch.where(reaches, given, columns[name])
        whole &= ~reaches | (end == given)
        columns[f"label_{name}"] = decision.named(columns[f"label_{name}"])
    columns["label"] = decision.named(place)
    good = proof.confirmed & sure & whole
    columns["digits"] = proof.digits
    return good, {name: column[good] for name, column in columns.items()}


def _with_decision(lines: LineBatch, decision: Decision) -> Network:
    """The network with one more gate: the largest of the logits that compete."""
    network, windows = lines.network, torch.tensor([decision.classes], device=lines.x.device)
    logits, steps = network.output_name, list[Step](network.steps)
    if decision.outputs == 1:
        steps.append(AffineStep("competing logits", (logits,), (2,), Origin("", "decision"), _beside_zero))
        logits = "competing logits"
    steps.append(GateStep("decision", (logits,), (1,), Origin("", "decision"), Maximum(windows)))
    return replace(network, steps=tuple(steps))


def _beside_zero(output: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(output), output], 1)


def _range(low: Tensor, high: Tensor, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    """A little beyond both ends, and no farther than the range."""
    ends = torch.stack([lo, hi])
    reach = torch.where(torch.isfinite(ends), ends, 0.0).abs().amax(0)
    away = _BEYOND * torch.where(reach > 0, reach, 1.0)
    return torch.maximum(low, lo - away), torch.minimum(high, hi + away)


class _Turns(NamedTuple):
    """Where the decision changes on some lines, ``(F,)`` each: the line, t and its error, the classes, and whether
    nothing else flips there.
    """

    line: Tensor
    t: Tensor
    error: Tensor
    before: Tensor
    after: Tensor
    alone: Tensor

    @classmethod
    def of(cls, paths: Paths, t_error: Tensor) -> _Turns:
        """Those of paths whose last gate is the decision; t_error is that of their inner points."""
        counts = torch.bincount(paths.flips.row)
        flips = paths.flips[paths.flips.gate == len(paths.first_patterns) - 1].ordered()
        line = torch.bucketize(flips.row, paths.offsets[1:], right=True)
        error = t_error[flips.row - 2 * line - 1]
        return cls(line, paths.t[flips.row], error, flips.before, flips.after, counts[flips.row] == 1)

    def on(self, line: int) -> _Turns:
        """Those of one line."""
        own = self.line == line
        return _Turns(*(part[own] for part in self))


def _ends(turns: _Turns, piece: int, label: int) -> dict[str, float | int | bool]:
    """The ends of one interval; labels are pieces of the decision, -1 where it does not change.

    ``whole`` is False where the turns do not say what the class is on both sides of x: an end at x itself, within its
    error, or one that a unit's flip makes, so that two logits may be equal on a stretch, not just at the end.

    Args:
        turns: of the line, in order of t.
        piece: of the decision in the line's first region.
        label: the class at x, as a piece.
    """
    found: dict[str, float | int | bool] = {}
    whole = bool((turns.t.abs() > turns.error).all())
    above, below = (turns.t > 0).nonzero()[:1, 0], (turns.t <= 0).nonzero()[-1:, 0]
    if len(below):
        piece = int(turns.after[below])
    for name, at, other in (("lo", below, turns.before), ("hi", above, turns.after)):
        found[name], found[f"{name}_error"] = (float(part[at]) if len(at) else 0.0 for part in (turns.t, turns.error))
        found[f"label_{name}"] = int(other[at]) if len(at) else -1
        whole = whole and (not len(at) or bool(turns.alone[at]))
    return found | {"whole": whole and piece == label}
