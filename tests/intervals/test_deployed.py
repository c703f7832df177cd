"""Intervals as deployed: no evaluation in the type gives another class there, at any t, in any order of summation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from relu_regions import Interval, exact_interval
from relu_regions.exactness.deployed_bounds import DeployedBounds
from relu_regions.network.network import Network
from tests.exactness.test_deployed_bounds import TYPES, evaluated, models
from tests.models import mlp


def classes_that_differ(network: Network, x: Tensor, d: Tensor, found: Interval, dtype: torch.dtype, tries: int) -> int:
    """At how many points of deployed intervals, many of them near an end, some evaluation gives another class."""
    generator, wrong = torch.Generator().manual_seed(0), 0
    assert found.deployed_lo is not None and found.deployed_hi is not None and found.deployed_certain is not None
    for line in found.deployed_certain.nonzero()[:, 0].tolist():
        lo, hi = float(found.deployed_lo[line]), float(found.deployed_hi[line])
        near = torch.logspace(-12, 0, 25, dtype=torch.float64)
        t = torch.cat([hi - near * (hi - lo), lo + near * (hi - lo), torch.zeros(1, dtype=torch.float64)])
        point = x[line] + t.view(-1, *[1] * (x.ndim - 1)) * d[line]
        for _ in range(tries):
            outputs = evaluated(network, point, dtype, generator)
            label = (outputs[:, 0] > 0).long() if outputs.shape[1] == 1 else outputs.argmax(1)
            wrong += int((label != found.label[line]).sum())
    return wrong


def lines_of(shape: tuple[int, ...], count: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return tuple(torch.randn(2, count, *shape, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", [*models(), "one output"])
def test_every_evaluation_gives_the_class(name: str, dtype: torch.dtype) -> None:
    model, shape = (mlp(4, 9, 9, 1).double().eval(), (4,)) if name == "one output" else models()[name]
    network, (x, d) = Network.from_module(model, shape), lines_of(shape)
    found = exact_interval(network, x, d, (-math.inf, 30), deployed=dtype)
    assert found.deployed_lo is not None and found.deployed_hi is not None and found.deployed_certain is not None
    assert (found.lo <= found.deployed_lo).all() and (found.deployed_lo <= 0).all()
    assert (found.hi >= found.deployed_hi).all() and (found.deployed_hi >= 0).all()
    assert torch.isfinite(found.deployed_hi - found.deployed_lo).all()
    assert found.deployed_certain.sum() >= {torch.float32: 6, torch.float16: 3, torch.bfloat16: 0}[dtype]
    assert not (found.deployed_hi - found.deployed_lo)[~found.deployed_certain].any()
    assert not classes_that_differ(network, x, d, found, dtype, 3)
    if dtype == torch.float32:
        share = (found.deployed_hi / found.hi)[found.deployed_certain]
        assert share.median() > 0.99


@pytest.mark.parametrize("dtype", TYPES)
def test_bounds_that_are_too_small_are_found_out(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """With a thousandth of the bound some evaluation near an end gives another class."""
    through = DeployedBounds.through

    def smaller(self: DeployedBounds, *parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        here, there, error = through(self, *parts)
        return here, there, error / 1000

    monkeypatch.setattr(DeployedBounds, "through", smaller)
    network, (x, d) = Network.from_module(mlp(6, 20, 20, 4).double().eval(), (6,)), lines_of((6,), 20)
    found = exact_interval(network, x, d, (-3, 3), deployed=dtype)
    assert classes_that_differ(network, x, d, found, dtype, 4)


def test_where_nothing_is_proven_both_ends_are_zero() -> None:
    """Two classes tie at x, and the bounds of half types say nothing of deep networks with large weights."""
    model = mlp(3, 4, 2).double().eval()
    with torch.no_grad():
        model[-1].weight[1], model[-1].bias[1] = model[-1].weight[0], model[-1].bias[0]
    x, d = lines_of((3,), 2)
    found = exact_interval(model, x, d, deployed=torch.float32, resolve="never")
    assert found.deployed_certain is not None and not found.deployed_certain.any()
    assert found.numpy()["deployed_lo"].tolist() == found.numpy()["deployed_hi"].tolist() == [0, 0]
    assert exact_interval(model, x, d, resolve="never").deployed_lo is None


def test_without_an_end_the_interval_is_finite_and_long() -> None:
    model = nn.Linear(2, 2).double().eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        model.bias.copy_(torch.tensor([1.0, 0.0]))
    x, d = torch.tensor([[1.0, 0.5]]).double(), torch.tensor([[1.0, 0.0]]).double()
    for dtype, least in ((torch.float32, 1e6), (torch.float16, 1e4)):
        found = exact_interval(model, x, d, deployed=dtype)
        assert found.hi == math.inf and found.deployed_hi is not None and least < found.deployed_hi < math.inf
        single = exact_interval(model.float(), x.float(), d.float(), dtype=torch.float32, deployed=dtype)
        assert torch.equal(single.deployed_hi, found.deployed_hi)
        model = model.double()
