"""Operations that sort: what they become, and which uses of them are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.network.gates import Maximum, OrderStatistic
from tests.models import Wrapped

SHAPE = (3, 4, 5)
READ: dict[str, Callable[[Tensor], Tensor]] = {
    "sort": lambda x: x.sort().values,
    "sort, falling": lambda x: x.sort(2, descending=True)[0],
    "sort, stable": lambda x: torch.sort(x, stable=True, dim=-2).values,
    "sort, first dimension": lambda x: x.sort(1).values,
    "topk": lambda x: x.topk(2).values,
    "topk, smallest": lambda x: x.topk(3, dim=1, largest=False)[0],
    "kthvalue": lambda x: x.kthvalue(2, dim=2).values,
    "kthvalue, kept": lambda x: x.kthvalue(4, dim=3, keepdim=True)[0],
    "median": lambda x: x.median(3).values,
    "median of an even number": lambda x: x.median(2, keepdim=True)[0],
    "nanmedian": lambda x: x.nanmedian(-1).values,
    "group sort": lambda x: x.view(-1, 3, 10, 2).sort(-1).values.view(-1, 60),
    "time first": lambda x: x.transpose(0, 1).sort(2).values.transpose(0, 1),
    "folded into the batch": lambda x: x.flatten(0, 1).sort(1).values.view(-1, 3, 4, 5),
}


@pytest.mark.parametrize("name", READ)
def test_it_is_the_operation(name: str) -> None:
    model = Wrapped(lambda m, x: READ[name](x)).eval()
    network = rr.Network.from_module(model, SHAPE)
    x = torch.randn(7, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).mul(2).round()
    assert torch.allclose(network(x), model(x), rtol=1e-14, atol=0)
    assert sum(isinstance(step.gate, OrderStatistic) for step in network.gates) == len(network.gates) >= 1


@pytest.mark.parametrize(
    "extreme", [lambda x: x.topk(1).values, lambda x: x.kthvalue(1).values, lambda x: x.kthvalue(5)[0]]
)
def test_the_largest_and_the_smallest_are_maxima(extreme: Callable[[Tensor], Tensor]) -> None:
    model = Wrapped(lambda m, x: extreme(x)).eval()
    network = rr.Network.from_module(model, SHAPE)
    assert [type(step.gate) for step in network.gates] == [Maximum]
    x = torch.randn(7, *SHAPE, dtype=torch.float64)
    assert torch.equal(network(x), model(x))


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "indices of sort": (lambda x: x.sort().indices.to(x.dtype), "sort.*second output .*not continuous"),
    "indices of topk": (lambda x: x + x.topk(5)[1], "topk.*second output .*not continuous"),
    "indices of median": (lambda x: x.flatten(1).median(1).indices[:, None].to(x.dtype), "median.*not continuous"),
    "argsort": (lambda x: x.argsort(1).to(x.dtype), "(arg)?sort"),
    "gathered by sorted indices": (lambda x: x.gather(1, x.sort(1).indices), "sort.*not continuous"),
    "mode": (lambda x: x.mode(1).values, "mode gives positions, which jump"),
    "over the batch": (lambda x: x.sort(0).values, "sort.*compares the members of the batch"),
    "msort": (lambda x: torch.msort(x), "sort.*compares the members of the batch"),
    "topk over the batch": (lambda x: x.topk(1, dim=0).values.expand_as(x), "topk.*does not keep the batch"),
    "median of all": (lambda x: x - x.median(), "median.*does not keep the batch"),
    "topk in no order": (lambda x: x.topk(2, sorted=False).values, "sorted=False leaves the order"),
    "nothing": (lambda x: x.topk(0).values, "its result has no numbers"),
    "minus infinity": (lambda x: nn.functional.pad(x, (0, 1), value=-torch.inf).sort().values, "reads minus infinity"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_uses_are_refused_by_name(name: str) -> None:
    use, words = REFUSED[name]
    with pytest.raises(rr.UnsupportedOperation, match=f"(?s){words}"):
        rr.Network.from_module(Wrapped(lambda m, x: use(x)).eval(), SHAPE)


@pytest.mark.parametrize("k", [0, 6])
def test_a_rank_that_is_none_is_refused(k: int) -> None:
    with pytest.raises(Exception, match="k"):
        rr.Network.from_module(Wrapped(lambda m, x: x.kthvalue(k).values).eval(), SHAPE)


def test_a_saved_program_is_read(tmp_path: Path) -> None:
    model = Wrapped(lambda m, x: m.a(x).view(-1, 4, 3).sort(2).values.topk(2, 1).values.flatten(1), a=nn.Linear(5, 12))
    model = model.double().eval()
    x = torch.randn(2, 5, dtype=torch.float64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, tmp_path / "model.pt2")
    network = rr.Network.from_exported(tmp_path / "model.pt2")
    assert torch.allclose(network(x), model(x), rtol=1e-13)
