"""Integrated gradients against their axioms, and against gradients between breakpoints that fractions give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relu_regions.walking.attribution import integrated_gradients
from tests.models import STEPS, Architecture, mlp, of_each
from tests.networks import network_of
from tests.oracles import fractions_walk as truth
from tests.strategies import make_case

EVERY = of_each(STEPS)


def points(architecture: Architecture) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x, baseline = torch.randn(2, 4, *architecture.shape, generator=generator, dtype=torch.float64)
    return x, baseline


@EVERY
def test_attributions_add_up_to_the_change_of_the_logit(architecture: Architecture) -> None:
    model, (x, baseline) = architecture.model(), points(architecture)
    with torch.no_grad():
        expected = (model(x) - model(baseline)).flatten(1)
    # A small budget takes every region by itself, so that two points are as good as four.
    for number, budget in ((4, None), (2, 1000)):
        found = integrated_gradients(model, x[:number], baseline[:number], 0, memory_budget=budget)
        assert found.shape == x[:number].shape and found.dtype == torch.float64
        assert (found.flatten(1).sum(1) - expected[:number, 0]).abs().max() <= 1e-12 * (1 + expected.abs().max())


@pytest.mark.parametrize("gate", ["relu", "leaky_relu", "hardtanh", "maxout", "abs"])
def test_the_mean_gradient_between_the_true_breakpoints(gate: str) -> None:
    case = make_case([3, 9, 8, 4], [gate], seed=5)
    network = network_of(case.layers, 3)
    start, d = (torch.tensor(numbers, dtype=torch.float64) for numbers in (case.x, case.d))
    d = start + 16 * d - start
    regions = truth.walk(case.layers, case.x, d.tolist(), 0, 1).regions
    assert len(regions) > 3
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for region in regions:
        middle = start + float((region.lo + region.hi) / 2) * d
        jacobian = torch.autograd.functional.jacobian(lambda x: network(x[None])[0], middle)
        expected += float(region.hi - region.lo) * jacobian * d
    x = (start + d).expand(4, 3)
    found = integrated_gradients(network, x, start, range(4))
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_the_way_back_has_the_opposite_attributions() -> None:
    model = mlp(6, 12, 10, 4).double().eval()
    x, baseline = torch.randn(2, 5, 6, dtype=torch.float64)
    there, back = integrated_gradients(model, x, baseline, 1), integrated_gradients(model, baseline, x, 1)
    assert torch.allclose(there, -back, rtol=1e-12, atol=1e-14)


def test_a_linear_model_has_its_weights() -> None:
    model = torch.nn.Linear(3, 2).double().eval()
    x = torch.randn(4, 3, dtype=torch.float64)
    found = integrated_gradients(model, x, torch.ones(3, dtype=torch.float64), torch.tensor([0, 1, 1, 0]))
    assert torch.allclose(found, model.weight.detach()[[0, 1, 1, 0]] * (x - 1), rtol=1e-14)


def test_a_point_that_is_its_baseline_and_numpy() -> None:
    model = mlp(3, 5, 2).eval()
    x = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    found = integrated_gradients(model, x, np.zeros(3), 1)
    assert found[0].abs().sum() > 0 and (found[1] == 0).all()
    assert integrated_gradients(model, x[:0], np.zeros(3), 1).shape == (0, 3)


def test_what_cannot_be_attributed_is_refused() -> None:
    model, x = mlp(3, 5, 2).eval(), torch.randn(2, 3)
    for target in (2, -1, [0, 2]):
        with pytest.raises(ValueError, match="logits from 0 to 1"):
            integrated_gradients(model, x, torch.zeros(3), target)
    for target in (0.5, True, [0, 1, 0], [[0, 1]]):
        with pytest.raises(ValueError, match="one integer, or 2 of them"):
            integrated_gradients(model, x, torch.zeros(3), target)
    with pytest.raises(ValueError, match=r"baseline has shape \(4,\)"):
        integrated_gradients(model, x, torch.zeros(4), 0)
    with pytest.raises(ValueError, match="baseline is not finite"):
        integrated_gradients(model, x, torch.full((3,), torch.nan), 0)
    with pytest.raises(TypeError, match="baseline must be"):
        integrated_gradients(model, x, 0, 0)
    with pytest.raises(TypeError, match="baseline must be"):
        integrated_gradients(model, x, torch.zeros(3, dtype=torch.int64), 0)
    with pytest.raises(ValueError, match="x is not finite"):
        integrated_gradients(model, x * torch.inf, torch.zeros(3), 0)
    with pytest.raises(ValueError, match="vector of logits"):
        integrated_gradients(torch.nn.Conv1d(1, 1, 1).eval(), torch.randn(1, 1, 3), torch.zeros(3), 0)
