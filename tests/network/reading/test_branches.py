"""torch.cond: read where it chooses by what does not depend on the input, as the block that is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from tests.models import Wrapped, mlp

X, D = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

Forward = Callable[[Any, Tensor], Any]


def _written_into(z: Tensor) -> Tensor:
    y = z * 2
    y.clamp_(min=-1).add_(1)
    return y


# Each with the sign of the number that it asks, and what it is when the answer is yes, and when it is no.
CHOICES: dict[str, tuple[Forward, Forward, Forward]] = {
    "two functions": (
        lambda m, x: m.last(torch.cond(m.flag > 0, lambda z: m.one(z).relu(), lambda z: -m.other(z), (x,))),
        lambda m, x: m.last(m.one(x).relu()),
        lambda m, x: m.last(-m.other(x)),
    ),
    "one in another": (
        lambda m, x: m.last(
            torch.cond(
                m.flag > 0,
                lambda z: torch.cond(m.flag > 9, lambda w: w * 3, lambda w: m.one(w).relu(), (z,)),
                lambda z: torch.cond(m.flag < -9, lambda w: w * 3, lambda w: m.other(w).abs(), (z,)),
                (x,),
            )
        ),
        lambda m, x: m.last(m.one(x).relu()),
        lambda m, x: m.last(m.other(x).abs()),
    ),
    "one after another": (
        lambda m, x: torch.cond(
            (m.flag * 2 + 1 > 1).any(),
            lambda z: z.relu(),
            lambda z: z + 1,
            (torch.cond(m.flag > 0, lambda z: m.one(z), lambda z: m.other(z), (x,)),),
        ),
        lambda m, x: m.one(x).relu(),
        lambda m, x: m.other(x) + 1,
    ),
    "several outputs, written in place": (
        lambda m, x: sum(
            torch.cond(
                m.flag > 0,
                lambda z: (_written_into(z), m.one(z)[:, :4].relu()),
                lambda z: (z + 1, z - 1),
                (x,),
            )
        ),
        lambda m, x: _written_into(x) + m.one(x)[:, :4].relu(),
        lambda m, x: (x + 1) + (x - 1).relu() - (1 - x).relu(),
    ),
}


def _model(forward: Forward, flag: float) -> nn.Module:
    torch.manual_seed(0)
    parts = {"one": nn.Linear(4, 5), "other": nn.Linear(4, 5), "last": mlp(5, 6, 3)}
    model = Wrapped(forward, **parts, flag=nn.Parameter(torch.tensor(flag)))
    return model.double().eval()


def _agree(model: Any, other: nn.Module) -> None:
    one, two = (rr.walk(m, X, D) for m in (model, other))
    assert torch.equal(one.position, two.position) and torch.equal(one.values, two.values)
    assert len(one.position) > 9 and one.certain.all()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name != "one in another")) for name in CHOICES]
)
def test_a_choice_by_weights_is_the_block_that_they_choose(name: str) -> None:
    forward, if_so, if_not = CHOICES[name]
    model = _model(forward, 1.0)
    _agree(model, _model(if_so, 1.0))
    # The trace is kept, and the flag turns round.
    model.flag.data.neg_()
    assert torch.allclose(rr.Network.from_module(model, (4,))(X), _model(if_not, -1.0)(X))
    model.flag.data.neg_()
    _agree(model, _model(if_so, 1.0))


@pytest.mark.long
def test_a_live_program_chooses_by_its_own_weights() -> None:
    forward, if_so, _ = CHOICES["one in another"]
    program = torch.export.export(_model(forward, 1.0), (X,), dynamic_shapes=({0: torch.export.Dim("N")},))
    before = str(program.graph)
    _agree(program, _model(if_so, 1.0))
    assert str(program.graph) == before


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: torch.cond(x.sum() > 0, lambda z: z.relu(), lambda z: z.abs(), (x,)),
        lambda m, x: torch.cond(
            m.flag > 0,
            lambda z: torch.cond(z.mean() > 0, lambda w: w.relu(), lambda w: w.abs(), (z,)),
            lambda z: z.abs(),
            (x,),
        ),
    ],
)
def test_a_choice_by_the_input_is_refused(forward: Forward) -> None:
    with pytest.raises(rr.UnsupportedOperation, match=r"torch.cond in the model itself.*depends on the input"):
        rr.walk(_model(forward, 1.0), X.abs(), D)


def test_a_kept_choice_by_weights_does_not_answer_for_one_by_the_input() -> None:
    """Both call the same operations on what is passed on, where the choice falls alike."""
    by_weights = _model(lambda m, x: torch.cond(m.flag > 0, lambda z: z.relu(), lambda z: z.abs(), (x,)), 1.0)
    rr.walk(by_weights, X.abs(), D)
    by_input = _model(lambda m, x: torch.cond(x.sum() > 0, lambda z: z.relu(), lambda z: z.abs(), (x,)), 1.0)
    with pytest.raises(rr.UnsupportedOperation, match="depends on the input"):
        rr.walk(by_input, X.abs(), D)


@pytest.mark.long
def test_a_choice_by_the_size_of_the_batch_is_refused() -> None:
    sized = _model(lambda m, x: torch.cond(x.shape[0] > 1, lambda z: z.relu(), lambda z: z.abs(), (x,)), 1.0)
    with pytest.raises(rr.UnsupportedOperation):
        rr.walk(sized, X, D)
