"""Windows that one input leads throughout a block are not looked at row by row; the answers are the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions.exactness.equal_by_construction import EqualNumbers
from relu_regions.exactness.judge import maxima
from relu_regions.exactness.judge.balls import Ball
from relu_regions.exactness.judge.posts import BLOCK
from relu_regions.network.gates import Maximum


@pytest.mark.parametrize("size", [0.0, 0.02, 0.3])
def test_whole_blocks_are_as_certain_as_their_rows(size: float) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(18, 2)).double().eval()
    network = rr.Network.from_module(model, (1, 6, 6))
    step = network.gates[0]
    assert isinstance(step.gate, Maximum)
    generator = torch.Generator().manual_seed(0)
    count, inputs = 40, network.shapes[step.inputs[0]]
    steps = torch.randn(count * BLOCK, *inputs, generator=generator, dtype=torch.float64)
    value = (0.03 * steps.flatten(1)).cumsum(0)
    value[: count * 2] = value[: count * 2].round(decimals=1)  # ties
    radius = size * torch.rand(count, value.shape[1], generator=generator, dtype=torch.float64)
    radius[::5, ::7] = torch.inf
    hearing: Any = SimpleNamespace(
        equal=EqualNumbers.of(network), marks=lambda sources: None, ties_of=lambda name: None
    )
    leads = maxima._Leads(hearing, step, step.gate, Ball.of(value, radius))
    rows, unit = torch.arange(len(value)).view(count, BLOCK), torch.arange(step.units)
    found = []
    for piece in range(step.gate.windows.shape[1]):
        pieces = torch.full((count, step.units), piece)
        whole = leads.in_whole_blocks(pieces)
        for block in range(count):
            window = leads._windows(rows[block].expand(step.units, -1), unit)
            sure, _ = window.leads(torch.full((step.units, BLOCK), piece))
            assert not (whole[block] & ~sure.all(1)).any()
            found.append((whole[block], sure))
    assert any(whole.any() for whole, _ in found) and any((sure.any(1) & ~whole).any() for whole, sure in found)
    # No two inputs lead one window.
    assert torch.stack([sure for _, sure in found]).view(-1, count, step.units, BLOCK).sum(0).max() == 1
