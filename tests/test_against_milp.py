"""No point of an interval has another class, and points just beyond its ends do: found by a solver, not by a walk."""

from __future__ import annotations

import math

import pytest
import torch

import relu_regions as rr
from tests.networks import network_of
from tests.oracles.fractions_walk import evaluate
from tests.oracles.milp import largest_lead, true_lead
from tests.quick import some_quick
from tests.strategies import Case, make_case

RANGE = (-4.0, 4.0)
# HiGHS keeps constraints to 1e-7 and decisions to 1e-6.
TOLERANCE = 1e-5


def interval_of(case: Case) -> rr.Interval:
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    return rr.exact_interval(network_of(case.layers, len(case.x)), x, d, RANGE)


@some_quick(
    "gates,flavour", [["relu"], ["maxout"], ["relu", "maxout"]], ["ordinary", "integers", "duplicates"], one_in=4
)
def test_a_solver_finds_no_other_class_inside_and_one_outside(gates: list[str], flavour: str) -> None:
    searched = found_outside = 0
    for seed in range(3):
        case = make_case([3, 7, 6, 3], gates, flavour, t_range=RANGE, seed=seed)
        interval = interval_of(case)
        label, lo, hi = int(interval.label), float(interval.lo), float(interval.hi)
        for rival in {0, 1, 2} - {label}:
            if lo < hi:
                lead, t = largest_lead(*case[:3], lo, hi, label, rival)
                assert lead <= TOLERANCE
                assert true_lead(*case[:3], min(max(t, lo), hi), label, rival) <= TOLERANCE
                searched += 1
        for end, beyond, side in ((lo, int(interval.label_lo), -1), (hi, int(interval.label_hi), 1)):
            if beyond >= 0:
                _, t = largest_lead(*case[:3], *sorted((end, end + side * 0.01)), label, beyond)
                assert true_lead(*case[:3], t, label, beyond) > 0
                found_outside += 1
    assert searched >= 2 and found_outside >= 1


def test_the_solver_finds_a_class_hidden_inside() -> None:
    """The oracle can fail: an interval that was made too long is caught."""
    made = (make_case([3, 7, 6, 3], t_range=RANGE, seed=seed) for seed in range(20))
    case, interval = next((case, found) for case in made if int((found := interval_of(case)).label_hi) >= 0)
    label, beyond, hi = int(interval.label), int(interval.label_hi), float(interval.hi)
    lead, t = largest_lead(*case[:3], 0.0, min(RANGE[1], hi + 0.5), label, beyond)
    assert lead > TOLERANCE and t > hi and true_lead(*case[:3], t, label, beyond) > 0


@pytest.mark.parametrize("gates", [["relu"], ["maxout"], ["hardtanh", "maxout"]], ids="-".join)
def test_dense_evaluation_has_the_same_class_inside(gates: list[str]) -> None:
    for seed in range(6):
        case = make_case([3, 9, 8, 4], gates, t_range=RANGE, seed=seed)
        interval, network = interval_of(case), network_of(case.layers, 3)
        lo, hi = float(interval.lo), float(interval.hi)
        x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
        t = torch.linspace(0, 1, 20_001, dtype=torch.float64)[1:-1, None] * (hi - lo) + lo
        classes = network(x + t * d).argmax(1)
        assert (classes == interval.label).all()
        for end, beyond, side in ((lo, interval.label_lo, -1), (hi, interval.label_hi, 1)):
            if beyond >= 0:
                outside = end + side * 1e-9 * max(1.0, abs(end))
                assert network(x + outside * d).argmax(1) == beyond
                logits = evaluate(case.layers, [a + outside * b for a, b in zip(case.x, case.d)])[0]
                assert logits.index(max(logits)) == beyond and math.isfinite(outside)
