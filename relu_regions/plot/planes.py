"""Pictures of planes: the faces of a network in a plane, and which class wins where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from relu_regions.lines.line_batch import Array
from relu_regions.network.arrays import Floats, Integers
from relu_regions.planes.tiles import Tiles
from relu_regions.plot import drawing
from relu_regions.plot.plane_parts import Colour, OnePlane, Shown
from relu_regions.regions.norms import Norm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plane"]

# More polygons than this are drawn as pixels in files of vectors.
_RASTERIZED = 2000
# At least as many triangles show how a margin changes.
_SHADED = 10_000


def plane(
    plane: OnePlane,
    ax: Axes | None = None,
    *,
    colour: Colour = "class",
    samples: Array | Sequence[Sequence[float]] | None = None,
    boundaries: bool = True,
    class_names: Sequence[str] | None = None,
    p: Norm = 2,
) -> Axes:
    """The faces of a network in a plane, as they lie there: distances are those of the input space.

    Thin lines are the edges of faces, thinner where there are more of them, and thick ones the boundaries between
    classes. The origin is x, and the first axis has the direction of u. The title says "not proven" where the plane's
    ``certain`` is False.

    Args:
        plane: one plane of ``relu_regions.walk_plane``, or one of ``relu_regions.rational.walk_plane``.
        ax: where to draw; a new figure by default. A legend or a scale of colours lies beside it: give your own figure
            layout="compressed", which makes room for them.
        colour: "class" shows which class wins; "margin" by how much, from the largest logit to the next, exact at the
            corners of many small triangles and shaded between these; "norm" the operator norm of each face's
            W, on a logarithmic scale; "region" tells faces apart.
        samples: points (s, t) to mark, ``(M, 2)``.
        boundaries: whether to draw those between classes; there are none where the outputs are no logits.
        class_names: for the legend; by default "class 0" and so on.
        p: which norm, as ``relu_regions.Paths.norms``.

    Raises:
        ValueError: colour is none of these; samples are no finite points (s, t); a name is missing; these are several
            planes; norms of a RationalPlane are asked for; or classes are, and the outputs are no vectors of logits.
    """
    if colour not in get_args(Colour):
        raise ValueError(f"colour must be one of {get_args(Colour)}, not {colour!r}")
    shown = Shown(plane)
    marked = None if samples is None else shown.marked(samples)
    names = shown.names(class_names) if class_names is not None or colour == "class" else []
    norms = shown.norms(p) if colour == "norm" else None
    ax = drawing.new_axes(ax, (7, 5), "compressed")
    if colour == "class":
        _draw_classes(ax, shown, names)
    elif colour == "margin":
        _draw_margins(ax, shown)
    elif norms is not None:
        _draw_norms(ax, shown, norms, p)
    else:
        _fill(ax, shown, shown.faces, _hues(len(shown.faces)))
    _draw_edges(ax, shown)
    if boundaries and shown.has_classes:
        lines = [boundary.points.numpy() @ shown.axes for boundary in shown.boundaries]
        _draw_lines(ax, lines, 1.6, "black")
    if marked is not None:
        ax.plot(*marked.T, "o", color="white", markeredgecolor="black", markersize=7, zorder=4)
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.set(xlabel="distance from $x$ along $u$", ylabel="distance across $u$", title=shown.heading)
    return ax


def _fill(ax: Axes, shown: Shown, tiles: Tiles, colours: Any) -> Any:
    from matplotlib.collections import PolyCollection

    # Edges of the same colour leave no light seams between neighbours.
    drawn = PolyCollection(
        shown.placed(tiles), edgecolors="face", linewidths=0.3, zorder=1, rasterized=len(tiles) > _RASTERIZED
    )
    if isinstance(colours, np.ndarray):
        drawn.set_array(colours)
    else:
        drawn.set_facecolor(colours)
    return ax.add_collection(drawn)


def _draw_edges(ax: Axes, shown: Shown) -> None:
    faces = shown.faces
    # Many edges would cover the colours: their widths together stay a small part of the picture's area. F faces have
    # about 3 F sides, each a picture's side by √F long.
    side = 72 * min(ax.bbox.size) / ax.figure.dpi
    width = min(0.7, side / (30 * len(faces) ** 0.5))
    _draw_lines(ax, list(faces.vertices[faces.ends] @ shown.axes), width, "0.25")


def _draw_lines(ax: Axes, lines: list[Floats], width: float, colour: str) -> None:
    from matplotlib.collections import LineCollection

    many = len(lines) > _RASTERIZED
    ax.add_collection(
        LineCollection(lines, colors=colour, linewidths=width, zorder=3, capstyle="round", rasterized=many)
    )


def _draw_classes(ax: Axes, shown: Shown, names: list[str]) -> None:
    from matplotlib.patches import Patch

    tiles, _, labels = shown.cells
    of_class = np.array([_light(drawing.colour(label)) for label in range(len(names))])
    _fill(ax, shown, tiles, list(of_class[labels]))
    keys = [
        Patch(facecolor=tuple(of_class[label]), edgecolor="black", label=f"{name}: {share:.2%}")
        for label, (name, share) in enumerate(zip(names, shown.shares()))
        if share
    ]
    ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False)


def _draw_margins(ax: Axes, shown: Shown) -> None:
    from matplotlib.tri import Triangulation

    tiles, face, label = shown.cells
    corners, owner = _triangles(tiles)
    points = corners.reshape(-1, 2)
    cell = np.repeat(owner, 3)
    margins = shown.margins(face[cell], label[cell], points)
    x, y = (points @ shown.axes).T
    mesh = Triangulation(x, y, np.arange(len(points)).reshape(-1, 3))
    many = len(tiles) > _RASTERIZED
    drawn = ax.tripcolor(mesh, margins, shading="gouraud", cmap=_light_map(), zorder=1, rasterized=many)
    drawn.set_clim(0, margins.max() or 1.0)
    ax.figure.colorbar(drawn, ax=ax, label="largest logit less the next", shrink=0.9)


def _triangles(tiles: Tiles) -> tuple[Floats, Integers]:
    """Triangles that polygons are made of, their corners ``(T, 3, 2)`` and polygons ``(T,)``.

    Each polygon is a fan around its middle. Where there are few, triangles are cut in four again and again: matplotlib
    mixes the colours of corners, and not the numbers.
    """
    owner = np.repeat(np.arange(len(tiles)), tiles.counts)
    here = tiles.vertices[tiles.corners]
    corners = np.stack([here, here[tiles.following], tiles.centroids[owner]], axis=1)
    while len(corners) < _SHADED:
        middle = (corners + np.roll(corners, -1, axis=1)) / 2
        outer = [np.stack([corners[:, k], middle[:, k], middle[:, k - 1]], axis=1) for k in range(3)]
        corners, owner = np.concatenate([middle, *outer]), np.tile(owner, 4)
    return corners, owner


def _draw_norms(ax: Axes, shown: Shown, norms: Floats, p: Norm) -> None:
    from matplotlib.colors import LogNorm, Normalize

    drawn = _fill(ax, shown, shown.faces, norms)
    positive = norms[norms > 0]
    # Faces on which the network is constant have norm 0, which no logarithm shows: they get the lowest colour.
    spread = len(positive) and positive.max() > positive.min()
    drawn.set(cmap=_light_map(), norm=LogNorm(positive.min(), positive.max(), clip=True) if spread else Normalize())
    which = {2: "$\\|W_x\\|_2$", 1: "$\\|W_x\\|_1$", "fro": "$\\|W_x\\|_F$"}.get(p, "$\\|W_x\\|_\\infty$")
    bar = ax.figure.colorbar(drawn, ax=ax, label=which, shrink=0.9)
    if spread:
        drawing.plain_ticks(bar.ax.yaxis)


def _light(colour: Any) -> Any:
    """The colour half-way to white, so that lines show on it."""
    from matplotlib.colors import to_rgb

    return tuple((1 + part) / 2 for part in to_rgb(colour))


def _light_map() -> Any:
    """A scale of colours half-way to white, so that lines show on the lowest, too: a margin is 0 at boundaries."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap((1 + matplotlib.colormaps["viridis"](np.linspace(0, 1, 256))) / 2)


def _hues(count: int) -> Any:
    """Hues a golden section apart: neighbours are rarely alike."""
    import matplotlib

    return list((1 + matplotlib.colormaps["hsv"]((np.arange(10, 10 + count) * 0.6180339887498949) % 1)) / 2)
