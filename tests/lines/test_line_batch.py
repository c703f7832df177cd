"""Bad input is refused at the door, and the model comes back as it was."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import relu_regions as rr
from tests.models import mlp

MODEL = mlp(3, 5, 2).eval()
X = torch.rand(4, 3, dtype=torch.float64)
D = torch.rand(4, 3, dtype=torch.float64) + 0.1


def broken(tensor: torch.Tensor, row: int, value: float) -> torch.Tensor:
    result = tensor.clone()
    result[row, 0] = value
    return result


REFUSALS: list[tuple[str, type[Exception], str, dict[str, Any]]] = [
    ("NaN in x", ValueError, "x is not finite in row 2 of 4", {"x": broken(X, 2, math.nan)}),
    ("infinite d", ValueError, "d is not finite in row 0 of 4", {"d": broken(D, 0, math.inf)}),
    ("zero direction", ValueError, "d is zero in row 1 of 4", {"d": torch.cat([D[:1], 0 * D[:1], D[2:]])}),
    ("integers", TypeError, "floating-point", {"x": torch.ones(4, 3, dtype=torch.int64)}),
    ("a list", TypeError, "torch tensor or a numpy array", {"x": [[1.0, 2.0, 3.0]]}),
    ("one point without a batch", ValueError, r"x\[None\]", {"x": X[0]}),
    ("d of another shape", ValueError, "does not broadcast", {"d": torch.rand(4, 5)}),
    ("d of another count", ValueError, "does not broadcast", {"d": torch.rand(3, 3)}),
    ("x of another size than the model's", ValueError, "shape", {"x": torch.rand(4, 7), "d": torch.rand(4, 7)}),
    ("empty range", ValueError, "empty", {"t_range": (1, 1)}),
    ("range the wrong way round", ValueError, "empty", {"t_range": (2, -1)}),
    ("range without 0", ValueError, "leaves out t = 0", {"t_range": (1, 2)}),
    ("NaN in the range", ValueError, "NaN", {"t_range": (math.nan, 2)}),
    ("range of one number", ValueError, "pair", {"t_range": 3}),
    ("range of words", ValueError, "lower end", {"t_range": ("a", 2)}),
    ("ends for another count", ValueError, "4 numbers", {"t_range": (-1, [1.0, 2.0])}),
    ("a range that float32 makes empty", ValueError, "upper end.*0.0 in torch.float32",
     {"t_range": (-1, 1e-60), "dtype": torch.float32}),
    ("a range that float32 makes infinite", ValueError, "lower end.*inf in",
     {"t_range": (-1e60, 1), "dtype": torch.float32}),
    ("half precision", TypeError, "float64 or torch.float32", {"dtype": torch.float16}),
    ("no model", TypeError, "torch.nn.Module", {"model": lambda x: x}),
    ("training mode", ValueError, r"model.eval\(\)", {"model": mlp(3, 5, 2).train()}),
    ("one part in training mode", ValueError, "training mode",
     {"model": nn.Sequential(nn.Linear(3, 2)).eval().append(nn.Dropout().train())}),
]  # fmt: skip


@pytest.mark.parametrize("function", [rr.walk, rr.exact_interval])
@pytest.mark.parametrize(
    ("error", "text", "changes"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_refused(function: Any, error: type[Exception], text: str, changes: dict[str, Any]) -> None:
    given = {"model": MODEL, "x": X, "d": D, "t_range": (-1, 2)} | changes
    with pytest.raises(error, match=text):
        function(**given)


POINTS_ALONE = [case for case in REFUSALS if not case[3].keys() - {"model", "x", "dtype"}]


@pytest.mark.parametrize(
    ("error", "text", "changes"), [case[1:] for case in POINTS_ALONE], ids=[case[0] for case in POINTS_ALONE]
)
def test_points_alone_are_refused_for_the_same_reasons(
    error: type[Exception], text: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(error, match=text):
        rr.affine_map(**({"model": MODEL, "x": X} | changes))


@pytest.mark.parametrize("decision", [[0], [0, 0], [0, 2], [-1, 0], []])
def test_decision_refused(decision: list[int]) -> None:
    with pytest.raises(ValueError, match="decision must name"):
        rr.exact_interval(MODEL, X, D, decision=decision)


def test_weights_that_are_not_finite_are_refused() -> None:
    model = copy.deepcopy(MODEL)
    model[0].weight.data[0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        rr.walk(model, X, D)


def test_numpy_and_torch_give_the_same() -> None:
    ours = rr.exact_interval(MODEL, X.numpy(), D.numpy(), (-1, 2))
    assert torch.equal(ours.hi, rr.exact_interval(MODEL, X, D, (-1, 2)).hi)
    assert isinstance(ours.numpy()["hi"], np.ndarray)


def test_direction_is_broadcast_and_ranges_may_differ() -> None:
    ends = torch.tensor([0.5, 1.0, 1.5, 2.0])
    intervals = rr.exact_interval(mlp(3, 1, 1, 2).eval(), X, D[:1], (-ends, ends))
    assert (intervals.hi <= ends).all() and (intervals.lo >= -ends).all()


def test_empty_batch() -> None:
    assert len(rr.exact_interval(MODEL, X[:0], D[:0])) == 0
    assert len(rr.walk(MODEL, X[:0], D[:0])) == 0


class Failing(nn.Module):
    """Fails on its way, to see what is left behind."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.norm(self.linear(x)))


@pytest.mark.parametrize("model", [mlp(3, 4, 2), Failing()], ids=["walked", "refused"])
def test_model_is_untouched(model: nn.Module) -> None:
    model = model.eval()
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    parameter = next(model.parameters())
    parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(model.state_dict())
    hooks = dict(model._forward_hooks)
    try:
        rr.exact_interval(model, X, D)
    except rr.UnsupportedOperation:
        assert isinstance(model, Failing)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    assert dict(model._forward_hooks) == hooks and not any(m.training for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(parameter.grad, torch.ones_like(parameter)) and parameter.dtype == torch.float32
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    "first", [nn.BatchNorm1d(6), nn.Sequential(nn.Unflatten(1, (2, 3)), nn.BatchNorm1d(2), nn.Flatten())]
)
def test_points_and_directions_are_not_written_to(first: nn.Module) -> None:
    model = nn.Sequential(first, nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    model.train()(torch.randn(50, 6, dtype=torch.float64) * 3 + 1)
    x, d = torch.randn(2, 4, 6, dtype=torch.float64)
    before = x.clone(), d.clone()
    rr.walk(model.eval(), x, d)
    rr.exact_interval(model, x, d)
    assert torch.equal(x, before[0]) and torch.equal(d, before[1])
