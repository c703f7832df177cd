"""Walks of generated cases, and whether they are what fractions say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import torch

import relu_regions as rr
from relu_regions.walking import settle
from tests.networks import network_of
from tests.oracles import fractions_walk as truth
from tests.strategies import Case

__all__ = ["assert_true", "nothing_settled", "walked"]


def walked(case: Case, memory_budget: int | None = None) -> rr.Paths:
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    network = network_of(case.layers, len(case.x))
    return rr.walk(network, x, d, (case.lo, case.hi), memory_budget=memory_budget)


@contextmanager
def nothing_settled() -> Iterator[None]:
    """Rational arithmetic is too expensive for every line, so that bounds and the judge are alone."""
    allowed, settle.AFFORDABLE_PRODUCTS = settle.AFFORDABLE_PRODUCTS, -1
    try:
        yield
    finally:
        settle.AFFORDABLE_PRODUCTS = allowed


def assert_true(paths: rr.Paths, case: Case) -> None:
    """Count, order, flips and patterns are those of the truth, and every t is within its bound."""
    exact = truth.walk(case.layers, case.x, case.d, case.lo, case.hi)
    path = paths[0]
    flips = torch.stack([path.flips.gate, path.flips.unit, path.flips.before, path.flips.after], 1)
    found = [flips[path.flips.row == number].tolist() for number in range(1, len(path))]
    assert found == [[list(flip) for flip in point.flips] for point in exact.breakpoints]
    assert [pattern[0].tolist() for pattern in paths.first_patterns] == [list(gate) for gate in exact.first_pattern]
    assert paths.t_error is not None
    for t, error, point in zip(path.breakpoints.tolist(), paths.t_error[1:-1].tolist(), exact.breakpoints):
        assert math.isinf(error) or abs(Fraction(t) - point.t) <= Fraction(error)
