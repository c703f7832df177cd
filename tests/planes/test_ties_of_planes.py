"""What is equal by construction on planes: equal patches of three images, equal rows, copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import backends
from relu_regions.backends import plane_reference
from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.planes.polygons import Polygon
from relu_regions.exactness.rational.planes.sheet import on_plane
from relu_regions.lines.plane_batch import PlaneBatch
from relu_regions.network.plan import folded
from relu_regions.planes.exact_forms import ExactPlane
from relu_regions.planes.form_bounds import GATE, FormBounds
from relu_regions.planes.ties import PlaneTies
from tests.planes.exact_planes import SQUARE
from tests.planes.true_planes import assert_true, patterns_of, row


def blank_images(seed: int, count: int = 3) -> list[Tensor]:
    """Images of 6 × 6 of which a third is blank in all, and each has a blank part of its own."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 17, (count, 1, 1, 6, 6), generator=generator).double() / 16
    images[..., :2, :] = 0
    for number, image in enumerate(images):
        image[..., 2 + number % 3 :, number : number + 2] = 0
    return list(images)


def convolutional(seed: int, bias: bool = True, overlap: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    pool = nn.MaxPool2d(2, 1) if overlap else nn.MaxPool2d(2)
    layers = [nn.Conv2d(1, 2, 3, padding=1, bias=bias), nn.BatchNorm2d(2), nn.ReLU(), pool, nn.Flatten()]
    width = 50 if overlap else 18
    model = nn.Sequential(*layers, nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    model(torch.randn(8, 1, 6, 6, dtype=torch.float64))
    return model.eval()


@pytest.mark.parametrize(("bias", "overlap"), [(True, False), (False, False), (True, True)])
def test_blank_parts_of_images(bias: bool, overlap: bool, backend: str) -> None:
    a, b, c = blank_images(1)
    network = rr.Network.from_module(convolutional(0, bias, overlap), (1, 6, 6))
    x, u, v, polygon = rr.directions.planes_through(a, b, c)
    assert_true(network, x, u, v, polygon)


def test_planes_of_one_call_have_ties_of_their_own(backend: str) -> None:
    network = rr.Network.from_module(convolutional(2), (1, 6, 6))
    each = [torch.cat(part) for part in zip(*(blank_images(seed) for seed in range(2, 4)))]
    each = [torch.cat([part, torch.rand(1, 1, 6, 6, dtype=torch.float64)]) for part in each]
    x, u, v, polygon = rr.directions.planes_through(*each)
    planes = assert_true(network, x, u, v, polygon)
    alone = rr.walk_plane(network, x[1:2], u[1:2], v[1:2], polygon)
    assert patterns_of(planes, 1) == patterns_of(alone)


@pytest.mark.parametrize("bias", [True, False])
def test_what_is_equal_is_so_exactly(bias: bool) -> None:
    """Every tie is one of the exact forms of what a gate reads, on the faces of the first pieces."""
    network = rr.Network.from_module(convolutional(1, bias), (1, 6, 6))
    x, u, v, polygon = rr.directions.planes_through(*blank_images(5))
    batch = PlaneBatch.of(network, x, u, v, polygon)
    ties = PlaneTies(batch, FormBounds.of(folded(batch.network)))
    exact = ExactNetwork(batch.network)
    planes = rr.walk_plane(network, x, u, v, polygon)
    pieces = [[list(gate)] for gate in patterns_of(planes)[0]]
    plane = ExactPlane(exact, on_plane(exact, x[0], u[0], v[0], Polygon.of(batch.polygons[0])))
    found = 0
    for number, gate in enumerate(plane.gates(pieces, 1)[:-1]):
        tied, forms = ties.at(0, number), np.array(gate.forms(0), dtype=object)
        if tied is not None:
            assert (forms == forms[tied.source] * tied.sign[:, None]).all()
            assert (forms == forms[tied.same]).all()
            assert not forms[tied.zero].any()
            found += int((tied.source != np.arange(len(forms))).sum())
    assert found > 10


def test_equal_rows_and_negatives_share_a_line() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(2, 6), nn.Linear(12, 5), nn.Linear(5, 3)
            with torch.no_grad():
                for layer in (self.first, self.second):
                    layer.weight[3:5], layer.bias[3:5] = layer.weight[:2].clone(), layer.bias[:2].clone()

        def forward(self, x: Tensor) -> Tensor:
            z = self.first(x)
            z = torch.relu(torch.cat([z, -z], 1)).view(-1, 12)
            return self.last(torch.relu(self.second(z)))

    torch.manual_seed(0)
    network = rr.Network.from_module(Model().double().eval(), (2,))
    planes = assert_true(network, row(0, 0), row(1, 0), row(0, 1), SQUARE)
    assert not planes.settled.any()


def test_gates_of_several_knots_and_equal_units() -> None:
    model = nn.Sequential(nn.Linear(2, 6), nn.Hardtanh(), nn.Linear(6, 3)).double().eval()
    with torch.no_grad():
        model[0].weight[3:], model[0].bias[3:] = model[0].weight[:3].clone(), model[0].bias[:3].clone()
        model[0].weight *= 2
    network = rr.Network.from_module(model, (2,))
    assert not assert_true(network, row(0, 0), row(1, 0), row(0, 1), SQUARE).settled.any()


def test_lines_on_which_units_are_0_are_those_of_their_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units share a line on one plane and not on the next, and a maximum reads one of them alone."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv1d(1, 2, 2), nn.Linear(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.relu(self.first(x))[..., 1]
            return self.last(y.amax(1, keepdim=True))

    torch.manual_seed(0)
    network = rr.Network.from_module(Model().double().eval(), (1, 4))
    x = torch.zeros(2, 1, 4, dtype=torch.float64)
    u, v = torch.tensor(
        [[[[1.0, 1, 1, 0]], [[1.0, 2, 0, 1]]], [[[0.0, 0, 0, 1]], [[0.5, 1, 1, 0]]]], dtype=torch.float64
    )
    seen: list[list[int]] = []
    cut_by_leads = plane_reference.cut_by_leads

    def recorded(polygons: Any, inputs: Any, windows: Any, origins: Any, label: int) -> Any:
        if label == 2 * GATE:
            seen.append((origins - GATE)[np.unique(windows)].tolist())
        return cut_by_leads(polygons, inputs, windows, origins, label)

    monkeypatch.setattr(plane_reference, "cut_by_leads", recorded)
    with backends.use("reference"):
        assert_true(network, x, u, v)
    # The line of the first place stands for that of the second where both are equal.
    assert seen == [[0, 3], [1, 4]]
