"""Loading .pt2 files: ordinary ones as torch does, hostile ones not at all."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions.archive import load_program
from tests.models import mlp


class RunsACommand:
    """What a pickle can do to whoever loads it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


def saved(model: nn.Module, shape: tuple[int, ...], path: Path) -> Path:
    example = (torch.randn(3, *shape),)
    torch.export.save(torch.export.export(model, example, dynamic_shapes=({0: torch.export.Dim("N")},)), path)
    return path


def altered(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(path) as archive:
        entries = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def pickled(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (mlp(4, 8, 3), (4,)),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), (2, 8, 8)),
    ],
)
def test_loads_the_program(model: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = saved(model.eval(), shape, tmp_path / "model.pt2")
    network = rr.Network.from_exported(load_program(path))
    x = torch.randn(5, *shape)
    torch.testing.assert_close(network(x.double()).float(), model(x), rtol=1e-5, atol=1e-6)


def test_example_inputs_are_not_unpickled(tmp_path: Path) -> None:
    path, trace = saved(mlp(4, 8, 3).eval(), (4,), tmp_path / "model.pt2"), tmp_path / "trace"
    hostile = pickled(((RunsACommand(trace),), {}))
    altered(path, lambda name, content: hostile if "sample_inputs" in name else content)
    load_program(path)
    assert not trace.exists()


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    path, trace = saved(mlp(4, 8, 3).eval(), (4,), tmp_path / "model.pt2"), tmp_path / "trace"
    hostile = pickled(RunsACommand(trace))

    def change(name: str, content: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            return content.replace(b'"use_pickle": false', b'"use_pickle": true')
        return hostile if name.endswith("weight_0") else content

    with pytest.raises(ValueError, match="is pickled"):
        load_program(altered(path, change))
    assert not trace.exists()


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').mkdir('{trace}')",
        "Symbol('s0').__class__",
        "S('__import__(1)')",
        "[k for k in (1,)]",
        "open('s1')",
        "(lambda: 1)()",
        "f'{{1}}'",
    ],
)
def test_shape_expressions_that_are_code_are_refused(expression: str, tmp_path: Path) -> None:
    path, trace = saved(mlp(4, 8, 3).eval(), (4,), tmp_path / "model.pt2"), tmp_path / "trace"
    hostile = expression.format(trace=trace).encode()

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("model.json"):
            return content
        before, _, after = content.partition(b'"expr_str": "')
        assert after, "the program has no shape expression to replace"
        return before + b'"expr_str": "' + hostile + b'"' + after.partition(b'"')[2]

    with pytest.raises(ValueError, match="not plain arithmetic"):
        load_program(altered(path, change))
    assert not trace.exists()


def test_other_operations_and_files_are_refused(tmp_path: Path) -> None:
    path = saved(mlp(4, 8, 3).eval(), (4,), tmp_path / "model.pt2")
    with pytest.raises(ValueError, match=r"'torch.os.system' is no operation"):
        load_program(altered(path, lambda name, b: b.replace(b"torch.ops.aten.relu.default", b"torch.os.system")))
    path = saved(mlp(4, 8, 3).eval(), (4,), tmp_path / "model.pt2")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/data/constants/custom_obj_0", b"")
    with pytest.raises(ValueError, match="custom_obj_0"):
        load_program(path)


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"not a \.pt2 file"):
        load_program(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_state_dict.pt", b"")
    with pytest.raises(ValueError, match=r"torch 2\.8"):
        load_program(path)
    with pytest.raises(FileNotFoundError):
        load_program(tmp_path / "none.pt2")
