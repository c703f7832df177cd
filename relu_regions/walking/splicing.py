"""Splice: puts lines that were settled in the places of those that were in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from relu_regions.backends.memory import room
from relu_regions.backends.points import Flips

__all__ = ["Splice", "with_rows"]


def with_rows(old: Tensor, numbers: Sequence[int], new: Tensor | bool) -> Tensor:
    """A copy with some rows replaced, such as those of lines that were settled.

    Args:
        old: ``(N, *shape)``.
        numbers: of the rows, K of them.
        new: ``(K, *shape)`` of any device, or what all of them become.
    """
    result = old.clone()
    rows = torch.tensor(numbers, dtype=torch.int64, device=old.device)
    result[rows] = new.to(old) if isinstance(new, Tensor) else new
    return result


@dataclass(frozen=True)
class Splice:
    """Some segments of a batch get other points, and another number of them.

    Attributes:
        numbers: of the segments, in increasing order.
        offsets: ``(N + 1,)`` int64, where the points of each segment begin afterwards.
        place: ``(P,)`` int64, the row of each point of before, -1 for those that go.
        fresh: ``(F,)`` int64, the rows of the new points.
    """

    numbers: Sequence[int]
    offsets: Tensor
    place: Tensor
    fresh: Tensor

    @classmethod
    def of(cls, offsets: Tensor, numbers: Sequence[int], counts: Sequence[int]) -> Splice:
        """Make room for new points.

        Args:
            offsets: ``(N + 1,)`` int64, where the points of each segment begin now.
            numbers: of the segments that get new points, in increasing order.
            counts: how many each of these gets.
        """
        now = offsets.diff()
        after = with_rows(now, numbers, torch.tensor(counts))
        goes = with_rows(torch.zeros_like(now, dtype=torch.bool), numbers, True)
        fresh = goes.repeat_interleave(after)
        place = torch.full_like(goes.repeat_interleave(now), -1, dtype=torch.int64)
        place[~goes.repeat_interleave(now)] = (~fresh).nonzero()[:, 0]
        return cls(numbers, torch.nn.functional.pad(after.cumsum(0), (1, 0)), place, fresh.nonzero()[:, 0])

    def points(self, old: Tensor, new: Sequence[Tensor]) -> Tensor:
        """Numbers of points, ``(P, *shape)``, with those of the segments that get new ones."""
        kept, result = self.place >= 0, room((int(self.offsets[-1]), *old.shape[1:]), old.dtype, old.device)
        result[self.place[kept]], result[self.fresh] = old[kept], torch.cat(list(new))
        return result

    def flips(self, old: Flips, new: Sequence[Flips]) -> Flips:
        """The flips in order; ``row`` of the new ones counts their segment's own points."""
        starts = self.offsets[torch.tensor(self.numbers, device=self.offsets.device)]
        fresh = [replace(flips, row=flips.row + start) for flips, start in zip(new, starts)]
        return self.placed(old, *fresh)

    def placed(self, old: Flips, *fresh: Flips) -> Flips:
        """The flips in order; ``row`` of the fresh ones counts all points afterwards."""
        moved = replace(old, row=self.place[old.row])
        return Flips.joined([moved[moved.row >= 0], *fresh]).ordered()
