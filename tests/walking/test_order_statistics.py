"""Sorting, medians and the like along lines: worked by hand, against fractions, and where rounding could decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import relu_regions as rr
from relu_regions import rational
from relu_regions.network.gates import OrderStatistic
from relu_regions.network.network import Network
from relu_regions.network.steps import GateStep, Origin
from tests.models import Wrapped
from tests.networks import network_of
from tests.oracles import fractions_walk as truth
from tests.strategies import Case, cases, make_case
from tests.true_walks import assert_true, nothing_settled, walked

Line = tuple[float, float]
F = Fraction
EVERYWHERE = (-math.inf, math.inf)
# Windows, each with a rank, of units that are some functions of t, and the bends (t, unit, before, after).
WORKED: dict[str, tuple[list[Line], list[int], list[tuple[float, int, int, int]]]] = {
    "a rank that goes from hand to hand": (
        [(2, 0), (0, 0), (-1, 1), (-9, 3)],
        [1],
        [(1, 0, 1, 2), (3, 0, 2, 0), (F(11, 3), 0, 0, 3), (4, 0, 3, 2)],
    ),
    # The two above the median change places, and the two below it.
    "swaps that no rank sees": ([(20, 1), (21, -1), (0, 0), (-20, 1), (-21, -1)], [2], []),
    "two pass the median at one point": ([(0, 1), (0, 0), (0, -1)], [1], []),
    "and the others change": ([(0, 1), (0, 0), (0, -1)], [0, 2], [(0, 0, 2, 0), (0, 1, 0, 2)]),
    "three turn round a fourth": ([(0, 1), (0, 2), (0, 0), (0, -1)], [1, 2], [(0, 0, 2, 0), (0, 1, 0, 2)]),
    "equal throughout": ([(1, 2), (1, 2), (1, 2)], [0, 1, 2], []),
    "two of each": ([(0, 1), (0, -1), (0, 1), (0, -1)], [0, 1, 2, 3], [(0, unit, *there) for unit, there in
                    enumerate([(1, 0), (1, 0), (0, 1), (0, 1)])]),
    # The one of rank 1 is equal to the largest on both sides: no bend.
    "one of equals is passed": ([(0, 0), (0, 0), (-1, 1)], [0, 1, 2], [(1, 0, 0, 2), (1, 2, 2, 0)]),
    "one number alone": ([(1, 1)], [0], []),
    "sorting is bends of both": ([(0, 1), (1, 0)], [0, 1], [(1, 0, 1, 0), (1, 1, 0, 1)]),
}  # fmt: skip


def network_with(lines: Sequence[Line], ranks: Sequence[int]) -> Network:
    """Order statistics of functions of t, on the line x = 0, d = 1."""
    return network_of(layers_with(lines, ranks), 1)


def layers_with(lines: Sequence[Line], ranks: Sequence[int]) -> truth.Layers:
    slopes, intercepts = [[float(slope)] for _, slope in lines], [float(intercept) for intercept, _ in lines]
    return [("affine", slopes, intercepts), ("order", [list(range(len(lines)))] * len(ranks), list(ranks))]


def flips_of(path: rr.Path) -> list[tuple[float, int, int, int]]:
    flips = path.flips
    rows = zip(flips.row.tolist(), flips.unit.tolist(), flips.before.tolist(), flips.after.tolist())
    return [(path.t[row].item(), unit, before, after) for row, unit, before, after in rows]


ZERO, ONE = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)


@pytest.mark.parametrize("name", WORKED)
def test_worked_by_hand(name: str) -> None:
    lines, ranks, expected = WORKED[name]
    network = network_with(lines, ranks)
    (exact,) = rational.walk(network, ZERO, ONE, (-10, 10))
    found = zip(exact.breakpoints, exact.flips)
    assert [(t, flip.unit, flip.before, flip.after) for t, flips in found for flip in flips] == expected
    for resolve in ("auto", "never"):  # the numbers are exact as floats have them
        (path,) = rr.walk(network, ZERO, ONE, (-8, 8), resolve=resolve)
        assert flips_of(path) == [pytest.approx((float(t), *rest)) for t, *rest in expected]


@pytest.mark.parametrize("name", WORKED)
def test_whole_lines_and_rays(name: str) -> None:
    lines, ranks, _ = WORKED[name]
    for t_range in (EVERYWHERE, (0.0, math.inf), (-math.inf, 3.5)):
        network, layers = network_with(lines, ranks), layers_with(lines, ranks)
        expected = truth.walk(layers, [0.0], [1.0], *t_range)
        (exact,) = rational.walk(network, ZERO, ONE, t_range)
        assert list(exact.breakpoints) == [point.t for point in expected.breakpoints]
        assert exact.patterns() == [[list(pieces) for pieces in region.pattern] for region in expected.regions]
        assert_true(rr.walk(network, ZERO, ONE, t_range), Case(layers, [0.0], [1.0], *t_range))


ORDERS = {
    "gates": st.sampled_from([["order statistics"], ["order statistics", "relu"], ["maxout", "order statistics"]]),
    "skips": st.booleans(),
}


@settings(max_examples=80, deadline=None)
@given(cases(max_width=10, max_layers=3, **ORDERS))
def test_what_bounds_leave_no_doubt_of_is_true(case: Case) -> None:
    with nothing_settled():
        paths = walked(case)
    assert not paths.settled.any()
    if paths.certain.all():
        assert_true(paths, case)


@settings(max_examples=40, deadline=None)
@given(cases(max_width=8, max_layers=3, **ORDERS))
def test_whatever_is_settled_is_true(case: Case) -> None:
    paths = walked(case)
    assert paths.certain.all()
    assert_true(paths, case)


def test_bounds_settle_ordinary_networks_by_themselves() -> None:
    for seed in range(10):
        case = make_case([4, 12, 10, 3], ["order statistics", "relu"], seed=seed, t_range=(-3.0, 3.0))
        paths = walked(case)
        assert paths.certain.all() and not paths.settled.any()
        assert len(paths[0].flips.row) > 3
        assert_true(paths, case)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_numbers_that_nearly_meet_in_one_point_are_settled(rank: int) -> None:
    """Three lines that cross within a rounding of one another: floats can't say which ranks the middle one has."""
    for near in (0.0, 1e-17, -1e-17):
        lines = [(-0.3, 1.0), (near, 0.0), (0.3, -1.0)]
        paths = rr.walk(network_with(lines, [rank]), ZERO, ONE, (-1.0, 1.0))
        assert paths.certain.all() and paths.settled.all()
        assert_true(paths, Case(layers_with(lines, [rank]), [0.0], [1.0], -1.0, 1.0))


def test_zeros_of_rectified_numbers_leave_no_doubt() -> None:
    """Medians and top values of ReLUs, of which many are 0 throughout, and a sorted copy of a number."""
    torch.manual_seed(0)
    layers = make_case([4, 9, 4], seed=3).layers
    order = ("order", [list(range(9))] * 9, list(range(9)))
    layers = [layers[0], layers[1], order, ("affine", torch.randn(3, 9).tolist(), None)]
    x, d = torch.randn(2, 8, 4, dtype=torch.float64)
    paths = rr.walk(network_of(layers, 4), x, d, (-3, 3))
    assert paths.certain.all() and not paths.settled.any()
    model = Wrapped(lambda m, x: torch.cat([h := m.a(x), h], 1).sort(1).values, a=torch.nn.Linear(4, 2)).double().eval()
    paths = rr.walk(model, x, d, (-9, 9))
    assert paths.certain.all() and not paths.settled.any() and len(paths.t) > 16


def test_numbers_that_overflow_are_not_answered_wrongly() -> None:
    network = network_with([(-1e308, 1e308), (1e308, -1e308), (0.0, 0.0)], [0, 1, 2])
    paths = rr.walk(network, ZERO, ONE, (-0.5, 9.0), resolve="always")
    assert paths.certain.all() and paths[0].breakpoints.tolist() == [1.0]
    paths = rr.walk(network, ZERO, ONE, (-0.5, 9.0), resolve="auto", memory_budget=1)
    assert not paths.certain.all() or paths[0].breakpoints.tolist() == [1.0]


def test_the_smallest_windows_change_nothing() -> None:
    case = make_case([4, 12, 10, 3], ["order statistics", "relu"], seed=1, t_range=(-3.0, 3.0))
    network = network_of(case.layers, 4)
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    whole, cut = (rr.walk(network, x, d, (-3, 3), memory_budget=budget) for budget in (None, 1))
    assert torch.allclose(whole.t, cut.t, rtol=1e-12) and flips_of(whole[0])[0][1:] == flips_of(cut[0])[0][1:]


def test_a_gate_of_many_ranks_sorts_each_window_once() -> None:
    window = torch.arange(5).expand(5, 5)
    gate = OrderStatistic(window, torch.arange(5))
    values = torch.tensor([[3.0, 1.0, 2.0, 3.0, -1.0]])
    assert gate.apply(values).tolist() == [[3, 3, 2, 1, -1]]
    assert gate.pieces_beside(values, values).tolist() == [[0, 0, 2, 1, 4]]
    # Of numbers that are equal at the point, those beyond decide, and of those that are equal there too the first.
    assert gate.pieces_beside(values, torch.tensor([[0.0, 1.0, 2.0, 3.0, -1.0]])).tolist() == [[3, 0, 2, 1, 4]]


@pytest.mark.parametrize("name", ["maps", "norms", "interval"])
def test_what_follows_from_a_walk(name: str) -> None:
    case = make_case([4, 12, 10, 3], ["order statistics"], seed=2, t_range=(-3.0, 3.0))
    network = network_of(case.layers, 4)
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    paths = rr.walk(network, x, d, (-3, 3))
    middles = torch.tensor([region.interior for region in paths[0].regions], dtype=torch.float64)
    if name == "interval":
        interval, exact = (
            rr.exact_interval(network, x, d),
            truth.exact_interval(case.layers, case.x, case.d, *EVERYWHERE),
        )
        assert (interval.label.item(), interval.label_lo.item(), interval.label_hi.item()) == exact[2:5]
        assert [interval.lo.item(), interval.hi.item()] == pytest.approx([float(exact.lo), float(exact.hi)], rel=1e-12)
        return
    points = x + middles[:, None] * d
    jacobian = torch.stack(
        [torch.autograd.functional.jacobian(lambda z: network(z[None])[0], point) for point in points]
    )
    if name == "maps":
        assert torch.allclose(paths.affine_maps()[0], jacobian, atol=1e-12)
    else:
        assert torch.allclose(paths.norms(math.inf), jacobian.abs().sum(2).amax(1), rtol=1e-12)


def test_an_interval_between_two_ranks_has_no_end() -> None:
    """The largest is never less than the second largest, with which it ties at x."""
    gate = OrderStatistic(torch.tensor([[0, 1, 2]] * 2), torch.tensor([0, 1]))
    network = Network((GateStep("out", ("in",), (2,), Origin("", ""), gate),), "in", "out", (3,), (2,))
    interval = rr.exact_interval(network, torch.tensor([[0.0, 0, -1]]), torch.tensor([[1.0, 0, 0]]), certify=True)
    assert (interval.lo.item(), interval.hi.item(), interval.tied.item()) == (-math.inf, math.inf, True)
