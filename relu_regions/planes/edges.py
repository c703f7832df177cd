"""The sides of faces, and which units change their piece across each."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from relu_regions.backends.points import Flips
from relu_regions.network.arrays import Integers, Numbers
from relu_regions.planes.tiles import Tiles

__all__ = ["Edges", "edges_of"]


@dataclass(frozen=True, eq=False, repr=False)
class Edges:
    """The sides of faces, each once.

    Attributes:
        vertices: ``(E, 2)`` int64, numbers of the vertices at the two ends.
        faces: ``(E, 2)`` int64, the face to the left from the first end to the second, and the face to the right, which
            is -1 on the border of the plane's polygon.
        plane: ``(E,)`` int64, number of the plane.
        flips: the units that change their piece from the first face to the second, in order of edge, gate and unit;
            ``flips.row`` is the edge.
    """

    vertices: Int64[Tensor, " E 2"]
    faces: Int64[Tensor, " E 2"]
    plane: Int64[Tensor, " E"]
    flips: Flips

    def __len__(self) -> int:
        return len(self.plane)

    def __repr__(self) -> str:
        return f"Edges({len(self)}, {int((self.faces[:, 1] < 0).sum())} of them on the border)"


def edges_of(
    tiles: Tiles, patterns: tuple[Numbers, ...], two: tuple[bool, ...], plane: Integers, device: torch.device
) -> Edges:
    """The sides of faces, with flips from the patterns on both sides.

    Args:
        tiles: the faces.
        patterns: for each gate the pieces on each face, as ``tiles.packed`` keeps them.
        two: whether a gate has two pieces, so that its pieces are bits.
        plane: ``(F,)`` int64, of each face.
        device: of the answer.
    """
    inner = np.flatnonzero(tiles.beside[:, 1] >= 0)
    flips = [Flips.none(torch.device("cpu"))]
    for gate, (kept, bits) in enumerate(zip(patterns, two)):
        row, *parts = _changes(kept, tiles.beside[inner], bits)
        flips.append(Flips.of_gate(gate, *(torch.from_numpy(part) for part in (inner[row], *parts))))
    found = Flips.joined(flips).ordered()
    ends, beside, of_edge = (
        torch.from_numpy(part).to(device) for part in (tiles.ends, tiles.beside, plane[tiles.beside[:, 0]])
    )
    return Edges(ends, beside, of_edge, Flips(*(getattr(found, part.name).to(device) for part in fields(found))))


def _changes(kept: Numbers, beside: Integers, bits: bool) -> tuple[Integers, Integers, Integers, Integers]:
    """Rows of beside, units, and the pieces before and after, where these differ."""
    row, place = np.nonzero(kept[beside[:, 0]] != kept[beside[:, 1]])
    before, after = (kept[beside[row, side], place] for side in (0, 1))
    if bits:
        # Each place is a byte of eight units, the first in the highest bit.
        which, bit = np.nonzero(np.unpackbits((before ^ after)[:, None], axis=1))
        row, place, shift = row[which], 8 * place[which] + bit, 7 - bit
        before, after = ((byte[which] >> shift) & 1 for byte in (before, after))
    return row, place, before.astype(np.int64), after.astype(np.int64)
