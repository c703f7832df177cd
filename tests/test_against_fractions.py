"""The walk and the interval against the slow truth in fractions, which shares no code with them."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from hypothesis import strategies as st

import relu_regions as rr
from tests.networks import network_of
from tests.oracles import fractions_walk as truth
from tests.quick import examples, some_quick
from tests.strategies import FLAVOURS, GATES, LINES, Case, cases, make_case

# The truth's hardsigmoid has slope 1/6, which no float is.
EXACT_GATES = [name for name in GATES if name != "hardsigmoid"]
GENERIC = {
    "flavour": st.just("ordinary"),
    "line": st.just("gaussian"),
    "gates": st.lists(st.sampled_from(EXACT_GATES), min_size=1, max_size=2),
}
# The scales and the whole numbers have a test of their own: gates with a knot away from 0 would jump, and zeros cancel.
DEGENERATE = {
    "gates": st.lists(st.sampled_from(EXACT_GATES), min_size=1, max_size=2),
    "flavour": st.sampled_from(["ordinary", "zeros", "duplicates", "neighbours", "dead"]),
}


def run(case: Case) -> tuple[rr.Paths, rr.Interval]:
    network = network_of(case.layers, len(case.x))
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    return rr.walk(network, x, d, (case.lo, case.hi)), rr.exact_interval(network, x, d, (case.lo, case.hi))


def close(found: float, exact: Fraction | float, allowed: float) -> bool:
    if math.isinf(exact) or math.isinf(found):
        return found == exact
    return abs(Fraction(found) - exact) <= Fraction(allowed)


def tolerance(case: Case) -> float:
    """1e-12, relative for lines whose breakpoints lie far out because the direction is short."""
    return 1e-12 * max(1.0, 1 / max(map(abs, case.d)))


def right(paths: rr.Paths, t: float, exact: Fraction | float, allowed: float) -> bool:
    """Whether a t of the first path is the exact one, but for what is allowed for each unit of it.

    A bend that units cross at a small angle may be off by ten times that, if the walk's own bound says that it may.
    """
    if close(t, exact, scaled(allowed, t)):
        return True
    assert paths.t_error is not None
    bound = dict(zip(paths.t.tolist(), paths.t_error.tolist()))[t]
    return close(t, exact, min(bound, scaled(10 * allowed, t)))


@examples(150, cases(**GENERIC, skips=st.booleans()))
def test_generic_networks_agree_in_everything(case: Case) -> None:
    exact = truth.walk(case.layers, case.x, case.d, case.lo, case.hi)
    paths, interval = run(case)
    path = paths[0]
    assert len(path.breakpoints) == len(exact.breakpoints)
    for number, (found, point) in enumerate(zip(path.breakpoints.tolist(), exact.breakpoints), 1):
        assert right(paths, found, point.t, tolerance(case))
        mine = path.flips.row == number
        flips = torch.stack([path.flips.gate, path.flips.unit, path.flips.before, path.flips.after], 1)[mine]
        assert flips.tolist() == [list(flip) for flip in point.flips]
    for region, other in zip(path.regions, exact.regions):
        assert [gate.tolist() for gate in region.pattern] == [list(gate) for gate in other.pattern]
    assert_same_interval(interval, case)


def assert_same_interval(interval: rr.Interval, case: Case) -> None:
    expected = truth.exact_interval(case.layers, case.x, case.d, case.lo, case.hi)
    found = {name: column[0].item() for name, column in interval.numpy().items()}
    for name in ("lo", "hi"):
        exact = getattr(expected, name)
        size = 1.0 if math.isinf(exact) else max(1.0, abs(exact))
        assert close(found[name], exact, tolerance(case) * size), name
    for name in ("label", "label_lo", "label_hi", "tied"):
        assert found[name] == getattr(expected, name), name


def assert_same_regions(paths: rr.Paths, case: Case, allowed: float, flavour: str = "") -> None:
    """Every region wider than a sliver is there with its pattern and its logits, and nothing else is wider.

    Patterns are not compared where weights and inputs are whole numbers: units are then exactly 0 along whole regions
    by cancellation, and rounding decides whether float64 sees them so. Logits are not compared where weights are 60
    orders of magnitude apart: the network then jumps, as far as float64 can tell, within one float of t.
    """
    exact = truth.walk(case.layers, case.x, case.d, case.lo, case.hi)
    path = paths[0]
    found = [r for r in path.regions if wide(*r.interval, allowed)]
    expected = [r for r in exact.regions if wide(float(r.lo), float(r.hi), allowed)]
    assert len(found) == len(expected)
    for region, other in zip(found, expected):
        low, high = region.interval
        assert right(paths, low, other.lo, allowed) and right(paths, high, other.hi, allowed)
        if flavour != "integers":
            assert [gate.tolist() for gate in region.pattern] == [list(gate) for gate in other.pattern]
        if flavour == "tiny and huge":
            continue
        t = torch.tensor([region.interior], dtype=torch.float64)
        logits = torch.tensor([float(value) for value in other.logits(region.interior)], dtype=torch.float64)
        size = max(1.0, float(paths.values.abs().max()))
        assert (path.outputs_at(t)[0] - logits).abs().max() <= 1e-11 * size * max(1.0, abs(region.interior))


def scaled(allowed: float, t: float) -> float:
    return allowed * max(1.0, 0.0 if math.isinf(t) else abs(t))


def wide(low: float, high: float, allowed: float) -> bool:
    return math.isinf(low) or math.isinf(high) or high - low > 4 * scaled(allowed, max(abs(low), abs(high)))


@examples(150, cases(**DEGENERATE, skips=st.booleans()))
def test_degenerate_networks_agree_but_for_slivers(case: Case) -> None:
    paths, _ = run(case)
    # Two true breakpoints of a settled line may round to one float.
    assert (paths.t.diff() >= 0).all() and ((paths.t.diff() > 0).all() or paths.settled.all())
    assert_same_regions(paths, case, tolerance(case))


@some_quick("line,flavour,bias", LINES, FLAVOURS, [True, False], one_in=5)
def test_each_flavour_on_each_line(flavour: str, line: str, bias: bool) -> None:
    for seed, reach in enumerate([2.0, 1000.0, math.inf]):
        case = make_case([4, 12, 9, 3], ["relu"], flavour, line, (-reach, reach), bias=bias, seed=seed)
        assert_same_regions(run(case)[0], case, tolerance(case), flavour)
