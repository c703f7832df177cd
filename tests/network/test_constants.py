"""Coefficients: whatever type a model holds a constant in, what is read is its number, or the float64 nearest to it."""

from __future__ import annotations

import math
import random
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.network.reading.operations import PURE, UnsupportedOperation
from relu_regions.network.reading.operations.batch_norm import scales_and_shifts
from relu_regions.network.reading.operations.constants import fold
from tests.models import Wrapped

TYPES = (torch.int64, torch.float16, torch.float32, torch.float64)
X = torch.tensor([[0.3, -1.7, 2.9]], dtype=torch.float64)


def _constant(dtype: torch.dtype) -> Tensor:
    plain = torch.tensor([3, 7, -11]).to(dtype)
    return plain / 7 if dtype.is_floating_point else plain  # a number that a narrower type does not hold


# What a model does with a constant, and what that does to a number, exactly.
USES = {
    "add": (lambda x, c: x + c, lambda x, c: x + c),
    "scaled add": (lambda x, c: torch.add(x, c, alpha=3), lambda x, c: x + 3 * c),
    "sub": (lambda x, c: x - c, lambda x, c: x - c),
    "rsub": (lambda x, c: c - x, lambda x, c: c - x),
    "mul": (lambda x, c: x * c, lambda x, c: x * c),
    "div": (lambda x, c: x / c, lambda x, c: x / c),
    "maximum": (lambda x, c: torch.maximum(x, c.to(x.dtype)), max),
    "minimum": (lambda x, c: torch.minimum(x, c.to(x.dtype)), min),
    "reciprocal": (lambda x, c: x * c.reciprocal(), lambda x, c: x / c),
    "quotient of constants": (lambda x, c: x * (c / 3), lambda x, c: x * c / 3),
    "mean of constants": (lambda x, c: x + c.to(torch.float64).mean(), lambda x, c: None),
    "prelu": (lambda x, c: nn.functional.prelu(x, c.abs().to(x.dtype)), lambda x, c: x if x > 0 else abs(c) * x),
}


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("use", [use for use in USES if use != "mean of constants"])
def test_a_constant_is_its_number(use: str, dtype: torch.dtype) -> None:
    c = _constant(dtype)
    model, number = USES[use]
    network = rr.Network.from_module(Wrapped(lambda m, x: model(x, c)).eval(), (3,))
    numbers = c.float() if use in ("maximum", "minimum", "prelu") else c  # these need the input's own dtype
    for given, constant, made in zip(X[0], numbers.double(), network(X)[0]):
        exact = number(Fraction(given.item()), Fraction(constant.item()))
        # One rounding of the coefficient, one of the result.
        assert abs(Fraction(made.item()) - exact) <= 2 * Fraction(2) ** -53 * (abs(exact) + 16)


SCALED = {
    "add": (torch.ops.aten.add.Scalar, lambda x, alpha: x + alpha * 2),
    "sub": (torch.ops.aten.sub.Scalar, lambda x, alpha: x - alpha * 2),
    "rsub": (torch.ops.aten.rsub.Scalar, lambda x, alpha: 2 - alpha * x),
}


@pytest.mark.parametrize("name", SCALED)
def test_the_factor_of_a_plain_number(name: str) -> None:
    operation, true = SCALED[name]
    factor = 1 + 2.0**-40  # so close to 1 that no comparison in float32 tells them apart
    network = rr.Network.from_module(Wrapped(lambda m, x: operation(x, 2, factor)).eval(), (3,))
    x = torch.tensor([[0.5, -1.5, 3.0]], dtype=torch.float64)
    assert torch.equal(network(x), true(x, factor))


@pytest.mark.parametrize("divisor", [3, 7, 10, 49])
def test_a_third_is_the_float_nearest_to_it(divisor: int) -> None:
    integers = torch.full((3,), divisor)
    for model in (lambda x: x / integers, lambda x: x / divisor, lambda x: x * (1 / integers)):
        network = rr.Network.from_module(Wrapped(lambda m, x, model=model: model(x)).eval(), (3,))
        coefficients = {float(number) for step in network.steps for number in step.constants[0].flatten()}
        assert coefficients == {1 / divisor}


def test_batch_norm_is_rounded_once() -> None:
    draw = random.Random(1)
    columns = []
    for _ in range(300):
        sizes = [draw.choice([0.0, 1.0, -1.0, draw.gauss(0, 1) * 10.0 ** draw.randint(-30, 30)]) for _ in range(3)]
        columns.append((*sizes, draw.choice([0.0, 1.0, draw.random() * 10.0 ** draw.randint(-20, 20)])))
    weight, bias, mean, variance = torch.tensor(columns, dtype=torch.float64).T
    scale, shift = scales_and_shifts(weight, bias, mean, variance, 2.0**-17)
    with localcontext() as context:
        context.prec = 400
        for (w, b, m, v), found, moved in zip(columns, scale.tolist(), shift.tolist()):
            true = Decimal(w) / (Decimal(v) + Decimal(2) ** -17).sqrt()
            assert found == float(true)
            assert moved == float(Decimal(b) - Decimal(m) * true)


def test_a_variance_without_a_root_is_refused() -> None:
    norm = nn.BatchNorm1d(3).eval()
    norm.running_var[1] = -1.0
    with pytest.raises(rr.UnsupportedOperation, match="no root"):
        rr.Network.from_module(norm, (3,))


# ---------------------------------------------------------------- folding


@pytest.mark.parametrize(
    "name",
    ["from_file", "randn", "rand", "bernoulli", "normal", "dropout", "rrelu", "set_", "_cudnn_init_dropout_state"],
)
def test_what_does_more_than_compute_is_not_run(name: str) -> None:
    assert name not in PURE


def test_only_listed_operations_are_folded(tmp_path: object) -> None:
    with pytest.raises(UnsupportedOperation, match="from_file is not among"):
        fold(torch.ops.aten.from_file.default, [f"{tmp_path}/made", True, 4], {})
    with pytest.raises(UnsupportedOperation, match="randn is random"):
        fold(torch.ops.aten.randn.default, [[3]], {})
    with pytest.raises(UnsupportedOperation, match="not among"):
        fold(torch.ops.aten.add_.Tensor, [torch.ones(3), 1], {})
    with pytest.raises(UnsupportedOperation, match="nothing has been written to"):
        fold(torch.ops.aten.empty.memory_format, [[3]], {})


def test_no_listed_operation_is_random_or_writes() -> None:
    packets = [getattr(torch.ops.aten, name, None) for name in PURE]
    overloads = [getattr(packet, name) for packet in packets if packet is not None for name in packet.overloads()]
    assert len(overloads) > 500
    random_ones = {str(o) for o in overloads if torch.Tag.nondeterministic_seeded in o.tags}
    # Overloads that write to an argument named out are refused when they are called.
    assert not random_ones - {"aten.scaled_dot_product_attention.default"}


def test_numbers_that_a_model_computes_are_float64() -> None:
    third = fold(torch.ops.aten.div.Tensor, [torch.tensor([1]), torch.tensor([3])], {})
    assert third.dtype == torch.float64
    assert third.item() == 1 / 3
    assert (
        fold(torch.ops.aten.mean.default, [torch.tensor([True, False, True])], {"dtype": torch.float32}).item() == 2 / 3
    )
    assert fold(torch.ops.aten.add.Tensor, [torch.tensor([1]), torch.tensor([3])], {}).dtype == torch.int64
    assert math.isclose(fold(torch.ops.aten.exp.default, [torch.tensor([1])], {}).item(), math.e, rel_tol=1e-15)


JUMPS = {
    "mask of small numbers": (lambda x, k: x + k * (k >= 7e-9), torch.tensor([7e-9, 6e-9, 8e-9])),
    "mask at its own edge": (lambda x, k: x + k * (k >= 0.7), torch.tensor([0.7, 0.6, 0.8])),
    "rounding": (lambda x, k: x * (k * 10).round(), torch.tensor([0.25, 0.35, 0.45])),
    "floor": (lambda x, k: x * (k * 10).floor(), torch.tensor([0.3, 0.7, 0.1])),
    "integers": (lambda x, k: x * (k * 10).int(), torch.tensor([0.3, 0.7, 0.1])),
    "fewer bits": (lambda x, k: x * k.half().float(), torch.tensor([0.3, 0.7, 0.1])),
    "eight bits": (lambda x, k: x * k.to(torch.float8_e4m3fn).float(), torch.tensor([0.3, 0.7, 0.1])),
}


@pytest.mark.parametrize("name", JUMPS)
def test_what_jumps_is_computed_in_the_models_own_numbers(name: str) -> None:
    use, k = JUMPS[name]
    network = rr.Network.from_module(Wrapped(lambda m, x: use(x, k)).eval(), (3,))
    with torch.no_grad():
        true = use(X.float(), k).double()
    assert torch.allclose(network(X.float().double()), true, rtol=1e-6, atol=1e-13)
