"""Ends that the judge confirms are the true ones, and the class holds from x up to them."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.exactness.effort import Effort
from relu_regions.intervals.judging import confirmed
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import LineBatch
from tests.models import mlp


def heard(
    network: rr.Network, x: Tensor, d: Tensor, t_range: tuple[float, float], decision: Decision
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the judge says of all lines, whether bounds would leave doubt or not."""
    lines = LineBatch.of(network, x, d, t_range)
    chosen = None if decision.outputs == 1 else decision.classes
    plain = rr.exact_interval(network, x, d, t_range, resolve="never", decision=chosen)
    good, columns = confirmed(lines, torch.arange(len(x)), plain.lo, plain.hi, decision, Effort("auto"))
    return good.nonzero()[:, 0], columns


@pytest.mark.parametrize(("t_range", "outputs"), [((-math.inf, math.inf), 4), ((-1.0, 2.0), 4), ((0.0, math.inf), 1)])
def test_ends_are_those_of_rational_arithmetic(t_range: tuple[float, float], outputs: int) -> None:
    torch.manual_seed(outputs)
    network = rr.Network.from_module(mlp(5, 12, 12, 12, outputs).double().eval(), (5,))
    x, d = torch.randn(2, 8, 5, dtype=torch.float64)
    decision = Decision.of(network.output_shape, None if outputs == 1 else (0, 2, 3))
    good, found = heard(network, x, d, t_range, decision)
    assert len(good) > 5
    truth = rational.exact_interval(network, x, d, t_range, None if outputs == 1 else (0, 2, 3))
    for k, number in enumerate(good.tolist()):
        true = truth[number]
        assert not true.tied
        for name in ("label", "label_lo", "label_hi"):
            assert found[name][k] == getattr(true, name)
        for name in ("lo", "hi"):
            end, exact = found[name][k].item(), getattr(true, name)
            if math.isinf(end) or math.isinf(exact):
                assert end == exact
            else:
                assert abs(Fraction(end) - exact) <= Fraction(found[f"{name}_error"][k].item())


def test_a_tie_at_x_or_along_a_stretch_is_not_confirmed() -> None:
    class Tied(nn.Module):
        """Two logits that are 0 for t < 0."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(torch.cat([x, 2 * x], 1))

    network = rr.Network.from_module(Tied().double().eval(), (1,))
    for at in (-1.0, 1.0):
        x, d = torch.tensor([[at]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
        good, _ = heard(network, x, d, (-3.0, 3.0), Decision.of((2,)))
        assert not len(good)
        interval = rr.exact_interval(network, x, d, (-3.0, 3.0))
        true = rational.exact_interval(network, x, d, (-3.0, 3.0))[0]
        assert (interval.lo.item(), interval.hi.item(), interval.tied.item()) == (true.lo, true.hi, true.tied)


def test_deep_networks_are_decided_by_the_judge() -> None:
    torch.manual_seed(0)
    model = mlp(16, *[32] * 13, 5).eval()
    with torch.no_grad():
        for layer in (module for module in model if isinstance(module, nn.Linear)):
            layer.weight.mul_(math.sqrt(6))  # to He's
    network = rr.Network.from_module(model, (16,))
    x, d = torch.randn(2, 3, 16)
    interval = rr.exact_interval(network, x, d)
    assert interval.certain is not None and interval.certain.all() and "judge" in interval.decided_by
    assert "by judge" in repr(interval) and "by judge" in repr(interval[0])
    paths = rr.walk(network, x, d, (-1, 2))
    assert paths.certain.all() and "judge" in paths.decided_by and not paths.settled.any()
    assert paths.t_error is not None and float(paths.t_error.max()) < 1e-4
    assert rr.walk(network, x, d, (-1, 2), resolve="never").decided_by == ["nothing"] * 3
