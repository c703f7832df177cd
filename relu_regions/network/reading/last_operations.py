"""Softmax and its like at the end of a model: they keep the class, and ``output="logits"`` leaves them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.reading.operations.constants import operation_name

__all__ = ["LOGITS", "advice", "logits_of"]

LOGITS = "logits"
# In the norm of the largest number none of these changes by more than twice what its input does.
_ALONG_AXIS = {"softmax", "_softmax", "log_softmax", "_log_softmax"}
_KEEPING_CLASS = {*_ALONG_AXIS, "sigmoid", "log_sigmoid", "logsigmoid"}


def logits_of(node: torch.fx.Node) -> tuple[torch.fx.Node, Callable[[Tensor], Tensor] | None]:
    """The node before the operations at the end that keep the class, and these as a function, if there are any."""
    last: list[torch.fx.Node] = []
    while _keeps_class(node):
        last.insert(0, node)
        node = node.args[0]  # type: ignore[assignment]

    def finished(values: Tensor) -> Tensor:
        for one in last:
            options = {name: given for name, given in one.kwargs.items() if not isinstance(given, torch.dtype)}
            rest = [given for given in one.args[1:] if not isinstance(given, torch.dtype)]
            values = one.target(values, *rest, **options)  # type: ignore[operator]
        return values

    return node, finished if last else None


def _keeps_class(node: Any) -> bool:
    if not isinstance(node, torch.fx.Node) or node.op != "call_function":
        return False
    name = operation_name(node.target)
    return name in _KEEPING_CLASS and (name not in _ALONG_AXIS or _is_over_classes(node))


def _is_over_classes(node: torch.fx.Node) -> bool:
    """Whether a softmax compares several numbers of one point: over the batch it does not keep which is the largest."""
    made, dimension = node.meta["val"], node.args[1] if len(node.args) > 1 else node.kwargs["dim"]
    axis = dimension % made.ndim
    return bool(axis != 0 and made.shape[axis] > 1)


def advice(node: Any) -> str:
    """What to do about an output that comes from such an operation; empty for others."""
    if not _keeps_class(node):
        return ""
    name = operation_name(node.target).lstrip("_")
    return (
        f"\nA {name} at the end is no part of what decides the class: walk the logits before it, with "
        'relu_regions.Network.from_module(model, input_shape, output="logits").'
    )
