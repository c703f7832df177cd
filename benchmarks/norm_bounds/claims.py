"""What appendix A of the paper claims, each with the number that decides it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from norm_bounds.networks import STATES
from norm_bounds.ratios import SOURCES

__all__ = ["judged"]

Record = dict[str, Any]

# A claim about "most" inputs or segments is one about more than this share.
MOST = 0.9


def judged(main: Sequence[Record], sweep: Sequence[Record], small: Sequence[Record]) -> list[Record]:
    """Every claim with its measure and verdict.

    Args:
        main: records of the paper's own architecture, 3 layers of 128.
        sweep: of other widths and depths, the main one too; those that did not learn all labels count for bounds alone.
        small: of the networks small enough for a MILP.
    """
    # What training has done to norms is seen in networks that it has taught their labels.
    learnt = [r for r in sweep if r["state"] == STATES[0] or not r["training_errors"]]
    return [
        _product([*main, *sweep, *small]),
        _linear(main, sweep, small),
        _magnitude(main, learnt),
        *(_wider(learnt) if learnt else []),
        _assumption(main),
        _few_regions(main),
        _identity(main),
        _chain_bound(main),
        _consequence(main),
        _radius(main, small),
        _assumed_radius(main, small),
    ]


def _claim(text: str, measured: str, verdict: str) -> Record:
    return {"claim": text, "measured": measured, "verdict": verdict}


def _product(records: Sequence[Record]) -> Record:
    largest, number = max(r["largest_by_product"] for r in records), sum(_regions(r) for r in records)
    return _claim(
        "‖W_x‖ ≤ Π ‖W_l‖ on every region",
        f"largest quotient {largest:.3g} on {number:,} inputs and regions of {len(records)} networks",
        f"{_holds(largest <= 1)}: at most {largest:.3g} of it",
    )


def _linear(main: Sequence[Record], sweep: Sequence[Record], small: Sequence[Record]) -> Record:
    parts = []
    for title, records in (("main", main), ("other widths and depths", sweep), ("12-12 units", small)):
        if not records:
            continue
        shares = [s["share_above_1"] for r in records for s in r["ratios"]]
        found = max(s["largest"] for r in records for s in r["ratios"])
        parts.append(f"{title}: up to {found:.3g} ‖W‖, above ‖W‖ {min(shares):.1%} to {max(shares):.1%}")
    largest = max(s["largest"] for r in [*main, *sweep, *small] for s in r["ratios"])
    return _claim(
        "‖W_x‖ ≤ ‖W‖ is not guaranteed",
        f"{'; '.join(parts)}; relu(2x) + relu(−x) has 2 for x > 0 where ‖W‖ = 1",
        f"{_holds(largest > 1)}: up to {largest:.3g} ‖W‖",
    )


def _magnitude(main: Sequence[Record], sweep: Sequence[Record]) -> Record:
    text, least = [], 1.0
    for state in STATES:
        shares = [s["share_within_factor_2"] for r in _of(main, state) for s in r["ratios"]]
        medians = [s["quantiles"]["0.5"] for r in _of(main, state) for s in r["ratios"]]
        wide = [s["share_within_factor_10"] for r in _of(main, state) for s in r["ratios"]]
        least = min(least, *wide)
        text.append(
            f"{state}: median ratio {min(medians):.2g} to {max(medians):.2g}, within a factor of 2 of ‖W‖ "
            f"{np.mean(shares):.0%}, of 10 at least {min(wide):.1%}"
        )
    far = sorted({_shape(r) for r in sweep if min(s["share_within_factor_10"] for s in r["ratios"]) <= MOST})
    medians = [s["quantiles"]["0.5"] for r in sweep if _shape(r) in far for s in r["ratios"]]
    if far:
        text.append(f"{', '.join(far)}: median ratio {min(medians):.2g} to {max(medians):.2g}")
    return _claim(
        "for most x, ‖W_x‖ is of the magnitude of ‖W‖",
        "; ".join(text),
        f"{_holds(least > MOST)} at 3×128 within a factor of 10, for at least {least:.1%} of inputs"
        + (f"; does not hold at {', '.join(far)}" if far else ""),
    )


def _shape(record: Record) -> str:
    return f"{len(record['hidden'])}×{record['hidden'][0]} ({record['state']})"


def _wider(sweep: Sequence[Record]) -> list[Record]:
    """Nearness of the median to 1, and spread, by width."""
    measures: list[tuple[str, str, Callable[[Record], float]]] = [
        (
            "the wider the layers, the closer ‖W_x‖ is to ‖W‖",
            "|log10 of the median ratio|",
            lambda s: abs(float(np.log10(s["quantiles"]["0.5"]))),
        ),
        (
            "the wider the layers, the less ‖W_x‖ differs from region to region",
            "log10 of the 95 % by the 5 % quantile",
            lambda s: float(np.log10(s["quantiles"]["0.95"] / s["quantiles"]["0.05"])),
        ),
    ]
    claims = []
    for text, name, measure in measures:
        parts, verdicts, short = [], [], []
        for state in STATES:
            columns: dict[int, list[float]] = {}
            for record in _of(sweep, state):
                if len(record["hidden"]) == 3:
                    for summary in record["ratios"]:
                        columns.setdefault(record["hidden"][0], []).append(measure(summary))
            if len(columns) < 2:
                parts.append(f"{state}: fewer than two widths that learned their labels")
                continue
            widths = sorted(columns)
            values = [float(np.mean(columns[width])) for width in widths]
            correlation = float(stats.spearmanr(widths, values).statistic) if len(widths) > 2 else float("nan")
            falls = values[-1] < values[0] and not correlation > -0.8
            verdicts.append((state, falls))
            short.append(f"{state} {values[0]:.2f} and {values[-1]:.2f}")
            parts.append(
                f"{state}: {values[0]:.2f} at {widths[0]}, {values[-1]:.2f} at {widths[-1]} "
                f"(rank correlation {correlation:.2f})"
            )
        good = [state for state, falls in verdicts if falls]
        verdict = "no verdict"
        if verdicts:
            verdict = f"holds for {', '.join(good)} only" if good else "does not hold"
            verdict = "holds" if len(good) == len(STATES) else verdict
            verdict += f": {name} at {widths[0]} and {widths[-1]} units, {'; '.join(short)}"
        claims.append(_claim(text, f"{name}, {'; '.join(parts)}", verdict))
    return claims


def _assumption(main: Sequence[Record]) -> Record:
    parts, largest = [], 0.0
    for state in STATES:
        by_source = {
            source: max(s["K_of_99_percent"] for r in _of(main, state) for s in r["ratios"] if s["source"] == source)
            for source in SOURCES
        }
        largest = max(largest, *by_source.values())
        parts.append(f"{state}: " + ", ".join(f"{k:.2f} ({source})" for source, k in by_source.items()))
    return _claim(
        "norm distribution assumption: 99 % of inputs have ‖W_x‖ ≤ K ‖W‖ with a K of the order of 1",
        "largest K over the seeds: " + "; ".join(parts),
        f"{_holds(largest <= 3)} with K = {largest:.2f}",
    )


def _few_regions(main: Sequence[Record]) -> Record:
    shares = {
        s: np.mean([r["segment_changes"]["share_with_at_most_3_regions_above_K"] for r in _of(main, s)]) for s in STATES
    }
    return _claim(
        "a short segment meets no more than 2 or 3 regions with ‖W_k‖ > K ‖W‖",
        "segments with at most 3: " + ", ".join(f"{state}: {share:.0%}" for state, share in shares.items()),
        f"{_holds(min(shares.values()) > MOST)}, on at least {min(shares.values()):.0%} of segments",
    )


def _identity(main: Sequence[Record]) -> Record:
    error = max(r["segment_changes"]["identity_error"] for r in main)
    return _claim(
        "f(x) − f(x_i) = Σ λ_k W_k (x − x_i)",
        f"largest relative difference {error:.1e} on {sum(r['segment_changes']['segments'] for r in main):,} segments",
        f"{_holds(error <= 1e-11)}, to {error:.1e}",
    )


def _chain_bound(main: Sequence[Record]) -> Record:
    names = list(main[0]["segment_changes"]["bounds"])
    parts = []
    for name in names:
        medians = [
            np.median([r["segment_changes"]["bounds"][name]["median_by_change"] for r in _of(main, s)]) for s in STATES
        ]
        held = min(r["segment_changes"]["bounds"][name]["holds"] for r in main)
        parts.append(f"{name}: {', '.join(f'{m:.3g}' for m in medians)} (holds on {held:.0%})")
    proven = all(r["segment_changes"]["bounds"][name]["holds"] == 1 for r in main for name in names[:3])
    return _claim(
        "‖f(x) − f(x_i)‖ ≤ (Σ λ_k ‖W_k‖) ‖x − x_i‖ ≤ Π ‖W_l‖ ‖x − x_i‖",
        f"median bound by the true change ({', '.join(STATES)}): " + "; ".join(parts),
        f"{_holds(proven)} on every segment",
    )


def _consequence(main: Sequence[Record]) -> Record:
    parts = []
    best = 0.0
    for state in STATES[1:]:
        own = [r["segment_changes"] for r in _of(main, state)]
        guaranteed = [max(b["guarantees_the_label"] for b in c["bounds"].values()) for c in own]
        best = max(best, *guaranteed)
        parts.append(
            f"{state}: the label is the same on {np.mean([c['same_label'] for c in own]):.0%}, "
            f"a bound says so on {np.mean(guaranteed):.1%}"
        )
    return _claim(
        "the bounds explain why a validation sample near a training sample has its label",
        "; ".join(parts),
        f"{_holds(best > 0.5)}: a bound shows the label of {best:.1%} at most",
    )


def _radius(main: Sequence[Record], small: Sequence[Record]) -> Record:
    names = ["product of |W_l|", "row sums of |W_L|...|W_1|"]
    parts = []
    for title, records in (("of the exact distance along lines", main), ("of the true distance (MILP)", small)):
        for name in names:
            shares = [r["radius"]["radii"][name]["median_of_distance"] for r in records]
            parts.append(f"{name}: {min(shares):.2g} to {max(shares):.2g} {title}")
    broken = max(r["radius"]["radii"][name]["broken"] for r in [*main, *small] for name in names)
    gap, early = (
        max(r["radius"][name] for r in small) for name in ("largest_gap_at_the_point", "class_ends_earlier_by")
    )
    return _claim(
        "a radius of half the margin by the bound keeps the label",
        "medians: "
        + "; ".join(parts)
        + f"; at the MILP's points the logits tie within {gap:.1e}, no class ends earlier by more than {early:.1e}",
        f"{_holds(broken == 0)}: too large for {broken:.1%} of samples",
    )


def _assumed_radius(main: Sequence[Record], small: Sequence[Record]) -> Record:
    name = "K |W|, assumed"
    parts = []
    for title, records in (("exact distance along lines", main), ("MILP", small)):
        broken = [r["radius"]["radii"][name]["broken"] for r in records]
        largest = max(r["radius"]["radii"][name]["largest_of_distance"] for r in records)
        parts.append(f"{title}: too large for {np.mean(broken):.1%} of samples, at most {largest:.2g} of the distance")
    broken, most = (
        max(r["radius"]["radii"][name][key] for r in [*main, *small]) for key in ("broken", "largest_of_distance")
    )
    return _claim(
        "with K ‖W‖ in place of the product the radius still keeps the label",
        "; ".join(parts),
        f"holds on every sample, at most {most:.2g} of the distance, though it is not proven"
        if broken == 0
        else f"does not hold: too large for {broken:.1%} of samples",
    )


def _holds(yes: bool) -> str:
    return "holds" if yes else "does not hold"


def _of(records: Iterable[Record], state: str) -> list[Record]:
    return [record for record in records if record["state"] == state]


def _regions(record: Record) -> int:
    return sum(summary["number"] for summary in record["ratios"])
