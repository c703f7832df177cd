"""Pictures of planes: the faces of a network in a plane, and which class wins where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from relu_regions.exactness.rational.planes.plane import RationalCell, RationalPlane
from relu_regions.exactness.rational.planes.polygons import Position
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import Array
from relu_regions.network.arrays import Floats
from relu_regions.plot import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plane"]

# More polygons than this are drawn as pixels in files of vectors.
_RASTERIZED = 2000


def plane(
    plane: RationalPlane,
    ax: Axes | None = None,
    *,
    colour: Literal["class", "margin", "region"] = "class",
    samples: Array | Sequence[Sequence[float]] | None = None,
    boundaries: bool = True,
    class_names: Sequence[str] | None = None,
) -> Axes:
    """The faces of a network in a plane, as they lie there: distances are those of the input space.

    Thin lines are the edges of faces, and thick ones the boundaries between classes. The origin is x, and the first
    axis has the direction of u.

    Args:
        plane: from ``relu_regions.rational.walk_plane``.
        ax: where to draw; a new figure by default.
        colour: "class" shows which class wins; "margin" by how much, from the largest logit to the next, at a point
            inside each cell; "region" tells faces apart.
        samples: points (s, t) to mark, ``(M, 2)``.
        boundaries: whether to draw those between classes.
        class_names: for the legend; by default "class 0" and so on.

    Raises:
        ValueError: colour is none of these; samples are no finite points (s, t); a name is missing; or classes are
            asked for and the outputs are no vectors of logits.
    """
    if colour not in ("class", "margin", "region"):
        raise ValueError(f'colour must be "class", "margin" or "region", not {colour!r}')
    marked = None if samples is None else _checked_samples(samples)
    if class_names is not None:
        count = Decision.of(plane.output_shape).count
        if len(class_names) != count:
            raise ValueError(f"class_names must name {count} classes, got {len(class_names)} names")
    ax, axes = drawing.new_axes(ax, (7, 5)), _axes_of(plane)
    if colour == "class":
        _draw_classes(ax, plane, axes, class_names)
    elif colour == "margin":
        _draw_margins(ax, plane, axes)
    else:
        _fill(ax, (face.corners for face in plane.faces), axes, [_hue(face.number) for face in plane.faces])
    edges = ((plane.vertices[start], plane.vertices[end]) for start, end in (edge.vertices for edge in plane.edges))
    _draw_lines(ax, edges, axes, min(0.7, 12 / len(plane.faces) ** 0.5), "0.25")
    if boundaries:
        _draw_lines(ax, (boundary.ends for boundary in plane.boundaries), axes, 1.6, "black")
    if marked is not None:
        ax.plot(*(marked @ axes).T, "o", color="white", markeredgecolor="black", markersize=7, zorder=4)
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.set(xlabel="distance from $x$ along $u$", ylabel="distance across $u$", title=_title(plane))
    return ax


def _title(plane: RationalPlane) -> str:
    return f"{len(plane):,} region{'s' * (len(plane) > 1)}"


def _axes_of(plane: RationalPlane) -> Floats:
    """What s and t are on the picture's axes, ``(2, 2)``: one along u, one across it, in the units of the input."""
    u, v = (drawing.as_floats(direction).reshape(-1) for direction in (plane.u, plane.v))
    length = np.linalg.norm(u)
    along = float(u @ v / length)
    return np.array([[length, 0.0], [along, np.linalg.norm(v - along * u / length)]])


def _checked_samples(samples: Array | Sequence[Sequence[float]]) -> Floats:
    points = drawing.as_floats(samples) if isinstance(samples, Array) else np.array(samples, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"samples must be finite points (s, t), shape (M, 2), got shape {points.shape}")
    return points


def _placed(positions: Iterable[Position], axes: Floats) -> Floats:
    return np.array([(float(s), float(t)) for s, t in positions]) @ axes


def _fill(ax: Axes, polygons: Iterable[Sequence[Position]], axes: Floats, colours: Any) -> Any:
    from matplotlib.collections import PolyCollection

    placed = [_placed(corners, axes) for corners in polygons]
    # Edges of the same colour leave no light seams between neighbours.
    drawn = PolyCollection(placed, edgecolors="face", linewidths=0.3, zorder=1, rasterized=len(placed) > _RASTERIZED)
    if isinstance(colours, np.ndarray):
        drawn.set_array(colours)
    else:
        drawn.set_facecolor(colours)
    return ax.add_collection(drawn)


def _draw_lines(
    ax: Axes, segments: Iterable[tuple[Position, Position]], axes: Floats, width: float, colour: str
) -> None:
    from matplotlib.collections import LineCollection

    placed = [_placed(ends, axes) for ends in segments]
    lines = LineCollection(
        placed, colors=colour, linewidths=width, zorder=3, capstyle="round", rasterized=len(placed) > _RASTERIZED
    )
    ax.add_collection(lines)


def _draw_classes(ax: Axes, plane: RationalPlane, axes: Floats, class_names: Sequence[str] | None) -> None:
    from matplotlib.patches import Patch

    cells, whole = plane.cells, plane.polygon.area
    _fill(ax, (cell.corners for cell in cells), axes, [_light(drawing.colour(cell.label)) for cell in cells])
    names = class_names or [f"class {label}" for label in range(len(plane.class_areas()))]
    keys = [
        Patch(facecolor=_light(drawing.colour(label)), edgecolor="black", label=f"{name}: {float(area / whole):.2%}")
        for label, (name, area) in enumerate(zip(names, plane.class_areas()))
        if area
    ]
    ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False)


def _draw_margins(ax: Axes, plane: RationalPlane, axes: Floats) -> None:
    decision = Decision.of(plane.output_shape)
    margins = np.array([_margin(plane, cell, decision) for cell in plane.cells])
    drawn = _fill(ax, (cell.corners for cell in plane.cells), axes, margins)
    drawn.set(cmap="viridis", clim=(0, margins.max() or 1.0))
    ax.figure.colorbar(drawn, ax=ax, label="largest logit less the next", shrink=0.9)


def _margin(plane: RationalPlane, cell: RationalCell, decision: Decision) -> float:
    face = plane.faces[cell.face]
    outputs = face.outputs_at(*cell.inside)
    *_, second, first = sorted(decision.competing(outputs, outputs[0] * 0).values())
    return float(first - second)


def _light(colour: Any) -> Any:
    """The colour half-way to white, so that lines show on it."""
    from matplotlib.colors import to_rgb

    return tuple((1 + part) / 2 for part in to_rgb(colour))


def _hue(number: int) -> Any:
    """Hues a golden section apart: neighbours are rarely alike."""
    return _light(drawing.colour(10 + number))
