"""Certified intervals: every true end lies in its enclosure, which is a few floats wide."""

from __future__ import annotations

import importlib
import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.intervals import enclosures
from relu_regions.intervals.enclosures import Ends, enclose
from relu_regions.lines.decision import Decision
from tests.models import ARCHITECTURES, Wrapped, mlp
from tests.networks import network_of
from tests.quick import some_quick
from tests.strategies import Case, cases

ULPS = 4
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def assert_enclosed(interval: rr.Interval, truth: list[rational.RationalInterval], ulps: float = ULPS) -> None:
    assert interval.certain is not None and interval.certain.all()
    for number, true in enumerate(truth):
        row = {name: column[number].item() for name, column in interval.numpy().items()}
        for name in ("lo", "hi"):
            below, above, end = row[f"{name}_below"], row[f"{name}_above"], getattr(true, name)
            assert below <= end <= above and below <= row[name] <= above
            if not math.isinf(end):
                assert above - below <= ulps * math.ulp(row[name])
                assert abs(Fraction(row[name]) - end) <= Fraction(row[f"{name}_error"])
        assert (row["label"], row["label_lo"], row["label_hi"]) == (true.label, true.label_lo, true.label_hi)


@some_quick(
    "activation,t_range",
    [nn.ReLU, nn.LeakyReLU, nn.Hardtanh, nn.PReLU],
    [(-1.0, 2.0), (-math.inf, math.inf)],
    one_in=3,
)
def test_ends_lie_in_their_enclosures(activation: type[nn.Module], t_range: tuple[float, float]) -> None:
    torch.manual_seed(0)
    model = mlp(20, 30, 30, 5, activation=activation).eval()
    x, d = torch.randn(2, 12, 20)
    interval = rr.exact_interval(model, x, d, t_range, certify=True)
    assert_enclosed(interval, rational.exact_interval(model, x.double(), d.double(), t_range))
    assert interval.float_signs is not None and interval.rational_signs is not None
    # On a whole line the logits of a clipped network tie at infinity, as far as rounding can tell.
    if activation is not nn.Hardtanh or t_range[1] == 2:
        assert interval.float_signs.sum() > 99 * interval.rational_signs.sum()


def test_double_double_arithmetic_alone_encloses() -> None:
    """Far better than the working precision: the computed ends are displaced by what their bounds allow."""
    torch.manual_seed(0)
    model = mlp(50, 40, 40, 4).double().eval()
    x, d = torch.randn(2, 30, 50, dtype=torch.float64)
    network = rr.Network.from_module(model, (50,))
    plain = rr.exact_interval(network, x, d)
    rows = (plain.label_hi >= 0).nonzero()[:, 0]
    error = torch.full((len(rows),), 1e-9, dtype=torch.float64)
    near = plain.hi[rows] + 0.9e-9 * torch.linspace(-1, 1, len(rows), dtype=torch.float64)
    below, above, needed = enclose(
        network,
        Ends(x[rows], d[rows], near, error, plain.label[rows], plain.label_hi[rows], torch.ones_like(rows).bool()),
        Decision.of((4,)),
    )
    assert len(rows) > 20 and not needed.any()
    for number, row in enumerate(rows.tolist()):
        true = rational.exact_interval(network, x[row : row + 1], d[row : row + 1])[0].hi
        assert below[number].item() <= true <= above[number].item()
        assert above[number] - below[number] <= ULPS * math.ulp(near[number].item())


def test_a_knot_within_reach_is_left_to_rational_arithmetic() -> None:
    # Two logits cross at t = 1, one float beside the place where a unit bends.
    model = mlp(1, 2, 2).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [1.0]]))
        model[0].bias.copy_(torch.tensor([0.0, -1.0 - 2**-50]))
        model[2].weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
        model[2].bias.copy_(torch.tensor([-1.0, 0.0]))
    network = rr.Network.from_module(model, (1,))
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    label, beyond, t, error = torch.tensor([1]), torch.tensor([0]), one[0] + 1e-13, one[0] * 1e-12
    upper, between = torch.tensor([True]), Decision.of((2,))
    below, above, needed = enclose(network, Ends(zero, one, t, error, label, beyond, upper), between)
    assert needed.all() and below.item() == above.item() == 1.0
    # A wrong bound, a wrong class and an end of another class make no enclosure.
    for wrong in (
        Ends(zero, one, t, error / 1e9, label, beyond, upper),
        Ends(zero, one, t, error, beyond, label, upper),
        Ends(zero, one, t, error, label, beyond, ~upper),
    ):
        below, above, needed = enclose(network, wrong, between)
        assert needed.all() and (below.item(), above.item()) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    "name", ["max pooling after relu", "residual", "residual block", "maxout", "one output", "mlp without biases"]
)
def test_other_architectures(name: str) -> None:
    architecture = next(a for a in ARCHITECTURES if a.name == name)
    model = architecture.model()
    x, d = torch.randn(2, 3, *architecture.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert_enclosed(rr.exact_interval(model, x, d, certify=True), rational.exact_interval(model, x, d))


def test_an_end_is_not_the_other_one() -> None:
    """|t / 6e13 - 0.495| - 0.505 changes its sign at -6e11 and at 6e13, both within the error of the computed end."""
    layers = [
        ("affine", [[1 / 6e13]], [-0.495]),
        ("knots", [0.0], [-1.0, 1.0], [0.0, 0.0]),
        ("affine", [[1.0]], [-0.505]),
    ]
    network = network_of(layers, 1)
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    plain = rr.exact_interval(network, zero, one)
    assert plain.hi_error is not None
    assert plain.label_lo.item() == plain.label_hi.item() == 1 and plain.hi_error.item() > plain.length.item()
    certified = rr.exact_interval(network, zero, one, certify=True)
    assert_enclosed(certified, rational.exact_interval(network, zero, one))


@pytest.mark.parametrize("seed", [6, 21, 47, 143])
def test_the_benchmark_finds_nothing_wrong(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends with an error larger than the interval, and breakpoints at subnormal t."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    about, wrong, *_ = importlib.import_module("ends").differences(seed, 64)
    assert not wrong, about


@settings(max_examples=60, deadline=None)
@given(cases(max_width=10, gates=st.sampled_from([["relu"], ["hardtanh", "leaky_relu"], ["maxout"]])))
def test_every_case_is_enclosed(case: Case) -> None:
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    network = network_of(case.layers, len(case.x))
    interval = rr.exact_interval(network, x, d, (case.lo, case.hi), certify=True)
    assert_enclosed(interval, rational.exact_interval(network, x, d, (case.lo, case.hi)), math.inf)


def test_without_numba_rational_arithmetic_encloses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosures, "find_spec", lambda name: None)
    torch.manual_seed(1)
    model = mlp(6, 8, 3).double().eval()
    x, d = torch.randn(2, 5, 6, dtype=torch.float64)
    interval = rr.exact_interval(model, x, d, certify=True)
    assert_enclosed(interval, rational.exact_interval(model, x, d), 1)


def test_only_some_logits_compete() -> None:
    torch.manual_seed(1)
    model = mlp(6, 8, 4).double().eval()
    x, d = torch.randn(2, 10, 6, dtype=torch.float64)
    interval = rr.exact_interval(model, x, d, decision=[1, 3], certify=True)
    assert_enclosed(interval, rational.exact_interval(model, x, d, decision=[1, 3]))


def test_never_and_certify_contradict() -> None:
    x = torch.ones(1, 4)
    with pytest.raises(ValueError, match="certify"):
        rr.exact_interval(mlp(4, 3, 2).eval(), x, x, resolve="never", certify=True)


def test_batches_of_any_device_shape_keep_rows() -> None:
    torch.manual_seed(1)
    model = Wrapped(lambda m, x: m.net(x.flatten(1)), net=mlp(6, 8, 3)).eval()
    x, d = torch.randn(2, 7, 2, 3)
    interval = rr.exact_interval(model, x, d, certify=True)
    for number, alone in enumerate(interval):
        assert isinstance(alone.hi_below, Tensor) and torch.equal(
            alone.hi_below, interval.hi_below[number : number + 1]
        )
