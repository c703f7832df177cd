"""Both kernels of planes cut alike: the same parts, in the same order, with the same names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions import backends
from tests.planes.exact_planes import SQUARE
from tests.planes.true_planes import POLYGONS, plane_case


def both(*asked: object, **said: object) -> list[rr.Planes]:
    planes = []
    for name in ("compiled", "reference"):
        with backends.use(name):
            planes.append(rr.walk_plane(*asked, **said))  # type: ignore[arg-type]
    return planes


def assert_alike(compiled: rr.Planes, reference: rr.Planes) -> None:
    for one, other in zip(compiled.answers, reference.answers):
        assert one.settled == other.settled
        for tiles, others in ((one.tiles, other.tiles), (one.cells, other.cells)):
            if tiles is None or others is None:
                assert tiles is others
                continue
            for name in ("offsets", "corners", "ends", "beside"):
                assert np.array_equal(getattr(tiles, name), getattr(others, name)), name
            assert np.allclose(tiles.vertices, others.vertices, rtol=0, atol=1e-12)
        assert all(np.array_equal(part, its) for part, its in zip(one.patterns, other.patterns))
        assert (one.cell_face is None) == (other.cell_face is None)
        if one.cell_face is not None:
            assert np.array_equal(one.cell_face, other.cell_face)
            assert np.array_equal(one.cell_class, other.cell_class)


@pytest.mark.parametrize("resolve", ["always", "never"])
def test_random_networks_in_one_order(resolve: str) -> None:
    for seed in range(60):
        assert_alike(*both(*plane_case(seed), POLYGONS[seed % len(POLYGONS)], resolve=resolve))


def test_loops_that_are_short_of_room_go_on_where_they_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = pytest.importorskip("relu_regions.backends.cpu.plane_arrays")
    monkeypatch.setattr(arrays, "_FRAMES", 1)
    monkeypatch.setattr(arrays, "_CORNERS", 1)
    for seed in range(20):
        assert_alike(*both(*plane_case(seed), SQUARE))


@pytest.mark.parametrize("relu", [False, True])
def test_overlapping_windows_in_one_order(relu: bool) -> None:
    torch.manual_seed(2)
    layers = [nn.Conv2d(1, 2, 3, padding=1), nn.ReLU() if relu else nn.Identity(), nn.MaxPool2d(3, stride=1)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()
    x, u, v = torch.randn(3, 2, 1, 4, 4, dtype=torch.float64)
    assert_alike(*both(rr.Network.from_module(model, (1, 4, 4)), x, u, v, SQUARE))
