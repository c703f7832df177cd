"""Faces and cells in the forms of other libraries: graphs of networkx, data frames of pandas, polygons of shapely."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import networkx as nx
import numpy as np
from torch import Tensor

from relu_regions.network.arrays import Floats, Numbers
from relu_regions.planes.edges import Edges
from relu_regions.planes.tiles import Tiles

__all__ = ["By", "dataframe", "graph", "shapely_polygons"]

By: TypeAlias = Literal["face", "cell"]


def graph(tiles: Tiles, edges: Edges, columns: Mapping[str, Tensor]) -> nx.Graph:
    """The faces as nodes and the edges between two of them as edges, with the attributes of ``Planes.to_networkx``.

    Args:
        tiles: the faces.
        edges: between them.
        columns: attributes of nodes, each ``(F,)``.
    """
    made = nx.Graph()
    positions = [tuple(position) for position in tiles.vertices.tolist()]
    rows = zip(*(column.tolist() for column in columns.values()))
    for face, (point, row) in enumerate(zip(tiles.centroids.tolist(), rows)):
        made.add_node(face, point=tuple(point), **dict(zip(columns, row)))
    units: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for edge, gate, unit in zip(*(part.tolist() for part in (edges.flips.row, edges.flips.gate, edges.flips.unit))):
        units[edge].add((gate, unit))
    for edge, ((one, other), (start, end)) in enumerate(zip(tiles.beside.tolist(), tiles.ends.tolist())):
        if other >= 0:
            made.add_edge(one, other, units=units[edge], ends=(positions[start], positions[end]))
    return made


def dataframe(tiles: Tiles, columns: Mapping[str, Numbers], logits: Floats) -> Any:
    """A pandas DataFrame with a row for each polygon: the columns given, and area, corners, s, t and logits.

    Args:
        tiles: the polygons.
        columns: the first ones, each ``(F,)``.
        logits: at the centroids, ``(F, C)``.
    """
    import pandas

    s, t = tiles.centroids.T
    own = {"area": tiles.areas, "corners": tiles.counts, "s": s, "t": t}
    return pandas.DataFrame({**columns, **own, **{f"logit_{k}": column for k, column in enumerate(logits.T)}})


def shapely_polygons(tiles: Tiles) -> Any:
    """An array of shapely Polygons.

    Raises:
        ModuleNotFoundError: shapely is not installed.
    """
    try:
        import shapely
    except ModuleNotFoundError:
        raise ModuleNotFoundError('to_shapely needs shapely: pip install "relu-regions[planes]"') from None
    # A ring of shapely ends where it begins.
    rings = np.insert(tiles.corners, tiles.offsets[1:], tiles.corners[tiles.offsets[:-1]])
    each = np.arange(len(tiles) + 1)
    return shapely.from_ragged_array(shapely.GeometryType.POLYGON, tiles.vertices[rings], (tiles.offsets + each, each))
