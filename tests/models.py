"""The architectures that every part of the library must read and walk rightly: one line each in a list of laws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.architecture import Architecture, Wrapped, mlp, wrapped
from tests.spelled_models import SPELLED_MODELS

__all__ = ["ARCHITECTURES", "STEPS", "STEPS_WITH_FACES", "Architecture", "Wrapped", "mlp", "of_each"]


def _defined_in_another_order() -> nn.Module:
    return Wrapped(
        lambda m, x: m.first(torch.relu(m.second(torch.relu(m.third(x))))),
        first=nn.Linear(9, 3), second=nn.Linear(7, 9), third=nn.Linear(5, 7),
    )  # fmt: skip


def _tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    return model


def _one_relu_reused() -> nn.Module:
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(5, 8), relu, nn.Linear(8, 8), relu, nn.Linear(8, 3))


def _maxout(m: Wrapped, x: Tensor) -> Tensor:
    return m.head(m.hidden(x).view(x.shape[0], 6, 4).amax(-1))


def _group_sort(m: Wrapped, x: Tensor) -> Tensor:
    pairs = m.hidden(x).view(x.shape[0], 6, 2)
    return m.head(torch.stack([pairs.amin(-1), pairs.amax(-1)], -1).flatten(1))


def _order_statistics(m: Wrapped, x: Tensor) -> Tensor:
    h = m.hidden(x).view(-1, 3, 5)
    largest = torch.relu(h).topk(2, dim=1).values.flatten(1)
    middle = torch.cat([h.median(2).values, h[:, :, :4].median(1, keepdim=True)[0][:, 0], h.kthvalue(2, dim=2)[0]], 1)
    return m.head(torch.relu(m.middle(torch.cat([largest, middle], 1))))


def _dense(m: Wrapped, x: Tensor) -> Tensor:
    first = torch.relu(m.a(x))
    second = torch.relu(m.b(torch.cat([x, first], 1)))
    return m.c(torch.cat([x, first, second], 1))


def _shuffled(m: Wrapped, x: Tensor) -> Tensor:
    y = torch.relu(m.grouped(x))
    y = y.view(x.shape[0], 2, 4, 6, 6).transpose(1, 2).reshape(x.shape[0], 8, 6, 6)
    return m.head(torch.relu(m.depthwise(y)).flatten(1))


def _resnet_block(m: Wrapped, x: Tensor) -> Tensor:
    y = torch.relu(m.n1(m.c1(x)))
    z = torch.relu(m.n2(m.c2(y)) + m.skip(x))
    return m.head(functional.adaptive_avg_pool2d(z, 2).flatten(1))


class TwoHeads(nn.Module):
    """A model that returns a dictionary of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = torch.relu(self.body(x))
        return {"first": self.a(hidden), "second": self.b(hidden)}


def _convolutional(*between: nn.Module, features: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), *between, nn.Flatten(), nn.Linear(features, 3))


Linear, Conv2d = nn.Linear, nn.Conv2d

ARCHITECTURES = [
    Architecture("mlp", lambda: mlp(6, 12, 10, 4), (6,)),
    Architecture("mlp without biases", lambda: mlp(6, 12, 10, 4, bias=False), (6,)),
    Architecture("no gate", lambda: nn.Linear(4, 3), (4,)),
    Architecture("one output", lambda: mlp(4, 9, 1), (4,)),
    Architecture(
        "nested sequential", lambda: nn.Sequential(mlp(5, 8, 8), nn.Sequential(nn.ReLU(), mlp(8, 7, 3))), (5,)
    ),
    Architecture("one relu module reused", _one_relu_reused, (5,)),
    Architecture("defined in another order", _defined_in_another_order, (5,)),
    Architecture("tied weights", _tied, (6,)),
    Architecture(
        "functional relu",
        wrapped(lambda m, x: m.b(functional.relu(m.a(x))), a=lambda: Linear(4, 9), b=lambda: Linear(9, 3)),
        (4,),
    ),
    Architecture(
        "method relu in place",
        wrapped(lambda m, x: m.b(m.a(x).relu_()), a=lambda: Linear(4, 9), b=lambda: Linear(9, 3)),
        (4,),
    ),
    Architecture(
        "residual",
        wrapped(
            lambda m, x: m.c(torch.relu(m.b(torch.relu(m.a(x)))) + x),
            a=lambda: Linear(5, 7),
            b=lambda: Linear(7, 5),
            c=lambda: Linear(5, 3),
        ),
        (5,),
    ),
    Architecture(
        "residual of a pre-activation",
        wrapped(lambda m, x: m.b((h := m.a(x)) - 0.5 * torch.relu(h)), a=lambda: Linear(5, 7), b=lambda: Linear(7, 3)),
        (5,),
    ),
    Architecture(
        "relu of a relu",
        wrapped(lambda m, x: m.b(torch.relu(torch.relu(m.a(x)))), a=lambda: Linear(5, 7), b=lambda: Linear(7, 3)),
        (5,),
    ),
    Architecture(
        "dense connections",
        wrapped(_dense, a=lambda: Linear(4, 6), b=lambda: Linear(10, 5), c=lambda: Linear(15, 3)),
        (4,),
    ),
    Architecture(
        "batch norm 1d",
        lambda: nn.Sequential(Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), Linear(8, 3)),
        (5,),
    ),
    Architecture("prelu", lambda: mlp(5, 8, 6, 3, activation=nn.PReLU), (5,)),
    Architecture("prelu per channel", lambda: _convolutional(nn.PReLU(6), features=6 * 36), (2, 6, 6)),
    Architecture("leaky relu", lambda: mlp(5, 8, 6, 3, activation=lambda: nn.LeakyReLU(0.2)), (5,)),
    Architecture("rrelu", lambda: mlp(5, 8, 3, activation=nn.RReLU), (5,)),
    Architecture("relu6", lambda: mlp(5, 8, 6, 3, activation=nn.ReLU6), (5,)),
    Architecture("hardtanh", lambda: mlp(5, 8, 6, 3, activation=lambda: nn.Hardtanh(-0.3, 0.4)), (5,)),
    Architecture("hardsigmoid", lambda: mlp(5, 8, 6, 3, activation=nn.Hardsigmoid), (5,)),
    Architecture("softshrink", lambda: mlp(5, 8, 6, 3, activation=lambda: nn.Softshrink(0.2)), (5,)),
    Architecture(
        "abs and clamp",
        wrapped(
            lambda m, x: m.b(m.a(x).abs().clamp(0.1, 0.7).clamp_max(0.6)),
            a=lambda: Linear(5, 9),
            b=lambda: Linear(9, 3),
        ),
        (5,),
    ),
    Architecture(
        "crelu",
        wrapped(
            lambda m, x: m.b(torch.relu(torch.cat([m.a(x), -m.a(x)], 1))),
            a=lambda: Linear(5, 6),
            b=lambda: Linear(12, 3),
        ),
        (5,),
    ),
    Architecture("maxout", wrapped(_maxout, hidden=lambda: Linear(5, 24), head=lambda: Linear(6, 3)), (5,)),
    Architecture("group sort", wrapped(_group_sort, hidden=lambda: Linear(5, 12), head=lambda: Linear(12, 3)), (5,)),
    Architecture(
        "sorted groups",
        wrapped(
            lambda m, x: m.c(m.b(m.a(x).view(-1, 3, 4).sort(-1).values.flatten(1)).sort(1, descending=True)[0]),
            a=lambda: Linear(5, 12),
            b=lambda: Linear(12, 6),
            c=lambda: Linear(6, 3),
        ),
        (5,),
    ),
    Architecture(
        "order statistics",
        wrapped(
            _order_statistics, hidden=lambda: Linear(5, 15), middle=lambda: Linear(20, 8), head=lambda: Linear(8, 3)
        ),
        (5,),
    ),
    Architecture(
        "maximum and minimum",
        wrapped(
            lambda m, x: torch.minimum(torch.maximum(m.a(x), m.b(x)), torch.tensor(0.4)),
            a=lambda: Linear(5, 4),
            b=lambda: Linear(5, 4),
        ),
        (5,),
    ),
    Architecture(
        "max and min over a dimension",
        wrapped(
            lambda m, x: torch.cat([(h := m.a(x).view(-1, 3, 4)).max(2).values, h.min(1)[0]], 1),
            a=lambda: Linear(5, 12),
        ),
        (5,),
    ),
    Architecture(
        "normalised input", wrapped(lambda m, x: m.net((x - 0.3) / 0.7 * 2 + 1), net=lambda: mlp(4, 8, 3)), (4,)
    ),
    Architecture(
        "convolution and average pooling", lambda: _convolutional(nn.ReLU(), nn.AvgPool2d(2), features=54), (2, 6, 6)
    ),
    Architecture("max pooling after relu", lambda: _convolutional(nn.ReLU(), nn.MaxPool2d(2), features=54), (2, 6, 6)),
    Architecture(
        "max pooling before relu, overlapping",
        lambda: _convolutional(nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.ReLU(), features=6 * 16),
        (2, 6, 6),
    ),
    Architecture(
        "max pooling dilated", lambda: _convolutional(nn.MaxPool2d(2, 1, 0, dilation=2), features=6 * 16), (2, 6, 6)
    ),
    Architecture(
        "adaptive max pooling", lambda: _convolutional(nn.AdaptiveMaxPool2d(4), nn.ReLU(), features=6 * 16), (2, 6, 6)
    ),
    Architecture(
        "max pooling of features without channels",
        lambda: nn.Sequential(Linear(5, 8), nn.ReLU(), nn.MaxPool1d(2), nn.AdaptiveMaxPool1d(3), Linear(3, 3)),
        (5,),
    ),
    Architecture(
        "one dimension",
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), Linear(16, 3)
        ),
        (2, 10),
    ),
    Architecture(
        "three dimensions",
        lambda: nn.Sequential(
            nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), Linear(2, 3)
        ),
        (1, 3, 3, 3),
    ),
    Architecture(
        "transposed convolution and upsampling",
        lambda: nn.Sequential(
            nn.ConvTranspose2d(2, 3, 2, 2),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Flatten(),
            Linear(3 * 576, 2),
        ),
        (2, 3, 3),
    ),
    Architecture(
        "transposed convolution, grouped and dilated",
        lambda: nn.Sequential(
            nn.ConvTranspose1d(4, 6, 3, 2, 1, groups=2, dilation=2), nn.ReLU(), nn.Flatten(), Linear(66, 2)
        ),
        (4, 5),
    ),
    Architecture(
        "padded",
        lambda: nn.Sequential(
            nn.ReflectionPad2d(1), nn.ConstantPad2d(1, 0.5), Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), Linear(3 * 64, 2)
        ),
        (2, 6, 6),
    ),
    Architecture(
        "residual block",
        wrapped(
            _resnet_block,
            c1=lambda: Conv2d(2, 4, 3, padding=1),
            n1=lambda: nn.BatchNorm2d(4),
            c2=lambda: Conv2d(4, 4, 3, padding=1),
            n2=lambda: nn.BatchNorm2d(4),
            skip=lambda: Conv2d(2, 4, 1),
            head=lambda: Linear(16, 3),
        ),
        (2, 6, 6),
    ),
    Architecture(
        "grouped, shuffled, depthwise",
        wrapped(
            _shuffled,
            grouped=lambda: Conv2d(2, 8, 1, groups=2),
            depthwise=lambda: Conv2d(8, 8, 3, groups=8),
            head=lambda: Linear(128, 3),
        ),
        (2, 6, 6),
    ),
    Architecture(
        "pixel shuffle",
        lambda: nn.Sequential(Conv2d(2, 8, 3), nn.ReLU(), nn.PixelShuffle(2), nn.ReLU(), nn.Flatten(), Linear(128, 3)),
        (2, 6, 6),
    ),
    Architecture(
        "weight norm",
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(Linear(5, 8)), nn.ReLU(), Linear(8, 3)),
        (5,),
    ),
    Architecture(
        "spectral norm",
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(Linear(5, 8)), nn.ReLU(), Linear(8, 3)),
        (5,),
    ),
    Architecture(
        "sum, mean, slices",
        wrapped(
            lambda m, x: torch.stack(
                [(h := torch.relu(m.a(x)))[:, ::2].sum(1), h[:, 1:].mean(1), h[:, 3], -h[:, [0, 2, 4]].sum(1)], 1
            ),
            a=lambda: Linear(5, 9),
        ),
        (5,),
    ),
    Architecture(
        "one number for each point",
        wrapped(lambda m, x: m.b(torch.relu(m.a(x)[:, 0])[:, None]), a=lambda: Linear(5, 1), b=lambda: Linear(1, 3)),
        (5,),
    ),
    Architecture(
        "split and chunk",
        wrapped(
            lambda m, x: (p := torch.relu(m.a(x)).chunk(3, 1))[0] - p[1] + 2 * p[2].flip(1), a=lambda: Linear(5, 9)
        ),
        (5,),
    ),
    *SPELLED_MODELS,
]

# Other spellings become the same steps, so that what is asked of steps and regions is asked of these alone.
STEPS = [architecture for architecture in ARCHITECTURES if architecture not in SPELLED_MODELS]
# In a plane, what keeps its rank need not be convex.
STEPS_WITH_FACES = [step for step in STEPS if step.name not in ("sorted groups", "order statistics")]

# One of each kind of step and gate: the quick run asks every law of these.
_BASIC = {
    "mlp", "one output", "tied weights", "residual", "hardtanh", "crelu", "group sort", "max and min over a dimension",
    "convolution and average pooling", "max pooling before relu, overlapping", "residual block", "sum, mean, slices",
    "order statistics",
}  # fmt: skip


def of_each(architectures: list[Architecture]) -> pytest.MarkDecorator:
    """A law that is asked of each architecture; of all but one of each kind in the long run alone."""
    assert {architecture.name for architecture in ARCHITECTURES} >= _BASIC
    params = [
        pytest.param(architecture, marks=[] if architecture.name in _BASIC else pytest.mark.long, id=architecture.name)
        for architecture in architectures
    ]
    return pytest.mark.parametrize("architecture", params)
