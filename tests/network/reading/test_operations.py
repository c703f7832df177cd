"""What single operations become: convolutions taken block by block."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions.network.reading.operations import weights

CONVOLUTIONS = {
    "1d": (nn.Conv1d(3, 4, 3, padding=1), (3, 9)),
    "2d": (nn.Conv2d(3, 4, 3, 2, 1), (3, 7, 6)),
    "3d": (nn.Conv3d(2, 3, 2), (2, 4, 3, 5)),
    "padded to the same size": (nn.Conv2d(3, 4, 3, padding="same", dilation=2), (3, 7, 6)),
    "grouped, without a bias": (nn.Conv2d(4, 8, 3, groups=4, bias=False), (4, 6, 6)),
    "transposed 1d": (nn.ConvTranspose1d(4, 6, 3, 2, 1, groups=2, dilation=2), (4, 5)),
    "transposed 2d": (nn.ConvTranspose2d(3, 2, 3, 2, output_padding=1), (3, 4, 5)),
    "transposed 3d": (nn.ConvTranspose3d(2, 3, 2, bias=False), (2, 2, 3, 2)),
}


@pytest.mark.parametrize("block", [0, 1 << 14])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_in_blocks_is_the_convolution(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, shape = CONVOLUTIONS[name]
    model = model.double().eval()
    monkeypatch.setattr(weights, "_COLUMN_BYTES", block)
    (step,) = rr.Network.from_module(model, shape).steps
    points = torch.randn(23, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(points)
        assert torch.allclose(step(points), expected, rtol=1e-13, atol=1e-13)
        assert torch.allclose(step(points, weight=torch.ones(23).double()), expected, rtol=1e-13, atol=1e-13)
        assert step(points[:0]).shape == (0, *expected.shape[1:])
