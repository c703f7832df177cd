"""The exact walk and the exact interval: by hand, against plain fractions, and against the float walk."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.exactness.rational import arithmetic
from relu_regions.exactness.rational.arithmetic import Point
from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.interval import interval_on, interval_within
from relu_regions.exactness.rational.walk import walk_between
from relu_regions.lines.decision import Decision
from relu_regions.network.gates import Knots
from relu_regions.network.network import Network
from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.steps import GateStep, Origin
from tests.models import ARCHITECTURES, Architecture, mlp, of_each
from tests.networks import network_of
from tests.oracles import fractions_walk as truth
from tests.quick import examples, some_quick
from tests.strategies import FLAVOURS, GATES, LINES, Case, cases, make_case

# The oracle's hardsigmoid has slope 1/6, which no float is.
EXACT_GATES = [name for name in GATES if name != "hardsigmoid"]
INFINITE = (-math.inf, math.inf)


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def linear(weight: list[list[float]], bias: list[float]) -> nn.Module:
    layer = nn.Linear(len(weight[0]), len(weight), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight, dtype=torch.float64))
        layer.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    return layer.eval()


# ---------------------------------------------------------------- by hand


def test_one_unit() -> None:
    model = nn.Sequential(linear([[3.0]], [-1.0]), nn.ReLU(), linear([[2.0], [0.0]], [0.5, 1.0])).eval()
    (path,) = rational.walk(model, row(0.0), row(1.0))
    assert path.t == [-1, Fraction(1, 3), 2]
    assert path.breakpoints == [Fraction(1, 3)]
    assert path.flips == [[(0, 0, 0, 1)]]
    assert path.patterns() == [[[0]], [[1]]]
    below, above = path.regions
    assert (below.intercept, below.slope) == ((Fraction(1, 2), 1), (0, 0))
    assert (above.intercept, above.slope) == ((Fraction(-3, 2), 1), (6, 0))
    assert path.outputs_at(Fraction(1, 2)) == (Fraction(3, 2), 1)
    (interval,) = rational.exact_interval(model, row(0.0), row(1.0))
    # Class 1 leads until 1/2 + 2 (3t - 1) = 1.
    assert (interval.lo, interval.hi) == (-math.inf, Fraction(5, 12))
    assert (interval.label, interval.label_lo, interval.label_hi, interval.tied) == (1, -1, 0, False)


def test_weights_are_the_floats_they_are() -> None:
    model = nn.Sequential(linear([[0.1]], [-0.3]), nn.ReLU()).eval()
    (path,) = rational.walk(model, row(0.0), row(1.0), (0, 10))
    assert path.breakpoints == [Fraction(0.3) / Fraction(0.1)]
    assert path.breakpoints != [3]


def test_the_coefficient_of_a_mean_is_its_float() -> None:
    model = nn.Sequential(nn.AvgPool1d(3), nn.Flatten()).double().eval()
    x = torch.ones(1, 1, 3, dtype=torch.float64)
    (path,) = rational.walk(model, x, x)
    assert path.regions[0].slope == (3 * Fraction(1 / 3),)


def test_a_unit_that_is_zero_along_a_region_is_on_the_piece_below() -> None:
    # The second gate sees relu(t), which is 0 for t < 0: neither a touch nor a plateau is positive.
    model = nn.Sequential(linear([[1.0]], [0.0]), nn.ReLU(), nn.ReLU(), linear([[-1.0]], [0.0]), nn.ReLU()).eval()
    (path,) = rational.walk(model, row(0.0), row(1.0))
    assert path.breakpoints == [0]
    assert path.flips == [[(0, 0, 0, 1), (1, 0, 0, 1)]]
    assert path.patterns() == [[[0], [0], [0]], [[1], [1], [0]]]


def test_equal_inputs_of_a_maximum_count_as_the_first() -> None:
    class Largest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x, x, -x], 2).amax(2)

    (path,) = rational.walk(Largest().eval(), row(0.0), row(1.0), INFINITE)
    assert path.t == [-math.inf, 0, math.inf]
    assert path.patterns() == [[[2]], [[0]]]


def test_one_bend_of_a_bias_free_network_on_a_line_through_the_origin() -> None:
    torch.manual_seed(0)
    for width in (16, 128):
        model = mlp(8, width, width, width, 4, bias=False).double().eval()
        d = torch.randn(2, 8, dtype=torch.float64)
        for path in rational.walk(model, 0.5 * d, d, INFINITE):
            assert path.breakpoints == [Fraction(-1, 2)]


def test_units_whose_biases_are_one_ulp_apart_bend_at_two_points() -> None:
    bias = 0.7
    model = nn.Sequential(linear([[0.3], [0.3]], [bias, math.nextafter(bias, 1)]), nn.ReLU()).eval()
    (path,) = rational.walk(model, row(0.0), row(1.0), (-5, 5))
    expected = [-Fraction(number) / Fraction(0.3) for number in (math.nextafter(bias, 1), bias)]
    assert path.breakpoints == expected
    assert expected[0] < expected[1]
    assert path.flips == [[(0, 1, 0, 1)], [(0, 0, 0, 1)]]


def test_a_class_that_is_only_touched_does_not_end_the_interval() -> None:
    # Logits 0 and -|t - 1|, then 0 and t - 2: a touch at 1, a crossing at 2.
    class Touching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x - x, torch.maximum(-(x - 1).abs(), x - 2)], 1)

    (interval,) = rational.exact_interval(Touching().eval(), row(0.0), row(1.0))
    assert (interval.lo, interval.hi, interval.label_lo, interval.label_hi) == (-math.inf, 2, -1, 1)


def test_a_tie_at_x() -> None:
    (interval,) = rational.exact_interval(linear([[0.0], [1.0], [1.0]], [0.0, 0.0, 0.0]), row(0.0), row(1.0))
    assert (interval.lo, interval.hi) == (-math.inf, 0)
    assert (interval.label, interval.label_lo, interval.label_hi, interval.tied) == (0, -1, 1, True)


def test_a_range_that_ends_first_and_one_that_starts_at_x() -> None:
    model = linear([[0.0], [1.0]], [0.0, -2.0])
    (interval,) = rational.exact_interval(model, row(0.0), row(1.0), (0, Fraction(1, 3)))
    assert (interval.lo, interval.hi, interval.label_lo, interval.label_hi) == (0, Fraction(1, 3), -1, -1)
    assert interval.length == Fraction(1, 3)


def test_classes_that_decide_can_be_chosen() -> None:
    model = linear([[0.0], [1.0], [2.0]], [0.0, -2.0, -1.0])
    (interval,) = rational.exact_interval(model, row(0.0), row(1.0), decision=[0, 1])
    assert (interval.hi, interval.label_hi) == (2, 1)
    with pytest.raises(ValueError, match="decision"):
        rational.exact_interval(model, row(0.0), row(1.0), decision=[0, 3])


# ---------------------------------------------------------------- against plain fractions


def given_case(case: Case) -> tuple[Network, Tensor, Tensor, tuple[float, float]]:
    return network_of(case.layers, len(case.x)), row(*case.x), row(*case.d), (case.lo, case.hi)


def assert_true(case: Case) -> None:
    network, x, d, t_range = given_case(case)
    (path,) = rational.walk(network, x, d, t_range)
    exact = truth.walk(case.layers, case.x, case.d, case.lo, case.hi)
    assert path.breakpoints == [point.t for point in exact.breakpoints]
    assert path.flips == [list(point.flips) for point in exact.breakpoints]
    assert path.patterns() == [[list(gate) for gate in region.pattern] for region in exact.regions]
    for found, region in zip(path.regions, exact.regions):
        assert (found.intercept, found.slope) == (region.intercept, region.slope)
    (interval,) = rational.exact_interval(network, x, d, t_range)
    expected = truth.exact_interval(case.layers, case.x, case.d, case.lo, case.hi)
    for name in ("lo", "hi", "label", "label_lo", "label_hi", "tied"):
        assert getattr(interval, name) == getattr(expected, name), name


@examples(200, cases(gates=st.lists(st.sampled_from(EXACT_GATES), min_size=1, max_size=2), skips=st.booleans()))
def test_random_networks_are_walked_exactly(case: Case) -> None:
    assert_true(case)


@pytest.mark.parametrize(
    "backend",
    [pytest.param(True, marks=pytest.mark.skipif(not arithmetic.FLINT, reason="needs python-flint")), False],
    ids=["flint", "python"],
)
@some_quick("line", LINES, one_in=3)
def test_every_flavour_on_every_line(line: str, backend: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "FLINT", backend)
    for seed, flavour in enumerate(FLAVOURS):
        for bias, t_range in ((True, INFINITE), (False, (-1.0, 2.0))):
            assert_true(make_case([4, 12, 9, 3], ["relu"], flavour, line, t_range, bias=bias, seed=seed))


def test_a_stretch_away_from_x() -> None:
    network, x, d, _ = given_case(make_case([3, 10, 10, 2], seed=5))
    exact = ExactNetwork(network)
    (whole,) = rational.walk(exact, x, d, INFINITE)
    low, high = whole.breakpoints[2] + Fraction(1, 10**9), whole.breakpoints[-1]
    part = walk_between(exact, x[0], d[0], Point.of(low), Point.of(high))
    assert part.breakpoints == [t for t in whole.breakpoints if low < t < high]
    assert len(part.breakpoints) > 2
    assert part.patterns() == whole.patterns()[3:-1]


# ---------------------------------------------------------------- against the float walk


# A pair's minimum and maximum bend at one point: rounding makes two of it.
COINCIDENT = {"group sort"}


@of_each(ARCHITECTURES)
def test_the_float_walk_agrees(architecture: Architecture) -> None:
    model = architecture.model()
    generator = torch.Generator().manual_seed(0)
    x, d = torch.randn(2, 2, *architecture.shape, generator=generator, dtype=torch.float64)
    paths = rr.walk(model, x, d)
    for path, exact in zip(paths, rational.walk(model, x, d)):
        if architecture.name in COINCIDENT:
            assert len(exact) <= len(path)
            continue
        assert len(exact) == len(path)
        difference = [abs(t - Fraction(float(u))) for t, u in zip(exact.breakpoints, path.breakpoints)]
        assert max(difference, default=0) < 1e-12
        assert exact.patterns() == [[gate.tolist() for gate in region.pattern] for region in path.regions]
        for t, logits in zip(exact.breakpoints, path.outputs[1:-1].flatten(1).tolist()):
            assert [float(number) for number in exact.outputs_at(t)] == pytest.approx(logits, abs=1e-11)
    if len(paths.network.output_shape) == 1:
        for number, exact_interval in enumerate(rational.exact_interval(model, x, d)):
            interval = rr.exact_interval(model, x, d)[number]
            for name in ("label", "label_lo", "label_hi"):
                assert int(getattr(interval, name)) == getattr(exact_interval, name)
            for name in ("lo", "hi"):
                end = float(getattr(exact_interval, name))
                assert float(getattr(interval, name)) == pytest.approx(end, rel=1e-9, abs=1e-12)


# ---------------------------------------------------------------- points, and what is refused


def test_points_are_ordered_exactly() -> None:
    tiny = Fraction(1, 10**40)
    numbers = [-math.inf, -(10**400), Fraction(1, 3) - tiny, Fraction(1, 3), Fraction(1, 3) + tiny, 10**400, math.inf]
    points = [Point.of(number) for number in numbers]
    for shuffled in (points[::-1], points[3:] + points[:3]):
        assert sorted(shuffled, key=lambda point: point.order) == points


@pytest.mark.parametrize(
    ("t_range", "reason"),
    [
        ((1, 1), "empty"),
        ((math.inf, math.inf), "empty"),
        ((Fraction(1, 3), 1), "leaves out"),
        ((-1, math.nan), "numbers"),
        (([-1.0, -2.0], 1), "1 numbers"),
        ((-1,), "pair"),
        (("low", 1), "number"),
    ],
)
def test_bad_ranges_are_refused(t_range: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        rational.walk(linear([[1.0]], [0.0]), row(0.0), row(1.0), t_range)


def test_the_model_comes_back_untouched() -> None:
    model = mlp(3, 4, 2).float().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rational.walk(model, torch.zeros(1, 3), torch.ones(1, 3))
    assert all(
        torch.equal(value, before[name]) and value.dtype == torch.float32 for name, value in model.state_dict().items()
    )


def test_a_gate_that_jumps_is_refused() -> None:
    gate = Knots.of([3.0], [1 / 6, 0.0], [0.5, 1.0])
    step = GateStep("y", ("x",), (2,), Origin("head", "hardsigmoid"), gate)
    with pytest.raises(UnsupportedOperation, match="hardsigmoid in head jumps"):
        rational.walk(Network((step,), "x", "y", (2,), (2,)), row(0.0, 1.0), row(1.0, 1.0))


# ---------------------------------------------------------------- the interval of a walk


@pytest.mark.parametrize("t_range", [(-1.0, 2.0), (0.0, 1.0), (-3.0, 0.0), INFINITE], ids=str)
def test_a_walk_around_x_has_the_interval_that_is_found_from_x_outwards(t_range: tuple[float, float]) -> None:
    low, high = (Point.of(Fraction(end) if math.isfinite(end) else end) for end in t_range)
    proven = {False: 0, True: 0}
    for seed, flavour in enumerate([*FLAVOURS] * 4):
        for sizes in ([2, 5, 3], [3, 6, 4, 1]):
            case = make_case(sizes, flavour=flavour, line=[*LINES][seed % len(LINES)], t_range=INFINITE, seed=seed)
            network, x, d = ExactNetwork(network_of(case.layers, len(case.x))), row(*case.x), row(*case.d)
            decision = Decision.of(network.network.output_shape)
            path = walk_between(network, x[0], d[0], low, high)
            expected = interval_on(network, x[0], d[0], low, high, decision)
            assert interval_within(path, decision, (True, True)) == expected
            # Where no class takes over, the interval may go on.
            both = min(expected.label_lo, expected.label_hi) >= 0
            assert interval_within(path, decision, (False, False)) == (expected if both else None)
            proven[both] += 1
    assert proven[False] > 5
    assert proven[True] > 1 or 0.0 in t_range
