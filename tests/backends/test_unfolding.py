"""A convolution by unfolded inputs is torch's own, up to rounding."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions.network.steps import AffineStep

pytest.importorskip("numba")
unfolding = import_module("relu_regions.backends.cpu.unfolding")

# Channels in and out, what the layer is given, places of the input.
CASES: list[tuple[tuple[int, int], dict[str, object], tuple[int, ...]]] = [
    ((3, 5), {"kernel_size": 3, "padding": 1}, (6, 4)),
    ((2, 4), {"kernel_size": (2, 3), "padding": "same", "bias": False}, (5, 7)),
    ((1, 2), {"kernel_size": (3, 2), "padding": (4, 0), "dilation": (2, 3)}, (5, 6)),
    ((4, 3), {"kernel_size": 1, "padding": 2}, (3, 3)),
    ((2, 3), {"kernel_size": 4, "padding": 3, "dilation": 2}, (9,)),
]


@pytest.mark.parametrize("number", range(len(CASES)))
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_unfolding_is_a_convolution(
    number: int, rectify: bool, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (channels, outputs), options, places = CASES[number]
    layer = (nn.Conv1d if len(places) == 1 else nn.Conv2d)(channels, outputs, **options).double().eval()  # type: ignore[arg-type]
    step = rr.Network.from_module(layer, (channels, *places)).steps[0]
    assert isinstance(step, AffineStep)
    values = torch.randn(7, channels, *places, dtype=torch.float64)
    weight = torch.rand(7, dtype=torch.float64) if weighted else None
    truth = step(values.clamp_min(0) if rectify else values, weight=weight).flatten(1)
    for size in (1, 1 << 20):
        monkeypatch.setattr(unfolding, "_COLUMN_BYTES", size)
        for points in (7, 9):
            ours = unfolding.Unfolding(step, points)
            for _ in range(2):  # what the first stack left behind does not matter
                assert (ours(values.flatten(1), weight, rectify) - truth).abs().max() <= 1e-13 * truth.abs().max()
            assert torch.equal(ours(values[:0].flatten(1), None, rectify), truth[:0])


def test_where_unfolding_does_not_pay() -> None:
    cases = [nn.Conv2d(2, 2, 3, stride=2), nn.Conv2d(2, 4, 3, groups=2)]
    for layer in cases:
        step = rr.Network.from_module(layer.double().eval(), (2, 5, 5)).steps[0]
        assert unfolding.Unfolding.of(step, 4) is None
    step = rr.Network.from_module(nn.Conv2d(2, 2, 3).double().eval(), (2, 5, 5)).steps[0]
    assert unfolding.Unfolding.of(step.to(torch.float32, torch.device("cpu")), 4) is None
