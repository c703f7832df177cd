"""Products of one value and constants, whatever their indices: linear in the value, and in each constant."""

from __future__ import annotations

import torch
from torch import Tensor

from relu_regions.network.reading.operations.registry import Call, check_members, register, replay
from relu_regions.network.reading.operations.values import values_in
from relu_regions.network.steps import Step

__all__: list[str] = []


@register("einsum", "tensordot", "mv", "dot", "vdot", "inner", "outer", "linalg_vecdot", "kron")
def _product(call: Call) -> list[Step]:
    values = values_in(list(call.args))
    if len(values) != 1:
        raise call.refuse(
            "it multiplies two tensors that both depend on the network's input, which is not piecewise linear"
        )
    constants = [
        tensor
        for _, _, given in call.named()
        for tensor in (given if isinstance(given, (list, tuple)) else [given])
        if isinstance(tensor, Tensor)
    ]
    multiplied = replay(call, values, constants)
    ones = [torch.ones_like(constant, dtype=torch.float64) for constant in constants]
    check_members(call, values, lambda points: multiplied(points, *ones))
    most = multiplied(torch.ones(1, *values[0].shape, dtype=torch.float64), *ones).max()
    details = {"constants": tuple(constant.to(torch.float64) for constant in constants), "terms": int(most)}
    return [call.affine(values, multiplied, **details)]
