"""Nodes that onnx2fx 0.0.1 makes something else of, by an option that it takes no notice of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper

__all__ = ["is_misread", "is_resized_wrongly"]

Integers = npt.NDArray[np.int64]


def is_misread(node: onnx.NodeProto) -> bool:
    """Whether a node's options alone say that it would be read wrongly."""
    options = _options(node)
    return (
        (node.op_type == "Pad" and options.get("mode") == b"wrap")
        or (node.op_type == "ConvTranspose" and "output_shape" in options)
        or (node.op_type == "SpaceToDepth" and options.get("mode", b"DCR") != b"DCR")
        or (node.op_type == "Upsample" and options.get("mode", b"nearest") != b"nearest")
    )


def is_resized_wrongly(
    node: onnx.NodeProto,
    shape: Sequence[int],
    made: Sequence[int],
    constants: Mapping[str, onnx.TensorProto],
) -> bool:
    """Whether torch resizes otherwise than the node says.

    torch knows the sizes before and after. Where these are what the stated scales make of each other, linear and cubic
    resizing is the same for half pixels and aligned corners; of the nearest number the places are compared one by one.

    Args:
        node: Resize or Upsample.
        shape, made: of what it reads and makes.
        constants: the graph's tensors.
    """
    options = _options(node)
    mode = options.get("mode", b"nearest")
    place = 1 if node.op_type == "Upsample" else 2
    scales = _scales(node, place, shape, made, constants)
    if scales is None or scales[:2] != [1, 1] or len(shape) < 3 or any(name in options for name in ("axes", "scales")):
        return True
    if mode == b"nearest":
        return any(_nearest_differs(*axis, node.op_type, options) for axis in zip(shape[2:], made[2:], scales[2:]))
    plain = (
        options.get("antialias", 0) == options.get("exclude_outside", 0) == 0
        and options.get("cubic_coeff_a", -0.75) == -0.75
        and options.get("coordinate_transformation_mode", b"half_pixel") in (b"half_pixel", b"align_corners")
    )
    exact = all(scale * before == after for before, after, scale in zip(shape, made, scales))
    return node.op_type == "Upsample" or not plain or not exact


def _options(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _scales(
    node: onnx.NodeProto,
    place: int,
    shape: Sequence[int],
    made: Sequence[int],
    constants: Mapping[str, onnx.TensorProto],
) -> list[Fraction] | None:
    """How many times larger each axis becomes: as stated, or by the sizes if these are stated."""
    stated = node.input[place] if len(node.input) > place else ""
    given = numpy_helper.to_array(constants[stated]).reshape(-1) if stated in constants else np.empty(0)
    if given.size and np.isfinite(given).all():
        return [Fraction(float(scale)) for scale in given] if given.size == len(shape) else None
    if len(node.input) <= 3 or _options(node).get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        return None
    return [Fraction(after, before) for before, after in zip(shape, made)]


def _nearest_differs(before: int, after: int, scale: Fraction, operator: str, options: Mapping[str, Any]) -> bool:
    """Whether torch takes other numbers along an axis than the node says."""
    coordinates = options.get("coordinate_transformation_mode", b"half_pixel")
    rounding = options.get("nearest_mode", b"round_prefer_floor")
    if operator == "Upsample":
        coordinates, rounding = b"asymmetric", b"floor"
    exact = _coordinates(before, after, scale, coordinates)
    if exact is None:
        return True
    top, bottom = exact
    taken = {
        b"floor": lambda: top // bottom,
        b"ceil": lambda: -(-top // bottom),
        b"round_prefer_ceil": lambda: (2 * top + bottom) // (2 * bottom),
        b"round_prefer_floor": lambda: -((bottom - 2 * top) // (2 * bottom)),
    }.get(rounding)
    places = torch.arange(before, dtype=torch.float64).view(1, 1, -1)
    torch_takes = torch.nn.functional.interpolate(places, size=after, mode="nearest").flatten().numpy()
    return taken is None or not np.array_equal(taken().clip(0, before - 1), torch_takes)


def _coordinates(before: int, after: int, scale: Fraction, mode: bytes) -> tuple[Integers, int] | None:
    """Where each place of the result lies in what is resized, as integers over one more.

    None if the mode is not known, or the integers do not fit into 64 bits.
    """
    p, q = scale.numerator, scale.denominator
    if p < 1 or 4 * (2 * after + 1) * max(p, q, before) > np.iinfo(np.int64).max:
        return None
    place = np.arange(after, dtype=np.int64)
    if mode == b"asymmetric":
        return place * q, p
    if mode == b"align_corners":
        return place * (before - 1), max(after - 1, 1)
    if mode == b"pytorch_half_pixel" and after == 1:
        return place, 1
    return ((2 * place + 1) * q - p, 2 * p) if mode in (b"half_pixel", b"pytorch_half_pixel") else None
