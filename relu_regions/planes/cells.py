"""Where each class wins in planes: cells, their connected pieces, and the boundaries between classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from relu_regions.network.arrays import Integers
from relu_regions.planes.tiles import Tiles

__all__ = ["Boundary", "Cells", "Components", "boundaries_of", "components_of"]


@dataclass(frozen=True, eq=False, repr=False)
class Cells:
    """The parts of faces on which one class wins, face by face; of classes that tie on all of a part the first.

    Attributes:
        vertices: ``(W, 2)`` float64, the corners (s, t) of cells, each once for its plane.
        offsets: ``(K + 1,)`` int64, cell k has the corners ``offsets[k]`` to ``offsets[k + 1]``.
        corners: ``(offsets[-1],)`` int64, numbers of vertices, counter-clockwise, cell by cell.
        face: ``(K,)`` int64, number of the face that the cell is a part of.
        plane: ``(K,)`` int64, number of its plane.
        label: ``(K,)`` int64, the class.
        areas: ``(K,)`` float64, in units of s t.
    """

    vertices: Float64[Tensor, " W 2"]
    offsets: Int64[Tensor, " _"]
    corners: Int64[Tensor, " corners"]
    face: Int64[Tensor, " K"]
    plane: Int64[Tensor, " K"]
    label: Int64[Tensor, " K"]
    areas: Float64[Tensor, " K"]

    def __len__(self) -> int:
        return len(self.label)

    def __repr__(self) -> str:
        return f"Cells({len(self)} of {len(set(self.label.tolist()))} classes)"


@dataclass(frozen=True, eq=False, repr=False)
class Components:
    """The connected pieces of classes, ordered by plane, by class, and then from the largest to the smallest.

    Attributes:
        plane: ``(M,)`` int64, number of the plane that each piece lies in.
        label: ``(M,)`` int64, its class.
        areas: ``(M,)`` float64, in units of s t.
        of_cell: ``(K,)`` int64, the piece that each cell belongs to.
        counts: ``(N, C)`` int64, how many pieces each class has in each plane.
    """

    plane: Int64[Tensor, " M"]
    label: Int64[Tensor, " M"]
    areas: Float64[Tensor, " M"]
    of_cell: Int64[Tensor, " K"]
    counts: Int64[Tensor, " N C"]

    def __len__(self) -> int:
        return len(self.label)

    def __repr__(self) -> str:
        return f"Components({len(self)} connected pieces of {len(set(self.label.tolist()))} classes)"


class Boundary(NamedTuple):
    """A stretch of the boundary between two classes.

    Attributes:
        points: ``(K, 2)`` float64, a polyline (s, t); it is closed if the first point is the last one too.
        labels: the class to its left and the class to its right.
    """

    points: Float64[Tensor, " K 2"]
    labels: tuple[int, int]

    def __repr__(self) -> str:
        return f"Boundary({len(self.points)} points, between classes {self.labels[0]} and {self.labels[1]})"


def components_of(
    tiles: Tiles, plane: Integers, label: Integers, shape: tuple[int, int], device: torch.device
) -> Components:
    """The connected pieces of cells of one class; cells that share a side are connected.

    Args:
        tiles: the cells of all planes.
        plane, label: ``(K,)`` int64, of each cell.
        shape: how many planes and classes there are.
        device: of the answer.
    """
    inner = tiles.beside[tiles.beside[:, 1] >= 0]
    one, other = inner[label[inner[:, 0]] == label[inner[:, 1]]].T
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(len(tiles), len(tiles)))
    count, piece = connected_components(graph, directed=False) if len(tiles) else (0, np.zeros(0, dtype=np.int64))
    areas = np.bincount(piece, weights=tiles.areas, minlength=count).astype(np.float64)
    member = np.zeros(count, dtype=np.int64)
    member[piece] = np.arange(len(tiles))
    order = np.lexsort((-areas, label[member], plane[member]))
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, (plane[member], label[member]), 1)
    parts = plane[member][order], label[member][order], areas[order], order.argsort()[piece], counts
    return Components(*(torch.from_numpy(part).to(device) for part in parts))


def boundaries_of(tiles: Tiles, label: Integers, device: torch.device) -> Iterator[Boundary]:
    """The boundaries between classes in one plane, as polylines from one junction or border to the next.

    Args:
        tiles: the cells of the plane.
        label: ``(K,)`` int64, the class of each.
        device: of the answer.
    """
    inner = tiles.beside[:, 1] >= 0
    ends, labels = tiles.ends[inner], label[tiles.beside[inner]]
    between = labels[:, 0] != labels[:, 1]
    ends, labels = ends[between], labels[between]
    # The smaller class to the left, so that neighbouring sides go the same way.
    turned = labels[:, 0] > labels[:, 1]
    ends[turned], labels[turned] = ends[turned, ::-1], labels[turned, ::-1]
    by_classes: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for (start, end), (left, right) in zip(ends.tolist(), labels.tolist()):
        by_classes[left, right].append((start, end))
    junctions = _junctions(by_classes) | set(tiles.ends[~inner].ravel().tolist())
    for classes, sides in sorted(by_classes.items()):
        for chain in _chains(sides, junctions):
            yield Boundary(torch.from_numpy(tiles.vertices[chain]).to(device), classes)


def _junctions(by_classes: dict[tuple[int, int], list[tuple[int, int]]]) -> set[int]:
    """The vertices at which not two sides between classes meet; around one inside, two are between the same classes."""
    meeting = Counter(number for sides in by_classes.values() for side in sides for number in side)
    return {number for number, count in meeting.items() if count != 2}


def _chains(sides: list[tuple[int, int]], junctions: set[int]) -> Iterator[list[int]]:
    """Directed sides, put together at every vertex that is no junction."""
    following = {start: end for start, end in sides if start not in junctions}
    for start, end in sides:
        if start in junctions:
            yield _followed([start, end], following)
    while following:  # what is left has no junction: closed curves
        start, end = next(iter(following.items()))
        del following[start]
        yield _followed([start, end], following)


def _followed(chain: list[int], following: dict[int, int]) -> list[int]:
    while chain[-1] in following:
        chain.append(following.pop(chain[-1]))
    return chain
