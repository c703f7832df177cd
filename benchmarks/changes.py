"""A model that can be changed in every way that its printed form does not show, and the ways."""

from __future__ import annotations

import types
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

__all__ = ["CHANGES", "SETTINGS", "Changing", "in_float64"]

SETTINGS = {"factor": 1.0}


class Bent(nn.Module):
    """A leaky ReLU that prints alike whatever its slope."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x, self.slope)


class Scaled(nn.Module):
    """A parametrization that multiplies."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * 1.001


def _shifting(by: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x + by


class Changing(nn.Module):
    """A small network whose forward pass reads attributes, globals, closures, plain tensors, buffers and hooks.

    Args:
        size: what its outputs are multiplied by.
    """

    def __init__(self, size: float = 1.0) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.last = parametrizations.weight_norm(nn.Linear(8, 3))
        prune.l1_unstructured(self.third, "weight", 3)
        self.child, self.size, self.cap, self.scaling = Bent(0.1), size, 2.0, {"default": 0.5}
        self.plain, self.shifted = torch.linspace(0.1, 0.4, 8), _shifting(0.1)
        self.register_buffer("moved", torch.full((8,), 0.05))
        self.swapped = False

    def forward(self, x: Tensor) -> Tensor:
        h = torch.clamp(self.child(self.first(x)), max=self.cap)
        h = torch.relu(self.second(h) + self.moved) + self.scaling["default"] * self.plain.to(h)
        h = torch.relu(self.third(self.shifted(h))) * SETTINGS["factor"]
        logits = self.size * self.last(h)
        return logits.flip(1) if self.swapped else logits


def in_float64(model: Changing, points: Tensor, dtype: torch.dtype) -> Tensor:
    """The model's own forward pass in float64, plain tensors as the dtype holds them; the model stays as it was."""
    plain = [
        (module, name, value)
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    ]
    model.to(torch.float64)
    for module, name, value in plain:
        object.__setattr__(module, name, value.to(dtype).to(torch.float64))
    with torch.no_grad():
        true = model(points)
    model.to(dtype)
    for module, name, value in plain:
        object.__setattr__(module, name, value)
    return true


def _attribute(model: Changing) -> None:
    model.child.slope += 0.01


def _cap(model: Changing) -> None:
    model.cap *= 1.5


def _dictionary(model: Changing) -> None:
    model.scaling["default"] *= 1.01


def _global(model: Changing) -> None:
    SETTINGS["factor"] *= 1.01


def _closure(model: Changing) -> None:
    cell = model.shifted.__closure__[0]  # type: ignore[attr-defined]
    cell.cell_contents += 0.001


def _function(model: Changing) -> None:
    model.shifted = _shifting(0.102)


def _hook(model: Changing) -> None:
    model.register_forward_hook(lambda module, args, y: y * 1.01)


def _child_hook(model: Changing) -> None:
    model.child.register_forward_hook(lambda module, args, y: y + 0.005)


def _pre_hook(model: Changing) -> None:
    model.second.register_forward_pre_hook(lambda module, args: (args[0] * 1.001,))


def _parametrization(model: Changing) -> None:
    parametrize.register_parametrization(model.second, "weight", Scaled())
    model.eval()


def _buffer(model: Changing) -> None:
    model.moved += 0.001


def _plain_replaced(model: Changing) -> None:
    model.plain = model.plain * 1.01


def _plain_in_place(model: Changing) -> None:
    model.plain.numpy()[2] += 0.01  # no version counter sees this


def _method(model: Changing) -> None:
    inner = model.forward
    model.forward = types.MethodType(lambda self, x: inner(x * 1.001), model)  # type: ignore[method-assign]


def _submodule(model: Changing) -> None:
    model.child = Bent(model.child.slope + 0.02).eval()


def _tied(model: Changing) -> None:
    model.first.bias = model.second.bias


def _untied(model: Changing) -> None:
    model.first.bias = nn.Parameter(model.first.bias.detach() + 0.004)


def _pruned(model: Changing) -> None:
    if prune.is_pruned(model.third):
        prune.remove(model.third, "weight")
    with torch.no_grad():
        model.third.weight += 0.002


def _weight_norm(model: Changing) -> None:
    if parametrize.is_parametrized(model.last):
        parametrize.remove_parametrizations(model.last, "weight")
    with torch.no_grad():
        model.last.weight += 0.002


def _fast_weight(model: Changing) -> None:
    weight = model.first.weight.detach() + 0.002
    del model.first.weight
    model.first.weight = weight  # type: ignore[assignment]


def _trained(model: Changing) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.001 * torch.randn_like(parameter)


def _outputs(model: Changing) -> None:
    model.swapped = not model.swapped


CHANGES: dict[str, Callable[[Changing], None]] = {
    "attribute of a child": _attribute,
    "cap that few reach": _cap,
    "dictionary": _dictionary,
    "global": _global,
    "closure": _closure,
    "function": _function,
    "hook": _hook,
    "hook of a child": _child_hook,
    "hook before": _pre_hook,
    "parametrization": _parametrization,
    "buffer": _buffer,
    "plain tensor replaced": _plain_replaced,
    "plain tensor in place": _plain_in_place,
    "method of the instance": _method,
    "submodule that prints alike": _submodule,
    "tied": _tied,
    "untied": _untied,
    "pruning made permanent": _pruned,
    "weight norm removed": _weight_norm,
    "fast weight": _fast_weight,
    "training": _trained,
    "outputs in another order": _outputs,
}
