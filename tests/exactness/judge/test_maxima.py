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
def test_whole_blocks_are_as_certain_as_their_rows(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
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
    shares = 0.01 * torch.rand(count, BLOCK, generator=generator, dtype=torch.float64)
    shares[::2] = 0
    hearing: Any = SimpleNamespace(equal=EqualNumbers.of(network))
    leads = maxima._Leads(hearing, step, step.gate, Ball.of(value, radius))
    winner, open_ = leads.winners(shares)

    def none_sure(self: Any, added: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pieces = torch.zeros(count, len(self.windows), dtype=torch.int64)
        return pieces, torch.zeros_like(pieces, dtype=torch.bool)

    whole, sure = leads._in_whole_blocks(torch.zeros(count, dtype=torch.float64))
    assert sure.any() and not sure.all() and whole.unique().numel() > 1
    monkeypatch.setattr(maxima._Leads, "_in_whole_blocks", none_sure)
    one_by_one = leads.winners(shares)
    assert torch.equal(winner, one_by_one[0]) and torch.equal(open_, one_by_one[1])
    assert open_.any() and not open_.all()
