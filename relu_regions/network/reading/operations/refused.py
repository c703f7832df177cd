"""Operations that no walk can go through, and why."""

from __future__ import annotations

from relu_regions.network.reading.operations.registry import Call, Handler
from relu_regions.network.steps import Step

__all__ = ["REFUSED"]


_REASONS = {
    "is curved": (
        "sigmoid", "tanh", "gelu", "silu", "mish", "softplus", "elu", "celu", "selu", "exp", "log", "sqrt", "rsqrt",
        "hardswish", "softmax", "_softmax", "log_softmax", "_log_softmax", "log_sigmoid", "sin", "cos", "erf",
        "square", "logsumexp", "reciprocal", "layer_norm", "native_layer_norm", "group_norm", "native_group_norm",
        "scaled_dot_product_attention", "var", "std", "prod", "cumprod",
        "atan", "glu",
    ),
    "jumps, so it is not continuous": (
        "sign", "round", "floor", "ceil", "trunc", "hardshrink", "heaviside", "fmod", "remainder",
    ),
    "gives an answer that jumps": (
        "gt", "lt", "ge", "le", "eq", "ne", "argmax", "argmin", "topk",
    ),
    "indexes by data": ("embedding", "nonzero", "masked_select"),
}  # fmt: skip


def _refusal(reason: str) -> Handler:
    def refuse(call: Call) -> list[Step]:
        raise call.refuse(f"{call.origin.operation} {reason}")

    return refuse


REFUSED: dict[str, Handler] = {name: _refusal(why) for why, names in _REASONS.items() for name in names}
