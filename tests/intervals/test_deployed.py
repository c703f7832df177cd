"""Intervals as deployed: no evaluation in the type gives another class there, at any t, in any order of summation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from relu_regions import Interval, UnsupportedOperation, exact_interval
from relu_regions.exactness.deployed_bounds import DeployedBounds
from relu_regions.network.network import Network
from tests.exactness.test_deployed_bounds import TYPES, evaluated, models
from tests.models import Wrapped, mlp


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


def with_numbers(forward: Callable[[Wrapped, Tensor], Tensor], **numbers: list[float]) -> Wrapped:
    buffers = {name: nn.Parameter(torch.tensor(given, dtype=torch.float64)) for name, given in numbers.items()}
    model = Wrapped(forward)
    for name, parameter in buffers.items():
        model.register_parameter(name, parameter)
    return model.double().eval()


def linear(matrix: list[list[float]], bias: list[float]) -> nn.Module:
    layer = nn.Linear(len(matrix[0]), len(matrix)).double().eval()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(matrix))
        layer.bias.copy_(torch.tensor(bias))
    return layer


HALF, BFLOAT, SINGLE = torch.float16, torch.bfloat16, torch.float32
# What the type can't hold: the model, x, d, the type. Torch's own answer there is another class, NaN or infinite.
BEYOND = {
    "a part of a sum": (linear([[1, 1, -1, -1], [0, 0, 0, 0]], [1e34, 0]), [3e38] * 4, [0.0, 0, 0, 1e25], SINGLE),
    "a product": (linear([[1e30, -1e30, 0], [0, 0, 0]], [1e36, 0]), [1e10, 1e10, 1], [0.0, 0, 1], SINGLE),
    "the sum of a mean": (
        with_numbers(lambda m, x: torch.cat([x.mean(1, keepdim=True), 1 - x[:, :1]], 1)), [1e38] * 8, [1.0] * 8, SINGLE,
    ),
    "a divisor": (
        with_numbers(lambda m, x: x / m.by, by=[1e5, 1.0]), [1e4, 0.05], [0.0, 1e-3], HALF,
    ),
    "a multiple": (
        with_numbers(lambda m, x: torch.add(x, m.shift, alpha=1e-3), shift=[1e5, 0.0]), [1.0, 50], [1e-2, 0], HALF,
    ),
    "a slope": (
        with_numbers(lambda m, x: nn.functional.prelu(x, m.slope) + m.shift, slope=[1e5], shift=[1000.0, 0.0]),
        [-1e-3, 0], [1e-4, 0], HALF,
    ),
    "a quotient of one number": (
        with_numbers(lambda m, x: torch.cat([
            x[:, 1:2], nn.functional.avg_pool2d(x[:, :1, None, None], 1, divisor_override=3).flatten(1)], 1)),
        [1.015625, 0.337890625, 1], [0, 0, 1e-8], BFLOAT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BEYOND)
def test_nothing_is_proven_where_the_type_does_not_hold_a_number(name: str) -> None:
    model, *numbers, dtype = BEYOND[name]
    x, d = (torch.tensor([given], dtype=torch.float64) for given in numbers)
    found = exact_interval(model, x, d, (-3, 3), deployed=dtype)
    outputs = copy.deepcopy(model).to(dtype)(x.to(dtype))
    assert found.certain is not None and found.certain.all()
    assert not outputs.isfinite().all() or outputs.argmax(1) != found.label
    assert found.deployed_certain is not None and not found.deployed_certain.any()


# What libraries compute in the type from the model's numbers, or the model in another type.
COMPUTED = {
    "products of constants": (
        with_numbers(lambda m, x: torch.einsum("bi,i,i->bi", x, m.a, m.a), a=[1.1, 0.9]), "more than one order",
    ),
    "interpolation": (
        with_numbers(lambda m, x: nn.functional.interpolate(x[:, None], size=7, mode="linear")[:, 0]), "coefficients",
    ),
    "parameters": (with_numbers(lambda m, x: x * (m.a - m.b), a=[1.1, 0.9], b=[1.0, 1.0]), "several operations"),
    "a narrower type": (with_numbers(lambda m, x: x.to(torch.bfloat16).to(x.dtype)), "torch.bfloat16"),
    "a sum in a narrower type": (
        with_numbers(lambda m, x: torch.cat([x.sum(1, True, dtype=HALF).double(), x], 1)), "torch.float16",
    ),
    "a knot of several operations": (
        with_numbers(lambda m, x: torch.where(x > 0, (x * 1e6) * 1e-6, m.a * x), a=[0.1, 0.1]), "several operations",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPUTED)
def test_coefficients_that_are_computed_in_the_type_are_refused(name: str) -> None:
    model, reason = COMPUTED[name]
    x, d = torch.tensor([[1.0, 0.5]], dtype=torch.float64), torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    assert exact_interval(model, x, d).deployed_certain is None
    with pytest.raises(UnsupportedOperation, match=f"deployed= says nothing of .*{reason}"):
        exact_interval(model, x, d, deployed=SINGLE)


def test_knots_that_comparisons_make_in_one_operation_are_read() -> None:
    model = with_numbers(lambda m, x: torch.where(x > 0, x, 0.1 * x))
    x, d = torch.tensor([[1.0, 0.5]], dtype=torch.float64), torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    found = exact_interval(model, x, d, deployed=SINGLE)
    assert found.deployed_certain is not None and found.deployed_certain.all()
