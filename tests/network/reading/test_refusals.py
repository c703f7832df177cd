"""Refusals that help: the module, the operation, why, and what to do, in a few lines and in our own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from tests.models import Wrapped, mlp

X = torch.rand(2, 4)
THRESHOLDS = torch.tensor([0.0, 1.0, 2.0, 3.0])


class Unregistered:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


def _conditional(m: Wrapped, x: Tensor) -> Tensor:
    result: Tensor = torch.cond(x.sum() > 0, lambda z: m.a(z), lambda z: -m.a(z), (x,))
    return result


def _without_numbers() -> nn.Module:
    with torch.device("meta"):
        return nn.Linear(4, 3)


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.eye(4).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        return torch.sparse.mm(self.w, x.T).T


# What is given, and words of what is said: where, what, why, and what to do.
CASES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "activation": (lambda: nn.Sequential(nn.Linear(4, 4), nn.GELU()), r"gelu in 1 \(GELU\).*curved.*ReLU"),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), r"in 1 \(LayerNorm\).*statistics.*frozen"),
    "norm without statistics": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)),
        r"1 \(BatchNorm1d\).*no running statistics.*track_running_stats=True",
    ),
    "scripted inside": (
        lambda: nn.Sequential(nn.Linear(4, 4), torch.jit.script(mlp(4, 3, 2).eval())),
        r"'1' is scripted.*load_state_dict",
    ),
    "sides that jump": (
        lambda: Wrapped(lambda m, x: torch.where(x > m.b, x, 0.0), b=THRESHOLDS),
        r"sides of gt are 0 and 1 at the threshold 1, 1 apart, so the answer jumps",
    ),
    "sides that meet to rounding": (
        lambda: Wrapped(lambda m, x: torch.where(x > m.b, x - m.b, 0.1 * (x - m.b)), b=THRESHOLDS),
        r"by rounding alone.*compare that with 0",
    ),
    "order": (lambda: Wrapped(lambda m, x: x.sort(1).indices.double()), "second output .*not continuous"),
    "choice by the input": (
        lambda: Wrapped(_conditional, a=nn.Linear(4, 3)),
        "torch.cond in the model itself.*depends on the input.*maximum of both",
    ),
    "output of no known kind": (lambda: Wrapped(lambda m, x: Unregistered(x)), "returns a Unregistered.*register"),
    "no numbers": (_without_numbers, "'weight' is on the meta device.*load"),
    "sparse": (Sparse, "'w' is sparse.*to_dense"),
    "shape": (lambda: mlp(5, 3, 2), r"inputs of shape \(4,\), in 0 \(Linear\).*x\[None\]"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_refusal_says_where_what_why_and_what_to_do(name: str) -> None:
    build, words = CASES[name]
    with pytest.raises(ValueError, match=f"(?s){words}") as refusal:
        rr.Network.from_module(build().eval(), (4,))
    text = str(refusal.value)
    assert len(text) < 1000 and text.count("\n") < 10 and "0x" not in text and "http" not in text


def test_attention_is_refused_by_name() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, batch_first=True).eval()
    with pytest.raises(rr.UnsupportedOperation, match=r"(?i)attention.*frozen"):
        rr.walk(layer, torch.rand(2, 3, 4), torch.rand(2, 3, 4))


@pytest.mark.parametrize(
    ("budget", "error"), [(-1, ValueError), (0, ValueError), (float("nan"), ValueError), ("1GB", TypeError)]
)
def test_a_memory_budget_is_a_positive_number(budget: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="memory_budget must be"):
        rr.walk(mlp(4, 5, 3).eval(), X, X, memory_budget=budget)


def test_a_decision_of_one_number_says_what_was_expected() -> None:
    with pytest.raises(TypeError, match=r"such as \[0, 1\], not 1"):
        rr.exact_interval(mlp(4, 5, 3).eval(), X, X, decision=1)  # type: ignore[arg-type]
