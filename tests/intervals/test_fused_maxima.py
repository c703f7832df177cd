"""Intervals through fused maxima, decided by bounds, judge or fractions, are those of the network as it was read.

The networks are tiny and degenerate: small whole weights, channels of zeros, equal or opposite ones, blank patches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.exactness.effort import Effort
from relu_regions.exactness.rational.interval import RationalInterval
from relu_regions.intervals.judging import confirmed
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import LineBatch
from tests.quick import some_quick

PAIRS: dict[str, Callable[[], list[nn.Module]]] = {
    "relu, then pooled": lambda: [nn.ReLU(), nn.MaxPool2d(2, 1)],
    "relu, then pooled with padding": lambda: [nn.ReLU(), nn.MaxPool2d(3, 2, 1)],
    "pooled, then relu": lambda: [nn.MaxPool2d(2, 1), nn.ReLU()],
    "leaky, then pooled": lambda: [nn.LeakyReLU(0.25), nn.MaxPool2d(2, 1)],
    "flat above, then pooled": lambda: [nn.Hardtanh(-1.0, 2.0), nn.MaxPool2d(2, 1)],
    "pooled, then flat above": lambda: [nn.MaxPool2d(2, 1), nn.ReLU6()],
}


def degenerate(seed: int, pair: Callable[[], list[nn.Module]]) -> tuple[rr.Network, Tensor, Tensor]:
    """A network of 4×4 numbers whose windows overlap, generic if the seed is odd, and lines that are partly blank."""
    generator = torch.Generator().manual_seed(seed)

    def whole(*shape: int, most: int = 2) -> Tensor:
        return torch.randint(-most, most + 1, shape, generator=generator).double()

    layers = (nn.Conv2d(1, 3, 2), *pair(), nn.Flatten(), nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 3))
    model = nn.Sequential(*layers).double()
    model(torch.zeros(1, 1, 4, 4, dtype=torch.float64))
    for parameter in model.parameters():
        noise = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = whole(*parameter.shape) + (seed % 2) * noise
    kernels, last = model[0].weight.data, model[-1]
    kernels[1] = -kernels[0] if seed % 2 else kernels[0]
    if seed % 3 == 0:
        kernels[2] = 0
    if seed % 4 == 0:
        last.weight.data[2], last.bias.data[2] = last.weight.data[1], last.bias.data[1]
    x, d = whole(4, 1, 4, 4, most=3), whole(4, 1, 4, 4)
    x[0, :, :3] = d[0, :, :3] = 0
    x[2:] += torch.rand(2, 1, 4, 4, generator=generator, dtype=torch.float64)
    d[:, 0, 3, 3] = 1
    return rr.Network.from_module(model.eval(), (1, 4, 4)), x, d


def assert_end(end: float, error: float, exact: Fraction | float) -> None:
    if math.isinf(end) or math.isinf(exact):
        assert end == exact
    else:
        assert abs(Fraction(end) - Fraction(exact)) <= Fraction(error)


@some_quick("name", PAIRS, one_in=3)
def test_what_is_certain_is_true(name: str) -> None:
    certain = judged = 0
    for seed in range(1, 6):
        network, x, d = degenerate(seed, PAIRS[name])
        found, truth = rr.exact_interval(network, x, d), rational.exact_interval(network, x, d)
        assert found.certain is not None and found.certain.all()
        for row, exact in enumerate(truth):
            assert_interval({key: getattr(found, key)[row] for key in KEYS}, exact)
            assert found.tied[row] == exact.tied
        certain += len(x)
        numbers, columns = heard(network, x, d)
        for row, number in enumerate(numbers):
            assert not truth[number].tied
            assert_interval({key: columns[key][row] for key in KEYS}, truth[number])
        judged += len(numbers)
    # Capped numbers tie, and windows that overlap reach a cap together: that is left to rational arithmetic.
    assert certain == 20 and (judged > 2 or "flat" in name)


KEYS = ("lo", "hi", "lo_error", "hi_error", "label", "label_lo", "label_hi")


def assert_interval(found: dict[str, Tensor], exact: RationalInterval) -> None:
    for name in ("label", "label_lo", "label_hi"):
        assert found[name] == getattr(exact, name), name
    for name in ("lo", "hi"):
        assert_end(found[name].item(), found[f"{name}_error"].item(), getattr(exact, name))


def heard(network: rr.Network, x: Tensor, d: Tensor) -> tuple[list[int], dict[str, Tensor]]:
    """What the judge alone confirms about the fused network, whether bounds would leave doubt or not."""
    lines = LineBatch.of(network, x, d, (-math.inf, math.inf), torch.float64).fused()
    assert lines.network is not network
    plain = rr.exact_interval(network, x, d, resolve="never")
    decision = Decision.of(network.output_shape, None)
    good, columns = confirmed(lines, torch.arange(len(x)), plain.lo, plain.hi, decision, Effort("auto"))
    return good.nonzero()[:, 0].tolist(), columns
