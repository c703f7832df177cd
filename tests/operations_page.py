"""docs/operations.md, made from the registry of operations: `python -m tests.operations_page` writes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from relu_regions.network.reading.decompositions import SPELLED_OUT
from relu_regions.network.reading.operations import OPERATIONS, REFUSED
from relu_regions.network.reading.operations import conditions as conditions_file
from relu_regions.network.reading.operations.refused import REASONS

__all__ = ["PAGE", "operations_page"]

PAGE = Path(__file__).parents[1] / "docs/operations.md"
_NODE_TESTS = PAGE.parent / "results/onnx_node_tests.json"
_MODELS = PAGE.parent / "results/public_models.json"

# What the operations of each family become; a family without a line here is an error of who added it.
_AS_WHAT = {
    "activations": "an elementwise gate, with a knot wherever it bends",
    "arithmetic": "affine",
    "batch_norm": "affine: a factor and a summand for each channel",
    "maximum": "a maximum gate: which input is the largest",
    "norms": "elementwise gates and maximum gates, and the sums between them",
    "order_statistics": "an order gate: which input has a rank",
    "products": "affine, where one factor alone depends on the input",
    "rearrangement": "affine: each output is a number of the input, or a constant",
    "resampling": "affine",
    "sums": "affine",
    "weights": "affine, where the weights do not depend on the input",
}
_START = """# Operations

What a network may consist of. This page is made from the registry that reads models
(`python -m tests.operations_page`), so what stands here is what is read. Names are those of torch's ATen operations,
as `torch.export` writes them: a module such as `nn.MaxPool2d`, a function and a method come down to the same operation.
`relu_regions.supported_operations()` lists the names that are read. Whatever an operation becomes, the network is
compared with the model's own answers before it is used.

Numbers that do not depend on the input may come from any pure operation: they are computed once.

"""
_REFUSED = """
## Refused, and what to do instead

An `UnsupportedOperation` names the module, the operation and the reason. An operation on neither list of this page is
refused as not known. So is what is read above but not used in a way that is continuous and piecewise linear: a product
of two values that both depend on the input, a batch whose members take numbers from each other, chance, indices that
the input decides.

"""
_ONNX = """
## Operators of ONNX

An ONNX file's operators are converted to these by onnx2fx and compared with onnxruntime where it is installed. onnx has
tests of its own for each operator; `benchmarks/onnx_node_tests.py` reads all of them, once with each input of floats
free and the others fixed, and compares the network's answers with those that the test expects
(`docs/results/onnx_node_tests.json`):

"""


def operations_page() -> str:
    """The page as it should be."""
    parts = [_START, _read(), _REFUSED, _refused(), _onnx() if _NODE_TESTS.exists() else ""]
    return "".join([*parts, _models() if _MODELS.exists() else ""])


def _read() -> str:
    families: dict[str, list[str]] = {}
    for name, handler in OPERATIONS.items():
        families.setdefault(handler.__module__, []).append(name)
    rows = ["## Read", "", "| what | as what | operations |", "| --- | --- | --- |"]
    for module in sorted(families):
        what = _first_line(sys.modules[module].__doc__)
        rows.append(f"| {what} | {_AS_WHAT[module.rpartition('.')[2]]} | {_listed(families[module])} |")
    rows.append(
        f"| {_first_line(conditions_file.__doc__)} | an elementwise gate, where both sides meet | `where`, `mul` |"
    )
    rows.append(
        f"| Operations that torch writes in those above. | as these | {_listed(SPELLED_OUT - REFUSED.keys())} |"
    )
    return "\n".join(rows) + "\n"


def _refused() -> str:
    rows = ["| operations | why | instead |", "| --- | --- | --- |"]
    for reason in REASONS:
        names = [name for name in reason.names if name not in OPERATIONS]
        if names:
            rows.append(f"| {_listed(names)} | {reason.why} | {reason.instead} |")
    return "\n".join(rows) + "\n"


def _onnx() -> str:
    found = json.loads(_NODE_TESTS.read_text(encoding="utf-8"))
    counts = found["counts"]
    rows = [f"- {_MEANING[kind]}: **{counts.get(kind, 0)}**" for kind in _MEANING]
    return _ONNX + "\n".join(rows) + "\n\n" + _ONNX_OPERATORS + _listed(found["operators"]) + ".\n" + _SECOND


def _models() -> str:
    rows = ["| network | | difference | units |", "| --- | --- | --- | --- |"]
    for name, found in json.loads(_MODELS.read_text(encoding="utf-8"))["models"].items():
        if found["verdict"] == "refused":
            rows.append(f"| {name} | refused: {found['why']} | | |")
        else:
            rows.append(f"| {name} | {found['verdict']} | {found['off']:.1e} | {found['units']:,} |")
    return _PUBLIC + "\n".join(rows) + "\n"


_MEANING = {
    "right": "read, and right",
    "wrong": "read, and wrong",
    "found out by onnxruntime alone": "converted wrongly, and refused because onnxruntime answers otherwise",
    "refused": "refused",
    "not asked": "without an input of floats, or with one that is no tensor",
}
_ONNX_OPERATORS = "Operators in tests that are read, some of them, such as Softmax, of fixed inputs alone: "
_SECOND = """
onnx2pytorch 0.6 was tried as a second converter, on the 64 of these tests that are refused because onnx2fx 0.0.1 does
not convert them. Of 49 it gives the answers of the test: 14 of LinearAttention, 13 of CausalConvWithState, 8 of DFT, 7
of CumProd, 4 of BitCast and 3 of SwiGLU, which piecewise-linear classifiers are not made of; of 2 of DFT it gives
others. So there is one converter.
"""
_PUBLIC = """
## Networks that people have

`benchmarks/public_models.py` makes networks of torchvision and timm with random weights, for inputs of 3 × 64 × 64 and
in float64, and compares what is read with the model's own forward pass at 50 points of a segment. The largest
difference is given as a part of the largest output; units are those of all gates together.

"""


def _first_line(docstring: str | None) -> str:
    """The first sentence of a file, without its last dot, as a cell."""
    text = " ".join((docstring or "").split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")
    return text


def _listed(names: object) -> str:
    return ", ".join(f"`{name}`" for name in sorted(set(names)))  # type: ignore[call-overload]


if __name__ == "__main__":
    PAGE.write_text(operations_page(), encoding="utf-8")
    print(f"{PAGE.name} is written")
