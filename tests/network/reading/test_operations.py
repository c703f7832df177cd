"""What single operations become, and which of them are refused although another use of them is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import relu_regions as rr
from relu_regions.network.reading.operations import weights
from tests.models import Wrapped

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


def _zeroed(x: torch.Tensor, places: object) -> torch.Tensor:
    y = x.clone()
    y[places] = 0.0
    return y


def _padded(x: torch.Tensor, places: int) -> torch.Tensor:
    return functional.pad(x, (0, places), value=-torch.inf)


def _told_apart(x: torch.Tensor) -> torch.Tensor:
    """A product that is no identity, although equal numbers and the roots of 1, 2, 3, … stay as they are."""
    y, matrix = torch.cat([x, x[:, :3]], 1), torch.eye(9)
    matrix[[0, 3, 8], 0] = torch.tensor([0.0, 2.0, -1.0])
    return torch.where(y > 100, y @ matrix, y)


# What operations that are read elsewhere do here mixes the batch or goes by data.
MIXING = {
    "cumsum": lambda m, x: x.cumsum(0),
    "cumsum, time first": lambda m, x: x.view(-1, 2, 3).transpose(0, 1).cumsum(1).transpose(0, 1),
    "roll, time first": lambda m, x: x.view(-1, 2, 3).transpose(0, 1).roll(6, 1).transpose(0, 1),
    "flip, folded": lambda m, x: x.view(-1, 3).flip(0).view(-1, 6),
    "cumsum, folded": lambda m, x: x.view(-1, 3).cumsum(0).view(-1, 6),
    "view, of folded axes": lambda m, x: x.view(-1, 3).view(2, -1, 3).sum(0),
    "view, stacked": lambda m, x: torch.stack([x, 2 * x]).flatten(0, 1).view(-1, 2, 6).sum(1),
    "slice, one of two": lambda m, x: torch.cat([x, 2 * x], 0)[::2],
    "max_pool2d over the batch": lambda m, x: functional.max_pool2d(x[:, None].transpose(0, 1), (3, 1), 1, (1, 0))[0],
    "avg_pool1d over the batch": lambda m, x: functional.avg_pool1d(x.T[None], 3, 1, 1)[0].T,
    "select the first": lambda m, x: _zeroed(x, 0),
    "scatter along the batch": lambda m, x: x.scatter(0, torch.tensor([[0, 0]]), 1.0),
    "index_fill along the batch": lambda m, x: x.index_fill(0, torch.tensor([0]), 1.0),
    "diagonal_scatter": lambda m, x: x.diagonal_scatter(torch.ones(1), 5),
    "einsum of the batch's ones": lambda m, x: torch.einsum("bi,cj->bj", x, torch.ones(x.shape[0], 6)),
    "arange in a where": lambda m, x: torch.where(torch.arange(x.shape[0])[:, None] > 0, x, 0.0),
    "full_like of the size": lambda m, x: x + torch.full_like(x, x.shape[0]),
    "clamp by the size": lambda m, x: x.clamp(max=1.0 * x.shape[0]),
    "roll by the size": lambda m, x: x.view(-1, 3, 2).roll(x.shape[0], 2),
    "vector_norm over the batch": lambda m, x: x - torch.linalg.vector_norm(x, torch.inf, dim=0),
    "vector_norm of order 2": lambda m, x: torch.linalg.vector_norm(x, 2, dim=1, keepdim=True),
    "relu of minus infinity": lambda m, x: x.masked_fill(torch.arange(6) > 3, -torch.inf).relu(),
    "amin of minus infinity": lambda m, x: _padded(x, 1).amin(1, keepdim=True),
    "max_pool1d of minus infinity alone": lambda m, x: functional.max_pool1d(_padded(x[:, None], 2), 2),
    "grid_sampler by data": lambda m, x: functional.grid_sample(x.view(-1, 1, 2, 3), x.view(-1, 1, 3, 2)),
    "gt, which jumps": lambda m, x: torch.where(x > 0.5, x, 0.0),
    "gt, with other numbers": lambda m, x: torch.where(x > 0, x.flip(1), 0.0),
    "gt, nearly continuous": lambda m, x: torch.where(x > 0.1, 0.1 * x, 0.01),
    "gt, with a bend elsewhere": lambda m, x: torch.where(x > 0, (x - 1).relu(), 0.0),
    "gt, alone": lambda m, x: (x > 0).to(x.dtype),
    "gt, with a product that looks like an identity": lambda m, x: _told_apart(x),
    "sign, of something else": lambda m, x: x.sign() * x.flip(1),
    "eq, of a number": lambda m, x: torch.where(x == 0, 0.0, x),
    "bmm of values": lambda m, x: torch.bmm(x.view(-1, 2, 3), x.view(-1, 3, 2)),
    "einsum of values": lambda m, x: torch.einsum("bi,bj->bij", x, x),
    "argsort in a gather": lambda m, x: x.gather(1, x.argsort(1)),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXING)
def test_refused_where_it_mixes_the_batch_or_goes_by_data(name: str) -> None:
    with pytest.raises(rr.UnsupportedOperation, match=name.split(",")[0].split()[0]):
        rr.Network.from_module(Wrapped(MIXING[name]).eval(), (6,))


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda m, x: x.masked_fill(torch.arange(6) > 3, -torch.inf), "minus infinity"),
        (lambda m, x: x.view(-1, 2, 3).transpose(0, 1), "batch on axis 1"),
        (lambda m, x: x.view(-1, 3), "folds other axes"),
    ],
)
def test_an_output_holds_numbers_with_the_batch_in_front(run: Callable[..., torch.Tensor], words: str) -> None:
    with pytest.raises(rr.UnsupportedOperation, match=words):
        rr.Network.from_module(Wrapped(run).eval(), (6,))


# Shapes of one point, and a forward pass in which an operation meets sizes or places that others do not.
UNUSUAL: dict[str, tuple[tuple[int, ...], Callable[..., torch.Tensor]]] = {
    "a stack of matrices from the right": ((4,), lambda m, x: (x @ _numbers(2, 4, 3)).relu().sum(0)),
    "a stack of matrices from the left": ((4, 3), lambda m, x: (_numbers(2, 1, 5, 4) @ x).relu().sum(0)),
    "a vector": ((3, 4), lambda m, x: functional.linear(x, _numbers(4)).relu()),
    "no numbers in a running sum": ((4,), lambda m, x: torch.cat([x[:, :0].cumsum(1), x.relu()], 1)),
}


def _numbers(*shape: int) -> torch.Tensor:
    return torch.arange(math.prod(shape), dtype=torch.float64).sin().view(shape)


@pytest.mark.parametrize("name", UNUSUAL)
def test_the_network_is_the_model_where_shapes_are_unusual(name: str) -> None:
    shape, run = UNUSUAL[name]
    model = Wrapped(run, like=nn.Parameter(torch.ones((), dtype=torch.float64))).eval()
    network = rr.Network.from_module(model, shape)
    for count in (1, 2, 3, 5):
        points = torch.randn(count, *shape, dtype=torch.float64)
        assert torch.allclose(network(points), model(points), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("start", [0, 1])
def test_rows_of_a_constant_are_not_shared_out_among_the_points(start: int) -> None:
    rows = torch.cat([torch.zeros(5, 4), torch.ones(95, 4)])
    model = Wrapped(lambda m, x: (x + m.rows[start : x.shape[0] + start]).relu(), rows=nn.Parameter(rows)).eval()
    size = {0: torch.export.Dim("N", max=50)}
    program = torch.export.export(model, (torch.rand(3, 4),), dynamic_shapes=(size,))
    with pytest.raises(rr.UnsupportedOperation, match=r"in the batch|size of the batch"):
        rr.Network.from_exported(program)


class Assigned(nn.Module):
    """Fills parts of a tensor one after another, which torch's batched Jacobians cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 5), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.1
        x[:, 1] = 0.5
        h, y = self.hidden(x), torch.zeros(x.shape[0], 7).to(x)
        y[:, 1:4] = torch.relu(h[:, :3])
        y[:, 0] = 1.0
        y[:, 4:6] = h[:, 3:5]
        y[:, torch.tensor([3, 6])] = 0.7
        y[:, 6] *= 2
        return self.head(torch.relu(y))


def test_parts_of_a_tensor_are_assigned() -> None:
    torch.manual_seed(0)
    model, x = Assigned().double().eval(), torch.randn(50, 4, dtype=torch.float64)
    found = rr.Network.from_module(model, (4,))(x)
    with torch.no_grad():
        assert torch.allclose(found, model(x.clone()), rtol=1e-12, atol=1e-12)


class Mixing(nn.Module):
    """Adds to each member of a batch a little of those beside it."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.mix = nn.Conv1d(4, 4, 3, padding=1, groups=4, bias=False)
        with torch.no_grad():
            self.mix.weight.copy_(torch.tensor([share, 1.0, share]).expand(4, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(torch.relu(self.hidden(x)).T[None])[0].T)


@pytest.mark.parametrize("share", [0.5, 1e-7, 1e-30])
def test_members_of_a_batch_are_not_mixed_however_little(share: float) -> None:
    with pytest.raises(rr.UnsupportedOperation, match="between the members of a batch"):
        rr.Network.from_module(Mixing(share).eval(), (4,))


@pytest.mark.parametrize("mask", [lambda y: y.sign() * 1, lambda y: (y > 0).float()], ids=["sign", "comparison"])
def test_a_mask_times_itself_is_refused_by_name(mask: Callable[[Tensor], Tensor]) -> None:
    def squared(m: Wrapped, x: Tensor) -> Tensor:
        chosen = mask(m.a(x))
        return m.b(chosen * chosen * m.a(x))

    model = Wrapped(squared, a=nn.Linear(4, 5), b=nn.Linear(5, 3)).eval()
    with pytest.raises(rr.UnsupportedOperation, match="jumps"):
        rr.Network.from_module(model, (4,))


@pytest.mark.parametrize(
    ("size", "scale", "how"),
    [
        (32, 7, {"mode": "bilinear"}),
        (64, 3, {"mode": "bilinear", "align_corners": True}),
        (33, 1.5, {"mode": "bicubic", "align_corners": True, "antialias": True}),
    ],
)
def test_models_in_float32_that_resample_by_any_factor_are_read(size: int, scale: float, how: dict[str, Any]) -> None:
    """Coefficients are made of places, which float32 rounds: a neighbour counts that has no share in float64."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 2, 3, padding=1)
    model = Wrapped(lambda m, x: functional.interpolate(m.conv(x).relu(), scale_factor=scale, **how), conv=conv)
    x = torch.randn(2, 1, size, size)
    found = rr.Network.from_module(model.eval(), (1, size, size))(x.double())
    assert torch.allclose(found, model(x).double(), atol=1e-4)
