"""Pictures of planes: what is drawn is read back from the axes and compared with the plane."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PolyCollection, TriMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import nn

from relu_regions import rational, walk_plane
from relu_regions.planes.planes import Planes
from relu_regions.plot import drawing, plane
from relu_regions.plot.drawing import colour
from tests.models import mlp
from tests.planes.exact_planes import exact_planes, of_mlp
from tests.plot.axes import new_axes

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
CORNERS = [(0, 0), (1, 0), (0, 1)]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return mlp(4, 8, 6, 3).double().eval()


@pytest.fixture(scope="module")
def found(network) -> rational.RationalPlane:
    torch.manual_seed(2)
    x, u, v = 2 * torch.randn(3, 1, 4, dtype=torch.float64)
    (made,) = rational.walk_plane(network, x, u, v, [(-1, -1), (2, -1), (2, 2), (-1, 2)])
    assert len({cell.label for cell in made.cells}) > 1
    return made


@pytest.fixture(scope="module")
def planes() -> Planes:
    _, made, _ = of_mlp(1, 4, 8, 6, 3, seed=1)
    assert len(set(made.cells.label.tolist())) > 1
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
    lines = [len(part.get_segments()) for part in ax.collections if isinstance(part, LineCollection)]
    assert counts[:1] == [len(found.edges)] and len(lines) == 1 + boundaries
    if boundaries:
        *_, drawn = (part.get_segments() for part in ax.collections if isinstance(part, LineCollection))
        assert sum(len(line) - 1 for line in drawn) == len(found.boundaries)


def test_margins_and_regions(found, network) -> None:
    ax = plane(found, new_axes(), colour="margin")
    (shaded,) = (part for part in ax.collections if isinstance(part, TriMesh))
    points = np.column_stack([shaded._triangulation.x, shaded._triangulation.y])
    u, v = (drawing.as_floats(part).reshape(-1) for part in (found.u, found.v))
    # Back from distances along u and across it to the input space.
    along = u / np.linalg.norm(u)
    across = v - (v @ along) * along
    inputs = points @ np.stack([along, across / np.linalg.norm(across)]) + found.x.numpy().reshape(-1)
    with torch.no_grad():
        logits = np.sort(network(torch.from_numpy(inputs)).numpy())
    assert np.asarray(shaded.get_array()) == pytest.approx(logits[:, -1] - logits[:, -2], abs=1e-12)
    assert len(np.unique(points.round(12), axis=0)) > 1000
    ax.figure.canvas.draw()
    ax = plane(found, new_axes(), colour="region")
    assert len(fills(ax).get_paths()) == len(found)
    assert len(np.unique(fills(ax).get_facecolors(), axis=0)) == len(found)
    assert ax.get_title() == f"{len(found)} regions"
    ax.figure.canvas.draw()


def edges(ax: Any) -> LineCollection:
    """The first lines drawn."""
    return next(part for part in ax.collections if isinstance(part, LineCollection))


def test_edges_cover_no_more_of_a_small_picture(found) -> None:
    widths = []
    for inches in (8, 2):
        ax = Figure(figsize=(inches, inches)).subplots()
        side = 72 * inches * min(ax.get_position().size)
        (width,) = edges(plane(found, ax)).get_linewidth()
        assert width == pytest.approx(min(0.7, side / 30 / len(found) ** 0.5))
        widths.append(width)
    assert widths[1] < widths[0] <= 0.7


@pytest.mark.parametrize("colours", ["norm", "margin"])
def test_lines_show_on_the_lowest_colour(planes: Planes, colours: Any) -> None:
    ax = plane(planes, new_axes(), colour=colours)
    shown = next(part for part in ax.collections if part.get_array() is not None)
    assert shown.cmap(0.0)[:3] @ LUMINANCE > 0.5
    assert to_rgb(edges(ax).get_colors()[0]) @ LUMINANCE < 0.3


def test_what_is_not_proven_says_so(network) -> None:
    torch.manual_seed(2)
    x, u, v = 2 * torch.randn(3, 1, 4, dtype=torch.float64)
    proven, not_proven = (walk_plane(network, x, u, v, resolve=resolve) for resolve in ("auto", "never"))
    assert plane(proven, new_axes()).get_title() == f"{len(proven.areas)} regions"
    assert plane(not_proven, new_axes()).get_title() == f"{len(proven.areas)} regions, not proven"


def test_nothing_is_cut_off(found) -> None:
    ax = plane(found, class_names=["cat", "dog", "an owl of uncommon length"])
    ax.figure.canvas.draw()
    box, size = ax.figure.get_tightbbox(), ax.figure.get_size_inches()
    plt.close(ax.figure)
    assert min(box.x0, box.y0, *(size - box.max)) >= 0


def test_names_of_classes(found) -> None:
    ax = plane(found, new_axes(), class_names=["cat", "dog", "owl"])
    assert {text.get_text().split(":")[0] for text in ax.get_legend().get_texts()} <= {"cat", "dog", "owl"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"colour": "label"}, "colour must be"),
        ({"colour": "norm"}, "A RationalPlane keeps no network"),
        ({"samples": [(0, 0, 0)]}, "samples must be finite points"),
        ({"samples": torch.tensor([[0.0, torch.inf]])}, "samples must be finite points"),
        ({"class_names": ["cat"]}, "class_names must name 3 classes"),
    ],
)
def test_what_cannot_be_drawn_is_refused(found, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plane(found, new_axes(), **arguments)


# ---------------------------------------------------------------- of Planes


def test_planes_are_drawn_as_the_exact_ones_are(planes: Planes) -> None:
    ax = plane(planes, new_axes(), samples=CORNERS)
    areas = [area(path.vertices[:-1]) for path in fills(ax).get_paths()]
    assert areas == pytest.approx((planes.cells.areas * planes.parallelograms).tolist(), rel=1e-9)
    ax.figure.canvas.draw()


@pytest.mark.parametrize("p", [1, 2, np.inf, "fro"])
def test_norms_of_faces(planes: Planes, p: Any) -> None:
    ax = plane(planes[0], new_axes(), colour="norm", p=p)
    assert fills(ax).get_array().tolist() == pytest.approx(planes.norms(p).tolist())
    ax.figure.canvas.draw()


def test_a_network_of_one_norm_or_of_norm_0_is_drawn() -> None:
    for scale in (1.0, 0.0):
        model = nn.Linear(2, 2).double().eval()
        model.weight.data *= scale
        x, u, v = torch.tensor([[[0.0, 0]], [[1, 0]], [[0, 1]]], dtype=torch.float64)
        for colour_by in ("norm", "margin", "class", "region"):
            plane(exact_planes(model, x, u, v)[0], new_axes(), colour=colour_by).figure.canvas.draw()


def test_outputs_that_are_no_logits() -> None:
    model = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Unflatten(1, (2, 3))).double().eval()
    x, u, v = torch.tensor([[[0.0, 0]], [[1, 0]], [[0, 1]]], dtype=torch.float64)
    made, _ = exact_planes(model, x, u, v)
    assert len(fills(plane(made, new_axes(), colour="region")).get_paths()) == len(made.areas)
    with pytest.raises(ValueError, match="a class needs a vector of logits"):
        plane(made, new_axes())


def test_several_planes_are_no_picture() -> None:
    _, made, _ = of_mlp(2, 2, 3, 2)
    with pytest.raises(ValueError, match="these are 2; choose one"):
        plane(made, new_axes())
