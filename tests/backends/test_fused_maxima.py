"""Networks with fused maxima on every backend, Triton's programs too, against rational arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.backends import reference, use
from relu_regions.network.plan import fused
from tests.backends.backends import BACKENDS, Backend

EVERY = [pytest.param(Backend("reference", reference, "cpu", 0), id="reference"), *BACKENDS]
PAIRS: dict[str, Callable[[], list[nn.Module]]] = {
    "relu, then pooled with padding": lambda: [nn.ReLU(), nn.MaxPool1d(3, 2, 1)],
    "leaky, then pooled": lambda: [nn.LeakyReLU(0.25), nn.MaxPool1d(2)],
    "flat above, then pooled": lambda: [nn.Hardtanh(-0.2, 0.5), nn.MaxPool1d(2)],
    "pooled, then flat above": lambda: [nn.MaxPool1d(2), nn.Hardtanh(-0.2, 0.5)],
}


@pytest.mark.parametrize("t_range", [(-1.0, 2.0), (0.0, torch.inf)], ids=["segments", "rays"])
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("backend", EVERY)
def test_breakpoints_of_the_function_on_every_backend(
    backend: Backend, name: str, t_range: tuple[float, float]
) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv1d(1, 2, 3), *PAIRS[name](), nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    network = rr.Network.from_module(nn.Sequential(*layers).double().eval(), (1, 10))
    x, d = torch.randn(2, 2, 1, 10, dtype=torch.float64)
    there = network.to(torch.float64, torch.device(backend.device))
    with use(backend.name):
        at = (part.to(backend.device) for part in (x, d))
        paths = rr.walk(there, *at, t_range, breakpoints="function", resolve="never")
    exact = rational.walk(fused(network), x, d, t_range)
    for path, true in zip(paths, exact):
        assert torch.allclose(path.t[1:-1].cpu(), torch.tensor([float(t) for t in true.breakpoints]).double())
        flips = path.flips
        columns = torch.stack([flips.row - 1, flips.gate, flips.unit, flips.before, flips.after], 1).tolist()
        assert columns == [[row, *flip] for row, own in enumerate(true.flips) for flip in own]
        assert [pieces[path.index].tolist() for pieces in paths.first_patterns] == true.first_patterns
    assert sum(map(len, exact)) > 6
