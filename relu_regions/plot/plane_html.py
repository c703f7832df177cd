"""Interactive pictures of planes: one HTML file that needs nothing else."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from relu_regions.lines.line_batch import Array
from relu_regions.network.arrays import Floats, Integers
from relu_regions.planes.tiles import Tiles
from relu_regions.plot import drawing
from relu_regions.plot.files import replacing
from relu_regions.plot.plane_parts import Colour, OnePlane, Shown
from relu_regions.plot.plane_scripts import LOGITS, PATH
from relu_regions.regions.norms import Norm

__all__ = ["plane_html"]


def plane_html(
    plane: OnePlane,
    path: str | os.PathLike[str],
    *,
    colour: Colour = "class",
    samples: Array | Sequence[Sequence[float]] | None = None,
    class_names: Sequence[str] | None = None,
    p: Norm = 2,
    title: str | None = None,
) -> Path:
    """Write a picture of a plane to look around in: one HTML file, which opens without a network.

    It zooms and moves; under the cursor it says which class wins, by how much of the area the cell takes, the norm of
    the face's W and the logits at that very point. Tap two points, or move them, for a segment: beside the plane are
    then the logits along it, with a mark at each breakpoint, and a strip of the classes that win. A file takes 1.7 MB
    and some 600 bytes for each face: 57 MB for 94,000 faces, which a browser draws in seconds.

    Args:
        plane: one plane of ``relu_regions.walk_plane``, or one of ``relu_regions.rational.walk_plane``, which keeps no
            network and so shows no norms.
        path: of the file to write; missing folders are made. What was there stays unless all of it could be written.
        colour: as ``relu_regions.plot.plane``.
        samples: likewise.
        class_names: likewise.
        p: likewise.
        title: of the page; by default how many regions there are, and "not proven" where they are not.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: bokeh is not installed.
        ValueError: as ``relu_regions.plot.plane``.
        OSError: the file cannot be written.
    """
    try:
        from bokeh.document import Document
        from bokeh.embed import file_html
        from bokeh.layouts import column, row
        from bokeh.models import Div
        from bokeh.resources import INLINE
    except ModuleNotFoundError:
        raise ModuleNotFoundError('plane_html needs bokeh: pip install "relu-regions[planes]"') from None
    if colour not in get_args(Colour):
        raise ValueError(f"colour must be one of {get_args(Colour)}, not {colour!r}")
    shown = Shown(plane)
    page = _page(shown, colour, class_names, p)
    figure = _figure(shown, page, None if samples is None else shown.marked(samples))
    said = Div(text="", name="said", width=480)
    figures, follow = _beside(shown, page, figure, said)
    how = "Move the cursor over the plane; the wheel zooms. Tap two points, or drag the yellow marks, for a segment."
    document = Document(title=title or shown.heading)
    document.add_root(row(figure, column(Div(text=f"{shown.heading}. {how}", width=480), *figures, said)))
    document.js_on_event("document_ready", follow)
    made = Path(path)
    with replacing(made) as temporary:
        temporary.write_text(file_html(document, INLINE), encoding="utf-8")
    return made


class _Page(NamedTuple):
    """What the parts of a page share.

    Attributes:
        tiles: what is drawn, cells or, where the outputs are no logits, faces.
        face: of each.
        label: the class of each; None where the outputs are no logits.
        names: of the outputs, one for each.
        class_names: one for each class.
        palette: a colour for each output or class.
        colour: what colours tell.
        norms: of each face; None where they are not known.
        p: which norms.
    """

    tiles: Tiles
    face: Integers
    label: Integers | None
    names: list[str]
    class_names: list[str]
    palette: list[str]
    colour: Colour
    norms: Floats | None
    p: Norm


def _page(shown: Shown, colour: Colour, class_names: Sequence[str] | None, p: Norm) -> _Page:
    from matplotlib.colors import to_hex

    if not shown.has_classes and (colour in ("class", "margin") or class_names is not None):
        _ = shown.decision  # which says what is missing
    norms = shown.norms(p) if shown.has_network or colour == "norm" else None
    outputs = shown.forms.shape[1]
    if shown.has_classes:
        (tiles, face, label), names = shown.cells, shown.names(class_names)
        classes, of_output = names, names if outputs > 1 else [f"logit of {names[1]}"]
    else:
        tiles, face, label = shown.faces, np.arange(len(shown.faces)), None
        classes, of_output = [], [f"output {k}" for k in range(outputs)]
    palette = [to_hex(drawing.colour(k)) for k in range(max(outputs, len(classes)))]
    return _Page(tiles, face, label, of_output, classes, palette, colour, norms, p)


def _figure(shown: Shown, page: _Page, marked: Floats | None) -> Any:
    from bokeh.models import ColumnDataSource, CustomJSHover, HoverTool
    from bokeh.plotting import figure

    drawn = figure(
        name="plane", width=760, height=720, match_aspect=True, active_scroll="wheel_zoom",
        tools="pan,wheel_zoom,box_zoom,reset,save", x_axis_label="distance from x along u",
        y_axis_label="distance across u", output_backend="canvas", min_border_left=70,
    )  # fmt: skip
    drawn.toolbar.logo = None
    drawn.grid.visible = False
    corners = shown.placed(page.tiles)
    columns: dict[str, Any] = {
        "xs": [_outline(part[:, 0]) for part in corners],
        "ys": [_outline(part[:, 1]) for part in corners],
        "face": page.face.astype(np.int32),
        "share": page.tiles.areas / page.tiles.areas.sum(),
    }
    tips = [("region", "@face"), ("area", "@share{0.[000000]%} of the plane's")]
    if page.label is not None:
        columns["name"] = [page.class_names[label] for label in page.label.tolist()]
        tips.insert(0, ("class", "@name"))
    if page.norms is not None:
        columns["norm"] = page.norms[page.face]
        tips.append((f"norm of W (p = {page.p})", "@norm{0.0000}"))
    fill, legend = _fill_of(shown, page, columns, drawn)
    source = ColumnDataSource(columns, name="parts")
    width = min(0.7, 12 / len(shown.faces) ** 0.5)
    patches = drawn.patches("xs", "ys", source=source, line_color="#404040", line_width=width, **fill, **legend)
    # The picture stays where it is when the segment goes beyond it.
    drawn.x_range.renderers = drawn.y_range.renderers = [patches]
    if legend:
        drawn.add_layout(drawn.legend[0], "right")
    arguments = {"axes": shown.axes.tolist(), "forms": shown.forms.ravel(), "names": page.names}
    logits = CustomJSHover(args=arguments, code=LOGITS, name="logits")
    tips.append(("logits" if page.label is not None else "outputs", "@face{custom}"))
    hover = HoverTool(renderers=[patches], tooltips=tips, formatters={"@face": logits}, point_policy="follow_mouse")
    drawn.add_tools(hover)
    if page.label is not None:
        lines = [boundary.points.numpy() @ shown.axes for boundary in shown.boundaries]
        drawn.multi_line([part[:, 0] for part in lines], [part[:, 1] for part in lines], color="black", line_width=2)
    if marked is not None:
        drawn.scatter(*marked.T, size=11, fill_color="white", line_color="black")
    return drawn


def _outline(corners: Floats) -> list[float]:
    """A polygon, and one of its corners once more as a part of its own.

    Chromium leaves some convex outlines empty that have corners within a small part of a pixel, but not outlines of two
    parts.
    """
    return [*corners.tolist(), math.nan, float(corners[0])]


def _fill_of(shown: Shown, page: _Page, columns: dict[str, Any], drawn: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """How patches are filled, and their legend; columns get what that needs."""
    from bokeh.models import ColorBar
    from bokeh.transform import linear_cmap, log_cmap

    if page.colour == "class" and page.label is not None:
        columns["colour"] = [page.palette[label] for label in page.label.tolist()]
        return {"fill_color": "colour", "fill_alpha": 0.5}, {"legend_group": "name"}
    if page.colour == "region":
        from matplotlib.colors import to_hex

        columns["colour"] = [to_hex(drawing.colour(10 + face)) for face in page.face.tolist()]
        return {"fill_color": "colour", "fill_alpha": 0.5}, {}
    if page.colour == "norm":
        numbers, what = columns["norm"], f"norm of W (p = {page.p})"
        positive = numbers[numbers > 0]
        low, high = (positive.min(), positive.max()) if len(positive) else (0.0, 1.0)
    else:
        assert page.label is not None
        numbers = columns["margin"] = shown.margins(page.face, page.label, page.tiles.centroids)
        low, high, what = 0.0, float(numbers.max()), "largest logit less the next, in the middle"
    mapper = log_cmap if page.colour == "norm" and 0 < low < high else linear_cmap
    fill = mapper(page.colour, "Viridis256", low, high if high > low else low + 1)
    drawn.add_layout(ColorBar(color_mapper=fill.transform, title=what), "right")
    return {"fill_color": fill}, {}


def _beside(shown: Shown, page: _Page, drawn: Any, said: Any) -> tuple[list[Any], Any]:
    """The segment in the figure; the figures of the path along it; and what lets these follow the segment."""
    from bokeh.models import ColumnDataSource, CustomJS

    ends = _segment(shown, drawn)
    colours = page.palette[: len(page.names)]
    nothing: list[list[float]] = [[]] * len(colours)
    path = ColumnDataSource({"x": nothing, "y": nothing, "colour": colours, "name": page.names}, name="path")
    bends = ColumnDataSource({"x": [], "y": [], "colour": []}, name="bends")
    strip = ColumnDataSource({name: [] for name in ("left", "right", "label", "colour", "name")}, name="strip")
    crossing = ColumnDataSource({"face": [], "t": []}, name="crossing")
    arguments = {
        "axes": shown.axes.tolist(),
        "vertices": shown.faces.vertices.ravel(),
        "offsets": shown.faces.offsets.astype(np.int32),
        "corners": shown.faces.corners.astype(np.int32),
        "forms": shown.forms.ravel(),
        "names": page.names,
        "class_names": page.class_names,
        "palette": page.palette,
        "classes": page.label is not None,
    }
    sources = {"ends": ends, "path": path, "bends": bends, "strip": strip, "crossing": crossing, "said": said}
    follow = CustomJS(args=arguments | sources, code=PATH)
    ends.js_on_change("data", follow)
    return _path_figures(page, path, bends, strip), follow


def _segment(shown: Shown, drawn: Any) -> Any:
    """The two ends of the segment, which a person draws; at first it goes from one side to the other."""
    from bokeh.models import ColumnDataSource, PointDrawTool

    placed = shown.faces.vertices @ shown.axes
    # Not quite to the border, so that the marks are seen to be inside.
    first, last = 0.9 * placed[[placed[:, 0].argmin(), placed[:, 0].argmax()]] + 0.1 * placed.mean(0)
    ends = ColumnDataSource({"x": [first[0], last[0]], "y": [first[1], last[1]]}, name="ends")
    drawn.line("x", "y", source=ends, color="black", line_width=2, line_dash="dashed")
    marks = drawn.scatter("x", "y", source=ends, size=12, fill_color="yellow", line_color="black")
    tool = PointDrawTool(renderers=[marks], num_objects=2, description="Draw a segment: tap two points, or drag them")
    drawn.add_tools(tool)
    drawn.toolbar.active_tap = tool
    return ends


def _path_figures(page: _Page, path: Any, bends: Any, strip: Any) -> list[Any]:
    from bokeh.plotting import figure

    label = "logits" if page.label is not None else "outputs"
    beside = figure(
        name="beside", width=480, height=380, tools="pan,wheel_zoom,box_zoom,reset,hover", tooltips=[("", "@name")],
        x_axis_label="t along the segment", y_axis_label=label,
    )  # fmt: skip
    beside.multi_line("x", "y", source=path, color="colour", line_width=2)
    beside.scatter("x", "y", source=bends, size=4, color="colour")
    beside.toolbar.logo = None
    if page.label is None:
        return [beside]
    below = figure(
        name="below", width=480, height=80, x_range=beside.x_range, tools="hover", tooltips=[("wins", "@name")],
        title="the class that wins", toolbar_location=None,
    )  # fmt: skip
    below.quad("left", "right", 1, 0, source=strip, fill_color="colour", line_color=None, fill_alpha=0.7)
    below.yaxis.visible, below.grid.visible = False, False
    return [beside, below]
