"""Tiles as plain arrays, against the exact planes that they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from relu_regions import rational
from relu_regions.network.network import Network, read
from relu_regions.planes.tiles import PlaneFaces, Tiles, packed, unpacked
from tests.models import mlp


def exact(seed: int, *widths: int) -> tuple[rational.RationalPlane, Network]:
    """The plane of all of two inputs, and the network."""
    torch.manual_seed(seed)
    model = mlp(*widths).eval()
    x, u, v = torch.tensor([[[0.1, -0.2]], [[1.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    (plane,) = rational.walk_plane(model, x, u, v, [(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return plane, read(model, (2,))[0]


def test_tiles_are_those_of_the_exact_plane() -> None:
    plane, network = exact(0, 2, 5, 4, 3)
    faces = PlaneFaces.of_rational(plane, network)
    tiles = faces.tiles
    assert len(tiles) == len(plane)
    assert tiles.vertices == pytest.approx(np.array(plane.vertices, dtype=float), abs=0)
    assert np.abs(tiles.areas - np.array(plane.areas, dtype=float)).max() < 1e-15
    # Each side with its polygons, the first to the left: the same set, whichever way a side goes.
    found = {frozenset({(a, b, f), (b, a, g)}) for (a, b), (f, g) in zip(tiles.ends.tolist(), tiles.beside.tolist())}
    sides = ((*edge.vertices, *edge.faces) for edge in plane.edges)
    assert found == {frozenset({(a, b, f), (b, a, -1 if g is None else g)}) for a, b, f, g in sides}
    tiles.check(plane.polygon.area)
    for row, face in enumerate(plane.faces):
        assert faces.forms[row, :, 1].tolist() == [float(slope) for slope in face.slope_s]
    # Centroids are inside: to the left of each side.
    inside = tiles.centroids[tiles.beside[:, 0]] - tiles.vertices[tiles.ends[:, 0]]
    along = np.diff(tiles.vertices[tiles.ends], axis=1)[:, 0]
    assert (along[:, 0] * inside[:, 1] - along[:, 1] * inside[:, 0] > 0).all()


def test_patterns_come_back() -> None:
    plane, network = exact(1, 2, 9, 4, 3)
    faces = PlaneFaces.of_rational(plane, network)
    assert [part.shape for part in faces.patterns] == [(len(plane), 2), (len(plane), 1)]
    for gate, kept in enumerate(faces.patterns):
        assert unpacked(kept, network.gates[gate].units, 2).tolist() == [list(f.pattern[gate]) for f in plane.faces]


@pytest.mark.parametrize("pieces", [1, 2, 3, 256, 300, 40000])
def test_pieces_of_any_number_come_back(pieces: int) -> None:
    given = torch.randint(pieces, (7, 11), generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpacked(packed(given.numpy(), pieces), 11, pieces), given)


def test_cells_tile_too_and_have_their_classes() -> None:
    plane, network = exact(2, 2, 6, 4)
    faces = PlaneFaces.of_rational(plane, network)
    assert faces.cells is not None and faces.cell_class is not None and faces.cell_face is not None
    faces.cells.check(plane.polygon.area)
    assert faces.cell_class.tolist() == [cell.label for cell in plane.cells]
    assert faces.cell_face.tolist() == [cell.face for cell in plane.cells]


def test_what_is_no_tiling_is_refused() -> None:
    tiles = PlaneFaces.of_rational(*exact(3, 2, 5, 3)).tiles
    with pytest.raises(ArithmeticError, match="areas add up to"):
        tiles.check(4.000001)
    moved = tiles.vertices.copy()
    border = tiles.ends[tiles.beside[:, 1] < 0]
    moved[border[0, 0]] *= 1 - 1e-12
    with pytest.raises(ArithmeticError, match="areas add up to"):
        replace(tiles, vertices=moved).check(4)
    replace(tiles, vertices=moved).check(4, error=1e-11)
    with pytest.raises(ArithmeticError, match="do not meet"):
        replace(tiles, vertices=np.concatenate([tiles.vertices, tiles.vertices[:1]])).check(4)
    # A square that is there twice.
    square = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    twice = Tiles.of(square, np.array([0, 4, 8]), np.array([0, 1, 2, 3] * 2))
    with pytest.raises(ArithmeticError, match="do not meet"):
        twice.check(2)


def test_a_tiny_polygon_far_from_the_origin_keeps_its_area() -> None:
    corners = np.array([(1e6, 1e6), (1e6 + 2.0**-30, 1e6), (1e6, 1e6 + 2.0**-30)])
    assert Tiles.of(corners, np.array([0, 3]), np.arange(3)).areas.tolist() == [2.0**-61]


def test_no_tiles() -> None:
    none = Tiles.of(np.zeros((0, 2)), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert len(none) == len(none.areas) == len(none.centroids) == len(none.ends) == 0
