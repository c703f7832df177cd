"""The torch modules that are equal to networks in the oracle's plain form."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from tests.oracles.fractions_walk import Layers, evaluate

__all__ = ["to_torch"]


def to_torch(layers: Layers) -> nn.Module:
    """The float64 module in eval mode that is the described network: a plain Sequential unless values join.

    Raises:
        ValueError: for a gate that torch does not have, or a number that is not a float.
    """
    joins = any(kind in ("add", "concatenate") for kind, *_ in layers)
    module = _Graph(layers) if joins else nn.Sequential(*(_module(layer) for layer in layers))
    return module.double().eval()


class _Graph(nn.Module):
    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.sources = [rest[0] if kind in ("add", "concatenate") else None for kind, *rest in layers]
        self.adds = [kind == "add" for kind, *_ in layers]
        self.own = nn.ModuleList(
            nn.Identity() if sources is not None else _module(layer) for layer, sources in zip(layers, self.sources)
        )

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for own, sources, adds in zip(self.own, self.sources, self.adds):
            if sources is None:
                values.append(own(values[-1]))
            elif adds:
                total = values[sources[0]]
                for source in sources[1:]:
                    total = total + values[source]
                values.append(total)
            else:
                values.append(torch.cat([values[source] for source in sources], -1))
        return values[-1]


class _Abs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


class _Clamp(nn.Module):
    def __init__(self, lo: float | None = None, hi: float | None = None) -> None:
        super().__init__()
        self.lo, self.hi = lo, hi

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.lo, self.hi)


class _Maximum(nn.Module):
    def __init__(self, windows: Sequence[Sequence[int]]) -> None:
        super().__init__()
        # A window is filled up with its own last input, which never wins before itself.
        longest = max(len(window) for window in windows)
        filled = [[*window, *[window[-1]] * (longest - len(window))] for window in windows]
        self.windows: Tensor
        self.register_buffer("windows", torch.tensor(filled))

    def forward(self, x: Tensor) -> Tensor:
        return x[..., self.windows].amax(-1)


class _Order(nn.Module):
    def __init__(self, windows: Sequence[Sequence[int]], ranks: Sequence[int]) -> None:
        super().__init__()
        self.windows: Tensor
        self.register_buffer("windows", torch.tensor(windows))
        self.ranks = ranks

    def forward(self, x: Tensor) -> Tensor:
        order = x[..., self.windows].sort(-1, descending=True).values
        return order[..., torch.arange(len(self.ranks)), torch.tensor(self.ranks)]


def _module(layer: tuple[Any, ...]) -> nn.Module:
    kind, *numbers = layer
    if kind == "affine":
        return _linear(*numbers)
    if kind == "order":
        return _Order(*numbers)
    return _Maximum(numbers[0]) if kind == "maximum" else _elementwise(*numbers)


def _linear(weight: Sequence[Sequence[Any]], bias: Sequence[Any] | None) -> nn.Linear:
    numbers = [number for row in weight for number in row] + list(bias or [])
    if any(Fraction(float(number)) != number for number in numbers):
        raise ValueError("a weight or a bias is not a float64 number")
    linear = nn.Linear(len(weight[0]), len(weight), bias=bias is not None, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[float(w) for w in row] for row in weight], dtype=torch.float64))
        if bias is not None:
            linear.bias.copy_(torch.tensor([float(b) for b in bias], dtype=torch.float64))
    return linear


def _elementwise(knots: Sequence[Any], slopes: Sequence[Any], offsets: Sequence[Any]) -> nn.Module:
    if isinstance(slopes[0], (list, tuple)) and list(knots) == [0] and not any(offsets):
        prelu = nn.PReLU(len(slopes), dtype=torch.float64)
        with torch.no_grad():
            prelu.weight.copy_(torch.tensor([below for below, _ in slopes], dtype=torch.float64))
        return prelu
    module = _of_shape(list(knots), list(slopes))
    if module is not None:
        # The same at its knots and a step beyond them: then the same everywhere.
        z = [knots[0] - 1, *knots, knots[-1] + 1]
        layers = [("knots", knots, slopes, offsets)]
        expected = [float(evaluate(layers, [number])[0][0]) for number in z]
        if torch.allclose(module(torch.tensor(z, dtype=torch.float64)), torch.tensor(expected, dtype=torch.float64)):
            return module
    raise ValueError(f"torch has no gate with knots {knots}, slopes {slopes} and offsets {offsets}")


def _of_shape(knots: list[Any], slopes: list[Any]) -> nn.Module | None:
    first, last = knots[0], knots[-1]
    match slopes:
        case [0, 1] if first == 0:
            return nn.ReLU()
        case [-1, 1] if first == 0:
            return _Abs()
        case [float(below), 1] if first == 0:
            return nn.LeakyReLU(below)
        case [0, 1]:
            return _Clamp(lo=first)
        case [1, 0]:
            return _Clamp(hi=first)
        case [0, 1, 0] if (first, last) == (0, 6):
            return nn.ReLU6()
        case [0, 1, 0]:
            return nn.Hardtanh(first, last)
        case [1, 0, 1] if first == -last:
            return nn.Softshrink(last)
        case [0, _, 0] if (first, last) == (-3, 3):
            return nn.Hardsigmoid()
    return None
