"""A model under test, and short ways to write one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["Architecture", "Wrapped", "mlp", "wrapped"]


@dataclass(frozen=True)
class Architecture:
    """A model under test: how to build it, and the shape of one input."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def model(self, seed: int = 0) -> nn.Module:
        """A float64 instance in eval mode, with batch norm statistics that are not trivial; kept: do not change it."""
        return _built(self, seed)


@cache
def _built(architecture: Architecture, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = architecture.build().double()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d)):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(-1.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    return model.eval()


def mlp(*sizes: int, bias: bool = True, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """A plain chain of linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


class Wrapped(nn.Module):
    """Some modules and a forward pass in one line."""

    def __init__(self, run: Callable[..., Tensor], **modules: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def wrapped(run: Callable[..., Tensor], **modules: Callable[[], nn.Module | nn.Parameter]) -> Callable[[], nn.Module]:
    return lambda: Wrapped(run, **{name: build() for name, build in modules.items()})
