"""What a network makes on the way, asked for by the path of a module or by the name of a value in a file."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr


class Branching(nn.Module):
    """A body written over in place, a layer that is called twice, one that is not called, and nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 5))
        self.shared, self.unused, self.pair = nn.Linear(5, 5), nn.Linear(5, 5), Pair()
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        h = self.shared(self.shared(self.body(x)).relu())
        left, _ = self.pair(h)
        out = self.head(left)
        return {"head": out + 1, "rest": [out.softmax(1), OrderedDict(a=h, b=h[:, :2])]}


class Pair(nn.Module):
    """Two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.relu(), x


@pytest.fixture
def model() -> Branching:
    torch.manual_seed(0)
    return Branching().eval()


X = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("path", ["body", "body.0", "body.1", "body.2"])
def test_a_module_inside(path: str, model: Branching) -> None:
    """What the layer made, though the next one writes into the same memory."""
    made: list[Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda m, x, y: made.append(y.clone()))
    model(X)
    handle.remove()
    hooks = {name: len(module._forward_hooks) for name, module in model.named_modules()}
    network = rr.Network.from_module(model, (4,), path)
    torch.testing.assert_close(network(X.double()).float(), made[0])
    assert {name: len(module._forward_hooks) for name, module in model.named_modules()} == hooks
    with torch.no_grad():
        model.body[0].weight.mul_(2)
    changed = rr.Network.from_module(model, (4,), path)
    assert not torch.allclose(changed(X.double()), network(X.double()))


def test_an_output_comes_before_a_module_of_its_name(model: Branching) -> None:
    network = rr.Network.from_module(model, (4,), "head")
    torch.testing.assert_close(network(X.double()).float(), model(X)["head"])


def test_modules_that_are_not_called_once_are_refused(model: Branching) -> None:
    for path, calls in (("shared", 2), ("unused", 0)):
        with pytest.raises(rr.UnsupportedOperation, match=f"{path}.*{calls} times"):
            rr.Network.from_module(model, (4,), path)
    with pytest.raises(ValueError, match="output="):
        rr.Network.from_module(model, (4,), "pair")
    with pytest.raises(ValueError, match="output="):
        rr.Network.from_module(model, (4,), "body.7")


# ---------------------------------------------------------------- files


def saved(model: nn.Module, path: Path) -> Path:
    program = torch.export.export(model, (X,), dynamic_shapes=({0: torch.export.Dim("N")},))
    torch.export.save(program, path / "model.pt2")
    return path / "model.pt2"


def test_nested_outputs_of_a_file(model: Branching, tmp_path: Path) -> None:
    path, true = saved(model, tmp_path), model(X)
    for name, expected in (("head", true["head"]), ("rest.1.a", true["rest"][1]["a"]), (-1, true["rest"][1]["b"])):
        found = rr.Network.from_exported(path, name)(X.double())
        torch.testing.assert_close(found.float(), expected)
    with pytest.raises(ValueError, match=r"head.*rest\.0.*rest\.1\.a"):
        rr.Network.from_exported(path, "rest")


def test_a_value_inside_a_file(model: Branching, tmp_path: Path) -> None:
    path = saved(model, tmp_path)
    network = rr.Network.from_exported(path, "linear_3")
    torch.testing.assert_close(network(X.double()), rr.Network.from_exported(path, "rest.1.a")(X.double()))


class Named(nn.Module):
    """Logits, or their softmax, under the name of logits."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.layer, self.name = nn.Linear(4, 3), name

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {self.name: self.layer(x).relu().softmax(1)}


def test_logits_of_a_file(tmp_path: Path) -> None:
    model = Named("scores").eval()
    path = saved(model, tmp_path)
    found = rr.Network.from_exported(path, "logits")(X.double()).float()
    torch.testing.assert_close(found, model.layer(X).relu())
    with pytest.raises(rr.UnsupportedOperation, match="softmax"):
        rr.Network.from_exported(path)
    with pytest.raises(rr.UnsupportedOperation, match="softmax"):
        rr.Network.from_exported(saved(Named("logits").eval(), tmp_path), "logits")


def test_what_is_written_later_is_no_part_of_a_value_inside_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)).eval()
    found = rr.Network.from_exported(saved(model, tmp_path), "linear")
    assert not found.gates
    torch.testing.assert_close(found(X.double()).float(), model[0](X))


class Gained(nn.Module):
    """A layer and a number that multiplies what it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor, gain: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x) * gain))


def test_a_module_inside_of_a_model_with_fixed_inputs() -> None:
    torch.manual_seed(0)
    model = Gained().eval()
    found = rr.Network.from_module(model, (4,), output="a", fixed={"gain": torch.ones(1)})
    torch.testing.assert_close(found(X.double()).float(), model.a(X))
