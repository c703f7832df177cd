"""What a .pt2 file may ask for: nothing is unpacked, made or laid out before it was counted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.network.reading.limits import Limits
from tests.models import Wrapped, mlp
from tests.pt2_files import altered, node, saved, with_graph


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return saved(mlp(4, 8, 3), (4,), tmp_path_factory.mktemp("saved") / "model.pt2").read_bytes()


@pytest.fixture
def path(content: bytes, tmp_path: Path) -> Path:
    (tmp_path / "model.pt2").write_bytes(content)
    return tmp_path / "model.pt2"


def test_entries_that_are_not_needed_are_not_unpacked(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/extra/bomb", bytes(128 << 20))
        archive.writestr("model/data/constants/custom_obj_0", b"not read either")
        archive.writestr("../outside", b"")
    rr.Network.from_exported(path)


def test_entries_that_unpack_to_too_much_are_refused(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content + b" " * (65 << 20) if name.endswith("model.json") else content)
    with pytest.raises(ValueError, match=r"model\.pt2.*unpacks to.*unpacked_ratio"):
        rr.Network.from_exported(path)
    rr.Network.from_exported(path, limits=Limits(unpacked_ratio=100_000))


@pytest.mark.parametrize(
    "limit", ["file_bytes", "unpacked_bytes", "tensor_elements", "total_elements", "nodes", "depth", "value_elements"]
)
def test_every_limit_is_named_and_can_be_raised(limit: str, path: Path) -> None:
    with pytest.raises(ValueError, match=rf"model\.pt2.*{limit}"):
        rr.Network.from_exported(path, limits=Limits(**{limit: 2}))


@pytest.mark.parametrize("sizes", [[1 << 40, 4], [8, 4, 1 << 62], [-1, 4], [8, "4"], [8, 5], [True, 4]])
def test_tensors_that_lie_about_their_size_are_refused(sizes: list[Any], path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return content
        config = json.loads(content)
        payload = next(iter(config["config"].values()))["tensor_meta"]
        payload["sizes"] = [{"as_int": size} for size in sizes]
        payload["strides"] = [{"as_int": 1}] * len(sizes)
        return json.dumps(config).encode()

    altered(path, change)
    with pytest.raises(ValueError, match=r"model\.pt2"):
        rr.Network.from_exported(path)


def test_shapes_are_torchs_own(path: Path) -> None:
    """What the file says of the shapes in between counts for nothing."""

    def change(document: dict[str, Any]) -> None:
        for name, value in document["graph_module"]["graph"]["tensor_values"].items():
            if name.startswith("linear"):
                value["sizes"][1] = {"as_int": 1 << 40}

    rr.Network.from_exported(with_graph(path, change))


def test_values_that_would_be_huge_are_refused_before_they_are_made(tmp_path: Path) -> None:
    path = saved(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (4,), tmp_path / "model.pt2")

    def change(document: dict[str, Any]) -> None:
        relu = node(document, "relu")
        relu["target"] = "torch.ops.aten.constant_pad_nd.default"
        relu["inputs"].append({"name": "pad", "arg": {"as_ints": [0, 1 << 40]}, "kind": 1})

    with pytest.raises(ValueError, match=r"model\.pt2.*value_elements"):
        rr.Network.from_exported(with_graph(path, change))


def test_constants_that_are_huge_together_are_refused_before_they_are_made(tmp_path: Path) -> None:
    model = Wrapped(lambda m, x: x + sum(torch.full((2000, 1000), float(number)).mean() for number in range(8)))
    with pytest.raises(
        ValueError, match=r"model\.pt2: all that is computed from constants has 128,000,\d+ bytes.*spare_bytes"
    ):
        rr.Network.from_exported(saved(model, (4,), tmp_path / "model.pt2"))
    network = rr.Network.from_exported(tmp_path / "model.pt2", limits=Limits(spare_bytes=1 << 28))
    assert torch.equal(network(torch.zeros(1, 4)), torch.full((1, 4), 28.0))


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 1, 64), nn.MaxPool2d(64, 1)], ids=["convolution", "pooling"])
def test_windows_that_would_be_huge_are_refused_before_they_are_laid_out(layer: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.pt2: all values together.*values_elements"):
        rr.Network.from_exported(saved(layer, (1, 512, 512), tmp_path / "model.pt2"))


def test_distances_whose_differences_would_be_huge_are_refused(tmp_path: Path) -> None:
    model = Wrapped(lambda m, x: torch.cdist(x, m.others, p=1.0), others=nn.Parameter(torch.zeros(1024, 1024)))
    with pytest.raises(ValueError, match=r"model\.pt2: all values together.*values_elements"):
        rr.Network.from_exported(saved(model, (1024, 1024), tmp_path / "model.pt2"))


class Involved(nn.Module):
    """A size that depends on the batch in an ever more involved way; torch takes the longer to compare it."""

    def __init__(self, outer: bool) -> None:
        super().__init__()
        self.outer = outer

    def forward(self, x: Tensor) -> Tensor:
        """The input's rectified values, and what comes of the sizes."""
        y = x.sum(1)
        if self.outer:
            return torch.relu(x) + torch.outer(y, y).sum()
        for _ in range(9):
            y = nn.functional.pad(y, (0, 1))[::2]
        return torch.relu(x) + y.sum()


@pytest.mark.parametrize("outer", [False, True])
def test_involved_sizes_are_refused(outer: bool, tmp_path: Path) -> None:
    path = saved(Involved(outer), (4,), tmp_path / "model.pt2")
    with pytest.raises(rr.UnsupportedOperation, match=r"model\.pt2.*sizes of a result depend on the batch"):
        rr.Network.from_exported(path)


class Recurrent(nn.Module):
    """As many steps in time as the input has."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.RNN(2, 3, num_layers=2, nonlinearity="relu", batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.layer(x)[0][:, -1]
        return made


def test_steps_in_time_are_counted_before_they_are_written_out(tmp_path: Path) -> None:
    path = saved(Recurrent(), (4, 2), tmp_path / "model.pt2")
    network = rr.Network.from_exported(path, limits=Limits(nodes=200))
    x = torch.randn(3, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(network(x), rr.Network.from_exported(path)(x))
    with pytest.raises(ValueError, match=r"40 nodes, more than the limit of 39.*Limits\(nodes=\.\.\.\)"):
        rr.Network.from_exported(path, limits=Limits(nodes=39))
