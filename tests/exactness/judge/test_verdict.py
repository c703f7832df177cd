"""What the judge confirms is the truth, and what is not the truth it does not confirm."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.exactness.judge import Claims, Verdict, balls, evaluations, judge
from relu_regions.lines.line_batch import LineBatch
from relu_regions.walking.judging import claims_of
from tests.models import mlp
from tests.networks import network_of
from tests.quick import some_quick
from tests.strategies import FLAVOURS, GATES, LINES, Case, cases, make_case

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
EXACT = [name for name in GATES if name != "hardsigmoid"]


def heard(network: rr.Network, x: Tensor, d: Tensor, t_range: tuple[float, float]) -> tuple[rr.Paths, Claims, Verdict]:
    """A walk without bounds, what it claims, and what the judge says of it."""
    lines = LineBatch.of(network, x, d, t_range)
    paths = rr.walk(network, x, d, t_range, resolve="never")
    claims = claims_of(lines, paths, torch.arange(len(paths)))
    return paths, claims, judge(network, claims)


def assert_true(paths: rr.Paths, verdict: Verdict, t_range: tuple[float, float]) -> None:
    """Every confirmed line has the flips, patterns and places of the rational walk."""
    numbers = verdict.confirmed.nonzero()[:, 0].tolist()
    if not numbers:
        return
    bends = paths.offsets - 2 * torch.arange(len(paths) + 1)
    exact = rational.walk(paths.network, paths.x[numbers], paths.d[numbers], t_range)
    for number, true in zip(numbers, exact):
        flips = paths[number].flips
        table = torch.stack([flips.gate, flips.unit, flips.before, flips.after], 1)
        found = [table[flips.row == row].tolist() for row in range(1, len(paths[number]))]
        assert found == [[list(flip) for flip in flips] for flips in true.flips]
        assert [pattern[number].tolist() for pattern in paths.first_patterns] == true.first_patterns
        errors = verdict.t_error[bends[number] : bends[number + 1]].tolist()
        for t, error, where in zip(paths[number].breakpoints.tolist(), errors, true.breakpoints):
            assert abs(Fraction(t) - where) <= Fraction(error)


def judged(case: Case) -> bool:
    """Whether the judge confirms a case; what it confirms is true."""
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    paths, _, verdict = heard(network_of(case.layers, len(case.x)), x, d, (case.lo, case.hi))
    assert_true(paths, verdict, (case.lo, case.hi))
    return bool(verdict.confirmed.all())


def test_what_leads_at_x_is_said_where_it_leads_strictly() -> None:
    class Logits(nn.Module):
        """Two logits, the second one ahead by less and less."""

        def __init__(self, ahead: float) -> None:
            super().__init__()
            self.body, self.ahead = mlp(3, 8, 1), ahead

        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x)
            return torch.cat([y, y + self.ahead], 1).amax(1, keepdim=True)

    torch.manual_seed(0)
    for ahead, leader in ((1.0, 1), (-1.0, 0), (0.0, -1), (1e-20, -1)):
        network = rr.Network.from_module(Logits(ahead).double().eval(), (3,))
        x, d = torch.randn(2, 5, 3, dtype=torch.float64)
        for t_range in ((-1.0, 2.0), (0.0, 1.0)):
            paths = rr.walk(network, x, d, t_range, resolve="never")
            claims = claims_of(LineBatch.of(network, x, d, t_range), paths, torch.arange(5))
            verdict = judge(network, claims, at_x=True)
            assert set(verdict.leader[verdict.confirmed].tolist()) <= {leader}
            assert verdict.confirmed.all() or leader < 0
            assert (verdict.leader[~verdict.confirmed] == -1).all() and (judge(network, claims).leader == -1).all()


@settings(max_examples=60, deadline=None)
@given(cases(max_width=12, gates=st.lists(st.sampled_from(EXACT), min_size=1, max_size=2), skips=st.booleans()))
def test_what_it_confirms_is_true(case: Case) -> None:
    judged(case)


@some_quick("line", LINES, one_in=3)
def test_deep_and_narrow_networks(line: str) -> None:
    """20 layers of 4, of every flavour; ordinary ones are confirmed."""
    for number, flavour in enumerate(FLAVOURS):
        reach = [2.0, math.inf][number % 2]
        case = make_case([3, *[4] * 20, 3], ["relu", "leaky_relu"], flavour, line, (-reach, reach), seed=number)
        assert judged(case) or flavour != "ordinary" or line != "gaussian"


@some_quick("seed", range(0, 96, 7), one_in=4)
def test_the_benchmark_finds_nothing_false(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of walks, of what is altered in them, and of intervals, by every evaluation."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    judged = importlib.import_module("judged")
    monkeypatch.setattr(judged, "EVALUATION", evaluations.__all__[1:][seed // 7 % 4])
    about, wrong, *_ = judged.differences(seed)
    assert not wrong, about


def multiples(seed: int) -> tuple[rr.Network, Tensor, Tensor]:
    """Units that are another times a factor: float64 puts their breakpoints in one order or the other."""
    torch.manual_seed(seed)
    model = mlp(3, 8, 8, 2).double().eval()
    with torch.no_grad():
        for layer in (module for module in model if isinstance(module, nn.Linear)):
            half = len(layer.weight) // 2
            layer.weight[half : 2 * half] = 0.3 * layer.weight[:half]
            layer.bias[half : 2 * half] = 0.3 * layer.bias[:half]
    return rr.Network.from_module(model, (3,)), *torch.randn(2, 6, 3, dtype=torch.float64)


def test_radii_a_thousand_times_too_small_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x, d = multiples(0)
    paths, claims, verdict = heard(network, x, d, (-2.0, 2.0))
    assert_true(paths, verdict, (-2.0, 2.0))
    monkeypatch.setattr(balls, "UNIT", balls.UNIT / 1000)
    small = judge(network, claims)
    assert small.confirmed.sum() > verdict.confirmed.sum()
    with pytest.raises(AssertionError):
        assert_true(paths, small, (-2.0, 2.0))


# ---------------------------------------------------------------- what is false


def an_ordinary_walk(t_range: tuple[float, float] = (-2.0, 2.0)) -> tuple[rr.Network, Claims]:
    torch.manual_seed(1)
    network = rr.Network.from_module(mlp(4, 8, 8, 8, 3).double().eval(), (4,))
    x, d = torch.randn(2, 1, 4, dtype=torch.float64)
    _, claims, verdict = heard(network, x, d, t_range)
    assert verdict.confirmed.all() and len(claims.t) > 6
    return network, claims


def without(claims: Claims, point: int) -> Claims:
    """The claims without one of the breakpoints, and without its flips."""
    kept, flips = torch.arange(len(claims.t)) != point, claims.point != point
    parts = {name: getattr(claims, name)[flips] for name in ("gate", "unit", "before", "after")}
    moved = claims.point[flips] - (claims.point[flips] > point).long()
    return replace(claims, t=claims.t[kept], offsets=claims.offsets - torch.tensor([0, 1]), point=moved, **parts)


@pytest.mark.parametrize("t_range", [(-2.0, 2.0), (-math.inf, math.inf)], ids=["segment", "line"])
def test_no_breakpoint_can_be_left_out(t_range: tuple[float, float]) -> None:
    network, claims = an_ordinary_walk(t_range)
    for point in range(len(claims.t)):
        assert not judge(network, without(claims, point)).confirmed.any()


def test_no_two_breakpoints_can_change_places_or_become_one() -> None:
    network, claims = an_ordinary_walk()
    for point in range(len(claims.t) - 1):
        other = {point: point + 1, point + 1: point}
        swapped = torch.tensor([other.get(number, number) for number in claims.point.tolist()])
        order = swapped.argsort(stable=True)
        parts = {name: getattr(claims, name)[order] for name in ("gate", "unit", "before", "after")}
        assert not judge(network, replace(claims, point=swapped[order], **parts)).confirmed.any()
        joined = torch.where(claims.point == point + 1, point, claims.point)
        assert not judge(network, without(replace(claims, point=joined), point + 1)).confirmed.any()


@pytest.mark.parametrize("name", ["gate", "unit", "before", "after"])
@pytest.mark.parametrize("by", [-1, 1, 1000])
def test_no_flip_can_be_another(name: str, by: int) -> None:
    network, claims = an_ordinary_walk()
    for flip in range(len(claims.point)):
        changed = getattr(claims, name).clone()
        changed[flip] += by
        assert not judge(network, replace(claims, **{name: changed})).confirmed.any()


def test_no_first_pattern_can_be_another() -> None:
    network, claims = an_ordinary_walk()
    for gate, pieces in enumerate(claims.first_patterns):
        for unit, piece in enumerate(pieces[0].tolist()):
            for other in {1 - piece, piece - 1, piece + 1}:
                patterns = [part.clone() for part in claims.first_patterns]
                patterns[gate][0, unit] = other
                assert not judge(network, replace(claims, first_patterns=tuple(patterns))).confirmed.any()


@pytest.mark.parametrize("t", [math.nan, math.inf, -math.inf, -3.0, 3.0])
def test_a_breakpoint_that_is_no_place_in_the_range(t: float) -> None:
    network, claims = an_ordinary_walk()
    for point in (0, len(claims.t) - 1):
        places = claims.t.clone()
        places[point] = t
        assert not judge(network, replace(claims, t=places)).confirmed.any()


def test_a_breakpoint_without_flips_is_none() -> None:
    network, claims = an_ordinary_walk()
    more = torch.cat([claims.t[:1], claims.t[:2].mean(0, True), claims.t[1:]])
    moved = claims.point + (claims.point > 0).long()
    extended = replace(claims, t=more, offsets=claims.offsets + torch.tensor([0, 1]), point=moved)
    assert not judge(network, extended).confirmed.any()


def test_a_wrong_line_does_not_touch_the_others() -> None:
    torch.manual_seed(2)
    network = rr.Network.from_module(mlp(4, 12, 12, 3).double().eval(), (4,))
    x, d = torch.randn(2, 5, 4, dtype=torch.float64)
    _, claims, verdict = heard(network, x, d, (-2.0, 2.0))
    assert verdict.confirmed.all()
    gate = claims.gate.clone()
    gate[(claims.point >= claims.offsets[2]).nonzero()[0]] = 7
    assert judge(network, replace(claims, gate=gate)).confirmed.tolist() == [True, True, False, True, True]


def test_a_gate_that_jumps_is_not_judged() -> None:
    network = network_of([("affine", [[1.0]], [0.0]), ("knots", [0.0], [1.0, 1.0], [0.0, 1e-30])], 1)
    _, _, verdict = heard(network, torch.tensor([[0.5]]).double(), torch.tensor([[1.0]]).double(), (-1.0, 1.0))
    assert not verdict.confirmed.any()


def test_a_rise_beyond_all_floats_bounds_no_breakpoint() -> None:
    """The change of the unit over its cell overflows, so that what it divides would be 0."""
    layers = [("affine", [[1e308]], [3e307]), ("knots", [0.0], [0.0, 1.0], [0.0, 0.0])]
    x, d = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    paths, _, verdict = heard(network_of(layers, 1), x, d, (-1.5, 1.25))
    assert_true(paths, verdict, (-1.5, 1.25))


# ---------------------------------------------------------------- that it confirms what it should


@pytest.mark.parametrize("chunk", [None, 1])
def test_deep_networks_are_confirmed_in_chunks_of_any_size(chunk: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = importlib.import_module("relu_regions.exactness.judge.verdict")
    if chunk is not None:
        monkeypatch.setattr(verdict, "_CHUNK_BYTES", chunk)
        monkeypatch.setattr(verdict, "_WORTH_BLOCKS", 1)
    torch.manual_seed(3)
    network = rr.Network.from_module(mlp(8, *[12] * 10, 4).double().eval(), (8,))
    x, d = torch.randn(2, 2, 8, dtype=torch.float64)
    for t_range in ((-1.0, 2.0), (-math.inf, math.inf)):
        paths, _, found = heard(network, x, d, t_range)
        assert found.confirmed.all()
        assert_true(paths, found, t_range)


@pytest.mark.parametrize("units", range(28, 34))
def test_a_part_of_a_line_may_have_no_breakpoints(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a post beside an end at 1, so that both may be all that is left for the last part."""
    verdict = importlib.import_module("relu_regions.exactness.judge.verdict")
    monkeypatch.setattr(verdict, "_CHUNK_BYTES", 1)
    monkeypatch.setattr(verdict, "_WORTH_BLOCKS", 1)
    zeros = [-(unit + 1) / (units + 2) for unit in range(units)]
    network = network_of([("affine", [[1.0]] * units, zeros), ("knots", [0.0], [0.0, 1.0], [0.0, 0.0])], 1)
    x, d = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    paths, _, found = heard(network, x, d, (-1.0, 1.0))
    assert found.confirmed.all()
    assert_true(paths, found, (-1.0, 1.0))


@pytest.mark.parametrize("pool_first", [False, True])
@pytest.mark.parametrize("t_range", [(-2.0, 2.0), (-math.inf, math.inf)], ids=["segment", "line"])
def test_maxima_of_zeros_flip_with_the_unit_that_makes_them(pool_first: bool, t_range: tuple[float, float]) -> None:
    torch.manual_seed(4)
    both = [nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), *(both[::-1] if pool_first else both), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 3),
    ).double().eval()  # fmt: skip
    network = rr.Network.from_module(model, (1, 6, 6))
    x, d = torch.randn(2, 3, 1, 6, 6, dtype=torch.float64)
    paths, _, verdict = heard(network, x, d, t_range)
    assert verdict.confirmed.all()
    assert_true(paths, verdict, t_range)
