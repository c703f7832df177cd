"""RegionTable: the regions that segments cross, and the pattern of each, from the units that flip between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from relu_regions.backends.points import Flips

__all__ = ["RegionTable"]


@dataclass(frozen=True)
class RegionTable:
    """The regions that N segments cross, numbered segment by segment.

    Attributes:
        offsets: ``(N + 1,)`` int64. Segment i has the points ``offsets[i]`` to ``offsets[i + 1]``, and between two
            neighbouring ones a region.
        first_patterns: for each gate ``(N, units)`` int64, the pieces in each segment's first region.
        flips: the units that change their piece, in order of point, gate and unit; ``flips.row`` is the point.
    """

    offsets: Tensor
    first_patterns: tuple[Tensor, ...]
    flips: Flips

    def __len__(self) -> int:
        return int(self.offsets[-1]) - len(self.offsets) + 1

    @property
    def counts(self) -> Tensor:
        """``(N,)`` int64: how many regions each segment crosses."""
        return self.offsets.diff() - 1

    @property
    def region_offsets(self) -> Tensor:
        """``(N + 1,)`` int64: the regions of segment i are ``region_offsets[i]`` to ``region_offsets[i + 1]``."""
        return self.offsets - torch.arange(len(self.offsets), device=self.offsets.device)

    def numbers(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The numbers of consecutive regions, by default of all."""
        return torch.arange(start, len(self) if stop is None else stop, device=self.offsets.device)

    def segments(self, regions: Tensor) -> Tensor:
        """The segments that regions lie on, ``(R,)`` int64."""
        return torch.bucketize(regions, self.region_offsets[1:], right=True)

    def opening_points(self, regions: Tensor) -> Tensor:
        """The points that open regions, ``(R,)`` int64; the next point ends each."""
        return regions + self.segments(regions)

    def flips_between(self, first_row: int, last_row: int) -> tuple[Flips, Tensor]:
        """The flips at points first_row to last_row, the last included.

        Returns:
            The flips, in order, and the number of the region that each of them opens, ``(F,)`` int64.
        """
        ends = torch.tensor([first_row, last_row + 1], device=self.offsets.device)
        lower, upper = torch.searchsorted(self.flips.row, ends).tolist()
        flips = self.flips[torch.arange(lower, upper, device=ends.device)]
        return flips, flips.row - torch.bucketize(flips.row, self.offsets[1:], right=True)

    def patterns(self, regions: Tensor) -> tuple[Tensor, ...]:
        """The activation patterns of regions, for each gate ``(R, units)`` int64: the piece of every unit.

        Args:
            regions: their numbers, ``(R,)`` in increasing order.
        """
        if not len(regions):
            return tuple(first[:0] for first in self.first_patterns)
        segment = self.segments(regions)
        # Where a run of regions of one segment begins, and the run of each region.
        head = torch.cat([segment.new_zeros(1), segment.diff().nonzero()[:, 0] + 1])
        run = torch.bucketize(torch.arange(len(segment), device=segment.device), head[1:], right=True)
        flips, region = self.flips_between(int(self.offsets[segment[0]]), int(regions[-1] + segment[-1]))
        # A flip counts from the first of these regions on that is not before it, if that is of the same segment.
        place = torch.searchsorted(regions, region)
        counts = segment[place] == flips.row - region
        flips, place = flips[counts], place[counts]
        result = []
        for gate, first in enumerate(self.first_patterns):
            here = flips.gate == gate
            # The changes of one unit's piece telescope, so their running sum is its piece, in integers. Units come
            # first here because running sums are several times faster along the last dimension.
            total = first.new_zeros(first.shape[1], len(segment))
            total.index_put_((flips.unit[here], place[here]), (flips.after - flips.before)[here], accumulate=True)
            total = total.cumsum(1).T
            base = first[segment[head]]
            base[1:] -= total[head[1:] - 1]
            result.append(base[run] + total)
        return tuple(result)
