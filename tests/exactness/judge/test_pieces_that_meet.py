"""At a breakpoint a ball holds both affine pieces that meet there, at the row's own t."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

import relu_regions as rr
from relu_regions.exactness.judge import Claims, balls, judge, verdict
from relu_regions.exactness.judge.balls import Ball, Loose
from relu_regions.exactness.judge.hearing import Hearing
from relu_regions.exactness.judge.posts import BLOCK
from tests.exactness.judge.test_verdict import heard
from tests.models import mlp
from tests.networks import network_of
from tests.oracles.fractions_walk import Layers, affine
from tests.strategies import Case, make_case

HEARERS = ("hear_knots", "hear_maximum", "hear_order_statistic")


def with_pieces(layers: Layers, point: list[Fraction], pieces: list[list[int]]) -> Iterator[list[Fraction]]:
    """What every gate reads at a point if its units have the given pieces, wherever the point lies."""
    values, given = [point], iter(pieces)
    for kind, *numbers in layers:
        below = values[-1]
        if kind == "affine":
            values.append(affine(*numbers, below))
            continue
        yield below
        own = next(given)
        if kind == "knots":
            _, slopes, offsets = numbers
            values.append([Fraction(slopes[p]) * z + Fraction(offsets[p]) for p, z in zip(own, below)])
        else:
            values.append([below[window[p]] for window, p in zip(numbers[0], own)])


def patterns_of(claims: Claims, line: int) -> list[list[list[int]]]:
    """The claimed pieces of all gates, region by region."""
    pieces = [first[line].tolist() for first in claims.first_patterns]
    found = [[list(own) for own in pieces]]
    for point in range(int(claims.offsets[line]), int(claims.offsets[line + 1])):
        for flip in (claims.point == point).nonzero()[:, 0].tolist():
            pieces[int(claims.gate[flip])][int(claims.unit[flip])] = int(claims.after[flip])
        found.append([list(own) for own in pieces])
    return found


def shares(case: Case, monkeypatch: pytest.MonkeyPatch, move: float = 0.0) -> Iterator[float]:
    """How much of radii and norms the pieces on both sides of every breakpoint take.

    Args:
        move: how far the claimed breakpoints are moved, in parts of the distance to the next one.
    """
    network = network_of(case.layers, len(case.x))
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    _, claims, _ = heard(network, x, d, (case.lo, case.hi))
    t = claims.t.clone()
    t[:-1] += move * t.diff()
    claims = Claims(**{**vars(claims), "t": t})
    found: list[tuple[int, Hearing, Ball]] = []
    for name in HEARERS:
        monkeypatch.setattr(verdict, name, _spy(getattr(verdict, name), found))
    confirmed = judge(network, claims).confirmed
    monkeypatch.undo()
    if not confirmed.all():
        return
    patterns = patterns_of(claims, 0)
    for number, hearing, ball in found:
        for point, row in zip(hearing.chunk.claimed.tolist(), hearing.chunk.row.tolist()):
            at = Fraction(float(hearing.chunk.position.view(-1)[row]))
            place = [Fraction(a) + at * Fraction(b) for a, b in zip(case.x, case.d)]
            for side in (0, 1):
                true = list(with_pieces(case.layers, place, patterns[point + side]))[number]
                errors = [abs(Fraction(v) - z) for v, z in zip(ball.value[row].tolist(), true, strict=True)]
                radii = ball.radius[row // BLOCK].tolist()
                yield max((float(e / Fraction(r)) if r else math.inf for e, r in zip(errors, radii) if e), default=0.0)
                norm = Fraction(float(ball.norm[row // BLOCK]))
                yield float(sum(e * e for e in errors) / norm**2) ** 0.5 if norm else 0.0


def _spy(hear: Any, found: list[tuple[int, Hearing, Ball]]) -> Any:
    def spied(hearing: Hearing, number: int, step: Any, gate: Any, ball: Ball) -> None:
        found.append((number, hearing, ball._replace(value=ball.value.clone())))
        hear(hearing, number, step, gate, ball)

    return spied


def some_cases() -> Iterator[tuple[Case, float]]:
    gates = [["relu"], ["leaky_relu", "hardtanh"], ["maxout"], ["order statistics"], ["abs", "relu6"]]
    for seed in range(10):
        yield make_case([3, 6, 6, 6, 5, 2], gates[seed % 5], seed=seed), [0.0, 1e-9, 1e-5][seed % 3]


def test_balls_hold_both_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [share for case, move in some_cases() for share in shares(case, monkeypatch, move)]
    assert len(found) > 1000 and max(found) <= 1 and max(found) > 0.5


@pytest.mark.parametrize("what", ["radius", "extra"])
def test_units_that_flip_are_noticed_if_their_balls_are_not_widened(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true = balls.looser

    def narrower(radius: Tensor, norm: Tensor, loose: Loose, per_row: int) -> tuple[Tensor, Tensor]:
        wide, long = true(radius, norm, loose, per_row)
        return (radius, long) if what == "radius" else (wide, norm)

    def narrow() -> Iterator[float]:
        for case, move in some_cases():
            monkeypatch.setattr(balls, "looser", narrower)
            yield from shares(case, monkeypatch, move)

    assert max(narrow()) > 1


@pytest.mark.parametrize("share", [1e-9, 0.9, 1.1])
def test_a_breakpoint_moved_too_far_is_open(share: float) -> None:
    """What is confirmed of one that is moved is that the true one is as far away."""
    torch.manual_seed(0)
    network = rr.Network.from_module(mlp(3, 12, 12, 2).double().eval(), (3,))
    x, d = torch.randn(2, 1, 3, dtype=torch.float64)
    _, claims, found = heard(network, x, d, (-2.0, 3.0))
    assert found.confirmed.all() and len(claims.t) > 4
    t = claims.t.clone()
    t[:-1] += share * t.diff()
    moved = judge(network, Claims(**{**vars(claims), "t": t}))
    if moved.confirmed.all():
        assert share < 1 and (moved.t_error > (t - claims.t).abs() - 1e-13).all()
