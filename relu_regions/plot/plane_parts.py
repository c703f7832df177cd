"""What pictures of planes show: one plane's polygons as arrays, and where they lie on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import torch

from relu_regions.exactness.rational.planes.plane import RationalPlane
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import Array
from relu_regions.network.arrays import Floats, Integers
from relu_regions.planes.cells import Boundary, boundaries_of
from relu_regions.planes.planes import Planes
from relu_regions.planes.tiles import PlaneFaces, Tiles
from relu_regions.plot import drawing
from relu_regions.regions.norms import Norm

__all__ = ["Colour", "OnePlane", "Shown"]

OnePlane: TypeAlias = Planes | RationalPlane
Colour: TypeAlias = Literal["class", "norm", "region", "margin"]


class Shown:
    """One plane as a picture shows it.

    Attributes:
        faces: as tiles.
        axes: what s and t are on the picture's axes, ``(2, 2)``: one along u, one across it, in units of the input.
        output_shape: of the network.
    """

    def __init__(self, plane: OnePlane) -> None:
        """Take one plane.

        Raises:
            ValueError: these are more planes than one, or none.
        """
        if isinstance(plane, Planes) and len(plane) != 1:
            raise ValueError(f"A picture shows one plane, these are {len(plane)}; choose one, as in planes[0].")
        self._plane = plane
        u, v = (drawing.as_floats(direction).reshape(-1) for direction in (plane.u, plane.v))
        length = np.linalg.norm(u)
        along = float(u @ v / length)
        self.axes: Floats = np.array([[length, 0.0], [along, np.linalg.norm(v - along * u / length)]])
        self.output_shape = plane.output_shape if isinstance(plane, RationalPlane) else plane.network.output_shape
        self._answer = PlaneFaces.of_rational(plane, None) if isinstance(plane, RationalPlane) else plane.answers[0]
        self.faces = self._answer.tiles

    @property
    def heading(self) -> str:
        """How many regions there are; and that they are not proven, where they are not."""
        count = len(self.faces)
        proven = isinstance(self._plane, RationalPlane) or bool(self._plane.certain.all())
        return f"{count:,} region{'s' * (count > 1)}{'' if proven else ', not proven'}"

    @cached_property
    def decision(self) -> Decision:
        """Which class wins.

        Raises:
            ValueError: the outputs are no vector of logits.
        """
        return Decision.of(self.output_shape)

    @property
    def has_network(self) -> bool:
        """Whether there is a network to ask for norms."""
        return isinstance(self._plane, Planes)

    @property
    def has_classes(self) -> bool:
        """Whether the outputs are logits."""
        return len(self.output_shape) == 1

    @property
    def cells(self) -> tuple[Tiles, Integers, Integers]:
        """The cells as tiles, their faces and their classes.

        Raises:
            ValueError: the outputs are no vector of logits.
        """
        _ = self.decision
        answer = self._answer
        assert answer.cells is not None and answer.cell_face is not None and answer.cell_class is not None
        return answer.cells, answer.cell_face, answer.cell_class

    @property
    def forms(self) -> Floats:
        """``(F, C, 3)``: each output as (constant, slope by s, slope by t)."""
        return self._answer.forms

    @property
    def boundaries(self) -> list[Boundary]:
        """Between classes, as polylines (s, t)."""
        tiles, _, label = self.cells
        return list(boundaries_of(tiles, label, torch.device("cpu")))

    def shares(self) -> Floats:
        """``(classes,)``: of the area, for each class."""
        tiles, _, label = self.cells
        areas = np.bincount(label, weights=tiles.areas, minlength=self.decision.count)
        return np.asarray(areas / math.fsum(tiles.areas.tolist()))

    def outputs(self, faces: Integers, points: Floats) -> Floats:
        """``(P, C)``: the outputs at points (s, t), one on each of some faces."""
        forms = self.forms[faces]
        return np.asarray(forms[:, :, 0] + forms[:, :, 1] * points[:, :1] + forms[:, :, 2] * points[:, 1:])

    def margins(self, faces: Integers, labels: Integers, points: Floats) -> Floats:
        """``(P,)``: by how much classes lead at points."""
        outputs = torch.from_numpy(self.outputs(faces, points))
        return self.decision.margins(outputs, torch.from_numpy(labels)).numpy().clip(0)

    def norms(self, p: Norm) -> Floats:
        """``(F,)``: the norm of each face's W.

        Raises:
            ValueError: the plane is one of rational arithmetic, which keeps no network; or p is no known norm.
        """
        if isinstance(self._plane, RationalPlane):
            raise ValueError('A RationalPlane keeps no network to ask for norms; draw a plane of "walk_plane".')
        return drawing.as_floats(self._plane.norms(p))

    def placed(self, tiles: Tiles) -> list[Floats]:
        """For each polygon its corners on paper, ``(corners, 2)``."""
        return np.split(tiles.vertices[tiles.corners] @ self.axes, tiles.offsets[1:-1])

    def marked(self, samples: Array | Sequence[Sequence[float]]) -> Floats:
        """``(M, 2)``: points (s, t) on paper.

        Raises:
            ValueError: they are no finite points (s, t).
        """
        points = drawing.as_floats(samples) if isinstance(samples, Array) else np.array(samples, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError(f"samples must be finite points (s, t), shape (M, 2), got shape {points.shape}")
        return np.asarray(points @ self.axes)

    def names(self, class_names: Sequence[str] | None) -> list[str]:
        """A name for each class; by default "class 0" and so on.

        Raises:
            ValueError: a name is missing.
        """
        count = self.decision.count
        if class_names is None:
            return [f"class {label}" for label in range(count)]
        if len(class_names) != count:
            raise ValueError(f"class_names must name {count} classes, got {len(class_names)} names")
        return [str(name) for name in class_names]
