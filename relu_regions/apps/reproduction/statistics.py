"""Distributions of interval lengths, real against random labels, with t intervals over networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy import signal, stats

from relu_regions.network.arrays import Floats

__all__ = [
    "against_0",
    "compare",
    "correlations",
    "difference",
    "distances",
    "estimate",
    "histogram",
    "holm",
    "of_lengths",
    "peaks",
]

Numbers = dict[str, Any]


def estimate(values: Sequence[float]) -> list[float]:
    """The mean over networks, its 95 % interval by Student's t, and how many networks there are: four numbers.

    Of one network there is no interval: its ends are NaN.
    """
    column = np.asarray(values, dtype=np.float64)
    mean, number = float(column.mean()), len(column)
    if number < 2 or not np.isfinite(column).all():
        return [mean, float("nan"), float("nan"), number]
    half = float(stats.t.ppf(0.975, number - 1) * column.std(ddof=1) / np.sqrt(number))
    return [mean, mean - half, mean + half, number]


def of_lengths(length: Floats, low: Floats, high: Floats, t_range: tuple[float, float]) -> Numbers:
    """Numbers of one network's intervals.

    Returns:
        ``mean``; ``never_ends``, the share of exactly the full length; ``half``, the share that ends on one side only;
        ``reaches_1``, the share with the same class from t = 0 to 1; ``below_1``, the share of length under 1;
        ``bump``, the share of length from 1.1 to 1.6, around the paper's bump at 1.3; ``bump_between``, the share of
        these whose class changes before t = 1.
    """
    ends_low, ends_high = low > t_range[0], high < t_range[1]
    bump = (length >= 1.1) & (length < 1.6)
    return {
        "mean": length.mean(),
        "median": np.median(length),
        "never_ends": (~ends_low & ~ends_high).mean(),
        "one_side": (ends_low ^ ends_high).mean(),
        "reaches_1": (high >= 1).mean(),
        "below_1": (length < 1).mean(),
        "bump": bump.mean(),
        "bump_between": (high[bump] < 1).mean() if bump.any() else float("nan"),
    }


def distances(first: Floats, second: Floats) -> Numbers:
    """Wasserstein-1 and Kolmogorov–Smirnov distance of two samples of lengths."""
    return {
        "wasserstein": stats.wasserstein_distance(first, second),
        "kolmogorov_smirnov": stats.ks_2samp(first, second, method="asymp").statistic,
    }


def compare(first: Sequence[Floats], second: Sequence[Floats], full: float) -> Numbers:
    """Two conditions, network by network; the one yardstick for all claims on distributions.

    A line's interval depends on those of other lines of the same network, so the unit is the network: pair s is of the
    networks of seed s, which share samples. Two networks of the same condition differ too, by their seeds alone. So
    ``excess`` is the Wasserstein-1 distance of a pair less the mean one of its networks to the others of their own
    condition, as a share of the full length: 0 where the conditions differ no more than seeds do.

    Args:
        first, second: lengths of the intervals of each network.
        full: the length of an interval that never ends.

    Returns:
        Means over networks with t intervals (`estimate`) of ``wasserstein``, ``kolmogorov_smirnov``,
        ``mean_difference`` (second less first) and ``excess``; the mean distances ``…_between_seeds``; ``ratio``, the
        mean Wasserstein-1 distance over that between seeds; ``p_of_means`` and ``p_of_excess``, t-tests against 0, and
        ``effect_of_means`` and ``effect_of_excess``, mean over standard deviation; and ``by_network``.
    """
    pairs = [distances(a, b) for a, b in zip(first, second)]
    result: Numbers = {name: estimate([pair[name] for pair in pairs]) for name in pairs[0]}
    of_means = [float(b.mean() - a.mean()) for a, b in zip(first, second)]
    seeds = _between_seeds(first, second)
    for name in pairs[0]:
        result[f"{name}_between_seeds"] = float(np.mean([of_seed[name] for of_seed in seeds]))
    excess = [(pair["wasserstein"] - seed["wasserstein"]) / full for pair, seed in zip(pairs, seeds)]
    result |= {"mean_difference": estimate(of_means), "excess": estimate(excess)}
    result["ratio"] = result["wasserstein"][0] / (result["wasserstein_between_seeds"] or float("nan"))
    for name, values in (("means", of_means), ("excess", excess)):
        result |= {f"{key}_of_{name}": value for key, value in against_0(values).items()}
    result["by_network"] = {"mean_difference": of_means, "excess": excess}
    return result


def _between_seeds(first: Sequence[Floats], second: Sequence[Floats]) -> list[dict[str, float]]:
    """For each seed, the mean distances of its two networks to those of other seeds in their own condition."""
    found: list[list[dict[str, float]]] = [[] for _ in first]
    for column in (first, second):
        for i, j in combinations(range(len(column)), 2):
            between = distances(column[i], column[j])
            found[i].append(between)
            found[j].append(between)
    names = ("wasserstein", "kolmogorov_smirnov")
    return [
        {name: float(np.mean([each[name] for each in seed])) if seed else float("nan") for name in names}
        for seed in found
    ]


def against_0(values: Sequence[float]) -> dict[str, float]:
    """How far from 0 the mean of independent numbers is: ``p`` of a t-test, ``effect``, mean over deviation; or NaN."""
    column = np.asarray(values, dtype=np.float64)
    if len(column) < 2 or not np.isfinite(column).all() or column.std() == 0:
        return {"p": float("nan"), "effect": float("nan")}
    return {
        "p": float(stats.ttest_1samp(column, 0).pvalue),
        "effect": float(column.mean() / column.std(ddof=1)),
    }


def difference(first: Sequence[float], second: Sequence[float]) -> Numbers:
    """How much larger the mean of independent numbers is than that of others, their variances not taken for equal.

    Args:
        first, second: numbers of networks that are not paired, such as those on different data.

    Returns:
        ``value``: the difference, its 95 % interval (Welch, 1947) and the smaller number of networks; ``p`` of Welch's
        t-test; ``effect``, the difference over the root of the mean variance. NaN where one group has no variance.
    """
    columns = [np.asarray(given, dtype=np.float64) for given in (first, second)]
    number = min(map(len, columns))
    mean = float(columns[0].mean() - columns[1].mean())
    if number < 2 or not all(np.isfinite(column).all() and column.std() > 0 for column in columns):
        return {"value": [mean, float("nan"), float("nan"), number], "p": float("nan"), "effect": float("nan")}
    found = stats.ttest_ind(*columns, equal_var=False)
    low, high = found.confidence_interval(0.95)
    spread = float(np.sqrt(np.mean([column.var(ddof=1) for column in columns])))
    return {"value": [mean, float(low), float(high), number], "p": float(found.pvalue), "effect": mean / spread}


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, 1979): of p tests, any error has at most the probability shown."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def histogram(columns: Sequence[Floats], full: float, bins: int = 60) -> Numbers:
    """The exact density of all lengths but the full one, in bins, and the share of the full one."""
    length = np.concatenate(columns)
    counts, edges = np.histogram(length[length < full], bins, (0.0, full))
    return {"edges": [0.0, full, bins], "density": counts / (len(length) * np.diff(edges)), "atom": full}


def peaks(columns: Sequence[Floats], full: float) -> list[Numbers]:
    """Local maxima of a kernel density (scipy's bandwidth) of all lengths but the full one, highest first.

    Only those whose prominence is at least 2 % of the highest density; a rise towards the full length is none.
    """
    length = np.concatenate(columns)
    length = length[length < full]
    if len(length) < 10 or length.std() == 0:
        return []
    rest = np.random.default_rng(0).permutation(length)[:20_000]
    grid = np.linspace(0, full, 301)
    density = stats.gaussian_kde(rest)(grid)
    places, found = signal.find_peaks(density, prominence=0.02 * density.max())
    order = np.argsort(-density[places])
    return [
        {"at": grid[places[k]], "density": density[places[k]], "prominence": found["prominences"][k]} for k in order
    ]


def correlations(columns: Mapping[str, Sequence[float]], target: Sequence[float]) -> Numbers:
    """Pearson's and Spearman's correlation of each column with the target; NaN where one of them is constant."""
    result: Numbers = {}
    for name, column in columns.items():
        if np.ptp(column) == 0 or np.ptp(target) == 0 or len(target) < 3:
            result[name] = {"pearson": float("nan"), "spearman": float("nan")}
            continue
        result[name] = {
            "pearson": float(stats.pearsonr(column, target).statistic),
            "spearman": float(stats.spearmanr(column, target).statistic),
        }
    return result
