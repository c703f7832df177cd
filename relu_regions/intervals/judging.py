"""Intervals that bounds leave in doubt go before the judge: the class is proven from x up to the ends."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.exactness.can_tie import can_tie
from relu_regions.exactness.cascade import proven
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
    proof = proven(network, claims, effort, at_x=True)
    columns, whole = _ends(_Turns.of(paths, proof.t_error), paths.first_patterns[-1][:, 0], proof.leader)
    for name, end, given in (("lo", low, lines.low[numbers]), ("hi", high, lines.high[numbers])):
        reaches = columns[f"label_{name}"] < 0
        columns[name] = torch.where(reaches, given, columns[name])
        whole &= ~reaches | (end == given)
        columns[f"label_{name}"] = decision.named(columns[f"label_{name}"])
    columns["label"] = decision.named(proof.leader)
    good = proof.confirmed & whole
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


def _ends(turns: _Turns, piece: Tensor, label: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The ends of intervals; labels are pieces of the decision, -1 where it does not change.

    Args:
        turns: of all lines, and in order of t on each.
        piece: of the decision in each line's first region, ``(N,)``.
        label: the class at x, as a piece; -1 where it is not known.

    Returns:
        The attributes, and where the turns say what the class is on both sides of x, ``(N,)`` bool. They don't at an
        end at x itself, within its error, or one that a unit's flip makes, so that two logits may be equal on a
        stretch, not just at the end.
    """
    counts, lower, close = (
        torch.bincount(turns.line[some], minlength=len(label))
        for some in (slice(None), turns.t <= 0, ~(turns.t.abs() > turns.error))
    )
    above = counts.cumsum(0) - counts + lower
    ends = {"lo": (above - 1, lower > 0, turns.before), "hi": (above, lower < counts, turns.after)}
    found: dict[str, Tensor] = {}
    whole = close == 0
    for name, (place, there, other) in ends.items():
        # Behind the last turn is one that stands for none.
        at = torch.where(there, place, len(turns.t))
        t, error, beyond, after, alone = (
            torch.nn.functional.pad(part, (0, 1))[at]
            for part in (turns.t, turns.error, other, turns.after, turns.alone)
        )
        found |= {name: t, f"{name}_error": error, f"label_{name}": torch.where(there, beyond, -1)}
        whole &= ~there | alone
        if name == "lo":
            piece = torch.where(there, after, piece)
    return found, whole & (piece == label)
