"""Intervals that bounds leave in doubt go before the judge: the class is proven from x up to the ends."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from relu_regions.exactness.judge import judge, leader
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
    lines: LineBatch, numbers: Tensor, lo: Tensor, hi: Tensor, decision: Decision, memory_budget: int | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Walk some lines from one end of their interval to the other, the decision one more gate, and have that judged.

    The judge proves each region's pattern, and the decision's part of it is the class: so no class can take over and
    fall back between x and an end without being seen.

    Args:
        numbers: of the lines, ``(K,)`` int64.
        lo, hi: where their intervals seem to end, ``(K,)`` float64.

    Returns:
        Which of them are confirmed, ``(K,)`` bool; and for these their numbers among the lines and the attributes
        ``lo``, ``hi``, ``label``, ``label_lo``, ``label_hi``, ``lo_error``, ``hi_error`` of an Interval.
    """
    network = lines.network.derived(("decision", decision), lambda: _with_decision(lines, decision))
    low, high = _range(lines.low[numbers], lines.high[numbers], lo, hi)
    around = LineBatch(network, lines.x[numbers], lines.d[numbers], low, high)
    paths = collected(around, None, memory_budget)
    claims = claims_of(around, paths, torch.arange(len(numbers), device=numbers.device))
    exact = network.to(torch.float64, lines.x.device)
    verdict, (place, sure) = judge(exact, claims), leader(exact, claims.x)
    ends = [_ends(paths, k, verdict.t_error, int(place[k])) for k in range(len(numbers))]
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
    good = verdict.confirmed & sure & whole
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


def _ends(paths: Paths, line: int, t_error: Tensor, label: int) -> dict[str, float | int | bool]:
    """The ends of one interval, from the flips of the decision; labels are its pieces, -1 where there is no flip.

    ``whole`` is False where the flips do not say what the class is on both sides of x: an end at x itself, within its
    error, or one that a unit's flip makes, so that two logits may be equal on a stretch, not just at the end.
    """
    rows, gate = paths[line].rows, len(paths.first_patterns) - 1
    flips = paths.flips[(paths.flips.row > rows.start) & (paths.flips.row < rows.stop)]
    alone = torch.bincount(flips.row - rows.start, minlength=1)
    flips = flips[flips.gate == gate]
    t, errors = paths.t.double()[flips.row], t_error[flips.row - 2 * line - 1]
    found: dict[str, float | int | bool] = {}
    whole = bool((t.abs() > errors).all())
    piece = int(paths.first_patterns[gate][line, 0])
    above, below = (t > 0).nonzero()[:1, 0], (t <= 0).nonzero()[-1:, 0]
    if len(below):
        piece = int(flips.after[below])
    for name, at, other in (("lo", below, flips.before), ("hi", above, flips.after)):
        found[name], found[f"{name}_error"] = (float(part[at]) if len(at) else 0.0 for part in (t, errors))
        found[f"label_{name}"] = int(other[at]) if len(at) else -1
        whole = whole and (not len(at) or int(alone[flips.row[at] - rows.start]) == 1)
    return found | {"whole": whole and piece == label}
