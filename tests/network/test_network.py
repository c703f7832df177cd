"""Reading models: what is refused, by name, and what a reading keeps."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from tests.models import TwoHeads, Wrapped, mlp

X, D = torch.rand(2, 3, 6, dtype=torch.float64)


class Named(nn.Module):
    """Puts a module under a name, so that a refusal can be seen to give it."""

    def __init__(self, suspect: nn.Module) -> None:
        super().__init__()
        self.first, self.suspect = nn.Linear(6, 6), suspect

    def forward(self, x: Tensor) -> Tensor:
        return self.suspect(torch.relu(self.first(x)))


class Attention(nn.Module):
    """A layer of self-attention over the features as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(1, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, :, None]
        return self.attention(tokens, tokens, tokens, need_weights=False)[0][:, :, 0]


def _branch(m: nn.Module, x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


REFUSED = {
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "elu": nn.ELU(),
    "softplus": nn.Softplus(),
    "softmax": nn.Softmax(1),
    "layer_norm": nn.LayerNorm(6),
    "hardshrink": nn.Hardshrink(),
    "hardswish": nn.Hardswish(),
    "threshold": nn.Threshold(0.1, 0.5),
    "sign": Wrapped(lambda m, x: torch.sign(x)),
    "round": Wrapped(lambda m, x: torch.round(x)),
    "mul": Wrapped(lambda m, x: x * x.flip(1)),
    "div": Wrapped(lambda m, x: 1 / x),
    "matmul": Wrapped(lambda m, x: (x[:, None, :] @ x[:, :, None])[:, 0]),
    "pow": Wrapped(lambda m, x: x**2),
    "gather": Wrapped(lambda m, x: x.gather(1, x.argmax(1, keepdim=True))),
    "where": Wrapped(lambda m, x: torch.where(x > 0.5, x, 0.0)),
    "attention": Attention(),
    "instance_norm": Wrapped(lambda m, x: nn.functional.instance_norm(x[:, None])[:, 0]),
    "cat": Wrapped(lambda m, x: torch.cat([x, 2 * x], 0)[::2]),
    "index": Wrapped(lambda m, x: x[torch.arange(x.shape[0]), x.argmax(1)][:, None]),
    "embedding": Wrapped(lambda m, x: nn.functional.embedding((x > 0).long()[:, 0], torch.eye(3))),
    "swish": Wrapped(lambda m, x: torch.relu(x) * torch.sigmoid(x)),
    "max_pool1d": Wrapped(
        lambda m, x: nn.functional.max_pool1d(x[:, :4].unsqueeze(1), 2, padding=1, dilation=5).flatten(1)
    ),
    "avg_pool2d": Wrapped(
        lambda m, x: nn.functional.avg_pool2d(x[:, None, None], (1, 2), divisor_override=-3).flatten(1)
    ),
}
# Where it is another operation that is named: the one whose answer cannot be followed.
NAMED = {
    "div": "reciprocal",
    "gather": "argmax",
    "where": "gt",
    "attention": "MultiheadAttention",
    "cat": "slice",
    "index": "arange",
    "embedding": "gt",
    "swish": "sigmoid",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    with pytest.raises(rr.UnsupportedOperation) as refusal:
        rr.exact_interval(Named(REFUSED[name].eval()).eval(), X, D)
    assert "in suspect" in str(refusal.value) and NAMED.get(name, name) in str(refusal.value)


def test_control_flow_on_data_is_refused() -> None:
    with pytest.raises(rr.UnsupportedOperation, match=r"control flow of suspect \(Wrapped\)"):
        rr.walk(Named(Wrapped(_branch)).eval(), X, D)
    with pytest.raises(rr.UnsupportedOperation, match="control flow of the model itself"):
        rr.walk(Wrapped(_branch).eval(), X, D)


@pytest.mark.parametrize(
    "mixing",
    [lambda m, x: x.flip(0), lambda m, x: x - x.mean(0, keepdim=True), lambda m, x: x.roll(1, 0)],
    ids=["flip", "mean", "roll"],
)  # fmt: skip
def test_models_that_mix_the_batch_are_refused(mixing: object) -> None:
    with pytest.raises((rr.UnsupportedOperation, ValueError)):
        rr.walk(Wrapped(mixing).eval(), X, D)  # type: ignore[arg-type]


def test_several_inputs_are_refused() -> None:
    class TwoInputs(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises((rr.UnsupportedOperation, ValueError)):
        rr.walk(TwoInputs().eval(), X, D)


def test_several_outputs_need_a_name() -> None:
    model = TwoHeads().eval()
    with pytest.raises(ValueError, match="output"):
        rr.Network.from_module(model, (4,))
    for name, classes in (("first", 3), ("second", 2), (0, 3), (1, 2)):
        assert rr.Network.from_module(model, (4,), output=name).output_shape == (classes,)
    network = rr.Network.from_module(model, (4,), output="second")
    x = torch.rand(5, 4)
    assert torch.allclose(network.to(torch.float32, "cpu")(x), model(x)["second"], atol=1e-6)
    with pytest.raises(ValueError, match="third"):
        rr.Network.from_module(model, (4,), output="third")


@pytest.mark.parametrize(("output", "factor"), [(0, 1.0), (1, 2.0), (2, 3.0), (-1, 3.0)])
def test_nested_outputs_are_counted_as_torch_export_counts_them(output: int, factor: float) -> None:
    network = rr.Network.from_module(Wrapped(lambda m, x: (x + 0, (2 * x, {"a": 3 * x}))).eval(), (6,), output)
    assert torch.equal(network(X), factor * X)


def test_outputs_by_keys_that_are_numbers() -> None:
    model = Wrapped(lambda m, x: {1: x + 0, 0: 2 * x}).eval()
    assert torch.equal(rr.Network.from_module(model, (6,), "0")(X), 2 * X)
    assert torch.equal(rr.Network.from_module(model, (6,), 0)(X), X)


def test_weights_are_read_anew() -> None:
    model = mlp(6, 8, 3).eval()
    before = rr.walk(model, X, D).t
    with torch.no_grad():
        model[0].bias += 0.1
    assert not torch.equal(before, rr.walk(model, X, D).t)


def test_a_changed_structure_is_noticed() -> None:
    model = mlp(6, 8, 3).eval()
    rr.walk(model, X, D)
    model[1] = nn.LeakyReLU(0.5)
    model[2] = nn.Linear(8, 4)
    assert rr.walk(model.eval(), X, D).outputs.shape[1] == 4


def test_a_changed_constant_is_noticed() -> None:
    model = Wrapped(lambda m, x: torch.relu(m.layer(x)) * m.scale, layer=nn.Linear(6, 3)).eval()
    model.scale = 2.0
    before = rr.walk(model, X, D).outputs[0]
    model.scale = 5.0
    assert torch.allclose(rr.walk(model, X, D).outputs[0], before * 2.5)


def test_float32_weights_are_taken_exactly() -> None:
    model = mlp(6, 8, 3).eval()
    network = rr.Network.from_module(model, (6,))
    assert torch.equal(network(X), model.double()(X))


def test_saved_programs(tmp_path: Path) -> None:
    model = mlp(6, 8, 3).eval()
    program = torch.export.export(model, (torch.rand(2, 6),), dynamic_shapes=({0: torch.export.Dim("N")},))
    torch.export.save(program, tmp_path / "model.pt2")
    network = rr.Network.from_exported(tmp_path / "model.pt2")
    assert torch.equal(rr.walk(network, X, D).t, rr.walk(model, X, D).t)
    fixed = torch.export.export(model, (torch.rand(2, 6),))
    with pytest.raises(ValueError, match="dynamic"):
        rr.Network.from_exported(fixed)


def test_description_names_every_step() -> None:
    text = rr.Network.from_module(mlp(6, 8, 3).eval(), (6,)).describe()
    assert "6 -> 3, 8 units that bend in 1 gate" in text and "linear" in text and "relu" in text


def test_network_of_another_shape_is_refused() -> None:
    network = rr.Network.from_module(mlp(6, 8, 3).eval(), (6,))
    with pytest.raises(ValueError, match="read for"):
        rr.walk(network, torch.rand(2, 5), torch.rand(2, 5))


def test_another_form_of_a_network_is_made_once_and_a_network_is_freed_at_once() -> None:
    network = rr.Network.from_module(mlp(3, 5, 2).double().eval(), (3,))
    assert network.to(torch.float64, "cpu") is network
    single = network.to(torch.float32, "cpu")
    assert single is network.to(torch.float32, "cpu") and single.steps[0].constants[0].dtype == torch.float32
    rr.walk(network, torch.ones(1, 3), torch.ones(1, 3))
    gone = weakref.ref(network)
    gc.disable()
    try:
        del network
        assert gone() is None
    finally:
        gc.enable()
