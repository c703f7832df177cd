"""Which ONNX nodes the converter reads otherwise than they say: beside onnx's own evaluation of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2fx")  # needs Python 3.11

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from relu_regions.network.reading.onnx_misread import is_misread, is_resized_wrongly  # noqa: E402

MODES: list[dict[str, Any]] = [
    *(
        {"mode": "nearest", "coordinate_transformation_mode": c, "nearest_mode": n}
        for c in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "tf_crop_and_resize")
        for n in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    *(
        {"mode": mode, "coordinate_transformation_mode": c}
        for mode in ("linear", "cubic")
        for c in ("half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric", "tf_crop_and_resize")
    ),
    {"mode": "linear", "antialias": 1},
    {"mode": "cubic", "antialias": 1},
    {"mode": "cubic", "cubic_coeff_a": -0.5},
    {"mode": "cubic", "exclude_outside": 1},
]
SCALES = [(1.0, 2.0), (2.0, 3.0), (0.5, 0.5), (1.5, 1.0), (0.6, 1.2)]


def torch_resizes(x: np.ndarray, options: dict[str, Any], made: tuple[int, ...]) -> np.ndarray:
    """What onnx2fx makes of a node: torch's resizing to a size."""
    mode = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}[options["mode"]]
    corners = options.get("coordinate_transformation_mode") == "align_corners" if mode != "nearest" else None
    found = torch.nn.functional.interpolate(torch.from_numpy(x), size=made[2:], mode=mode, align_corners=corners)
    return found.numpy()


@pytest.mark.parametrize("options", MODES, ids=str)
def test_what_is_let_through_is_resized_as_onnx_says(options: dict[str, Any]) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 5))
    for scales in SCALES:
        node = helper.make_node("Resize", ["x", "", "scales"], ["y"], "node", **options)
        factors = numpy_helper.from_array(np.array([1, 1, *scales], np.float32), "scales")
        made = (1, 2, int(4 * np.float32(scales[0])), int(5 * np.float32(scales[1])))
        if is_resized_wrongly(node, x.shape, made, {"scales": factors}):
            continue
        entry = helper.make_tensor_value_info("x", TensorProto.DOUBLE, x.shape)
        graph = helper.make_graph([node], "g", [entry], [helper.make_empty_tensor_value_info("y")], [factors])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)
        [true] = ReferenceEvaluator(model).run(None, {"x": x})
        np.testing.assert_allclose(torch_resizes(x, options, made), true, rtol=1e-5, atol=1e-6)


def test_what_people_have_is_let_through() -> None:
    """Whole factors by half pixels, and the exporter's nearest numbers."""
    factors = {"s": numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")}
    nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    for options in ({"mode": "linear"}, {"mode": "cubic"}, {"mode": "nearest"}, nearest, {}):
        node = helper.make_node("Resize", ["x", "", "s"], ["y"], **options)
        assert not is_resized_wrongly(node, (1, 2, 4, 5), (1, 2, 8, 10), factors)
    sized = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")
    assert not is_resized_wrongly(sized, (1, 2, 4, 5), (1, 2, 7, 9), {})


def test_sizes_of_other_kinds_are_not() -> None:
    factors = {"s": numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")}
    some_axes = helper.make_node("Resize", ["x", "", "s"], ["y"], axes=[2, 3])
    assert is_resized_wrongly(some_axes, (1, 2, 4, 5), (1, 2, 8, 10), factors)
    stretched = helper.make_node("Resize", ["x", "", "", "z"], ["y"], keep_aspect_ratio_policy="not_larger")
    assert is_resized_wrongly(stretched, (1, 2, 4, 5), (1, 2, 7, 9), {})
    channels = {"s": numpy_helper.from_array(np.array([1, 2, 2, 2], np.float32), "s")}
    assert is_resized_wrongly(helper.make_node("Resize", ["x", "", "s"], ["y"]), (1, 2, 4, 5), (1, 4, 8, 10), channels)
    assert is_resized_wrongly(helper.make_node("Resize", ["x", "s"], ["y"]), (1, 2, 4, 5), (1, 2, 8, 10), factors)


@pytest.mark.parametrize(
    ("operator", "options"),
    [("Pad", {"mode": "wrap"}), ("ConvTranspose", {"output_shape": [4]}), ("SpaceToDepth", {"mode": "CRD"}),
     ("Upsample", {"mode": "linear"})],
)  # fmt: skip
def test_options_that_the_converter_does_not_see(operator: str, options: dict[str, Any]) -> None:
    assert is_misread(helper.make_node(operator, ["x"], ["y"], **options))
    assert not is_misread(helper.make_node(operator, ["x"], ["y"]))
