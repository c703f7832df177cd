"""What a walk found in planes: faces, vertices and edges, and where each class wins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, get_args

import networkx as nx
import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from relu_regions.exactness.stages import counted, decided_by
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import Array
from relu_regions.lines.plane_batch import PlaneBatch, Position
from relu_regions.network.arrays import Integers, Numbers
from relu_regions.network.network import Network
from relu_regions.planes.cells import Boundary, Cells, Components, boundaries_of, components_of
from relu_regions.planes.conversions import By, dataframe, graph, shapely_polygons
from relu_regions.planes.edges import Edges, edges_of
from relu_regions.planes.face_norms import norms_of_faces
from relu_regions.planes.segment import PlaneSegment, crossed
from relu_regions.planes.tiles import PlaneFaces, Tiles, packed, unpacked
from relu_regions.regions.affine_maps import affine_maps_of
from relu_regions.regions.norms import Norm

__all__ = ["Planes"]


@dataclass(frozen=True, eq=False, repr=False)
class Planes:
    """The network in N planes ``x + s u + t v``, (s, t) in a convex polygon: every face, edge and vertex.

    A face is a maximal part of the polygon, with positive area, on which every unit keeps its piece, and a cell is the
    part of a face on which one class wins. Faces, vertices, edges and cells of all planes are numbered through, plane
    after plane. One plane, some of them, or all one after the other are Planes too: ``planes[3]``, ``planes[:8]``,
    ``for plane in planes``.

    Attributes:
        network: the network walked, in the dtype of the walk.
        x, u, v: ``(N, *input_shape)``.
        polygons: for each plane the corners (s, t) of its polygon, as they were given.
        answers: what was found in each plane, as plain arrays.

    Examples:
        >>> import relu_regions as rr, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()).eval()
        >>> _ = model[0].load_state_dict({"weight": torch.tensor([[2.0, 0.0], [0.0, 1.0]]), "bias": torch.zeros(2)})
        >>> x, u, v = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
        >>> planes = rr.walk_plane(model, x, u, v, [(-1, -1), (1, -1), (1, 1), (-1, 1)])
        >>> planes.class_areas().tolist(), planes.input_areas.tolist()
        ([[2.75, 1.25]], [1.0, 1.0, 1.0, 1.0])
        >>> sorted(planes.norms(2).tolist()), len(planes.edges), len(planes.boundaries()[0])
        ([0.0, 1.0, 2.0, 2.0], 12, 1)
        >>> planes[0].segment((-1, 0.5), (1, 0.5)).t.tolist()
        [0.0, 0.5, 1.0]
    """

    network: Network
    x: Float[Tensor, " N *input_shape"]
    u: Float[Tensor, " N *input_shape"]
    v: Float[Tensor, " N *input_shape"]
    polygons: tuple[tuple[Position, ...], ...]
    answers: tuple[PlaneFaces, ...]

    @classmethod
    def of(cls, batch: PlaneBatch, answers: Sequence[PlaneFaces]) -> Planes:
        """What was found in the planes of a batch."""
        polygons = tuple(tuple(corners) for corners in batch.polygons)
        return cls(batch.network, batch.x, batch.u, batch.v, polygons, tuple(answers))

    @property
    def face_counts(self) -> Int64[Tensor, " N"]:
        """``(N,)`` int64: how many faces each plane has."""
        return self._on_device(np.array([len(answer.tiles) for answer in self.answers], dtype=np.int64))

    @property
    def plane_of_face(self) -> Int64[Tensor, " F"]:
        """``(F,)`` int64: the number of each face's plane."""
        return self._on_device(self._plane_of_face)

    @property
    def vertices(self) -> Float64[Tensor, " V 2"]:
        """``(V, 2)`` float64: the corners (s, t) of faces, each once for its plane."""
        return self._on_device(self.tiles.vertices)

    @property
    def face_offsets(self) -> Int64[Tensor, " _"]:
        """``(F + 1,)`` int64: face f has the corners ``face_offsets[f]`` to ``face_offsets[f + 1]``."""
        return self._on_device(self.tiles.offsets)

    @property
    def face_vertices(self) -> Int64[Tensor, " corners"]:
        """``(face_offsets[-1],)`` int64: numbers of vertices, counter-clockwise, face by face."""
        return self._on_device(self.tiles.corners)

    @property
    def centroids(self) -> Float64[Tensor, " F 2"]:
        """``(F, 2)`` float64: a point (s, t) inside each face, the mean of its corners."""
        return self._on_device(self.tiles.centroids)

    @property
    def areas(self) -> Float64[Tensor, " F"]:
        """``(F,)`` float64: of each face, in units of s t."""
        return self._on_device(self.tiles.areas)

    @property
    def input_areas(self) -> Float64[Tensor, " F"]:
        """``(F,)`` float64: of each face, in the input space: that in units of s t, times u's and v's parallelogram."""
        return self.areas * self.parallelograms[self.plane_of_face]

    @cached_property
    def parallelograms(self) -> Float64[Tensor, " N"]:
        """``(N,)`` float64: the area of the parallelogram of each plane's u and v."""
        u, v = (part.double().flatten(1) for part in (self.u, self.v))
        length = torch.linalg.vector_norm(u, dim=1)
        along = u / length[:, None]
        # What is left of v once more, since rounding leaves some of u in it where the two are nearly parallel.
        across = v - (v * along).sum(1, keepdim=True) * along
        across = across - (across * along).sum(1, keepdim=True) * along
        areas: Tensor = length * torch.linalg.vector_norm(across, dim=1)
        return areas

    @cached_property
    def outputs(self) -> Float[Tensor, " V *output_shape"]:
        """``(V, *output_shape)``: the logits at the vertices."""
        owner = np.zeros(len(self.tiles.vertices), dtype=np.int64)
        owner[self.tiles.corners] = np.repeat(np.arange(len(self.tiles)), self.tiles.counts)
        return self._outputs_at(owner, self.tiles.vertices)

    @cached_property
    def edges(self) -> Edges:
        """The sides of faces, each once, and the units that change their piece across them."""
        two = tuple(step.gate.piece_count <= 2 for step in self.network.gates)
        return edges_of(self.tiles, self._packed, two, self._plane_of_face, self.x.device)

    def patterns(self, faces: Int64[Tensor, " R"] | None = None) -> tuple[Int64[Tensor, " R _"], ...]:
        """The activation patterns of faces, for each gate ``(R, units)`` int64: the piece of every unit.

        Args:
            faces: numbers of faces, ``(R,)``; all by default.
        """
        rows = slice(None) if faces is None else faces.cpu().numpy()
        gates = zip(self._packed, self.network.gates)
        return tuple(unpacked(kept[rows], g.units, g.gate.piece_count).to(self.x.device) for kept, g in gates)

    def affine_maps(
        self,
        faces: Int64[Tensor, " R"] | None = None,
        *,
        memory_budget: int | None = None,
        progress: bool | None = None,
    ) -> tuple[Float[Tensor, " R ..."], Float[Tensor, " R *output_shape"]]:
        """W_x and b_x of faces (paper, equations 7 and 8), from their activation patterns.

        Args:
            faces: numbers of faces, ``(R,)``; all by default.
            memory_budget: bytes that the work may take besides its result.
            progress: whether to show a progress bar; by default where a person is looking and it takes long.

        Returns:
            ``(R, *output_shape, *input_shape)`` and ``(R, *output_shape)``.
        """
        patterns, count = self.patterns(faces), len(self.tiles) if faces is None else len(faces)
        return affine_maps_of(self.network, patterns, count, memory_budget=memory_budget, progress=progress)

    def norms(
        self,
        p: Norm,
        faces: Int64[Tensor, " R"] | None = None,
        *,
        memory_budget: int | None = None,
        progress: bool | None = None,
    ) -> Float[Tensor, " R"]:
        """The operator norm ‖W_x‖ of faces, ``(R,)``, without keeping the maps: of all W, not of its part in the plane.

        Args:
            p: 1, 2, math.inf (the largest absolute row sum, paper, appendix A) or "fro".
            faces: numbers of faces, ``(R,)``; all by default.
            memory_budget: bytes that the work may take.
            progress: as ``affine_maps``.

        Raises:
            ValueError: p is none of these.
        """
        numbers = torch.arange(len(self.tiles)) if faces is None else faces
        return norms_of_faces(self.network, self.patterns, numbers, p, memory_budget, progress)

    # ------------------------------------------------------------ classes

    @cached_property
    def cells(self) -> Cells:
        """The parts of faces on which one class wins.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        (tiles, face), label = self._parts("cell"), self._labels
        parts = tiles.vertices, tiles.offsets, tiles.corners, face, self._plane_of_face[face], label, tiles.areas
        return Cells(*(self._on_device(part) for part in parts))

    def class_areas(self) -> Float64[Tensor, " N C"]:
        """For each plane the area on which each class wins, ``(N, C)`` float64, in units of s t.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        (tiles, face), label = self._parts("cell"), self._labels
        areas = np.zeros((len(self), Decision.of(self.network.output_shape).count))
        np.add.at(areas, (self._plane_of_face[face], label), tiles.areas)
        return self._on_device(areas)

    def components(self) -> Components:
        """The connected pieces on which one class wins, by plane and class, and their areas.

        Cells that share an edge are connected; those that only meet at a point are not.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        tiles, face = self._parts("cell")
        shape = len(self), Decision.of(self.network.output_shape).count
        return components_of(tiles, self._plane_of_face[face], self._labels, shape, self.x.device)

    def boundaries(self) -> list[list[Boundary]]:
        """For each plane the boundaries between classes, as polylines from one junction or border to the next.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        return [list(boundaries_of(one._parts("cell")[0], one._labels, self.x.device)) for one in self]

    # ------------------------------------------------------------ elsewhere

    def segment(self, a: Array | Sequence[float], b: Array | Sequence[float]) -> PlaneSegment:
        """The segment from a to b across the one plane that this is: the faces that it crosses, and where.

        It is found in floats, from the plane's faces; ``walk(model, segment.x, segment.d, (0, 1))`` proves it.

        Args:
            a: a point (s, t).
            b: another one; the part of the segment inside of the plane's polygon counts.

        Raises:
            ValueError: this is not one plane, a or b is no point (s, t), both are the same, or they miss the polygon.
        """
        self._only()
        points = np.array([[float(number) for number in point] for point in (a, b)])
        if points.shape != (2, 2) or not np.isfinite(points).all() or (points[0] == points[1]).all():
            raise ValueError(f"a and b must be two different finite points (s, t), not {a!r} and {b!r}.")
        faces, t = crossed(self.tiles, *points)
        if not len(faces):
            raise ValueError(f"The segment from {a!r} to {b!r} does not cross the plane's polygon.")
        start, way = points[0].tolist(), (points[1] - points[0]).tolist()
        x = self.x + start[0] * self.u + start[1] * self.v
        d = way[0] * self.u + way[1] * self.v
        outputs = self._outputs_at(np.append(faces, faces[-1:]), points[0] + t[:, None] * (points[1] - points[0]))
        return PlaneSegment(x, d, self._on_device(t), self._on_device(faces), outputs)

    def to_networkx(self) -> nx.Graph:
        """The faces as nodes, by their numbers, and the edges between two faces as edges.

        A node has ``plane``, ``area`` in units of s t, and ``point``, an (s, t) inside; and where the outputs are
        logits ``label``, the class there. An edge has ``units``, the set of (gate, unit) that change their piece across
        it, and ``ends``, its two ends (s, t).
        """
        columns = {"plane": self.plane_of_face, "area": self.areas}
        if len(self.network.output_shape) == 1:
            inside = self._outputs_at(np.arange(len(self.tiles)), self.tiles.centroids)
            columns["label"] = Decision.of(self.network.output_shape).labels(inside)
        return graph(self.tiles, self.edges, columns)

    def to_dataframe(self, by: By = "face") -> Any:
        """A pandas DataFrame with a row for each face or each cell (needs pandas).

        Columns: plane, face, for cells their class, area in units of s t, input_area, the number of corners, a point
        (s, t) inside, and the logits there.

        Args:
            by: "face" or "cell".

        Raises:
            ValueError: by is neither; or cells are asked for and the outputs are no vector of logits.
        """
        tiles, face = self._parts(by)
        plane = self._plane_of_face[face]
        columns = {"plane": plane, "face": face} | ({"class": self._labels} if by == "cell" else {})
        columns["input_area"] = tiles.areas * self.parallelograms.cpu().numpy()[plane]
        return dataframe(tiles, columns, self._outputs_at(face, tiles.centroids).flatten(1).cpu().numpy())

    def to_shapely(self, by: By = "face") -> Any:
        """An array of shapely Polygons with the coordinates (s, t), one for each face or cell, in their order.

        Args:
            by: "face" or "cell".

        Raises:
            ModuleNotFoundError: shapely is not installed.
            ValueError: by is neither; or cells are asked for and the outputs are no vector of logits.
        """
        return shapely_polygons(self._parts(by)[0])

    # ------------------------------------------------------------ the whole

    @property
    def certain(self) -> Bool[Tensor, " N"]:
        """``(N,)`` bool: whether faces, edges and patterns are proven to be those of the real-valued network."""
        return torch.tensor([a.certain for a in self.answers], dtype=torch.bool, device=self.x.device)

    @property
    def settled(self) -> Bool[Tensor, " N"]:
        """``(N,)`` bool: the planes that rational arithmetic had to settle."""
        return torch.tensor([a.settled for a in self.answers], dtype=torch.bool, device=self.x.device)

    @property
    def decided_by(self) -> list[str]:
        """What proved each plane: "bounds" of the walk, "rational" arithmetic, or "nothing"."""
        none = torch.zeros_like(self.certain)
        return decided_by(self.certain, none, none, self.settled)

    @cached_property
    def tiles(self) -> Tiles:
        """The faces of all planes as plain arrays."""
        return Tiles.joined([answer.tiles for answer in self.answers])

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, which: int | slice) -> Planes:
        """One plane or some of them, numbered from 0 again."""
        if isinstance(which, int):
            if not -len(self) <= which < len(self):
                raise IndexError(f"plane {which} of {len(self)}")
            which = slice(which % len(self), which % len(self) + 1)
        if not isinstance(which, slice):
            raise TypeError(f"Planes are indexed by an integer or a slice, not {type(which).__name__}.")
        parts = {name: getattr(self, name)[which] for name in ("x", "u", "v", "polygons", "answers")}
        return replace(self, **parts)

    def __iter__(self) -> Iterator[Planes]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        count = f"{len(self)} plane{'s' * (len(self) != 1)}, {len(self.tiles)} face{'s' * (len(self.tiles) != 1)}"
        proven = f"; decided: {counted(self.decided_by)}" if len(self) else ""
        return f"Planes({count}{proven})"

    def _only(self) -> None:
        if len(self) != 1:
            raise ValueError(f"These are {len(self)} planes; choose one of them, as in planes[0].")

    def _on_device(self, numbers: Numbers) -> Tensor:
        return torch.from_numpy(numbers).to(self.x.device)

    def _outputs_at(self, faces: Integers, points: Numbers) -> Tensor:
        forms = self._forms[faces]
        made = forms[:, :, 0] + forms[:, :, 1] * points[:, :1] + forms[:, :, 2] * points[:, 1:]
        return self._on_device(made).to(self.x.dtype).view(-1, *self.network.output_shape)

    @cached_property
    def _plane_of_face(self) -> Integers:
        return np.repeat(np.arange(len(self)), [len(answer.tiles) for answer in self.answers])

    @cached_property
    def _forms(self) -> Numbers:
        if len(self) == 1:
            return self.answers[0].forms
        none = np.zeros((0, math.prod(self.network.output_shape), 3))
        return np.concatenate([none, *(answer.forms for answer in self.answers)])

    @cached_property
    def _packed(self) -> tuple[Numbers, ...]:
        if len(self) == 1:
            return self.answers[0].patterns
        none = [packed(np.zeros((0, step.units)), step.gate.piece_count) for step in self.network.gates]
        return tuple(np.concatenate(parts) for parts in zip(none, *(answer.patterns for answer in self.answers)))

    def _parts(self, by: By) -> tuple[Tiles, Integers]:
        """The faces, or the cells, of all planes, and the face that each is or belongs to."""
        if by not in get_args(By):
            raise ValueError(f"by must be one of {get_args(By)}, not {by!r}.")
        return (self.tiles, np.arange(len(self.tiles))) if by == "face" else self._cells

    @cached_property
    def _cells(self) -> tuple[Tiles, Integers]:
        Decision.of(self.network.output_shape)
        first = np.cumsum([0, *(len(answer.tiles) for answer in self.answers)])
        faces = [answer.cell_face + start for answer, start in zip(self.answers, first) if answer.cell_face is not None]
        tiles = [answer.cells for answer in self.answers if answer.cells is not None]
        return Tiles.joined(tiles), np.concatenate([np.zeros(0, dtype=np.int64), *faces])

    @cached_property
    def _labels(self) -> Integers:
        labels = [answer.cell_class for answer in self.answers if answer.cell_class is not None]
        return np.concatenate([np.zeros(0, dtype=np.int64), *labels])
