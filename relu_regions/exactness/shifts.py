"""How far the bends of a gate may be from the true ones, and what that leaves open of their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from relu_regions.backends import Placement
from relu_regions.network.rounding_constants import APART

__all__ = ["Shifts", "beside", "near_zero"]


@dataclass(frozen=True)
class Shifts:
    """What bounds the bends of a gate.

    Attributes:
        relative, absolute: how far each crossing may be from the true one, ``(K,)``: relative to its interval, and in
            t.
        size: the largest number of the gate's input at each of the points there were, ``(P,)``.
    """

    relative: Tensor
    absolute: Tensor
    size: Tensor

    def out_of_order(self, placed: Placement, same: Callable[[Tensor], Tensor]) -> Tensor:
        """The intervals in which the order of two crossings is not certain.

        Args:
            same: says of crossings, ``(B,)`` int64, whether they coincide by construction with those before them.
        """
        row, place = placed.crossings.row, placed.crossings.right
        if len(row) < 2:
            return row[:0]
        shared = placed.crossing_row[1:] == placed.crossing_row[:-1]
        close = ~(place.diff() > APART * (self.relative[1:] + self.relative[:-1])) | shared
        close &= row[1:] == row[:-1]
        (open_,) = close.nonzero(as_tuple=True)
        if len(open_):
            open_ = open_[~(shared[open_] & same(open_ + 1))]
        return row[open_ + 1]


def beside(error: Tensor) -> Tensor:
    """The largest bound of each row and its neighbours: that of the curve on either side."""
    result = error.clone()
    result[1:] = torch.maximum(result[1:], error[:-1])
    result[:-1] = torch.maximum(result[:-1], error[1:])
    return result


def near_zero(most: Tensor, least: Tensor, bound: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The rows whose extremes leave open whether some number is as small as its bounds allow for, ``(P,)`` bool.

    No number changes over an interval by more than the largest ones at its ends add up to, and rounding keeps that
    order.

    Args:
        most, least: the largest and the smallest absolute number of each row, ``(P,)``; the rest as rows_in_doubt.
    """
    change, allowed = most[1:] + most[:-1], bound.clone()
    allowed[:-1] = torch.maximum(allowed[:-1], bound[:-1] + after[:-1] * change)
    allowed[1:] = torch.maximum(allowed[1:], bound[1:] + before[1:] * change)
    near: Tensor = ~(least > allowed)
    return near
