"""What appendix A of the paper claims, each with the number that decides it, network by network, and its verdict.

From the records that benchmarks/verify_norm_bounds.py writes: nothing is measured here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from relu_regions.apps.reproduction.cells import estimated
from relu_regions.apps.reproduction.statistics import Numbers, difference, estimate

__all__ = ["STATES", "judged_norms"]

# The networks that are measured: before training, and after it.
STATES = ("first weights", "real labels", "random labels")

# A claim about "most" inputs or segments is one about more than this share.
MOST = 0.9
# K is "of the order of 1" up to this.
ORDER_OF_1 = 3
PROVEN = ("product of |W_l|", "row sums of |W_L|...|W_1|")
ASSUMED = "K |W|, assumed"


def judged_norms(training: Numbers) -> list[Numbers]:
    """Every claim under one way of training.

    Args:
        training: its records: of the paper's own architecture, of the networks small enough for a MILP, and of other
            widths and depths, the main one too.

    Returns:
        For each claim its words, ``claim``; ``verdict``; ``number``, what is estimated, and ``values``, its mean over
        networks with the 95 % interval for each state of the networks; ``digits`` of these, None for a share;
        ``measured``, more in words.
    """
    main, sweep, small = training["networks"], training["sweep"], training["small_networks"]
    # What training has done to norms is seen in networks that it has taught their labels.
    learnt = [r for r in sweep if r["state"] == STATES[0] or not r["training_errors"]]
    return [
        _product(main, [*main, *sweep, *small]),
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


def _claim(text: str, verdict: str, number: str, values: Mapping[str, Numbers], measured: str) -> Numbers:
    return {"claim": text, "verdict": verdict, "number": number, "measured": measured, **values}


def _means(records: Sequence[Numbers], value: Callable[[Numbers], float], digits: int | None) -> Numbers:
    """Over the networks of each state that there is."""
    of = {state: [value(record) for record in _of(records, state)] for state in STATES}
    return {
        "values": {state: estimate(values) for state, values in of.items() if values},
        "n": {state: str(len(values)) for state, values in of.items() if values},
        "digits": digits,
    }


def _product(main: Sequence[Numbers], records: Sequence[Numbers]) -> Numbers:
    largest, number = max(r["largest_by_product"] for r in records), sum(_regions(r) for r in records)
    return _claim(
        "‖W_x‖ ≤ Π ‖W_l‖ on every region",
        f"{_holds(largest <= 1)}: in all {len(records)} networks at most {largest:.3g} of it",
        "largest quotient, 3×128",
        _means(main, lambda r: float(r["largest_by_product"]), 4),
        f"largest quotient {largest:.3g} on {number:,} inputs and regions of {len(records)} networks",
    )


def _linear(main: Sequence[Numbers], sweep: Sequence[Numbers], small: Sequence[Numbers]) -> Numbers:
    parts = []
    for title, records in (("main", main), ("other widths and depths", sweep), ("12-12 units", small)):
        if not records:
            continue
        shares = [s["share_above_1"] for r in records for s in r["ratios"]]
        found = max(map(_largest, records))
        parts.append(f"{title}: up to {found:.3g} ‖W‖, above ‖W‖ {min(shares):.1%} to {max(shares):.1%}")
    largest = max(map(_largest, [*main, *sweep, *small]))
    above = sum(_largest(r) > 1 for r in small)
    return _claim(
        "‖W_x‖ ≤ ‖W‖ is not guaranteed",
        f"{_holds(largest > 1)}: up to {largest:.3g} ‖W‖, above ‖W‖ in {above} of {len(small)} networks of 12-12 units",
        "largest quotient, 12-12 units",
        _means(small, _largest, 2),
        f"{'; '.join(parts)}; relu(2x) + relu(−x) has 2 for x > 0 where ‖W‖ = 1",
    )


def _largest(record: Numbers) -> float:
    return float(max(s["largest"] for s in record["ratios"]))


def _magnitude(main: Sequence[Numbers], sweep: Sequence[Numbers]) -> Numbers:
    text, least = [], 1.0
    for state in STATES:
        shares = [s["share_within_factor_2"] for r in _of(main, state) for s in r["ratios"]]
        medians = [s["quantiles"]["0.5"] for r in _of(main, state) for s in r["ratios"]]
        wide = [s["share_within_factor_10"] for r in _of(main, state) for s in r["ratios"]]
        least = min(least, *wide)
        text.append(
            f"{state}: median ratio {min(medians):.2g} to {max(medians):.2g}, within a factor of 2 of ‖W‖ "
            f"{np.mean(shares):.0%}, of 10 at least {_at_least(min(wide))}"
        )
    far = sorted({_shape(r) for r in sweep if min(s["share_within_factor_10"] for s in r["ratios"]) <= MOST})
    medians = [s["quantiles"]["0.5"] for r in sweep if _shape(r) in far for s in r["ratios"]]
    if far:
        text.append(f"{', '.join(far)}: median ratio {min(medians):.2g} to {max(medians):.2g}")
    return _claim(
        "for most x, ‖W_x‖ is of the magnitude of ‖W‖",
        f"{_holds(least > MOST)} at 3×128 within a factor of 10, for at least {_at_least(least)} of inputs"
        + (f"; does not hold at {'; '.join(_median_of(shape, sweep) for shape in far)}" if far else ""),
        "median quotient on validation data, 3×128",
        _means(main, lambda r: _median(_validation(r)), 2),
        "; ".join(text),
    )


def _shape(record: Numbers) -> str:
    return f"{len(record['hidden'])}×{record['hidden'][0]} ({record['state']})"


def _median_of(shape: str, sweep: Sequence[Numbers]) -> str:
    medians = [_median(_validation(record)) for record in sweep if _shape(record) == shape]
    return f"{shape}, median {estimated(estimate(medians), networks=True)}"


def _at_least(share: float) -> str:
    """In percent, rounded down."""
    return f"{math.floor(1000 * share) / 1000:.1%}"


def _validation(record: Numbers) -> Numbers:
    found: Numbers = next(s for s in record["ratios"] if s["source"] == "validation data")
    return found


def _median(summary: Numbers) -> float:
    return float(summary["quantiles"]["0.5"])


def _wider(sweep: Sequence[Numbers]) -> list[Numbers]:
    """Nearness of the median to 1, and spread, by width."""
    nearness = _of_width(
        sweep,
        "the wider the layers, the closer ‖W_x‖ is to ‖W‖",
        "|log10 of the median ratio|",
        lambda summary: abs(float(np.log10(_median(summary)))),
    )
    spread = _of_width(
        sweep,
        "the wider the layers, the less ‖W_x‖ differs from region to region",
        "log10 of the 95 % by the 5 % quantile",
        lambda summary: float(np.log10(summary["quantiles"]["0.95"] / summary["quantiles"]["0.05"])),
    )
    return [nearness, spread]


def _of_width(sweep: Sequence[Numbers], text: str, name: str, measure: Callable[[Numbers], float]) -> Numbers:
    """A measure falls with the width if its means do by their ranks, and the interval of its fall lies above 0.

    Networks of different width are not paired: only those that learned their labels count.
    """
    parts, good, values, numbers, ends = [], [], {}, {}, ""
    for state in STATES:
        columns: dict[int, list[float]] = {}
        for record in _of(sweep, state):
            if len(record["hidden"]) == 3:
                own = float(np.mean([measure(summary) for summary in record["ratios"]]))
                columns.setdefault(record["hidden"][0], []).append(own)
        if len(columns) < 2:
            parts.append(f"{state}: fewer than two widths that learned their labels")
            continue
        widths = sorted(columns)
        narrow, wide = columns[widths[0]], columns[widths[-1]]
        means = [float(np.mean(columns[width])) for width in widths]
        ranks = float(stats.spearmanr(widths, means).statistic) if len(widths) > 2 else float("nan")
        values[state] = difference(narrow, wide)["value"]
        numbers[state] = f"{len(narrow)} and {len(wide)}"
        if values[state][1] > 0 and not ranks > -0.8:
            good.append(state)
        parts.append(
            f"{state}: {means[0]:.2f} at {widths[0]}, {means[-1]:.2f} at {widths[-1]} (rank correlation {ranks:.2f})"
        )
        ends = f", {widths[0]} less {widths[-1]} units"
    verdict = f"shown for {', '.join(good)} only" if good else "not shown"
    verdict = "holds" if len(good) == len(STATES) else verdict
    found: Numbers = {"values": values, "n": numbers, "digits": 3}
    return _claim(text, verdict, name + ends, found, f"{name}, {'; '.join(parts)}")


def _assumption(main: Sequence[Numbers]) -> Numbers:
    parts, largest = [], 0.0
    for state in STATES:
        by_source: dict[str, float] = {}
        for summary in (summary for record in _of(main, state) for summary in record["ratios"]):
            source, needed = summary["source"], summary["K_of_99_percent"]
            by_source[source] = max(needed, by_source.get(source, 0.0))
        largest = max(largest, *by_source.values())
        parts.append(f"{state}: " + ", ".join(f"{k:.2f} ({source})" for source, k in by_source.items()))
    return _claim(
        "norm distribution assumption: 99 % of inputs have ‖W_x‖ ≤ K ‖W‖ with a K of the order of 1",
        f"{_holds(largest <= ORDER_OF_1)} with K = {largest:.2f} in every network",
        "K, the largest of all kinds of input",
        _means(main, lambda r: float(r["K"]), 2),
        "largest K over the seeds: " + "; ".join(parts),
    )


def _few_regions(main: Sequence[Numbers]) -> Numbers:
    found = _means(main, lambda r: float(r["segment_changes"]["share_with_at_most_3_regions_above_K"]), None)
    shares = {state: value[0] for state, value in found["values"].items()}
    low = min(value[1] for value in found["values"].values())
    verdict = "not decided" if min(shares.values()) > MOST and not low > MOST else _holds(low > MOST)
    return _claim(
        "a short segment meets no more than 2 or 3 regions with ‖W_k‖ > K ‖W‖",
        f"{verdict}, on at least {_at_least(min(shares.values()))} of segments in the mean",
        "segments with at most 3",
        found,
        "segments with at most 3: " + ", ".join(f"{state}: {share:.1%}" for state, share in shares.items()),
    )


def _identity(main: Sequence[Numbers]) -> Numbers:
    error = max(r["segment_changes"]["identity_error"] for r in main)
    return _claim(
        "f(x) − f(x_i) = Σ λ_k W_k (x − x_i)",
        f"{_holds(error <= 1e-11)}, to {error:.1e} on every segment",
        "largest relative difference, in 1e−15",
        _means(main, lambda r: 1e15 * float(r["segment_changes"]["identity_error"]), 1),
        f"largest relative difference {error:.1e} on {_segments(main):,} segments",
    )


def _segments(main: Sequence[Numbers]) -> int:
    return sum(r["segment_changes"]["segments"] for r in main)


def _chain_bound(main: Sequence[Numbers]) -> Numbers:
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
        f"{_holds(proven)} on {'all' if proven else 'not all of'} {_segments(main):,} segments",
        "median of the first bound by the true change",
        _means(main, lambda r: float(r["segment_changes"]["bounds"][names[0]]["median_by_change"]), 1),
        f"median bound by the true change ({', '.join(STATES)}): " + "; ".join(parts),
    )


def _consequence(main: Sequence[Numbers]) -> Numbers:
    parts, best = [], 0.0
    for state in STATES[1:]:
        own = [r["segment_changes"] for r in _of(main, state)]
        guaranteed = [_guaranteed(r) for r in _of(main, state)]
        best = max(best, *guaranteed)
        parts.append(
            f"{state}: the label is the same on {np.mean([c['same_label'] for c in own]):.0%}, "
            f"a bound says so on {np.mean(guaranteed):.1%}"
        )
    trained = [r for r in main if r["state"] != STATES[0]]
    return _claim(
        "the bounds explain why a validation sample near a training sample has its label",
        f"{_holds(best > 0.5)}: a bound shows the label of {best:.1%} at most of {_segments(trained):,} samples",
        "samples whose label a bound shows",
        _means(trained, _guaranteed, None),
        "; ".join(parts),
    )


def _guaranteed(record: Numbers) -> float:
    return float(max(bound["guarantees_the_label"] for bound in record["segment_changes"]["bounds"].values()))


def _radius(main: Sequence[Numbers], small: Sequence[Numbers]) -> Numbers:
    parts = []
    for title, records in (("of the exact distance along lines", main), ("of the true distance (MILP)", small)):
        for name in PROVEN:
            shares = [r["radius"]["radii"][name]["median_of_distance"] for r in records]
            parts.append(f"{name}: {min(shares):.2g} to {max(shares):.2g} {title}")
    broken = max(r["radius"]["radii"][name]["broken"] for r in [*main, *small] for name in PROVEN)
    gap, early = (
        max(r["radius"][name] for r in small) for name in ("largest_gap_at_the_point", "class_ends_earlier_by")
    )
    return _claim(
        "a radius of half the margin by the bound keeps the label",
        f"{_holds(broken == 0)}: too large for {broken:.1%} of {_samples([*main, *small]):,} samples",
        "largest radius by true distance (MILP), 12-12 units",
        _means(small, lambda r: _by_distance(r, *PROVEN), 2),
        f"medians: {'; '.join(parts)}; at the MILP's points the logits tie within {gap:.1e}, no class ends earlier by "
        f"more than {early:.1e}",
    )


def _assumed_radius(main: Sequence[Numbers], small: Sequence[Numbers]) -> Numbers:
    parts = []
    for title, records in (("exact distance along lines", main), ("MILP", small)):
        broken = [r["radius"]["radii"][ASSUMED]["broken"] for r in records]
        largest = max(_by_distance(r, ASSUMED) for r in records)
        parts.append(f"{title}: too large for {np.mean(broken):.1%} of samples, at most {largest:.2g} of the distance")
    worst = max(r["radius"]["radii"][ASSUMED]["broken"] for r in [*main, *small])
    most = max(_by_distance(r, ASSUMED) for r in [*main, *small])
    return _claim(
        "with K ‖W‖ in place of the product the radius still keeps the label",
        f"holds on all {_samples([*main, *small]):,} samples, to {most:.2g} of the distance, though it is not proven"
        if worst == 0
        else f"does not hold: too large for {worst:.1%} of samples",
        "largest radius by true distance (MILP), 12-12 units",
        _means(small, lambda r: _by_distance(r, ASSUMED), 2),
        "; ".join(parts),
    )


def _by_distance(record: Numbers, *radii: str) -> float:
    """The largest of these radii by the distance to another class."""
    return float(max(record["radius"]["radii"][name]["largest_of_distance"] for name in radii))


def _samples(records: Sequence[Numbers]) -> int:
    return sum(r["radius"]["samples"] for r in records if "radius" in r)


def _holds(yes: bool) -> str:
    return "holds" if yes else "does not hold"


def _of(records: Iterable[Numbers], state: str) -> list[Numbers]:
    return [record for record in records if record["state"] == state]


def _regions(record: Numbers) -> int:
    return sum(summary["number"] for summary in record["ratios"])
