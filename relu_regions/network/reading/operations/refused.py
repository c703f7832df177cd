"""Operations that no walk can go through: why, and what comes closest to one that can."""

from __future__ import annotations

from typing import NamedTuple

from relu_regions.network.reading.operations.registry import Call, Handler
from relu_regions.network.steps import Step

__all__ = ["REASONS", "REFUSED", "Reason"]


class Reason(NamedTuple):
    """Why operations are refused.

    Attributes:
        why: what they do that no walk goes through.
        instead: what comes closest to them.
        names: of the operations.
    """

    why: str
    instead: str
    names: tuple[str, ...]


_CURVED = "is curved, so there is no finite list of breakpoints"
REASONS = (
    Reason(
        _CURVED,
        "What comes closest is a piecewise-linear activation in its place (ReLU, LeakyReLU, Hardtanh, Hardsigmoid, "
        "ReLU6), trained on for a while",
        (
            "sigmoid", "tanh", "gelu", "silu", "mish", "softplus", "elu", "celu", "selu", "hardswish",
            "log_sigmoid", "glu",
        ),
    ),
    Reason(
        _CURVED,
        "What comes closest are attention weights frozen as constants, or a maximum or an average in their place",
        ("softmax", "_softmax", "log_softmax", "_log_softmax", "scaled_dot_product_attention"),
    ),
    Reason(
        "divides by statistics of its input, so it is curved",
        "What comes closest are frozen statistics, which make it affine, or batch norm in its place",
        (
            "layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "var", "std", "rms_norm",
            "_fused_rms_norm",
        ),
    ),
    Reason(
        _CURVED,
        "What comes closest is its tangent, an affine map, or a piecewise-linear function in its place",
        (
            "exp", "log", "sqrt", "rsqrt", "sin", "cos", "erf", "square", "logsumexp", "reciprocal", "prod", "cumprod",
            "atan", "lstm", "gru", "lstm_cell", "gru_cell", "rnn_tanh", "rnn_tanh_cell",
        ),
    ),
    Reason(
        "jumps, so it is not continuous",
        "Leave it out of the model that is walked, or put a clamp in its place",
        ("sign", "round", "floor", "ceil", "trunc", "hardshrink", "heaviside", "fmod", "remainder"),
    ),
    Reason(
        "gives an answer that jumps",
        "Comparisons are read in where(x > c, f(x), g(x)) if both sides meet at c; a clamp or a maximum is read too",
        ("gt", "lt", "ge", "le", "eq", "ne", "argmax", "argmin"),
    ),
    Reason(
        "gives positions, which jump",
        "Sorted values, those of topk, kthvalue and median are read",
        ("argsort", "mode"),
    ),
    Reason(
        "indexes by data, so it jumps",
        "Indices and masks that are constant are read",
        ("embedding", "nonzero", "masked_select"),
    ),
)  # fmt: skip


def _refusal(reason: Reason) -> Handler:
    def refuse(call: Call) -> list[Step]:
        raise call.refuse(f"{call.origin.operation} {reason.why}. {reason.instead}")

    return refuse


REFUSED: dict[str, Handler] = {name: _refusal(reason) for reason in REASONS for name in reason.names}
