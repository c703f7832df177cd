"""Numbers of distributions: atoms, bumps, distances and intervals over seeds, on cases with known answers."""

import math

import numpy as np
import pytest

from relu_regions.apps.reproduction.statistics import (
    compare,
    correlations,
    distances,
    estimate,
    histogram,
    of_lengths,
    peaks,
)


def test_estimates_over_seeds() -> None:
    mean, low, high = estimate([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5 and 1 <= low < 2 < 3 < high <= 4
    assert estimate([5.0])[0] == 5 and math.isnan(estimate([5.0])[1])
    assert estimate([2.0, 2.0, 2.0]) == [2, 2, 2]
    assert math.isnan(estimate([1.0, math.nan])[0])


def test_numbers_of_lengths() -> None:
    low, high = np.array([-1, -0.5, 0.0, -1]), np.array([2, 0.8, 1.3, 1.0])
    found = of_lengths(high - low, low, high, (-1, 2))
    assert found["never_ends"] == 0.25 and found["one_side"] == 0.25
    assert found["reaches_1"] == 0.75 and found["below_1"] == 0
    assert found["mean"] == pytest.approx((3 + 1.3 + 1.3 + 2) / 4)
    assert found["bump"] == 0.5 and found["bump_between"] == 0.5
    assert math.isnan(of_lengths(np.ones(2), np.zeros(2), np.ones(2), (-1, 2))["bump_between"])


def test_peaks_are_seen_beside_the_atom() -> None:
    generator = np.random.default_rng(0)
    bumpy = np.concatenate([generator.uniform(0, 3, 20_000), generator.normal(1.3, 0.05, 3000), np.full(9000, 3.0)])
    assert peaks([bumpy], 3.0)[0]["at"] == pytest.approx(1.3, abs=0.05)
    assert peaks([np.full(50, 3.0)], 3.0) == []


def test_histogram_and_atom_make_1() -> None:
    columns = [np.array([0.0, 1.5, 3.0]), np.array([2.999999, 3.0])]
    found = histogram(columns, 3.0)
    assert found["density"].sum() * 3 / 60 == pytest.approx(3 / 5)


def test_distances_and_comparison() -> None:
    a, b = np.zeros(100), np.full(100, 0.5)
    assert distances(a, b) == {"wasserstein": 0.5, "kolmogorov_smirnov": 1}
    generator = np.random.default_rng(0)
    real = [generator.normal(2, 0.1, 300) for _ in range(5)]
    random = [column + shift for column, shift in zip(real, (0.2, 0.3, 0.25, 0.2, 0.3))]
    found = compare(real, random)
    assert found["wasserstein"] == pytest.approx([0.25, 0.21, 0.29], abs=0.02)
    assert found["mean_difference"][0] == pytest.approx(0.25)
    assert found["wasserstein_between_seeds"] < 0.1
    assert "p_of_means" not in compare(real[:1], random[:1])


def test_correlations() -> None:
    found = correlations({"cube": [1, 8, 27, 64], "constant": [1, 1, 1, 1]}, [1, 2, 3, 4])
    assert found["cube"]["spearman"] == pytest.approx(1) and 0.9 < found["cube"]["pearson"] < 1
    assert math.isnan(found["constant"]["spearman"])
