"""Numbers of distributions: atoms, bumps, distances and intervals over seeds, on cases with known answers."""

import math

import numpy as np
import pytest
from scipy import stats

from relu_regions.apps.reproduction.statistics import (
    against_0,
    compare,
    correlations,
    difference,
    distances,
    estimate,
    histogram,
    holm,
    of_lengths,
    peaks,
)


def test_estimates_over_networks() -> None:
    # Half the interval is t(0.975, 3) s / 2; tables give 3.18245, and s² = 5/3.
    mean, low, high, number = estimate([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5 and number == 4
    half = pytest.approx(3.18245 * math.sqrt(5 / 3) / 2, rel=1e-5)
    assert high - mean == half and mean - low == half
    assert estimate([5.0])[0] == 5 and math.isnan(estimate([5.0])[1])
    assert estimate([2.0, 2.0, 2.0]) == [2, 2, 2, 3]
    assert math.isnan(estimate([1.0, math.nan])[0])


@pytest.mark.parametrize("number", [2, 3, 5])
def test_intervals_cover_the_mean_as_often_as_they_say(number: int) -> None:
    draws = np.random.default_rng(0).normal(7, 2, (4000, number))
    covered = np.mean([low <= 7 <= high for _, low, high, _ in map(estimate, draws.tolist())])
    assert covered == pytest.approx(0.95, abs=0.015)  # four standard deviations


def test_correction_for_the_number_of_tests() -> None:
    # By hand, as Holm (1979): 0.01 · 4, 0.02 · 3, 0.03 · 2 raised to the one before, 0.5.
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1] and holm([]) == []


def test_distance_from_0() -> None:
    found = against_0([1.0, 2.0, 3.0])
    assert found["effect"] == pytest.approx(2) and found["p"] == pytest.approx(0.0742, abs=1e-4)  # t = 3.464, tables
    assert all(
        math.isnan(value) for given in ([1.0], [1.0, 1.0], [1.0, math.nan]) for value in against_0(given).values()
    )


def test_means_of_networks_that_share_nothing() -> None:
    """Welch's test written out; and the groups need not be of one size."""
    first, second = np.array([1.0, 2.0, 4.0, 3.5]), np.array([0.5, 0.7, 0.2])
    squares = [column.var(ddof=1) / len(column) for column in (first, second)]
    error = math.sqrt(sum(squares))
    freedom = sum(squares) ** 2 / (squares[0] ** 2 / 3 + squares[1] ** 2 / 2)
    found = difference(first.tolist(), second.tolist())
    mean = first.mean() - second.mean()
    half = stats.t.ppf(0.975, freedom) * error
    assert found["value"] == pytest.approx([mean, mean - half, mean + half, 3])
    assert found["p"] == pytest.approx(2 * stats.t.sf(mean / error, freedom))
    assert difference(second.tolist(), first.tolist())["value"][0] == pytest.approx(-mean)
    assert math.isnan(difference([1.0, 2.0], [1.0])["p"]) and math.isnan(difference([1.0, 2.0], [3.0, 3.0])["p"])


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
    found = compare(real, random, 3.0)
    assert found["wasserstein"][0] == pytest.approx(0.25) == found["mean_difference"][0]
    # s = 0.05 and t(0.975, 4) = 2.776: the deviation of a shift is a twentieth.
    assert found["mean_difference"][2] - 0.25 == pytest.approx(2.776 * 0.05 / math.sqrt(5), rel=1e-3)
    assert found["effect_of_means"] == pytest.approx(5)
    # Seeds of the second condition differ by shifts of 0 or 0.1, 0.06 on average over pairs, and both by sampling.
    assert 0.03 < found["wasserstein_between_seeds"] < 0.06
    assert found["excess"][0] == pytest.approx((0.25 - found["wasserstein_between_seeds"]) / 3)
    assert found["ratio"] == pytest.approx(0.25 / found["wasserstein_between_seeds"])
    assert math.isnan(compare(real[:1], random[:1], 3.0)["p_of_means"])


def test_what_differs_no_more_than_seeds_has_no_excess() -> None:
    generator = np.random.default_rng(1)
    networks = [generator.normal(2 + 0.1 * generator.normal(), 0.1, 300) for _ in range(16)]
    found = compare(networks[:8], networks[8:], 3.0)
    assert found["excess"][1] < 0 < found["excess"][2] and found["p_of_excess"] > 0.05 and found["ratio"] < 1.5


def test_correlations() -> None:
    found = correlations({"cube": [1, 8, 27, 64], "constant": [1, 1, 1, 1]}, [1, 2, 3, 4])
    assert found["cube"]["spearman"] == pytest.approx(1) and 0.9 < found["cube"]["pearson"] < 1
    assert math.isnan(found["constant"]["spearman"])
