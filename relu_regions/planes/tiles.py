"""One plane's answer as plain arrays: convex polygons that tile its polygon, and what the network is on each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch

from relu_regions.exactness.rational.arithmetic import Point
from relu_regions.exactness.rational.planes.plane import RationalPlane
from relu_regions.exactness.rational.planes.polygons import Position
from relu_regions.network.arrays import Floats, Integers, Numbers
from relu_regions.network.network import Network

__all__ = ["PlaneFaces", "Tiles", "packed", "unpacked"]

_ROUNDOFF = 2.0**-53


@dataclass(frozen=True, eq=False)
class Tiles:
    """Convex polygons that tile one plane's polygon edge to edge.

    Attributes:
        vertices: ``(V, 2)`` float64, each corner (s, t) once.
        offsets: ``(F + 1,)`` int64, polygon f has the corners ``offsets[f]`` to ``offsets[f + 1]``.
        corners: ``(offsets[-1],)`` int64, numbers of vertices, counter-clockwise, polygon by polygon.
        ends: ``(E, 2)`` int64, numbers of the vertices at the two ends of each side.
        beside: ``(E, 2)`` int64, the polygon to the left from the first end to the second, and the one to the right,
            which is -1 on the border.
    """

    vertices: Floats
    offsets: Integers
    corners: Integers
    ends: Integers
    beside: Integers

    @classmethod
    def of(cls, vertices: Floats, offsets: Integers, corners: Integers) -> Tiles:
        """Tiles whose sides follow from their corners: two polygons with the same two ends are neighbours."""
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        following = corners[_following(offsets)]
        low, high = np.minimum(corners, following), np.maximum(corners, following)
        order = np.lexsort((high, low))
        fresh = np.ones(len(order), dtype=bool)
        fresh[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
        start = np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
        # Of polygons with the same ends the first two are neighbours; `check` refuses any more.
        leads = (np.arange(len(order)) - start) % 2 == 0
        first = np.flatnonzero(leads)
        follows = np.append(~leads, False)[first + 1]
        other = owner[order[np.minimum(first + 1, max(len(order) - 1, 0))]]
        beside = np.stack([owner[order[first]], np.where(follows, other, -1)], axis=1)
        ends = np.stack([corners[order[first]], following[order[first]]], axis=1)
        return cls(vertices, offsets, corners, ends, beside)

    @classmethod
    def joined(cls, several: Sequence[Tiles]) -> Tiles:
        """The tiles of several planes, with numbers that go on from one to the next."""
        if len(several) == 1:
            return several[0]
        none = np.zeros((0, 2), dtype=np.int64)
        before = np.cumsum([(0, 0, 0), *((len(t.vertices), len(t.corners), len(t)) for t in several)], axis=0)
        vertex, corner, tile = before.T
        beside = [np.where(t.beside < 0, -1, t.beside + shift) for t, shift in zip(several, tile)]
        return cls(
            vertices=np.concatenate([np.zeros((0, 2)), *(t.vertices for t in several)]),
            offsets=np.concatenate([*(t.offsets[:-1] + shift for t, shift in zip(several, corner)), corner[-1:]]),
            corners=np.concatenate([none[:, 0], *(t.corners + shift for t, shift in zip(several, vertex))]),
            ends=np.concatenate([none, *(t.ends + shift for t, shift in zip(several, vertex))]),
            beside=np.concatenate([none, *beside]),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Integers:
        """``(F,)`` int64: how many corners each polygon has."""
        return np.diff(self.offsets)

    @cached_property
    def following(self) -> Integers:
        """For each corner, polygon by polygon, the place in ``corners`` of the next one around its polygon."""
        return _following(self.offsets)

    @cached_property
    def areas(self) -> Floats:
        """``(F,)`` float64, in units of s t, taken relative to a corner, so that small polygons keep their digits."""
        ahead, back = self._crossed
        return np.add.reduceat(ahead - back, self.offsets[:-1]) / 2 if len(self) else np.zeros(0)

    @cached_property
    def centroids(self) -> Floats:
        """``(F, 2)`` float64: a point inside each polygon, the mean of its corners."""
        if not len(self):
            return np.zeros((0, 2))
        first = self.vertices[self.corners[self.offsets[:-1]]]
        away = self.vertices[self.corners] - np.repeat(first, self.counts, axis=0)
        return first + np.add.reduceat(away, self.offsets[:-1], axis=0) / self.counts[:, None]

    def check(self, area: Fraction | float, error: float | None = None) -> None:
        """Compare vertices - sides + polygons, and the sum of areas, with what they are for a tiling edge to edge.

        Areas may differ by what rounding can do. With the same vertices on both sides of each inner side their exact
        sum is the area inside of the border, and that is off by at most the border's length times the error of its
        vertices.

        Args:
            area: of the polygon that is tiled, in units of s t.
            error: how far a vertex on the border may lie from the true one; by default the rounding of its coordinates.

        Raises:
            ArithmeticError: they differ, which would be an error of this library.
        """
        found = len(self.vertices) - len(self.ends) + len(self)
        # np.unique would take many times as long.
        directed = np.sort(self.corners * len(self.vertices) + self.corners[self.following])
        once = (directed[1:] != directed[:-1]).all()
        matched = len(self.corners) == len(self.ends) + np.count_nonzero(self.beside[:, 1] >= 0)
        if found != 1 or not once or not matched or (self.beside[:, 0] == self.beside[:, 1]).any():
            raise ArithmeticError(f"The parts do not meet edge to edge: vertices - edges + faces is {found}, not 1.")
        ahead, back = self._crossed
        rounding = (int(self.counts.max(initial=0)) + 6) * _ROUNDOFF * (np.abs(ahead).sum() + np.abs(back).sum())
        if error is None:
            error = 2 * _ROUNDOFF * float(np.abs(self.vertices).max(initial=0))
        border = self.vertices[self.ends[self.beside[:, 1] < 0]]
        moved = error * float(np.hypot(*(border[:, 1] - border[:, 0]).T).sum() + 4 * len(border) * error)
        total = math.fsum(self.areas.tolist())
        if not abs(total - float(area)) <= rounding + 2 * moved + 2 * _ROUNDOFF * abs(float(area)):
            raise ArithmeticError(f"The areas add up to {total}, not to {float(area)}, the polygon's.")

    @cached_property
    def _crossed(self) -> tuple[Floats, Floats]:
        """The two products of each corner and the next, both relative to the first corner of their polygon."""
        # Columns are picked much faster than rows.
        first = np.repeat(self.offsets[:-1], self.counts)
        s, t = (np.ascontiguousarray(column)[self.corners] for column in self.vertices.T)
        s, t = s - s[first], t - t[first]
        return s * t[self.following], t * s[self.following]


def _following(offsets: Integers) -> Integers:
    places = np.arange(1, offsets[-1] + 1)
    places[offsets[1:] - 1] = offsets[:-1]
    return places


@dataclass(frozen=True, eq=False)
class PlaneFaces:
    """What a walk found in one plane: F faces, and K cells where the outputs are logits.

    Attributes:
        tiles: the faces.
        forms: ``(F, C, 3)`` float64, each flattened output as (constant, slope by s, slope by t) on each face.
        patterns: for each gate the pieces of its units on each face, as ``packed`` keeps them.
        cells: the parts of faces on which one class wins, face by face; None where outputs are no logits.
        cell_face: ``(K,)`` int64, the face of each cell.
        cell_class: ``(K,)`` int64, the class that wins on each cell.
        certain: whether faces, edges, patterns and cells are proven to be those of the real-valued network.
        settled: whether rational arithmetic had to settle the plane.
    """

    tiles: Tiles
    forms: Floats
    patterns: tuple[Numbers, ...]
    cells: Tiles | None
    cell_face: Integers | None
    cell_class: Integers | None
    certain: bool
    settled: bool

    @classmethod
    def of_rational(cls, plane: RationalPlane, network: Network | None) -> PlaneFaces:
        """An exact answer, its numbers rounded to the nearest floats.

        Args:
            plane: from ``rational.walk_plane``.
            network: that was walked; None to do without patterns.
        """
        faces = plane.faces
        outputs = math.prod(plane.output_shape)
        # Numbers beyond all floats are infinite.
        parts = [[face.intercept, face.slope_s, face.slope_t] for face in faces]
        forms = np.array([[[Point.of(number).near for number in part] for part in three] for three in parts])
        pieces = [np.array(of_gate, dtype=np.int64) for of_gate in zip(*(face.pattern for face in faces))]
        gates = () if network is None else network.gates
        cells = cell_face = cell_class = None
        if len(plane.output_shape) == 1 and outputs:
            cells = _tiles(plane.cell_vertices, plane.cell_corners)
            cell_face = np.array([cell.face for cell in plane.cells], dtype=np.int64)
            cell_class = np.array([cell.label for cell in plane.cells], dtype=np.int64)
        return cls(
            tiles=_tiles(plane.vertices, plane.face_vertices),
            forms=np.ascontiguousarray(forms.reshape(len(faces), 3, outputs).swapaxes(1, 2)),
            patterns=tuple(packed(part, step.gate.piece_count) for part, step in zip(pieces, gates)),
            cells=cells,
            cell_face=cell_face,
            cell_class=cell_class,
            certain=True,
            settled=True,
        )


def packed(pieces: Numbers, piece_count: int) -> Numbers:
    """A gate's pieces ``(F, units)`` in little memory: bits along the units for two pieces, else 8 or 16 bits each."""
    if piece_count <= 2:
        return np.packbits(pieces.astype(bool), axis=1)
    return pieces.astype(np.uint8 if piece_count <= 256 else np.int16 if piece_count <= 32767 else np.int64)


def unpacked(kept: Numbers, units: int, piece_count: int) -> torch.Tensor:
    """A gate's pieces ``(F, units)`` int64, from what ``packed`` made of them."""
    whole = np.unpackbits(kept, axis=1, count=units) if piece_count <= 2 else kept
    return torch.from_numpy(whole.astype(np.int64))


def _tiles(vertices: Sequence[Position], corners: Sequence[Sequence[int]]) -> Tiles:
    offsets = np.cumsum([0, *(len(part) for part in corners)], dtype=np.int64)
    flat = np.array([number for part in corners for number in part], dtype=np.int64)
    return Tiles.of(np.array(vertices, dtype=np.float64).reshape(-1, 2), offsets, flat)
