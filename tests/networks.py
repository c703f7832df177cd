"""The library's own form of a network in the oracle's plain form, without the slow way through torch.export."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from relu_regions.network.gates import Gate, Knots, Maximum, OrderStatistic
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep, Origin, Step
from tests.oracles.fractions_walk import Layers

__all__ = ["network_of"]


def network_of(layers: Layers, inputs: int) -> Network:
    """The same network as steps; every number must be a float."""
    sizes = [inputs]
    steps: list[Step] = []
    for number, layer in enumerate(layers):
        name, before, origin = f"value{number + 1}", (f"value{number}",), Origin("", layer[0])
        if layer[0] in ("knots", "maximum", "order"):
            gate, size = _gate(layer, sizes[-1])
            steps.append(GateStep(name, before, (size,), origin, gate))
        elif layer[0] == "affine":
            weight, bias = (None if part is None else torch.tensor(part, dtype=torch.float64) for part in layer[1:])
            assert weight is not None
            size = len(weight)
            fused = None if bias is None else functional.linear
            step = AffineStep(name, before, (size,), origin, functional.linear, (weight,), bias, sizes[-1], fused)
            steps.append(step)
        else:
            sources = [f"value{source}" for source in layer[1]]
            unique = tuple(dict.fromkeys(sources))
            positions = [unique.index(source) for source in sources]
            size = sizes[layer[1][0]] if layer[0] == "add" else sum(sizes[source] for source in layer[1])
            combine = _added(positions) if layer[0] == "add" else _joined(positions)
            steps.append(AffineStep(name, unique, (size,), origin, combine, terms=len(sources)))
        sizes.append(size)
    return Network(tuple(steps), "value0", f"value{len(layers)}", (inputs,), (sizes[-1],))


def _added(positions: list[int]) -> Any:
    return lambda *values: list(accumulate(values[p] for p in positions))[-1]


def _joined(positions: list[int]) -> Any:
    return lambda *values: torch.cat([values[p] for p in positions], 1)


def _gate(layer: tuple[Any, ...], units: int) -> tuple[Gate, int]:
    if layer[0] == "maximum":
        longest = max(map(len, layer[1]))
        windows = [list(window) + list(window[:1]) * (longest - len(window)) for window in layer[1]]
        return Maximum(torch.tensor(windows)), len(windows)
    if layer[0] == "order":
        return OrderStatistic(torch.tensor(layer[1]), torch.tensor(layer[2])), len(layer[1])
    return Knots(*(_columns(numbers) for numbers in layer[1:])), units


def _columns(numbers: Any) -> Tensor:
    """``(k, 1)`` or ``(k, units)`` from numbers for all units or a list of them for each."""
    table = torch.tensor(numbers, dtype=torch.float64)
    return table.view(-1, 1) if table.ndim == 1 else table.T.contiguous()
