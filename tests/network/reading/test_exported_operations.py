"""Operations of ``.pt2`` files that write where they should not, or whose results grow with the batch or a number."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions.network.reading.exported_operations import writes


def call(target: str, output: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    inputs = [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments.items()]
    return {
        "target": target,
        "inputs": inputs,
        "outputs": [output],
        "metadata": {},
        "is_hop_single_tensor_return": None,
    }


def tensor(name: str) -> dict[str, Any]:
    return {"as_tensor": {"name": name}}


def read(path: Path, *calls: dict[str, Any], takes: str = "relu") -> rr.Network:
    """Linear, relu, these calls, and a linear layer that takes one of their results."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    program = torch.export.export(model, (torch.zeros(3, 4),), dynamic_shapes=({0: torch.export.Dim("N")},))
    torch.export.save(program, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    [name] = [name for name in entries if name.endswith("models/model.json")]
    document = json.loads(entries[name])
    nodes = document["graph_module"]["graph"]["nodes"]
    nodes[-1]["inputs"][0]["arg"] = tensor(takes)
    nodes[2:2] = calls
    entries[name] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return rr.Network.from_exported(path)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("torch.ops.aten.add.Tensor", False),
        ("torch.ops.aten.add_.Tensor", True),
        ("torch.ops.aten.add.out", True),
        ("torch.ops.aten.max.dim_max", True),
        ("torch.ops.aten.no_such.out", False),
        ("_operator.mul", False),
    ],
)
def test_what_writes_is_known(target: str, expected: bool) -> None:
    assert writes(target) is expected


@pytest.mark.parametrize("out", ["relu", "p_2_weight"])
def test_a_result_written_to_another_tensor_is_refused_though_nobody_asks_for_it(out: str, tmp_path: Path) -> None:
    written = call(
        "torch.ops.aten.add.out", tensor("unused"), self=tensor("relu"), other=tensor("relu"), out=tensor(out)
    )
    with pytest.raises(rr.UnsupportedOperation, match=r"model\.pt2.*add\.out"):
        read(tmp_path / "model.pt2", written)


SIZE = {"as_sym_int": {"as_name": "rows"}}
ROWS = call("torch.ops.aten.sym_size.int", SIZE, self=tensor("relu"), dim={"as_int": 0})


def test_multiples_of_the_batch_are_counted_before_they_are_made(tmp_path: Path) -> None:
    repeated = call(
        "torch.ops.aten.repeat.default", tensor("many"), self=tensor("relu"), repeats={"as_ints": [1 << 40, 1]}
    )
    cut = call("torch.ops.aten.slice.Tensor", tensor("few"), self=tensor("many"), dim={"as_int": 0}, end=SIZE)
    with pytest.raises(ValueError, match=r"model\.pt2.*value_elements"):
        read(tmp_path / "model.pt2", ROWS, repeated, cut, takes="few")


def test_a_size_that_constants_sum_to_is_refused_before_it_is_made(tmp_path: Path) -> None:
    whole = {"as_scalar_type": 5}
    counts = call(
        "torch.ops.aten.full.default", tensor("i"), size={"as_ints": [1]}, fill_value={"as_int": 1 << 50}, dtype=whole
    )
    repeated = call("torch.ops.aten.repeat_interleave.Tensor", tensor("many"), repeats=tensor("i"))
    total = call("torch.ops.aten.sum.default", tensor("total"), self=tensor("many"))
    added = call("torch.ops.aten.add.Tensor", tensor("added"), self=tensor("relu"), other=tensor("total"))
    with pytest.raises(rr.UnsupportedOperation, match=r"model\.pt2.*output_size"):
        read(tmp_path / "model.pt2", counts, repeated, total, added, takes="added")
