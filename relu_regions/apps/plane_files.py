"""One plane as files: all of it as JSON, and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relu_regions.planes.planes import Planes
from relu_regions.plot.files import replacing
from relu_regions.plot.plane_html import plane_html
from relu_regions.plot.plane_parts import Colour
from relu_regions.plot.planes import plane as draw

__all__ = ["SUFFIXES", "summary", "write"]

# Where the three samples are.
_SAMPLES = [(0, 0), (1, 0), (0, 1)]


def write(plane: Planes, path: Path, colour: Colour) -> None:
    """Write one plane to a file, in the form that its name ends in.

    Args:
        plane: a single one, through samples at (0, 0), (1, 0) and (0, 1).
        path: ends in one of SUFFIXES.
        colour: of a picture, as ``relu_regions.plot.plane``.
    """
    with replacing(path) as temporary:
        _WRITERS[path.suffix](plane, temporary, colour)


def summary(plane: Planes) -> dict[str, Any]:
    """The plane in few numbers: how many regions, what has proven them, and for each class its share and its pieces.

    Raises:
        ValueError: areas are beyond the range of floats.
    """
    polygon = float(plane.areas.sum())
    if not math.isfinite(polygon):
        raise ValueError("areas in the plane are beyond the range of floats; a smaller margin makes them finite")
    found: dict[str, Any] = {"regions": int(plane.face_counts), "decided_by": plane.decided_by[0], "area": polygon}
    if len(plane.network.output_shape) == 1:
        pieces = plane.components().counts[0].tolist()
        found["classes"] = [
            {"class": label, "share": area / polygon, "pieces": pieces[label]}
            for label, area in enumerate(plane.class_areas()[0].tolist())
            if area
        ]
    return found


def _everything(plane: Planes) -> dict[str, Any]:
    """All of a plane: polygons with numbers of vertices, areas in units of s t, affine outputs, and flips."""
    tiles, forms = plane.tiles, plane.answers[0].forms
    corners, places = tiles.corners.tolist(), tiles.offsets.tolist()
    faces = [
        {"corners": corners[start:end], "area": area, "intercept": form[0], "slope_s": form[1], "slope_t": form[2]}
        for start, end, area, form in zip(places, places[1:], tiles.areas.tolist(), forms.swapaxes(1, 2).tolist())
    ]
    edges: list[dict[str, Any]] = [
        {"ends": ends, "faces": beside, "flips": []} for ends, beside in zip(tiles.ends.tolist(), tiles.beside.tolist())
    ]
    flips = plane.edges.flips
    for row, *flip in zip(*(part.tolist() for part in (flips.row, flips.gate, flips.unit, flips.before, flips.after))):
        edges[row]["flips"].append(dict(zip(("gate", "unit", "before", "after"), flip)))
    polygon = [[float(s), float(t)] for s, t in plane.polygons[0]]
    made = {**summary(plane), "polygon": polygon, "vertices": tiles.vertices.tolist(), "faces": faces, "edges": edges}
    if len(plane.network.output_shape) == 1:
        cells = plane.cells
        made["cell_vertices"] = cells.vertices.tolist()
        corners, places = cells.corners.tolist(), cells.offsets.tolist()
        rows = zip(places, places[1:], cells.face.tolist(), cells.label.tolist(), cells.areas.tolist())
        made["cells"] = [
            {"corners": corners[start:end], "face": face, "class": label, "area": area}
            for start, end, face, label, area in rows
        ]
        made["boundaries"] = [
            {"points": stretch.points.tolist(), "classes": list(stretch.labels)} for stretch in plane.boundaries()[0]
        ]
    return made


def _write_json(plane: Planes, path: Path, colour: Colour) -> None:
    path.write_text(json.dumps(_everything(plane), allow_nan=False) + "\n", encoding="utf-8")


def _write_html(plane: Planes, path: Path, colour: Colour) -> None:
    plane_html(plane, path, colour=colour, samples=_SAMPLES)


def _draw_as(form: str) -> Callable[[Planes, Path, Colour], None]:
    def write_picture(plane: Planes, path: Path, colour: Colour) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 5), layout="compressed")
        draw(plane, figure.subplots(), colour=colour, samples=_SAMPLES)
        figure.savefig(path, format=form, dpi=200)

    return write_picture


_WRITERS: dict[str, Callable[[Planes, Path, Colour], None]] = {
    ".json": _write_json,
    ".png": _draw_as("png"),
    ".svg": _draw_as("svg"),
    ".html": _write_html,
}
SUFFIXES = tuple(_WRITERS)
