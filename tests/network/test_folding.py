"""Batch norm folded into the step before it: the same function, within bounds that cover its new coefficients."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import relu_regions as rr
from relu_regions import rational
from relu_regions.exactness.step_norms import StepNorms
from relu_regions.network.plan import folded, products
from relu_regions.network.steps import AffineStep
from tests.models import Wrapped


def disturbed(*layers: nn.Module) -> nn.Sequential:
    """The layers in float64 and eval mode, with batch norms that do something."""
    model = nn.Sequential(*layers).double().eval()
    for norm in model:
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            for numbers, low in ((norm.running_mean, -1), (norm.running_var, 0.5), (norm.weight, -1), (norm.bias, -1)):
                nn.init.uniform_(numbers, low, 2)
    return model


CASES = [
    (disturbed(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)), (2, 4, 4)),
    (disturbed(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4), nn.ReLU()), (2, 4, 4)),
    (disturbed(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3)), (5,)),
]


@pytest.mark.parametrize(("model", "shape"), CASES)
def test_a_folded_network_is_the_same_function(model: nn.Sequential, shape: tuple[int, ...]) -> None:
    network = rr.Network.from_module(model, shape)
    inputs = torch.randn(6, *shape, dtype=torch.float64)
    assert not any(isinstance(s, AffineStep) and s.elementwise for s in folded(network).steps)
    assert torch.allclose(folded(network)(inputs), network(inputs), rtol=1e-13, atol=1e-13)
    assert folded(folded(network)) is folded(network)


def test_the_bound_of_a_folded_step_covers_its_coefficients() -> None:
    # A bias that nearly cancels leaves a number far smaller than what it was made of.
    model = disturbed(nn.Linear(4, 50), nn.BatchNorm1d(50))
    with torch.no_grad():
        scale = model[1].weight / torch.sqrt(model[1].running_var + model[1].eps)
        model[1].bias.copy_((model[1].running_mean - model[0].bias) * scale)
    network = rr.Network.from_module(model, (4,))
    linear, norm = network.steps
    step = folded(network).steps[0]
    x = torch.randn(4, dtype=torch.float64)
    norms = StepNorms.of(folded(network), step, torch.float64)
    bound = norms.rounding * (norms.gain * float(x.abs().max()) + norms.bias) + norms.floor
    for unit, computed in enumerate(step(x[None])[0].tolist()):
        true = exact(linear.constants[0][unit], x, linear.bias.reshape(-1)[unit])
        true = Fraction(norm.constants[0][unit].item()) * true + Fraction(norm.bias.reshape(-1)[unit].item())
        assert abs(Fraction(computed) - true) <= bound


def exact(weights: Tensor, x: Tensor, bias: Tensor) -> Fraction:
    """A unit's pre-activation in fractions."""
    products = (Fraction(a) * Fraction(b) for a, b in zip(weights.tolist(), x.tolist()))
    return sum(products, Fraction(bias.item()))


def test_what_others_read_or_floats_cannot_hold_is_not_folded() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.linear(x)
            return self.norm(y) + y

    network = rr.Network.from_module(Shared().double().eval(), (3,))
    assert folded(network) is network
    tiny = disturbed(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        tiny[0].weight.fill_(1e-200)
        tiny[1].weight.fill_(1e-200)
    network = rr.Network.from_module(tiny, (3,))
    assert folded(network) is network


def test_a_change_of_shape_behind_a_maximum_is_folded_into_it() -> None:
    layers = (nn.Conv1d(1, 2, 3), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(8, 3))
    network = rr.Network.from_module(nn.Sequential(*layers).double().eval(), (1, 10))
    shorter = folded(network)
    assert len(shorter.steps) == len(network.steps) - 1 and products(shorter)
    x = torch.randn(4, 1, 10, dtype=torch.float64)
    assert torch.equal(shorter(x), network(x))


def test_what_moves_numbers_behind_a_maximum_or_is_read_besides_stays() -> None:
    moving = Wrapped(
        lambda m, x: m.b(functional.max_pool1d(m.a(x), 2).flip(2).flatten(1)), a=nn.Conv1d(1, 2, 3), b=nn.Linear(8, 3)
    )
    twice = Wrapped(lambda m, x: m.b((y := functional.max_pool1d(m.a(x), 2)).flatten(1)) + y.sum((1, 2))[:, None],
                    a=nn.Conv1d(1, 2, 3), b=nn.Linear(8, 3))  # fmt: skip
    for model, kept in ((moving, 1), (twice, 0)):
        network = rr.Network.from_module(model.double().eval(), (1, 10))
        assert len(folded(network).steps) >= len(network.steps) - kept and not products(folded(network))


def underflowing(scale: float, own: float) -> nn.Sequential:
    """A unit that is a tiny constant, which later weights make large again."""
    model = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    first, norm, _, second, _, last = model.double().eval()
    numbers = [
        (first.weight, [[1.0], [0.0], [-1.0]]), (first.bias, [0.25, own, 0.5]),
        (norm.weight, [1.0, scale, 1.0]), (norm.bias, [0.0] * 3),
        (second.weight, [[1.0, 0, 0], [0, 1e300, 0], [0, 0, 1]]), (second.bias, [0.1, 0.0, 0.1]),
        (last.weight, [[1.0, 1e300, 0.0], [0.0, 0.0, 1.0]]), (last.bias, [0.0] * 2),
    ]  # fmt: skip
    norm.eps = 0.0
    with torch.no_grad():
        for part, values in numbers:
            part.copy_(torch.tensor(values, dtype=torch.float64))
    return model


@pytest.mark.parametrize(("scale", "own"), [(1e-200, 1e-200), (1e-160, 1e-160), (1e200, 1e200)])
def test_a_bias_that_leaves_the_range_of_floats_is_not_folded(scale: float, own: float) -> None:
    model = underflowing(scale, own)
    network = rr.Network.from_module(model, (1,))
    assert len(folded(network).steps) == len(network.steps)
    x, d = torch.tensor([[0.0], [0.3]], dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    found = rr.exact_interval(model, x, d, (-3, 3))
    assert found.certain is not None
    for row, true in zip(range(2), rational.exact_interval(model, x, d, (-3, 3))):
        ends = [found.lo[row].item(), found.hi[row].item(), found.label[row].item()]
        assert not found.certain[row] or ends == [float(true.lo), float(true.hi), true.label]
    paths = rr.walk(model, x, d, (-3, 3))
    for row, true in zip(range(2), rational.walk(model, x, d, (-3, 3))):
        assert not paths.certain[row] or [part[row].tolist() for part in paths.first_patterns] == true.first_patterns
