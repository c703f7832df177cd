"""Which output of a model is read, which inputs are fixed, and which wrappers are looked into."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import relu_regions as rr
from relu_regions.network.reading.verify import Original
from tests.models import Wrapped, mlp

X = torch.rand(3, 6, dtype=torch.float64)
Pair = namedtuple("Pair", ["logits", "hidden"])


@dataclasses.dataclass
class Answer:
    logits: Tensor
    hidden: Tensor


torch.export.register_dataclass(Answer)

NAMED = {
    "dict": (lambda x, y: {"logits": x, "hidden": y}, "logits", "hidden"),
    "ordered dict": (lambda x, y: OrderedDict(logits=x, hidden=y), "logits", "hidden"),
    "dataclass": (Answer, "logits", "hidden"),
    "named tuple": (Pair, "logits", "hidden"),
    "list in a list": (lambda x, y: [x, [y]], "0", "1.0"),
    "list in a dict": (lambda x, y: {"out": x, "aux": [y, {"more": 3 * y}]}, "out", "aux.0"),
    "keys of one letter, sorted otherwise": (lambda x, y: {"b": x, "a": y}, "b", "a"),
}


@pytest.mark.parametrize("name", NAMED)
def test_outputs_by_position_and_by_name(name: str) -> None:
    pack, one, other = NAMED[name]
    model = Wrapped(lambda m, x: pack(x + 0, 2 * x)).eval()
    for output, factor in ((0, 1), (1, 2), (one, 1), (other, 2)):
        assert torch.equal(rr.Network.from_module(model, (6,), output)(X), factor * X)
    with pytest.raises(ValueError, match=one.replace(".", r"\.")):
        rr.Network.from_module(model, (6,), "other")


@pytest.mark.parametrize("program", [False, True])
def test_one_number_for_each_point_is_one_logit(program: bool) -> None:
    flat = Wrapped(lambda m, x: m.net(x)[:, 0], net=mlp(6, 5, 1)).double().eval()
    example, dynamic = (X.clone(),), ({0: torch.export.Dim("N")},)
    given: Any = torch.export.export(flat, example, dynamic_shapes=dynamic) if program else flat
    d = X.flip(0)
    one, other = rr.exact_interval(given, X, d), rr.exact_interval(flat.net, X, d)
    assert torch.equal(one.lo, other.lo) and torch.equal(one.hi, other.hi) and torch.equal(one.label, other.label)


def test_an_interval_of_a_segmentation_says_to_choose_a_position() -> None:
    model = nn.Conv2d(1, 3, 3).double().eval()
    image = torch.rand(1, 1, 5, 5, dtype=torch.float64)
    assert rr.walk(model, image, image.flip(3)).outputs.shape[1:] == (3, 3, 3)
    with pytest.raises(ValueError, match="choose one"):
        rr.exact_interval(model, image, image.flip(3))


LAST: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": nn.Softmax(1),
    "log_softmax": nn.LogSoftmax(1),
    "sigmoid": nn.Sigmoid(),
    "softmax of half": lambda y: nn.functional.softmax(0.5 * y, 1),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LAST)
def test_logits_are_what_is_before_a_last_softmax(name: str, dtype: torch.dtype) -> None:
    model = Wrapped(lambda m, x: LAST[name](m.net(x)), net=mlp(6, 5, 3)).to(dtype).eval()
    network = rr.Network.from_module(model, (6,), output="logits")
    factor = 0.5 if "half" in name else 1.0
    assert torch.allclose(network(X), factor * model.net.double()(X), atol=1e-12)
    with pytest.raises(rr.UnsupportedOperation, match=f'(?s){name.split()[0]}.*output="logits"'):
        rr.Network.from_module(model.to(dtype), (6,))


@pytest.mark.parametrize(
    "last",
    [
        lambda y: torch.softmax(y, 0),
        lambda y: torch.log_softmax(y, dim=-2),
        lambda y: torch.softmax(y[:, 0], 0),
        lambda y: torch.softmax(y[:, :1], 1),
    ],
)
def test_a_softmax_that_does_not_compare_classes_is_not_left_out(last: Callable[[Tensor], Tensor]) -> None:
    model = Wrapped(lambda m, x: last(m.net(x)), net=mlp(6, 5, 3)).eval()
    with pytest.raises(rr.UnsupportedOperation, match="softmax is curved"):
        rr.Network.from_module(model, (6,), output="logits")


@pytest.mark.parametrize(
    ("pack", "name"),
    [(lambda y: {"a.b": y, "a": {"b": -y}}, "a.b"), (lambda y: {0: y, "0": -y}, "0")],
)
def test_a_name_of_several_outputs_is_refused(pack: Callable[[Tensor], Any], name: str) -> None:
    model = Wrapped(lambda m, x: pack(x + 0)).eval()
    with pytest.raises(ValueError, match="2 outputs named"):
        rr.Network.from_module(model, (6,), name)
    assert torch.equal(rr.Network.from_module(model, (6,), 1)(X), -X)


def test_what_follows_the_logits_is_compared_with_the_model() -> None:
    model = Wrapped(lambda m, x: torch.softmax(x, 1)).eval()
    network = rr.Network.from_module(model, (6,), output="logits")
    original = Original(network, lambda x: torch.softmax(1.001 * x, 1), X.dtype, X.device, X.dtype, LAST["softmax"])
    with pytest.raises(rr.UnsupportedOperation, match="differs from the network"):
        original.check(X)


class TwoInputs(nn.Module):
    """Two inputs, and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(2, 5)

    def forward(self, x: Tensor, context: Tensor, scale: float = 2.0) -> Tensor:
        return torch.relu(self.a(x) + self.b(context)) * scale


def test_all_inputs_but_one_are_fixed() -> None:
    model, context = TwoInputs().double().eval(), torch.tensor([0.3, -2.0]).double()
    network = rr.Network.from_module(model, (6,), fixed={"context": context, "scale": 3.0})
    assert torch.allclose(network(X), model(X, context.expand(3, 2), 3.0))
    other = rr.Network.from_module(model, (2,), fixed={"x": X[0]})
    assert torch.allclose(other(X[:, :2]), model(X[:1].expand(3, 6), X[:, :2]))
    for fixed in ({}, {"z": 1.0}, {"x": X[0], "context": context}):
        with pytest.raises((ValueError, rr.UnsupportedOperation), match=r"context|inputs"):
            rr.Network.from_module(model, (6,), fixed=fixed)


# ---------------------------------------------------------------- wrappers


def _exported(model: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(model, (X.clone(),), dynamic_shapes=({0: torch.export.Dim("N")},))


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "averaged": lambda model: AveragedModel(model).eval(),
    "data parallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model),  # type: ignore[return-value]
    "compiled and averaged": lambda model: torch.compile(AveragedModel(model).eval()),  # type: ignore[return-value]
    "a program's module": lambda model: _exported(model).module(),
    "all arguments passed on": lambda model: PassedOn(model),
}


class PassedOn(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *arguments: Any, **named: Any) -> Any:
        return self.inner(*arguments, **named)


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_are_looked_into(name: str) -> None:
    model = mlp(6, 5, 3).double().eval()
    wrapper = WRAPPERS[name](model)
    if name != "a program's module":
        wrapper.eval()
    assert torch.equal(rr.walk(wrapper, X, X.flip(0)).outputs, rr.walk(model, X, X.flip(0)).outputs)


def test_a_hook_on_a_wrapper_is_part_of_the_model() -> None:
    model = mlp(6, 5, 3).double().eval()
    wrapper = AveragedModel(model).eval()
    wrapper.register_forward_hook(lambda module, given, made: 2 * made)
    assert torch.allclose(rr.walk(wrapper, X, X.flip(0)).outputs, 2 * rr.walk(model, X, X.flip(0)).outputs)


@pytest.mark.parametrize("name", ["averaged", "data parallel", "compiled"])
def test_a_forward_put_in_place_of_a_wrapper_s_is_part_of_the_model(name: str) -> None:
    model = mlp(6, 5, 3).double().eval()
    wrapper = WRAPPERS[name](model).eval()
    wrapper.forward = lambda x: 2 * model(x)
    assert torch.allclose(rr.Network.from_module(wrapper, (6,))(X), 2 * model(X))


def test_hooks_on_all_modules_are_part_of_the_model() -> None:
    model = mlp(6, 5, 3).double().eval()

    def doubled(module: nn.Module, given: Any, made: Any) -> Any:
        return 2 * made if isinstance(module, nn.DataParallel) else None

    hook = nn.modules.module.register_module_forward_hook(doubled)
    try:
        network = rr.Network.from_module(nn.DataParallel(model).eval(), (6,))
    finally:
        hook.remove()
    assert torch.allclose(network(X), 2 * model(X))


def test_inputs_of_a_program_s_module_are_fixed() -> None:
    model, context, size = TwoInputs().double().eval(), torch.tensor([0.3, -2.0]).double(), {0: torch.export.Dim("N")}
    program = torch.export.export(model, (X.clone(), context.expand(3, 2)), dynamic_shapes=(size, size))
    network = rr.Network.from_module(program.module(), (6,), fixed={"context": context})
    assert torch.allclose(network(X), model(X, context.expand(3, 2)))


def test_a_scripted_module_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="module that it was made from"):
        rr.walk(torch.jit.trace(mlp(6, 5, 3).double().eval(), X), X, X)


@pytest.mark.long
@pytest.mark.parametrize("gate", [nn.MaxPool1d(600, 1), Wrapped(lambda m, x: x.sort().values)], ids=["pool", "sort"])
def test_wide_windows_are_compared_at_few_points(gate: nn.Module) -> None:
    network = rr.Network.from_module(gate.eval(), (1, 24_000 if isinstance(gate, nn.MaxPool1d) else 3000))
    original = Original(network, gate, torch.float64, torch.device("cpu"), torch.float64)
    assert original.most_rows == (4 if isinstance(gate, nn.MaxPool1d) else 32)
