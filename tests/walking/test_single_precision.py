"""What is proven of a walk in float32 is about the numbers that were given; bounds cover the rounding to float32."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.exactness.step_norms import StepNorms
from relu_regions.lines.line_batch import LineBatch
from relu_regions.network.steps import AffineStep
from tests.models import Wrapped, mlp
from tests.networks import network_of
from tests.strategies import Case, cases

RANGES = [(-1.0, 2.0), (-math.inf, math.inf), (-0.1, math.inf), (-1 / 3, 1e-3)]


def assert_true(model: nn.Module | rr.Network, x: Tensor, d: Tensor, t_range: tuple[float, float]) -> rr.Paths:
    """Whatever is certain of the walk and of the intervals is that of rational arithmetic."""
    paths = rr.walk(model, x, d, t_range, dtype=torch.float32)
    assert paths.t_error is not None and paths.x.dtype == paths.t.dtype == paths.values.dtype == torch.float32
    for path, true in zip(paths, rational.walk(model, x, d, t_range)):
        if not paths.certain[path.index]:
            continue
        flips = torch.stack([path.flips.gate, path.flips.unit, path.flips.before, path.flips.after], 1)
        found = [flips[path.flips.row == row].tolist() for row in range(1, len(path))]
        assert found == [[list(flip) for flip in flips] for flips in true.flips]
        assert [pattern[path.index].tolist() for pattern in paths.first_patterns] == true.first_patterns
        for t, error, exact in zip(path.t.tolist(), paths.t_error[path.rows].tolist(), true.t):
            assert within(t, error, exact)
    for certify in (False, True):
        ends = rr.exact_interval(model, x, d, t_range, dtype=torch.float32, certify=certify)
        for row, true in zip(ends, rational.exact_interval(model, x, d, t_range)):
            one = {name: column[0].item() for name, column in row.numpy().items()}
            if not one["certain"]:
                assert not certify
                continue
            assert [one[name] for name in NAMES] == [getattr(true, name) for name in NAMES]
            for name in ("lo", "hi"):
                exact = getattr(true, name)
                assert within(one[name], one[f"{name}_error"], exact)
                assert one.get(f"{name}_below", exact) <= exact <= one.get(f"{name}_above", exact)
    return paths


NAMES = ("label", "label_lo", "label_hi", "tied")


def within(found: float, error: float, exact: Fraction | float) -> bool:
    if found == exact or math.isinf(error):
        return True
    return not math.isinf(exact) and math.isfinite(found) and abs(Fraction(found) - exact) <= Fraction(error)


@pytest.mark.parametrize("t_range", RANGES)
@pytest.mark.parametrize("which", ["model", "x", "d", "all", "none"])
def test_numbers_that_float32_does_not_hold(which: str, t_range: tuple[float, float]) -> None:
    torch.manual_seed(0)
    model = mlp(3, 8, 8, 3).eval()
    x, d = torch.randn(2, 4, 3)
    if which in ("model", "all"):
        model = model.double()
        with torch.no_grad():
            for part in model.parameters():
                part.mul_(1 + 2.0**-30)
    x, d = (p.double() * (1 + 2.0**-28) if which in (name, "all") else p for p, name in ((x, "x"), (d, "d")))
    if which == "x" or which == "d":
        model = model.double()
    paths = assert_true(model, x, d, t_range)
    assert paths.certain.all()


@settings(max_examples=40, deadline=None)
@given(cases(max_width=10, gates=st.sampled_from([["relu"], ["prelu", "relu6"], ["maxout"], ["relu", "maxout"]])))
def test_every_case_is_true(case: Case) -> None:
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    network = network_of(case.layers, len(case.x))
    try:
        LineBatch.of(network, x, d, (case.lo, case.hi), torch.float32)
    except ValueError:
        reject()  # beyond the floats of single precision
    assert_true(network, x, d, (case.lo, case.hi))


def test_coefficients_that_float32_makes_zero() -> None:
    network = network_of([("affine", [[1e-50], [1.0]], [0.0, 1.0]), ("knots", [0.0], [0.0, 1.0], [0.0, 0.0])], 1)
    x = torch.ones(1, 1, dtype=torch.float64)
    paths = assert_true(network, x, -x, (0.0, 4.0))
    assert paths.certain.all() and len(paths.t) == 4


def test_what_float32_decides_is_not_walked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    only = LineBatch.only
    monkeypatch.setattr(LineBatch, "only", lambda lines, numbers: asked.append(len(numbers)) or only(lines, numbers))
    torch.manual_seed(3)
    network = rr.Network.from_module(mlp(4, 6, 6, 3).eval(), (4,))
    x, d = torch.randn(2, 16, 4)
    assert assert_true(network, x, d, (-1.0, 2.0)).certain.all()
    assert 0 < sum(asked) < len(x)  # of three times as many
    assert LineBatch.of(network, x, d, (-1.0, 2.0), torch.float32).given is None  # nothing is kept for "never"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_outputs_before_a_breakpoint_beyond_single_precision_are_numbers(sign: float) -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).eval()
    numbers = [[[sign * 1e-30]], [-1e10], [[1.0], [-1.0]], [0.0, 1.0]]  # bends at t = 1e40
    with torch.no_grad():
        for part, values in zip(model.parameters(), numbers):
            part.copy_(torch.tensor(values))
    x, d = torch.zeros(1, 1), torch.ones(1, 1)
    paths = assert_true(model, x, d, (-math.inf, math.inf))
    assert paths.certain.all() and paths.t_error is not None and math.isinf(paths.t_error.max())
    assert paths[0].outputs_at(torch.tensor([-5.0, 0.0, 5.0])).tolist() == [[0.0, 1.0]] * 3


@pytest.mark.parametrize(("factor", "aligned", "as_given"), [(3, True, False), (3, False, False), (2, False, True)])
def test_coefficients_that_an_operation_makes_itself_are_no_numbers_of_float32(
    factor: int, aligned: bool, as_given: bool
) -> None:
    """Between 64 places torch interpolates by other coefficients in float32, 2e-5 off, which no bound covers."""

    def forward(m: Wrapped, x: Tensor) -> Tensor:
        wide = nn.functional.interpolate(x.relu(), scale_factor=factor, mode="bilinear", align_corners=aligned)
        return wide.flatten(1)

    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    network = rr.Network.from_module(Wrapped(forward).eval(), (1, 64, 64))
    (step,) = (step for step in network.steps if isinstance(step, AffineStep) and step.terms > 1)
    norms = StepNorms.of(network, step, torch.float32)
    bound = norms.rounding * norms.gain * float(x.abs().max())
    assert ((step(x).double() - step(x.double())).abs().max() <= bound) == as_given
    lines = LineBatch.of(network, x, torch.ones(1, 1, 64, 64), (0.0, 1.0), torch.float32, proven=True)
    assert lines.is_as_given == as_given
