"""onnx's own tests of its operators: is each read right, refused, or read wrongly?

    python benchmarks/onnx_node_tests.py [--quick] [--out FILE.json]

onnx comes with a test for every use of an operator: a model, inputs, and the outputs that they must give. Each is read
with one of its inputs of floats free and the others fixed to the test's own numbers, once for each such input. Right is
a network whose answer at the test's input is the test's, within the test's own tolerance; where the first axis was
read as the batch, the whole batch is asked. What is refused because onnxruntime answers otherwise is read again without
it, since it need not be installed. A test counts as wrong if one reading is, and as right if none is and one is right.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import onnx
import torch
from measuring import machine, parser, write_json
from onnx import TensorProto

import relu_regions as rr
from relu_regions.network.reading import onnx_reading

_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}


class Case(NamedTuple):
    """A test of onnx: its name, its model, and what inputs give which outputs."""

    name: str
    model: onnx.ModelProto
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    tolerances: tuple[float, float]


def cases(quick: bool = False) -> list[Case]:
    """onnx's tests of single operators; quickly two of each of a few operators, which a seed chooses."""
    from onnx.backend.test.case import node

    names = [module.name for module in pkgutil.iter_modules(node.__path__)]
    if quick:
        names = random.Random(0).sample(sorted(_OFTEN.intersection(names)), 8)
    found: list[Case] = []
    for name in names:
        known = len(node._NodeTestCases)
        with np.errstate(all="ignore"):
            importlib.import_module(f"{node.__name__}.{name}")
        tests = [test for test in node._NodeTestCases[known:] if test.model is not None and test.data_sets]
        for test in tests[:2] if quick else tests:
            found.append(Case(test.name, test.model, *test.data_sets[0], (test.rtol, test.atol)))
    return found


# Files of onnx whose operators networks are made of.
_OFTEN = {
    "add", "averagepool", "batchnorm", "clip", "concat", "conv", "convtranspose", "cumsum", "depthtospace", "expand",
    "flatten", "gather", "gemm", "globalaveragepool", "hardsigmoid", "leakyrelu", "matmul", "max", "maxpool", "mul",
    "pad", "prelu", "reducemax", "reducemean", "relu", "reshape", "resize", "slice", "split", "squeeze", "sub", "tile",
    "transpose", "unsqueeze", "where",
}  # fmt: skip


def judged(case: Case, folder: Path) -> tuple[str, str]:
    """The verdict on a test, and why: the worst of its readings, refusals apart."""
    path = folder / "model.onnx"
    path.write_bytes(case.model.SerializeToString())
    entries = [entry for entry in case.model.graph.input if entry.name]
    if len(entries) != len(case.inputs) or not all(isinstance(x, (np.ndarray, np.generic)) for x in case.inputs):
        return "not asked", "its inputs are not all tensors"
    given = {entry.name: array for entry, array in zip(entries, map(np.asarray, case.inputs))}
    found: list[tuple[str, str]] = []
    for entry in entries:
        if entry.type.tensor_type.elem_type in _FLOATS:
            others = {name: array for name, array in given.items() if name != entry.name}
            found.append(verdict(case, path, given[entry.name], others))
    kinds = ("wrong", "found out by onnxruntime alone", "right", "refused")
    return min(found, key=lambda one: kinds.index(one[0]), default=("not asked", "it has no input of floats"))


def verdict(case: Case, path: Path, x: np.ndarray, others: dict[str, np.ndarray]) -> tuple[str, str]:
    """Of one reading."""
    try:
        return answer(case, path, x, others)
    except ValueError as error:
        if "onnxruntime" not in str(error):
            return "refused", str(error)
    with mock.patch.object(onnx_reading, "check_against_onnxruntime"):
        kind, reason = answer(case, path, x, others)
    return (kind, "") if kind == "right" else ("found out by onnxruntime alone", reason)


def answer(case: Case, path: Path, x: np.ndarray, others: dict[str, np.ndarray]) -> tuple[str, str]:
    """Whether the network gives what the test says: right or wrong, and how far it is off."""
    output = case.model.graph.output[0].name
    network = rr.Network.from_onnx(path, output, fixed=others)
    rows = torch.from_numpy(np.ascontiguousarray(x, np.float64)).reshape(-1, *network.input_shape)
    found = network(rows).numpy().reshape(-1)
    true = np.asarray(case.outputs[0], np.float64).reshape(-1)
    if found.shape != true.shape:
        return "wrong", f"gives {found.shape} numbers, not {true.shape}"
    relative, absolute = case.tolerances
    close = np.allclose(found, true, rtol=relative, atol=absolute)
    return ("right", "") if close else ("wrong", f"is off by {np.abs(found - true).max():.3g}")


def main(argv: Sequence[str] | None = None) -> int:
    """Read all tests, print and write the verdicts; 1 if one is read wrongly."""
    arguments = parser(__doc__, "onnx_node_tests").parse_args(argv)
    listed: dict[str, dict[str, str]] = {}
    operators: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(arguments.quick):
            kind, reason = judged(case, Path(folder))
            listed.setdefault(kind, {})[case.name] = _short(reason, folder)
            operators.update(node.op_type for node in case.model.graph.node if kind == "right")
            print(f"{kind:9} {case.name} {_short(reason, folder)}", flush=True)
    counts = {kind: len(tests) for kind, tests in listed.items()}
    print(counts)
    report = {"machine": machine(), "onnx": onnx.__version__, "counts": counts, "operators": sorted(operators)}
    told = {kind: tests for kind, tests in listed.items() if kind not in ("right", "not asked")}
    write_json(report | {"tests": told}, arguments.out)
    return 1 if counts.get("wrong") else 0


def _short(reason: str, folder: str) -> str:
    """The first line of a reason, without the path of the file."""
    line = reason.replace(f"{folder}/model.onnx: ", "").partition(". relu_regions reads")[0].partition("\n")[0]
    return line[:110]


if __name__ == "__main__":
    raise SystemExit(main())
