"""Whose number has a rank: what the bounds leave open is open, and nothing is overlooked to save time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from relu_regions.backends import reference
from relu_regions.exactness.rank_bounds import passing_in_doubt, with_near_rivals
from relu_regions.network.gates import OrderStatistic

GATES = {
    "sort": OrderStatistic(torch.arange(6).expand(6, 6), torch.arange(6)),
    "medians": OrderStatistic(torch.tensor([[0, 1, 2], [3, 2, 1], [5, 0, 4]]), torch.ones(3, dtype=torch.int64)),
    "mixed": OrderStatistic(torch.tensor([[4, 1, 2, 0], [3, 2, 1, 5], [4, 1, 2, 0]]), torch.tensor([0, 3, 2])),
}
STARTS = torch.tensor([True, True, True, False, True, False, True, True, True, False])


def stack(seed: int, rounded: bool) -> Tensor:
    inputs = torch.randn(10, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * inputs).round() if rounded else inputs


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("name", GATES)
def test_points_that_are_not_asked_about_are_certain(name: str, rounded: bool) -> None:
    gate, alike, zeros, found = GATES[name], torch.arange(6), torch.zeros(6, dtype=torch.bool), 0
    for seed in range(40):
        inputs = stack(seed, rounded)
        bound, before, after = 0.02 * torch.rand(3, 10, generator=torch.Generator().manual_seed(seed)).double()
        size = inputs.abs().amax(1)
        size = torch.stack([size, size.roll(1), size.roll(-1)]).amax(0)
        near = with_near_rivals(gate, inputs, size, bound, torch.maximum(before, after))
        asked = STARTS & (near | near.roll(-1))
        rest = gate, inputs, alike, zeros, bound, before, after
        assert torch.equal(reference.leads_in_doubt(*rest, asked), reference.leads_in_doubt(*rest, STARTS))
        found += len(reference.leads_in_doubt(*rest, STARTS))
    assert 20 < found < 40 * len(STARTS)


def test_what_floats_have_in_one_point_is_open_even_where_nothing_bends() -> None:
    """Two pass the middle one where it is 0, one upwards and one downwards: floats can't say whether at once."""
    gate = OrderStatistic(torch.tensor([[0, 1, 2]]), torch.tensor([1]))
    inputs = torch.tensor([[-1.0, 0, 1, 5, 5, 5], [1.0, 0, -1, 5, 5, 5]], dtype=torch.float64)
    position, starts = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([True, False])
    alike, zeros = torch.arange(6), torch.zeros(6, dtype=torch.bool)
    placed = reference.place(gate, inputs, position, None, starts, False)
    assert not len(placed.crossings.row)
    assert passing_in_doubt(gate, alike, zeros, inputs, placed, starts).tolist() == [0]
    apart = inputs + torch.tensor([0.0, 0.0, 0.5, 0.0, 0.0, 0.0])
    placed = reference.place(gate, apart, position, None, starts, False)
    assert placed.crossings.after.tolist() == [0, 2, 1]
    assert not len(passing_in_doubt(gate, alike, zeros, apart, placed, starts))


def test_a_step_that_only_leads_to_what_comes_out_is_known_by_its_rise() -> None:
    """Values that are no numbers have no order: the last step then has an infinite rise."""
    gate = GATES["sort"]
    inputs = stack(0, rounded=False)
    inputs[1, 2] = torch.nan
    placed = reference.place(gate, inputs, torch.arange(10.0).double(), None, STARTS, True)
    beside = (placed.crossings.row < 2) & ~placed.crossings.rise.isfinite()
    assert beside.any() and placed.crossings.rise[placed.crossings.row >= 2].isfinite().all()
