"""Breakpoints that are claimed too far from where they are: rows move to where more digits say that they are."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

import relu_regions as rr
from relu_regions import rational
from relu_regions.exactness.judge import Claims, judge
from relu_regions.exactness.judge.evaluations import Evaluator, with_digits, with_two_digits
from relu_regions.lines.line_batch import LineBatch
from relu_regions.walking.judging import claims_of
from tests.models import mlp

RANGE = (-1.0, 2.0)


def moved_claims() -> tuple[rr.Paths, Claims]:
    """True claims, but that each t is off by a fiftieth of the way to the closest neighbour."""
    torch.manual_seed(3)
    network = rr.Network.from_module(mlp(8, *[12] * 10, 4).double().eval(), (8,))
    x, d = torch.randn(2, 2, 8, dtype=torch.float64)
    paths = rr.walk(network, x, d, RANGE, resolve="never")
    claims = claims_of(LineBatch.of(network, x, d, RANGE), paths, torch.arange(len(paths)))
    parts = []
    for path in paths:
        gaps = path.t.diff()
        away = torch.minimum(gaps[:-1], gaps[1:]) / 50
        away[::2] *= -1
        parts.append(path.t[1:-1] + away)
    return paths, replace(claims, t=torch.cat(parts))


@pytest.mark.parametrize("evaluation", [with_digits, with_two_digits])
def test_rows_move_to_where_breakpoints_are(evaluation: Evaluator) -> None:
    paths, claims = moved_claims()
    assert not judge(paths.network, claims).confirmed.all()
    verdict = judge(paths.network, claims, evaluation=evaluation)
    assert verdict.confirmed.all()
    exact = rational.walk(paths.network, paths.x, paths.d, RANGE)
    places = [place for line in exact for place in line.breakpoints]
    for t, error, place in zip(claims.t.tolist(), verdict.t_error.tolist(), places, strict=True):
        assert abs(Fraction(t) - place) <= Fraction(error)
