"""Batch norm in eval mode: a scale and a shift for each channel, rounded to the nearest float64 once."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

from relu_regions.network.reading.operations.registry import Call, register
from relu_regions.network.reading.operations.values import Value
from relu_regions.network.steps import Step

__all__ = ["scales_and_shifts"]


@register(
    "batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm", "instance_norm",
    row_by_row=True,
)  # fmt: skip
def _batch_norm(call: Call) -> list[Step]:
    value, weight, bias, mean, variance = call.args[:5]
    if not isinstance(value, Value):
        raise call.refuse("its running statistics depend on the network's input")
    if call.origin.operation == "instance_norm" and (call.args[5] or mean is None):
        raise call.refuse(
            "instance normalisation by the statistics of its input divides by them, so it is curved; it is read with "
            "track_running_stats=True and statistics, or give it up for batch normalisation"
        )
    if call.origin.operation != "_native_batch_norm_legit_no_training" and call.args[5]:
        raise call.refuse("batch normalisation in training mode depends on the whole batch; call model.eval()")
    if mean is None or variance is None:
        raise call.refuse("batch normalisation without running statistics depends on the whole batch")
    epsilon = float(call.args[6] if call.origin.operation == "_native_batch_norm_legit_no_training" else call.args[7])
    if not (variance + epsilon > 0).all():
        raise call.refuse("a running variance is so far below 0 that it has no root")
    scale, shift = scales_and_shifts(weight, bias, mean, variance, epsilon)
    channels = (-1, *[1] * (len(value.shape) - 1))
    details = {"constants": (scale.view(channels),), "bias": shift.view(channels), "elementwise": True}
    return [call.affine([value], torch.mul, **details, fused=_scaled_and_shifted)]


def _scaled_and_shifted(points: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, points, scale)


def scales_and_shifts(
    weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """w / √(v + ε) and b − m w / √(v + ε) of every channel.

    Args:
        weight, bias, mean, variance: ``(channels,)`` each; a weight of None is 1, a bias of None is 0.
        epsilon: what is added to the variance; the sums are positive.

    Returns:
        ``(channels,)`` float64 each, the floats next to the real numbers.
    """
    columns = [
        [filling] * len(mean) if tensor is None else tensor.tolist()
        for tensor, filling in ((weight, 1.0), (bias, 0.0), (mean, 0.0), (variance, 0.0))
    ]
    pairs = [_of_channel(w, b, m, v, epsilon) for w, b, m, v in zip(*columns)]
    scale, shift = (torch.tensor(numbers, dtype=torch.float64, device=mean.device) for numbers in zip(*pairs))
    return scale, shift


def _of_channel(w: float, b: float, m: float, v: float, epsilon: float) -> tuple[float, float]:
    bits = 128
    while True:
        low, high, exponent = _scale(abs(w), v, epsilon, bits)
        roots = (low, high) if w >= 0 else (-low, -high)
        scale, other_scale = (root / (1 << exponent) for root in roots)
        shift, other_shift = (_shift(b, m, root, exponent) for root in roots)
        # Rounding keeps order: what both bounds round to, the number between them rounds to as well.
        if scale == other_scale and shift == other_shift:
            return scale, shift
        bits *= 2  # an irrational number lies on no boundary between two floats


def _scale(w: float, v: float, epsilon: float, bits: int) -> tuple[int, int, int]:
    """Bounds of w / √(v + ε), at least so many bits long, over a power of two; equal if they are exact."""
    (w_top, w_exponent), (v_top, v_exponent), (e_top, e_exponent) = map(_dyadic, (w, v, epsilon))
    exponent = max(v_exponent, e_exponent)
    variance = (v_top << (exponent - v_exponent)) + (e_top << (exponent - e_exponent))
    # (w / √variance)² = top / (bottom 2^(2 w_exponent − exponent))
    top, bottom = w_top * w_top, variance
    places = max(w_exponent, bits - (top.bit_length() - bottom.bit_length() + exponent - 2 * w_exponent) // 2)
    scaled, rest = divmod(top << (2 * places + exponent - 2 * w_exponent), bottom)
    root = isqrt(scaled)
    return root, root + (rest != 0 or root * root != scaled), places


def _shift(b: float, m: float, root: int, exponent: int) -> float:
    (b_top, b_exponent), (m_top, m_exponent) = _dyadic(b), _dyadic(m)
    places = max(b_exponent, m_exponent + exponent)
    numerator = (b_top << (places - b_exponent)) - ((m_top * root) << (places - m_exponent - exponent))
    return numerator / (1 << places)


def _dyadic(number: float) -> tuple[int, int]:
    """An integer and the power of two below it."""
    top, bottom = number.as_integer_ratio()
    return top, bottom.bit_length() - 1
