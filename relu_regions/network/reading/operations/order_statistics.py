"""Operations that sort, or take the number of some rank: sort, top-k, kth value, median."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.gates import OrderStatistic
from relu_regions.network.reading.operations.maximum import signed_maximum
from relu_regions.network.reading.operations.registry import Call, only_first_is_value, register
from relu_regions.network.steps import Step

__all__: list[str] = []


@register("sort")
def _sort(call: Call) -> list[Step]:
    options = _options(call)
    return _ranked(call, slice(None), rising=not options.get("descending", False))


@register("topk")
def _topk(call: Call) -> list[Step]:
    options = _options(call)
    if not options.get("sorted", True):
        raise call.refuse("sorted=False leaves the order of its values open; with sorted=True it is read")
    return _ranked(call, slice(options["k"]), rising=not options.get("largest", True))


@register("kthvalue")
def _kthvalue(call: Call) -> list[Step]:
    k = _options(call)["k"]
    return _ranked(call, slice(k - 1, k), rising=True)


@register("median", "nanmedian")
def _median(call: Call) -> list[Step]:
    """Of an even number the smaller one in the middle, as torch takes it."""
    middle = (only_first_is_value(call).traced[_options(call)["dim"]] - 1) // 2
    return _ranked(call, slice(middle, middle + 1), rising=True)


def _options(call: Call) -> dict[str, Any]:
    return {name: argument for name, _, argument in call.named()}


def _ranked(call: Call, chosen: slice, rising: bool) -> list[Step]:
    """The numbers along a dimension in order, some of them.

    Args:
        chosen: which places of that order.
        rising: whether the smallest comes first.
    """
    value = only_first_is_value(call)
    dimension = _options(call).get("dim", -1) % len(value.traced)
    if dimension == value.layout.axis:
        raise call.refuse("it compares the members of the batch")
    rows = torch.arange(math.prod(value.shape)).view(value.traced).movedim(dimension, -1)
    size = rows.shape[-1]
    ranks = torch.arange(size).flip(0) if rising else torch.arange(size)
    ranks = ranks[chosen].unsqueeze(-1)
    if not math.prod(call.shape):
        raise call.refuse("its result has no numbers")
    windows = rows.unsqueeze(-2).expand(*rows.shape[:-1], len(ranks), size)
    windows, ranks = (_laid_out(part, dimension) for part in (windows, ranks.expand_as(windows)))
    for rank, sign in ((0, 1.0), (size - 1, -1.0)):
        if (ranks == rank).all():
            return signed_maximum(call, [value], windows, sign)
    return [call.gate(value, OrderStatistic(windows, ranks[:, 0].contiguous()))]


def _laid_out(rows: Tensor, dimension: int) -> Tensor:
    """A row for each number of the result, in the order in which it lies, from rows with the ranks last."""
    return rows.movedim(-2, dimension).reshape(-1, rows.shape[-1])
