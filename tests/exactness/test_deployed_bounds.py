"""Bounds of evaluations in float32 and half types, against such evaluations in many orders of summation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from relu_regions import UnsupportedOperation, exact_interval
from relu_regions.exactness.deployed_bounds import Arithmetic, DeployedBounds
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep, Matrix
from tests.models import Wrapped, mlp

TYPES = [torch.float32, torch.float16, torch.bfloat16]


class Block(nn.Module):
    """A residual sum, a constant factor and shift, LeakyReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x * 0.7 - 0.3 + nn.functional.leaky_relu(self.second(torch.relu(self.first(x))), 0.1)


def models() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Networks of every kind of step and gate in eval mode, with the shapes of their inputs."""
    torch.manual_seed(3)
    convolutional = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 2, stride=2), nn.ReLU6(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3, 3),
    )  # fmt: skip
    maxout = Wrapped(
        lambda m, x: m.b(m.a(x).view(-1, 4, 3).amax(2).sort(1).values), a=nn.Linear(5, 12), b=nn.Linear(4, 3)
    )
    found = {
        "deep": (mlp(5, 12, 12, 12, 3), (5,)),
        "convolutional": (convolutional, (2, 8, 8)),
        "residual": (nn.Sequential(Block(), Block(), nn.Linear(6, 3)), (6,)),
        "maxout and sort": (maxout, (5,)),
    }
    return {name: (model.double().eval(), shape) for name, (model, shape) in found.items()}


def evaluated(network: Network, point: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """The outputs at points ``(P, *input_shape)``, as one of many evaluations in a type has them.

    Products of matrices are summed one after another in float32, in an order of its own; other steps are the library's.
    """
    values = {network.input_name: point.to(dtype)}
    for step in network.steps:
        read = [values[name] for name in step.inputs]
        if isinstance(step, GateStep):
            made = step.to(dtype, point.device).gate.apply(read[0].flatten(1)).view(-1, *step.shape)
        elif isinstance(step.form, Matrix):
            made = _summed(step, read[0], dtype, generator)
        else:
            made = step.to(dtype, point.device)(*read)
        values[step.output] = made
    return values[network.output_name].double()


def _summed(step: AffineStep, value: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    matrix = step.constants[0].to(dtype).float()
    order = torch.randperm(matrix.shape[1], generator=generator)
    parts = order.split(int(torch.randint(1, 1 + len(order), (), generator=generator)))
    total = torch.zeros(len(value), len(matrix))
    for part in parts:
        own = torch.zeros_like(total)
        for place in part.tolist():
            own = own + value[:, place, None].float() * matrix[:, place]
        total = total + own
    if step.bias is None:
        return total.to(dtype)
    bias = step.bias.to(dtype)
    apart = bool(torch.rand((), generator=generator) < 0.5)
    return total.to(dtype) + bias if apart else (total + bias.float()).to(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", models())
def test_no_evaluation_is_farther_from_the_chord_than_its_bound(name: str, dtype: torch.dtype) -> None:
    model, shape = models()[name]
    network, generator = Network.from_module(model, shape), torch.Generator().manual_seed(1)
    bounds, count = DeployedBounds(network, Arithmetic.of(dtype)), 40
    x, d = torch.randn(2, count, *shape, generator=generator, dtype=torch.float64)
    x[::4] = x[::4].to(dtype).double()
    d[::4] = d[::4] * (torch.rand(d[::4].shape, generator=generator) < 0.5)
    a = torch.randn(count, generator=generator, dtype=torch.float64)
    b = a + torch.logspace(-9, 0.5, count, dtype=torch.float64)
    here, there, error = bounds.through(x, d, a, b)
    closest = 0.0
    for share in torch.rand(20, generator=generator, dtype=torch.float64).tolist():
        t = (a + share * (b - a)).view(-1, *[1] * len(shape))
        off = (evaluated(network, x + t * d, dtype, generator) - (here + share * (there - here))).abs()
        assert (off <= error).all()
        closest = max(closest, float((off / error).max()))
    assert closest > 1e-3


def test_what_overflows_the_type_has_no_bound() -> None:
    network = Network.from_module(mlp(3, 4, 2).double().eval(), (3,))
    x, zero = torch.full((1, 3), 7e4, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for dtype, proven in ((torch.float16, False), (torch.bfloat16, True)):
        error = DeployedBounds(network, Arithmetic.of(dtype)).through(x, x, zero, zero)[2]
        assert bool(torch.isfinite(error).all()) == proven


def test_what_is_not_covered_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    x = torch.ones(1, 3, dtype=torch.float64)
    with pytest.raises(UnsupportedOperation, match=r"batch_norm.*fuse"):
        exact_interval(model, x, x, deployed=torch.float32)
    with pytest.raises(ValueError, match=r"float32, torch.float16 or torch.bfloat16, not torch.float64"):
        exact_interval(mlp(3, 4, 2).double().eval(), x, x, deployed=torch.float64)
