"""The judge with more digits: what it confirms is true, alone and behind float64; deep networks are decided by it."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions.exactness.cascade import proven
from relu_regions.exactness.effort import Effort
from relu_regions.exactness.judge import judge
from relu_regions.exactness.judge.evaluations import (
    Evaluator,
    as_differences,
    in_float64,
    with_digits,
    with_two_digits,
)
from relu_regions.lines.line_batch import LineBatch
from relu_regions.walking.judging import claims_of
from tests.exactness.judge.test_digits import MODULES, Residual, module_question
from tests.exactness.judge.test_verdict import assert_true, multiples
from tests.networks import network_of
from tests.quick import some_quick
from tests.strategies import FLAVOURS, make_case

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
EVALUATIONS = [as_differences, with_digits, with_two_digits]


def heard(
    network: rr.Network, x: torch.Tensor, d: torch.Tensor, t_range: tuple[float, float], evaluation: Evaluator
) -> bool:
    """Whether lines of a walk without bounds are all confirmed; what is, is true."""
    lines = LineBatch.of(network, x, d, t_range)
    paths = rr.walk(network, x, d, t_range, resolve="never")
    verdict = judge(network, claims_of(lines, paths, torch.arange(len(paths))), evaluation=evaluation)
    assert_true(paths, verdict, t_range)
    return bool(verdict.confirmed.all())


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("name", MODULES)
def test_convolutional_and_residual_networks(name: str, evaluation: Evaluator) -> None:
    network, x, d, _ = module_question(name, "ordinary")
    for t_range in ((-2.0, 2.0), (-math.inf, math.inf)):
        # z - relu(z) is 0 on stretches, which no digits tell.
        assert heard(network, x, d, t_range, evaluation) or name == "dense"
    network, x, d, _ = module_question(name, "blank")
    heard(network, x, d, (-2.0, 2.0), evaluation)


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@some_quick("number", range(len(FLAVOURS)), one_in=3)
def test_deep_and_narrow_networks(number: int, evaluation: Evaluator) -> None:
    reach = [2.0, math.inf][number % 2]
    gates = [["relu", "leaky_relu"], ["maxout"], ["hardtanh"]][number % 3]
    flavour = list(FLAVOURS)[number]
    case = make_case([3, *[4] * 12, 3], gates, flavour, "gaussian", (-reach, reach), seed=number)
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    confirmed = heard(network_of(case.layers, 3), x, d, (case.lo, case.hi), evaluation)
    assert confirmed or flavour != "ordinary"


def test_what_is_closer_than_float64_tells_apart_is_decided_by_digits() -> None:
    network, x, d = multiples(0)
    lines, paths = LineBatch.of(network, x, d, (-2.0, 2.0)), rr.walk(network, x, d, (-2.0, 2.0), resolve="never")
    claims = claims_of(lines, paths, torch.arange(len(paths)))
    proof = proven(network, claims, Effort("auto"))
    assert_true(paths, proof, (-2.0, 2.0))
    assert torch.equal(proof.digits, proof.confirmed & ~judge(network, claims).confirmed)


def near_twins(seed: int) -> rr.Network:
    """Units that are others but for some 1e-14, so that breakpoints lie some 1e-14 apart."""
    torch.manual_seed(seed)
    layers: list[tuple[Any, ...]] = []
    for inputs in (3, 6, 6):
        weight, bias = torch.randn(6, inputs, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
        weight[3:] = weight[:3] * (1 + 1e-14 * torch.randn(3, inputs))
        bias[3:] = bias[:3] * (1 + 1e-14 * torch.randn(3))
        layers += [("affine", weight.tolist(), bias.tolist()), ("knots", [0.0], [0.1, 1.0], [0.0, 0.0])]
    return network_of(layers, 3)


def what_is_false(judged: ModuleType, evaluation: Evaluator) -> list[str]:
    """Of claims about lines, as they are and altered, that are confirmed."""
    found = []
    for seed in range(4):
        network, (x, d) = near_twins(seed), torch.randn(2, 1, 3, dtype=torch.float64)
        paths = rr.walk(network, x, d, (-2.0, 2.0), resolve="never")
        asked = [claims_of(LineBatch.of(network, x, d, (-2.0, 2.0)), paths, torch.tensor([0]))]
        asked += judged.altered(asked[0], Random(seed))
        verdict = judge(network, judged.together(asked), evaluation=evaluation)
        bounds, exact = verdict.t_error.split([len(one.t) for one in asked]), judged.ExactOnce(network, x, d, (-2, 2))
        for number in verdict.confirmed.nonzero()[:, 0].tolist():
            found += exact.differs_from(asked[number], bounds[number])
    return found


@pytest.mark.parametrize("evaluation", [in_float64, *EVALUATIONS])
def test_nothing_that_is_altered_is_confirmed_unless_it_is_true(
    evaluation: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    judged = importlib.import_module("judged")
    assert not what_is_false(judged, evaluation)
    if evaluation in (in_float64, as_differences):  # errors of more digits are far smaller than what is altered here
        with judged.unit_of(1e-4):
            assert what_is_false(judged, evaluation)


def test_claims_about_some_lines_are_those_of_these_lines() -> None:
    network, x, d = multiples(1)
    lines, paths = LineBatch.of(network, x, d, (-2.0, 2.0)), rr.walk(network, x, d, (-2.0, 2.0), resolve="never")
    some = torch.tensor([1, 2, 4])
    found = claims_of(lines, paths, torch.arange(len(paths))).only(some)
    for name, part in vars(claims_of(lines, paths, some)).items():
        other = getattr(found, name)
        parts = zip(part, other) if isinstance(part, tuple) else [(part, other)]
        assert all(torch.equal(one, two) for one, two in parts), name


def a_deep_residual_network() -> tuple[rr.Network, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    blocks = [Residual(4, 4, 1) for _ in range(10)]
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), *blocks, nn.Flatten(), nn.Linear(64, 3)).double()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.Conv2d):
                part.weight *= 6
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.bias.normal_()
    return rr.Network.from_module(model.eval(), (1, 4, 4)), *torch.randn(2, 1, 1, 4, 4, dtype=torch.float64)


@pytest.mark.long
def test_deep_residual_networks_are_decided_by_digits() -> None:
    network, x, d = a_deep_residual_network()
    paths = rr.walk(network, x, d, (-1, 1))
    assert paths.decided_by == ["digits"] and paths.judged.all() and paths.digits.all() and "1 by digits" in repr(paths)
    interval = rr.exact_interval(network, x, d, (-1, 1))
    assert interval.certain is not None and interval.certain.all()
