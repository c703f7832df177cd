"""Models in other words than layers: spellings of affine operations, axes that are folded, blocks that are unrolled."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import Conv2d, Linear, functional

from tests.architecture import Architecture, Wrapped, wrapped

__all__ = ["SPELLED_MODELS"]


def _convolutional(*between: nn.Module, features: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), *between, nn.Flatten(), nn.Linear(features, 3))


def _spelled_otherwise(m: Wrapped, x: Tensor) -> Tensor:
    h, places = m.hidden(x), torch.arange(6)
    bias = torch.zeros(x.shape[0], 6).type_as(x) + x.new_full((x.shape[0], 6), 0.1)
    y = torch.relu(h + bias + 0.2 * torch.ones_like(h)) * m.scale.expand_as(h)
    y = torch.hstack([y, torch.where(places > 3, h, 0.3), h.masked_fill(places < 2, -0.1)])
    z = torch.addcmul(h, m.scale, h.new_ones(6)).lerp(m.scale, 0.3)
    order = places.flip(0).expand(x.shape[0], 6)
    z = (
        torch.stack([z.gather(1, order), torch.fliplr(h), m.scale.expand(x.shape[0], 6)], 1)
        .moveaxis(1, 2)
        .mT.flatten(1)
    )
    w = torch.cat([h.cumsum(1), h.diff(dim=1), torch.tensor_split(h, 3, 1)[1], x.new_zeros(x.shape[0], 1)], 1)
    return m.head(torch.relu(torch.column_stack([y, z, w])))


def _by_hand(m: Wrapped, x: Tensor) -> Tensor:
    h, k = m.hidden(x), m.other(x)
    parts = [torch.where(h > 0, h, 0), h * (h > 0), k.masked_fill(k <= 0, 0), torch.where(~(k > 0), 0.1 * k, k)]
    parts += [torch.where(k > 1, k, 1.0), h.sign() * h, functional.lp_pool1d(h[:, None], 1, 2)[:, 0]]
    return m.head(torch.relu(m.middle(torch.cat(parts, 1))))


def _products(m: Wrapped, x: Tensor) -> Tensor:
    h = torch.relu(torch.einsum("bi,io->bo", x, m.a.weight))
    pairs = torch.tensordot(h, m.b.weight, dims=([1], [1])).view(-1, 2, 3)
    batched = torch.baddbmm(pairs, pairs, m.c.weight.expand(x.shape[0], 3, 3))
    return torch.cat([torch.relu(batched).flatten(1), torch.mv(h, m.c.weight[0, :2].repeat(3))[:, None]], 1)


def _assigned(m: Wrapped, x: Tensor) -> Tensor:
    # Of a copy, for the sake of torch's own Jacobians, with which the answers are compared.
    x = x.clone()
    x -= 0.1
    return m.head(torch.relu(m.hidden(x)))


def _folded(m: Wrapped, x: Tensor) -> Tensor:
    frames = x.view(-1, 2, 1, 3, 3)
    maps = torch.relu(m.norm(m.convolution(frames.flatten(0, 1))))
    pooled = functional.max_pool2d(maps, 2, 1).flatten(1).unflatten(0, (-1, 2))
    first = m.slopes(m.steps(pooled.transpose(0, 1)))  # time first
    return torch.cat([first.sum(0), first.amax(0), first[-1]], 1)


def _ensemble(m: Wrapped, x: Tensor) -> Tensor:
    both = torch.cat([torch.relu(m.a(x)), m.b(x)], 0)
    return torch.stack([m.c(x), *torch.relu(m.d(both)).view(2, -1, 3)]).mean(0)


def _resampled(m: Wrapped, x: Tensor) -> Tensor:
    h = torch.relu(m.convolution(x))
    grid = functional.affine_grid(
        m.turn.weight[None].expand(x.shape[0], 2, 3), (x.shape[0], 3, 3, 2), align_corners=False
    )
    parts = [
        functional.interpolate(h, (5, 6), mode="bicubic"),
        functional.interpolate(h, (3, 2), mode="bilinear", antialias=True),
        functional.grid_sample(h, grid, align_corners=False),
        functional.fold(h.flatten(1)[:, :24].view(-1, 4, 6), (3, 4), 2),
    ]
    return m.head(torch.relu(torch.cat([part.flatten(1) for part in parts], 1)))


def _norms(m: Wrapped, x: Tensor) -> Tensor:
    h = m.hidden(x)
    parts = [
        h.norm(p=1, dim=1, keepdim=True),
        torch.linalg.vector_norm(h, torch.inf, dim=1, keepdim=True),
        torch.cdist(h, m.centres.weight, p=1),
        functional.pairwise_distance(h, m.centres.weight[:1], p=1, keepdim=True),
        functional.l1_loss(h, m.centres.weight[0].expand_as(h), reduction="none"),
        torch.aminmax(h, dim=1, keepdim=True).max,
        h.clamp(m.centres.weight[0], m.centres.weight[1]),
    ]
    return m.head(torch.cat(parts, 1))


SPELLED_MODELS = [
    Architecture(
        "activations by hand",
        wrapped(
            _by_hand,
            hidden=lambda: Linear(5, 4),
            other=lambda: Linear(5, 4),
            middle=lambda: Linear(26, 6),
            head=lambda: Linear(6, 3),
        ),
        (5,),
    ),
    Architecture(
        "spelled otherwise",
        wrapped(
            _spelled_otherwise,
            hidden=lambda: Linear(5, 6),
            head=lambda: Linear(50, 3),
            scale=lambda: nn.Parameter(torch.randn(6)),
        ),
        (5,),
    ),
    Architecture(
        "products", wrapped(_products, a=lambda: Linear(6, 5), b=lambda: Linear(6, 6), c=lambda: Linear(3, 3)), (5,)
    ),
    Architecture(
        "assigned in place",
        wrapped(_assigned, hidden=lambda: Linear(4, 5), head=lambda: Linear(5, 3)),
        (4,),
    ),
    Architecture(
        "folded into the batch, and time first",
        wrapped(
            _folded,
            convolution=lambda: Conv2d(1, 2, 2, padding=1),
            norm=lambda: nn.BatchNorm2d(2),
            steps=lambda: Linear(18, 3),
            slopes=nn.PReLU,
        ),
        (2, 9),
    ),
    Architecture(
        "ensemble",
        wrapped(
            _ensemble, a=lambda: Linear(4, 5), b=lambda: Linear(4, 5), c=lambda: Linear(4, 3), d=lambda: Linear(5, 3)
        ),
        (4,),
    ),
    Architecture(
        "recurrent",
        wrapped(
            lambda m, x: m.head(m.rnn(x)[0][:, -1] + m.cell(x[:, 0])),
            rnn=lambda: nn.RNN(3, 4, 2, nonlinearity="relu", batch_first=True),
            cell=lambda: nn.RNNCell(3, 4, nonlinearity="relu"),
            head=lambda: Linear(4, 3),
        ),
        (3, 3),
    ),
    Architecture(
        "resampled",
        wrapped(
            _resampled, convolution=lambda: Conv2d(1, 3, 2), turn=lambda: Linear(3, 2), head=lambda: Linear(138, 2)
        ),
        (1, 4, 4),
    ),
    Architecture(
        "norms and distances",
        wrapped(_norms, hidden=lambda: Linear(5, 4), centres=lambda: Linear(4, 3), head=lambda: Linear(15, 3)),
        (5,),
    ),
    Architecture(
        "max pooling padded with minus infinity",
        lambda: _convolutional(
            nn.ConstantPad2d((0, 1, 0, 1), -torch.inf), nn.MaxPool2d(3, 2), nn.ReLU(), features=6 * 9
        ),
        (2, 6, 6),
    ),
    Architecture(
        "instance norm with statistics",
        lambda: _convolutional(nn.InstanceNorm2d(6, affine=True, track_running_stats=True), nn.ReLU(), features=216),
        (2, 6, 6),
    ),
]
