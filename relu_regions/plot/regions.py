"""Pictures of regions: their graph, and images of attributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from relu_regions.lines.line_batch import Array
from relu_regions.network.arrays import Floats
from relu_regions.plot.drawing import as_floats, colour, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["attribution_image", "graph_of_regions"]


def graph_of_regions(graph: nx.Graph, ax: Axes | None = None, *, class_names: Sequence[str] | None = None) -> Axes:
    """The regions that segments visit, each where it lies, and the crossings between them.

    A node is at its region's interior point, as the two principal components of all these points show it; with two
    inputs, at the point itself. Its colour is the class there. Regions that several segments visit are larger and
    have a black rim.

    Args:
        graph: from ``relu_regions.region_graph``.
        ax: where to draw; a new figure by default.
        class_names: for the legend; by default "class 0" and so on.

    Raises:
        ValueError: the graph has no regions, or a name is missing.
    """
    if len(graph) == 0:
        raise ValueError("the graph has no regions: there is nothing to show")
    places, names = _places(graph)
    labels = np.array([label for _, label in graph.nodes(data="label")])
    visits = np.array([len(segments) for _, segments in graph.nodes(data="segments")])
    if class_names is not None and len(class_names) <= labels.max():
        raise ValueError(f"class_names must name {labels.max() + 1} classes, got {len(class_names)} names")
    ax = new_axes(ax)
    _draw_edges(ax, graph, places)
    for label in np.unique(labels).tolist():
        own = labels == label
        ax.scatter(
            places[own, 0], places[own, 1], s=np.where(visits[own] > 1, 45, 12), color=[colour(label)], zorder=2,
            edgecolors=["black" if count > 1 else "none" for count in visits[own]], linewidths=1.2,
            label=f"{class_names[label] if class_names else f'class {label}'}: {own.sum()} regions",
        )  # fmt: skip
    shared = int((visits > 1).sum())
    if shared:
        ax.scatter(
            [], [], s=45, color="none", edgecolors="black", linewidths=1.2, label=f"{shared} on several segments"
        )
    ax.set(xlabel=names[0], ylabel=names[1])
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False)
    return ax


def _places(graph: nx.Graph) -> tuple[Floats, tuple[str, str]]:
    """Where to draw each node, ``(R, 2)``, and what the two axes are."""
    points = np.stack([as_floats(point).reshape(-1) for _, point in graph.nodes(data="point")])
    if points.shape[1] == 2:
        return points, ("$x_1$", "$x_2$")
    if points.shape[1] == 1:
        return np.column_stack([points, np.zeros(len(points))]), ("$x$", "")
    centred = points - points.mean(0)
    scores, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    shares = sizes**2 / max((sizes**2).sum(), 1e-300)
    flat = np.zeros((len(points), 2))
    flat[:, : scores.shape[1]] = (scores * sizes)[:, :2]
    first, second = (f"{shares[k]:.0%}" if k < len(shares) else "0%" for k in (0, 1))
    return flat, (f"first principal component of the points ({first} of the variance)", f"second ({second})")


def _draw_edges(ax: Axes, graph: nx.Graph, places: Floats) -> None:
    from matplotlib.collections import LineCollection

    number = {node: place for place, node in enumerate(graph)}
    ends = [(places[number[one]], places[number[other]]) for one, other in graph.edges]
    ax.add_collection(LineCollection(ends, colors="0.6", linewidths=0.8, zorder=1))


def attribution_image(attributions: Array, ax: Axes | None = None, *, image: Array | None = None) -> Axes:
    """What each pixel adds to a logit: red adds, blue takes away, white is 0.

    Args:
        attributions: ``(height, width)``, or ``(channels, height, width)``, whose channels are added up.
        ax: where to draw; a new figure by default.
        image: of the same height and width, drawn as its outline, half-way between its darkest and its brightest.

    Raises:
        ValueError: attributions or image have another shape, or are not finite.
    """
    numbers = _flat(attributions, "attributions")
    ax = new_axes(ax, (4.6, 4))
    largest = float(np.abs(numbers).max()) or 1.0
    shown = ax.imshow(numbers, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    if image is not None:
        outline = _flat(image, "image")
        if outline.shape != numbers.shape:
            raise ValueError(f"image has {outline.shape} pixels, but the attributions {numbers.shape}")
        if outline.min() < outline.max():
            ax.contour(outline, levels=[(outline.min() + outline.max()) / 2], colors="black", linewidths=0.8)
    ax.set(xticks=[], yticks=[])
    ax.figure.colorbar(shown, ax=ax, label="added to the logit", shrink=0.9)
    return ax


def _flat(given: Array, name: str) -> Floats:
    numbers = as_floats(given)
    if numbers.ndim not in (2, 3) or numbers.size == 0 or not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be finite, (height, width) or (channels, height, width); got {numbers.shape}")
    return numbers if numbers.ndim == 2 else numbers.sum(0)
