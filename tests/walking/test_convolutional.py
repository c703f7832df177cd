"""A VGG-like network and a ResNet-18 of CIFAR size along hundreds of regions: the walk agrees with the network."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

import relu_regions as rr
from relu_regions.network.steps import AffineStep


def gate_inputs(network: rr.Network, points: Tensor) -> list[Tensor]:
    """What goes into every gate, ``(points, numbers)`` each, by evaluating the network there."""
    values, found = {network.input_name: points}, []
    for step in network.steps:
        inputs = [values[name] for name in step.inputs]
        if isinstance(step, AffineStep):
            values[step.output] = step(*inputs)
        else:
            found.append(inputs[0].flatten(1))
            values[step.output] = step.gate.apply(found[-1]).view(-1, *step.shape)
    return found


@pytest.mark.parametrize(("number", "reach"), [(0, 0.08), (1, 0.04)], ids=["VGG-like", "ResNet-18-like"])
def test_hundreds_of_regions(number: int, reach: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    case = importlib.import_module("architectures").QUICK_CASES[number]
    model = case.model()
    x, d = case.line(model)
    paths = rr.walk(model, x, d, (0, reach), resolve="never", memory_budget=4 << 20)
    path, network = paths[0], paths.network
    assert len(path.breakpoints) > 200
    t = torch.cat([path.breakpoints, reach * torch.rand(1000, dtype=torch.float64)])
    with torch.no_grad():
        expected = torch.cat([model(x + part.view(-1, 1, 1, 1) * d) for part in t.split(100)])
    assert (path.outputs_at(t) - expected).abs().max() <= 1e-10 * expected.abs().max()
    # None is spurious: the pattern that the network itself has in the middle of a region is not its neighbour's.
    middles = ((path.t[1:] + path.t[:-1]) / 2).split(50)
    wide = path.t.diff() > 1e-10
    inputs = [torch.cat(parts) for parts in zip(*(gate_inputs(network, x + m.view(-1, 1, 1, 1) * d) for m in middles))]
    changes = torch.zeros(len(wide) - 1, dtype=torch.bool)
    for step, values, pattern in zip(network.gates, inputs, paths.patterns()):
        if hasattr(step.gate, "knots"):
            assert torch.equal((values > 0)[wide], pattern[wide] == 1)
            changes |= ((values[1:] > 0) != (values[:-1] > 0)).any(1)
        else:
            candidates = values[:, step.gate.windows]
            winner = candidates.gather(2, pattern[:, :, None])[:, :, 0]
            assert torch.equal(winner[wide], candidates.amax(2)[wide])
            changes |= (pattern[1:] != pattern[:-1]).any(1)
    assert changes[wide[1:] & wide[:-1]].all() and wide.sum() > 200
