"""The arrays that loops for planes read and fill, in groups that go through one parameter.

The loops make no arrays, so that numba compiles them without counting references, in much less time. Where a loop is
short of room it stops, and goes on in twice the room from where it stopped.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np

from relu_regions.backends.plane_cuts import Cut, Polygons
from relu_regions.network.arrays import Numbers

__all__ = [
    "DONE",
    "DOUBT",
    "FACE",
    "OPEN",
    "PARTS",
    "PARTS_SHORT",
    "ROOM_SHORT",
    "STEP",
    "WAITING",
    "Corners",
    "Extremes",
    "Faces",
    "KnotRoom",
    "LeadRoom",
    "Leading",
    "Made",
    "Parts",
    "enlarged",
]

Group = TypeVar("Group", bound=tuple[Any, ...])

# How numba compiles what only loops call: without the two forms that Python and C would call, which unpack every group
# of arrays and take a third of the time.
STEP: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
# How a loop ends: done; a sign in doubt; short of room for parts that are made, or for those that wait.
DONE, DOUBT, PARTS_SHORT, ROOM_SHORT = 0, 1, 2, 3
# What a loop counts: the face it is at; the parts made; of this face the parts that wait, and the lines that cross it
# or the windows that are open.
FACE, PARTS, WAITING, OPEN = 0, 1, 2, 3
# How many parts may wait before room is short, and corners of theirs.
_FRAMES, _CORNERS = 64, 512


class Corners(NamedTuple):
    """Corners as Polygons has them: numbers, ``(K, 8)``, and names, ``(K, 3)``."""

    numbers: Numbers
    names: Numbers

    @classmethod
    def of(cls, places: int) -> Corners:
        """Room for so many."""
        return cls(np.empty((places, 8)), np.empty((places, 3), np.uint64))


class Faces(NamedTuple):
    """The polygons of faces: face f has the corners ``offsets[f]`` to ``offsets[f + 1]``."""

    offsets: Numbers
    corners: Corners

    @classmethod
    def of(cls, polygons: Polygons) -> Faces:
        """The same polygons."""
        return cls(polygons.offsets, Corners(polygons.numbers, polygons.names))


class Parts(NamedTuple):
    """Room for parts, one behind the other.

    Attributes:
        parents: the face that each is of.
        ends: part p has the corners ``ends[p]`` to ``ends[p + 1]``.
        corners: of all parts.
        pieces: ``(room, units)``.
    """

    parents: Numbers
    ends: Numbers
    corners: Corners
    pieces: Numbers


class Made(NamedTuple):
    """What a loop makes, as far as it is.

    Attributes:
        counts: ``(4,)``: at FACE the next face, at PARTS how many parts there are, at WAITING and OPEN what is left of
            that face.
        doubt: ``(F,)``, the faces on which a sign was in doubt.
        parts: of the others.
    """

    counts: Numbers
    doubt: Numbers
    parts: Parts

    @classmethod
    def of(cls, polygons: Polygons, units: int, dtype: type[np.generic]) -> Made:
        """Nothing so far, with room for twice as many corners as the faces have."""
        faces, corners = len(polygons), len(polygons.numbers)
        room = 2 * faces + 8
        parts = Parts(
            np.empty(room, np.int64),
            np.zeros(room + 1, np.int64),
            Corners.of(2 * corners + 64),
            np.empty((room, units), dtype),
        )
        return cls(np.zeros(4, np.int64), np.zeros(faces, np.bool_), parts)

    def cut(self) -> Cut:
        """The parts, without the room that is left."""
        count = int(self.counts[PARTS])
        ends = self.parts.ends[: count + 1].copy()
        corners = slice(int(ends[-1]))
        made = Polygons(ends, self.parts.corners.numbers[corners].copy(), self.parts.corners.names[corners].copy())
        return Cut(self.parts.parents[:count].copy(), made, self.parts.pieces[:count].copy(), self.doubt)


class Extremes(NamedTuple):
    """What is said of each unit on one face, ``(units,)``.

    Attributes:
        low, high: its smallest and largest height over a knot at the corners.
        gap: by how much its signs are sure there, at least.
        bound: of its height's error.
        base: its piece where it is below all lines that cross the face.
    """

    low: Numbers
    high: Numbers
    gap: Numbers
    bound: Numbers
    base: Numbers

    @classmethod
    def of(cls, units: int, dtype: type[np.generic]) -> Extremes:
        """Room for so many units."""
        return cls(np.empty(units), np.empty(units), np.empty(units), np.empty(units), np.empty(units, dtype))


class KnotRoom(NamedTuple):
    """Room for the parts of one face that wait to be cut further, one behind the other.

    Attributes:
        corners: of the parts, the one that is cut next last, and behind it room for its halves.
        heights: of one line at the corners of a part.
        units, lines, labels: the lines that cross the face: of which unit, a, b, c, e, ``(room, 4)``, and labels.
        left: numbers of lines, those that cross a part together.
        sides: 1 for each line that a part is above of; a row for each part.
        frames: of each part the first corner, how many it has, the first of its lines in ``left``, how many there are.
    """

    corners: Corners
    heights: Numbers
    units: Numbers
    lines: Numbers
    labels: Numbers
    left: Numbers
    sides: Numbers
    frames: Numbers

    @classmethod
    def of(cls) -> KnotRoom:
        """Room to begin with."""
        return cls(
            Corners.of(_CORNERS),
            np.empty(_CORNERS),
            np.empty(_FRAMES, np.int64),
            np.empty((_FRAMES, 4)),
            np.empty(_FRAMES, np.uint64),
            np.empty(16 * _FRAMES, np.int64),
            np.empty(64 * _FRAMES, np.uint8),
            np.empty((_FRAMES, 4), np.int64),
        )


class Leading(NamedTuple):
    """What is said of a maximum on one face.

    Attributes:
        bound: of each input's error, that of evaluating it included, ``(inputs,)``.
        units, counts: those of which more than one input may lead somewhere on the face, and how many may,
            ``(units,)``.
        places: which inputs of the windows these are, ``(units, k)``.
        found: room for places of one window, ``(k,)``.
    """

    bound: Numbers
    units: Numbers
    counts: Numbers
    places: Numbers
    found: Numbers

    @classmethod
    def of(cls, inputs: int, units: int, width: int) -> Leading:
        """Room for so many inputs, and windows of one width."""
        return cls(
            np.empty(inputs),
            np.empty(units, np.int64),
            np.empty(units, np.int64),
            np.empty((units, width), np.int64),
            np.empty(width, np.int64),
        )


class LeadRoom(NamedTuple):
    """Room for the parts of one face that wait to be divided further, one behind the other.

    Attributes:
        corners: of the parts, the one that is divided next last, and behind it room for its regions.
        origins: for each corner of a region which edge of the part its edge is on, or -1 less the place that takes over
            there.
        heights: of one form at the corners of a part.
        frames: of each part the first corner, how many it has, and the next of the open windows.
        pieces: of each part, ``(room, units)``.
    """

    corners: Corners
    origins: Numbers
    heights: Numbers
    frames: Numbers
    pieces: Numbers

    @classmethod
    def of(cls, units: int) -> LeadRoom:
        """Room to begin with."""
        return cls(
            Corners.of(_CORNERS),
            np.empty(_CORNERS, np.int64),
            np.empty(_CORNERS),
            np.empty((_FRAMES, 3), np.int64),
            np.empty((_FRAMES, units), np.int32),
        )


def enlarged(group: Group) -> Group:
    """The same numbers with twice the room in each array, those of groups in the group included."""

    def larger(part: Any) -> Any:
        if isinstance(part, tuple):
            return enlarged(part)
        room = np.zeros((2 * len(part), *part.shape[1:]), part.dtype)
        room[: len(part)] = part
        return room

    return type(group)(*map(larger, group))
