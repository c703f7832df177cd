"""Claims about order statistics: true ones of ordinary networks are confirmed, and none that hides a flip."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from relu_regions import rational
from relu_regions.exactness.judge import Claims, judge
from relu_regions.network.gates import OrderStatistic
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, Matrix
from tests.exactness.judge.test_verdict import heard, judged
from tests.networks import network_of
from tests.strategies import make_case

ZERO, ONE = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
RANGES = [(-3.0, 3.0), (-math.inf, math.inf)]
ASKED = pytest.mark.parametrize("t_range", RANGES, ids=["segment", "line"])


def network_with(lines: list[tuple[float, float]], ranks: list[int], windows: list[list[int]] | None = None) -> Network:
    """Order statistics of functions of t, on the line x = 0, d = 1; of all of them where no windows are given."""
    intercepts, slopes = zip(*lines)
    layers = [
        ("affine", [[float(slope)] for slope in slopes], [float(number) for number in intercepts]),
        ("order", windows or [list(range(len(lines)))] * len(ranks), ranks),
    ]
    return network_of(layers, 1)


def claimed(network: Network, t_range: tuple[float, float]) -> Claims:
    return heard(network, ZERO, ONE, t_range)[1]


def without_flips(claims: Claims, kept: torch.Tensor, first: list[int]) -> Claims:
    """The claims with some of the flips, those breakpoints that have one, and other pieces in the first region."""
    points = torch.unique(claims.point[kept])
    flips = {name: getattr(claims, name)[kept] for name in ("gate", "unit", "before", "after")}
    return replace(
        claims, t=claims.t[points], offsets=torch.tensor([0, len(points)]),
        point=torch.searchsorted(points, claims.point[kept]), first_patterns=(torch.tensor([first]),), **flips,
    )  # fmt: skip


@ASKED
@pytest.mark.parametrize("gates", [["order statistics"], ["order statistics", "relu"], ["maxout", "order statistics"]])
def test_ordinary_networks_are_confirmed(gates: list[str], t_range: tuple[float, float]) -> None:
    for seed in range(6):
        assert judged(make_case([4, 10, 9, 8, 3], gates, seed=seed, t_range=t_range))


@ASKED
def test_a_rank_that_is_another_input_s_meanwhile(t_range: tuple[float, float]) -> None:
    """Of 0, t - 1 and -t - 1 the first is the middle one at both ends, but not between -1 and 1."""
    network = network_with([(0, 0), (-1, 1), (-1, -1)], [1])
    claims = claimed(network, t_range)
    assert claims.t.tolist() == [-1, 0, 1] and judge(network, claims).confirmed.all()
    for kept in ([], [0], [1], [2], [0, 1], [1, 2], [0, 2]):
        for first in range(3):
            assert not judge(network, without_flips(claims, torch.tensor(kept, dtype=torch.int64), [first])).confirmed


@ASKED
def test_two_that_change_places_do_so_in_both_units(t_range: tuple[float, float]) -> None:
    network = network_with([(0.25, 1), (1, 0), (9, 0)], [0, 1, 2])
    claims = claimed(network, (-3.0, 3.0) if t_range[0] == -3 else (-math.inf, 4.0))
    assert claims.t.tolist() == [0.75] and claims.unit.tolist() == [1, 2]
    assert judge(network, claims).confirmed.all()
    for kept in ([0], [1]):
        assert not judge(network, without_flips(claims, torch.tensor(kept), [2, 1, 0])).confirmed
    moved = judge(network, replace(claims, t=claims.t + 1.5))
    assert not moved.confirmed or moved.t_error >= 1.5
    assert not judge(network, replace(claims, first_patterns=(torch.tensor([[2, 0, 1]]),))).confirmed


def test_a_rank_that_is_another_input_s_meanwhile_beside_another_unit_s_flip() -> None:
    lines = [(0, 0), (-1, 1), (-1, -1), (-0.125, 1), (0, 0), (-9, 0)]
    network = network_with(lines, [1, 0], [[0, 1, 2], [3, 4, 5]])
    claims = claimed(network, (-3.0, 3.0))
    assert claims.t.tolist() == [-1, 0, 0.125, 1] and judge(network, claims).confirmed.all()
    alone = without_flips(claims, (claims.unit == 1).nonzero()[:, 0], [0, 1])
    assert alone.t.tolist() == [0.125] and not judge(network, alone).confirmed


def test_two_breakpoints_are_not_one() -> None:
    network = network_with([(-0.125, 1), (0, 0), (-0.25, 1), (0, 0)], [0, 0], [[0, 1], [2, 3]])
    claims = claimed(network, (-1.0, 1.0))
    assert claims.t.tolist() == [0.125, 0.25] and judge(network, claims).confirmed.all()
    one = replace(claims, t=claims.t[:1], offsets=torch.tensor([0, 1]), point=torch.zeros_like(claims.point))
    assert not judge(network, one).confirmed


def test_what_changes_places_within_a_rounding_of_the_end_is_open() -> None:
    """The true breakpoint is at 1 - 1e-17, where floats have the end of the range and a tie."""
    network = network_with([(1e-17, 1), (1, 0)], [0])
    claims = claimed(network, (-1.0, 1.0))
    assert not len(claims.t) and not judge(network, claims).confirmed


def test_numbers_that_rounding_leaves_on_the_wrong_side_are_open() -> None:
    """The first number is 0.25 + t, of which floats lose the 0.25: they don't see it pass 1."""
    layers = [("affine", [[1e17, 1.0, -1e17], [0.0, 0.0, 1.0]], None), ("order", [[0, 1]], [0])]
    x, d = torch.tensor([[[1.0, 0.25, 1.0]], [[0.0, 1.0, 0.0]]], dtype=torch.float64)
    network = network_of(layers, 3)
    _, claims, verdict = heard(network, x, d, (-0.9, 0.9))
    assert not len(claims.t) and not verdict.confirmed
    (exact,) = rational.walk(network, x, d, (-0.9, 0.9))
    assert list(exact.breakpoints) == [0.75]


@pytest.mark.parametrize("near", [0.0, 1e-16, -1e-16])
def test_three_that_nearly_meet_are_open(near: float) -> None:
    for rank in range(3):
        network = network_with([(-0.3, 1), (near, 0), (0.3, -1)], [rank])
        assert not judge(network, claimed(network, (-1.0, 1.0))).confirmed.any()


def test_what_passes_beyond_the_outermost_posts_is_noticed() -> None:
    """At t = 1e9 another input has the rank, long after the only breakpoint that is claimed."""
    network = network_with([(0, 0), (-1, 1), (1.0, -1e-9)], [0])
    claims = claimed(network, (-math.inf, math.inf))
    assert len(claims.t) > 0 and judge(network, claims).confirmed.all()
    last = claims.t.argmax()
    kept = (claims.point != last).nonzero()[:, 0]
    first = claims.first_patterns[0][0].tolist()
    assert not judge(network, without_flips(claims, kept, first)).confirmed


def test_zeros_of_rectified_numbers_that_tie_throughout_are_confirmed() -> None:
    """The middle one of five, of which three are 0 on the whole segment."""
    weight = [[1.0], [0.5], [-1.0], [-2.0], [-3.0]]
    layers = [
        ("affine", weight, [5.0, 4.0, -9.0, -9.0, -9.0]),
        ("knots", [0.0], [0.0, 1.0], [0.0, 0.0]),
        ("order", [[0, 1, 2, 3, 4]] * 3, [0, 1, 2]),
    ]
    network = network_of(layers, 1)
    claims = claimed(network, (-2.5, 2.5))
    assert claims.t.tolist() == [-2.0] and judge(network, claims).confirmed.all()


def test_deep_networks_that_sort_are_confirmed() -> None:
    """Thirty layers that lengthen no vector: errors add up, where row sums alone would multiply them."""
    torch.manual_seed(0)
    pairs = ("order", [[unit - unit % 2, unit - unit % 2 + 1] for unit in range(16)], [0, 1] * 8)
    layers = [layer for _ in range(30) for layer in (("affine", rotation(), (0.2 * torch.randn(16)).tolist()), pairs)]
    network = network_of([*layers, ("affine", rotation()[:3], None)], 16)
    # The norms of matrices alone are bounded.
    steps = (replace(s, form=Matrix((16,))) if isinstance(s, AffineStep) else s for s in network.steps)
    network = replace(network, steps=tuple(steps))
    x, d = torch.randn(2, 2, 16, dtype=torch.float64)
    paths, _, verdict = heard(network, x, d, (-1.0, 1.0))
    assert verdict.confirmed.all() and len(paths.t) > 60


def rotation() -> list[list[float]]:
    matrix: list[list[float]] = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64))[0].tolist()
    return matrix


@pytest.mark.parametrize(
    ("windows", "ranks", "expected"),
    [
        ([[0, 1, 2]] * 3, [0, 1, 2], 1.0),
        ([[0, 1, 2], [3, 4, 5]], [1, 1], 1.0),
        ([[0, 1, 2]] * 3, [1, 1, 2], math.sqrt(2)),
        ([[0, 1, 2], [2, 3, 4], [2, 5, 0]], [1, 0, 2], math.sqrt(3)),
    ],
)
def test_no_change_grows_by_more_than_the_two_norm(windows: list[list[int]], ranks: list[int], expected: float) -> None:
    gate = OrderStatistic(torch.tensor(windows), torch.tensor(ranks))
    assert gate.two_norm == pytest.approx(expected)
    one, other = torch.randn(2, 20_000, 6, dtype=torch.float64)
    change = (gate.apply(one) - gate.apply(other)).norm(dim=1) / (one - other).norm(dim=1)
    assert 0.5 * expected < change.max() <= expected
