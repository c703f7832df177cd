"""Half-lines: ranges that end at x."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions import rational
from tests.models import mlp

RANGES = [(0.0, 3.0), (-3.0, 0.0)]


@pytest.mark.parametrize("t_range", RANGES)
@pytest.mark.parametrize("whole", [True, False])
def test_ends_at_x_are_those_of_rational_arithmetic(t_range: tuple[float, float], whole: bool) -> None:
    """With whole weights many logits tie at x."""
    for seed in range(12):
        torch.manual_seed(seed)
        model = mlp(3, 6, 5, 3, bias=seed % 2 == 0).double().eval()
        x, d = torch.randn(2, 3, 3, dtype=torch.float64)
        if whole:
            with torch.no_grad():
                for part in model.parameters():
                    part.copy_((2 * part).round())
            x, d = x.round(), d.round() + (d.round() == 0)
        network = rr.Network.from_module(model, (3,))
        found = rr.exact_interval(network, x, d, t_range)
        assert found.certain is not None and found.certain.all()
        for row, true in enumerate(rational.exact_interval(network, x, d, t_range)):
            for name in ("label", "label_lo", "label_hi", "tied"):
                assert getattr(found, name)[row].item() == getattr(true, name), (seed, row, name)
            assert found.lo[row].item() == pytest.approx(float(true.lo), rel=1e-9)
            assert found.hi[row].item() == pytest.approx(float(true.hi), rel=1e-9)


@pytest.mark.parametrize("t_range", RANGES)
def test_a_range_that_ends_at_x_takes_no_more_proof_than_one_around_it(t_range: tuple[float, float]) -> None:
    """Blank patches tie at x, and nothing has to be found on the side where the range ends."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3)]
    network = rr.Network.from_module(nn.Sequential(*layers).double().eval(), (1, 8, 8))
    x, d = torch.rand(2, 4, 1, 8, 8, dtype=torch.float64)
    x[:, :, :, :4], d[:, :, :, :3] = 0.0, 0.0
    around = rr.exact_interval(network, x, d, (-3, 3))
    assert around.decided_by == ["bounds"] * 4
    found = rr.exact_interval(network, x, d, t_range)
    assert found.decided_by == ["bounds"] * 4
    assert torch.equal(found.label, around.label)
    assert torch.equal(found.lo, around.lo.clamp(*t_range)) and torch.equal(found.hi, around.hi.clamp(*t_range))
