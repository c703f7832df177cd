"""Radii and norms of errors against the network in plain fractions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch

from relu_regions.exactness.judge import balls
from relu_regions.exactness.judge.balls import Ball, Rows, RunningBounds
from relu_regions.exactness.judge.operator_norms import OperatorNorms
from tests.networks import network_of
from tests.oracles.fractions_walk import evaluate
from tests.strategies import FLAVOURS, Case, make_case


def shares(case: Case) -> Iterator[tuple[float, float]]:
    """For every gate and row the largest error by its radius, and the norm of the errors by its bound."""
    network = network_of(case.layers, len(case.x))
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    position = torch.tensor([[-0.3, 0.1, 0.7], [1.1, 1.3, 1.7]], dtype=torch.float64)
    rows = Rows(torch.tensor([0, 0]), position, torch.ones(2, dtype=torch.float64))
    gates = [place for place, layer in enumerate(case.layers) if layer[0] in ("knots", "maximum")]
    points = [
        [Fraction(a) + Fraction(t) * Fraction(b) for a, b in zip(case.x, case.d)] for t in position.flatten().tolist()
    ]
    for gate, (_, _, ball) in zip(gates, RunningBounds(network, x, d).through(rows), strict=True):
        for row, point in enumerate(points):
            yield _share(ball, row, evaluate(case.layers[:gate], point)[0])


def _share(ball: Ball, row: int, true: tuple[Fraction, ...]) -> tuple[float, float]:
    value, radius, norm = ball.value[row].tolist(), ball.radius[row // 3].tolist(), ball.norm[row // 3].item()
    errors = [abs(Fraction(here) - there) for here, there in zip(value, true, strict=True)]
    largest = max((float(e / Fraction(r)) for e, r in zip(errors, radius) if e), default=0.0)
    whole = sum(e * e for e in errors)
    # Where squares overflow a norm is infinite, and bounds nothing.
    return largest, float(whole / Fraction(norm) ** 2) ** 0.5 if whole and norm < math.inf else 0.0


def deep_cases() -> Iterator[Case]:
    # What the first layer rounds is all that the last one has of errors, and large.
    relu = ("knots", [0.0], [0.0, 1.0], [0.0, 0.0])
    layers = [("affine", [[0.3]], [1e6]), relu, ("affine", [[1.0]], [-1e6]), relu, ("affine", [[1e3]], [0.1]), relu]
    yield Case(layers, [2.0], [0.7], -1.0, 2.0)
    for number, flavour in enumerate(FLAVOURS):
        gates = [["relu"], ["leaky_relu", "hardtanh"], ["maxout"]][number % 3]
        yield make_case([3, *[6] * 8, 2], gates, flavour, "gaussian", (-1.0, 2.0), skips=number % 2 > 0, seed=number)


def test_errors_lie_within_radii_and_norms() -> None:
    found = [share for case in deep_cases() for share in shares(case)]
    assert len(found) > 300 and max(max(share) for share in found) <= 1
    assert max(share[0] for share in found) > 0.01


@pytest.mark.parametrize("what", ["roundings", "norms"])
def test_bounds_a_thousand_times_too_small_are_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if what == "roundings":
        monkeypatch.setattr(balls, "UNIT", balls.UNIT / 1000)
    else:
        true = OperatorNorms.of
        monkeypatch.setattr(OperatorNorms, "of", lambda *given: _smaller(true(*given)))
    assert max(max(share) for case in deep_cases() for share in shares(case)) > 1


def _smaller(norms: OperatorNorms) -> OperatorNorms:
    return OperatorNorms(tuple(rows / 1000 for rows in norms.rows), tuple(whole / 1000 for whole in norms.whole))
