"""Pictures of planes: what is drawn is read back from the axes and compared with the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb

from relu_regions import rational
from relu_regions.plot import plane
from relu_regions.plot.drawing import colour
from tests.models import mlp
from tests.plot.axes import new_axes

CORNERS = [(0, 0), (1, 0), (0, 1)]


@pytest.fixture(scope="module")
def found() -> rational.RationalPlane:
    torch.manual_seed(1)
    model = mlp(4, 8, 6, 3).double().eval()
    x, u, v = 2 * torch.randn(3, 1, 4, dtype=torch.float64)
    (made,) = rational.walk_plane(model, x, u, v, [(-1, -1), (2, -1), (2, 2), (-1, 2)])
    assert len({cell.label for cell in made.cells}) > 1
    return made


def fills(ax: Any) -> PolyCollection:
    (drawn,) = (part for part in ax.collections if isinstance(part, PolyCollection))
    return drawn


def area(corners: np.ndarray) -> float:
    s, t = corners.T
    return float(s @ np.roll(t, -1) - t @ np.roll(s, -1)) / 2


def test_cells_are_drawn_in_the_colours_of_their_classes_with_the_areas_that_they_have(found) -> None:
    ax = new_axes()
    assert plane(found, ax) is ax
    paths, colours = fills(ax).get_paths(), fills(ax).get_facecolors()
    assert len(paths) == len(found.cells)
    u, v = (part.reshape(-1).numpy() for part in (found.u, found.v))
    parallelogram = float(np.sqrt(np.linalg.det([[u @ u, u @ v], [u @ v, v @ v]])))
    for path, face_colour, cell in zip(paths, colours, found.cells):
        assert area(path.vertices[:-1]) == pytest.approx(float(cell.area) * parallelogram, rel=1e-9)
        assert face_colour[:3] == pytest.approx([(1 + part) / 2 for part in to_rgb(colour(cell.label))])
    shares = {text.get_text() for text in ax.get_legend().get_texts()}
    areas = enumerate(found.class_areas())
    assert shares == {f"class {k}: {float(a / found.polygon.area):.2%}" for k, a in areas if a}
    ax.figure.canvas.draw()


def test_distances_are_those_of_the_input_space(found) -> None:
    ax = plane(found, new_axes(), samples=CORNERS)
    assert ax.get_aspect() == 1
    (marks,) = ax.lines
    drawn = np.column_stack(marks.get_data())
    points = np.stack([(found.x + s * found.u + t * found.v).reshape(-1).numpy() for s, t in CORNERS])
    for i in range(3):
        for j in range(i):
            apart = np.linalg.norm(points[i] - points[j])
            assert np.linalg.norm(drawn[i] - drawn[j]) == pytest.approx(apart, rel=1e-12)


@pytest.mark.parametrize("boundaries", [False, True])
def test_edges_and_boundaries_are_drawn_once(found, boundaries: bool) -> None:
    ax = plane(found, new_axes(), boundaries=boundaries)
    counts = [len(part.get_segments()) for part in ax.collections if isinstance(part, LineCollection)]
    assert counts == [len(found.edges), *[len(found.boundaries)] * boundaries]


def test_margins_and_regions(found) -> None:
    ax = plane(found, new_axes(), colour="margin")
    face = found.faces[found.cells[0].face]
    logits = sorted(map(float, face.outputs_at(*found.cells[0].inside)))
    assert fills(ax).get_array()[0] == pytest.approx(logits[-1] - logits[-2])
    ax = plane(found, new_axes(), colour="region")
    assert len(fills(ax).get_paths()) == len(found)
    assert len(np.unique(fills(ax).get_facecolors(), axis=0)) == len(found)
    assert ax.get_title() == f"{len(found)} regions"
    ax.figure.canvas.draw()


def test_names_of_classes(found) -> None:
    ax = plane(found, new_axes(), class_names=["cat", "dog", "owl"])
    assert {text.get_text().split(":")[0] for text in ax.get_legend().get_texts()} <= {"cat", "dog", "owl"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"colour": "norm"}, "colour must be"),
        ({"samples": [(0, 0, 0)]}, "samples must be finite points"),
        ({"samples": torch.tensor([[0.0, torch.inf]])}, "samples must be finite points"),
        ({"class_names": ["cat"]}, "class_names must name 3 classes"),
    ],
)
def test_what_cannot_be_drawn_is_refused(found, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plane(found, new_axes(), **arguments)
