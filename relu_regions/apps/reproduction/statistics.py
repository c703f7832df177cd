"""Distributions of interval lengths, real against random labels, with bootstrap intervals over seeds (scipy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import signal, stats

from relu_regions.network.arrays import Floats

__all__ = ["compare", "correlations", "distances", "estimate", "histogram", "of_lengths", "peaks"]

Numbers = dict[str, Any]


def estimate(values: Sequence[float]) -> list[float]:
    """The mean over seeds and its 95 % bootstrap interval (percentiles of 9999 resamples): three numbers.

    Of one seed there is no interval: its ends are NaN. With five seeds the interval is rough, and rather too narrow.
    """
    column = np.asarray(values, dtype=np.float64)
    if len(column) < 2 or not np.isfinite(column).all():
        return [float(column.mean()), float("nan"), float("nan")]
    found = stats.bootstrap((column,), np.mean, method="percentile", random_state=0)
    return [float(column.mean()), float(found.confidence_interval.low), float(found.confidence_interval.high)]


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


def compare(real: Sequence[Floats], random: Sequence[Floats]) -> Numbers:
    """Real against random labels, seed by seed, and the distances between seeds of the same labels as a yardstick.

    A line's interval depends on those of other lines of the same network, so the unit of every statement here is the
    network: p-values are of the mean lengths of networks (paired by samples and first weights), none is of lines.
    """
    pairs = [distances(a, b) for a, b in zip(real, random)]
    seeds = [distances(column[i], column[j]) for column in (real, random) for i in range(len(column)) for j in range(i)]
    result: Numbers = {name: estimate([pair[name] for pair in pairs]) for name in pairs[0]}
    result["mean_difference"] = estimate([float(b.mean() - a.mean()) for a, b in zip(real, random)])
    for name in pairs[0]:
        result[f"{name}_between_seeds"] = float(np.mean([pair[name] for pair in seeds])) if seeds else float("nan")
    if len(real) > 1:
        test = stats.ttest_rel([float(a.mean()) for a in real], [float(b.mean()) for b in random])
        result["p_of_means"] = float(test.pvalue)
    return result


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
