"""Whose number has a rank: what the bounds leave open is open, and nothing is overlooked to save time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from relu_regions.backends import reference
from relu_regions.backends.ties import Ties
from relu_regions.exactness.rank_bounds import nearest_rival, passing_in_doubt
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
def test_the_nearest_rival_is_the_nearest_of_all(name: str, rounded: bool) -> None:
    gate = GATES[name]
    for seed in range(20):
        inputs = stack(seed, rounded)
        numbers = inputs[:, gate.windows]
        piece = gate.pieces_beside(inputs, inputs)[..., None]
        distances = (numbers - numbers.gather(-1, piece)).abs().scatter(-1, piece, torch.inf)
        assert torch.equal(nearest_rival(gate, inputs), distances.amin((1, 2)))


def test_what_floats_have_in_one_point_is_open_even_where_nothing_bends() -> None:
    """Two pass the middle one where it is 0, one upwards and one downwards: floats can't say whether at once."""
    gate = OrderStatistic(torch.tensor([[0, 1, 2]]), torch.tensor([1]))
    inputs = torch.tensor([[-1.0, 0, 1, 5, 5, 5], [1.0, 0, -1, 5, 5, 5]], dtype=torch.float64)
    position, starts = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([True, False])
    ties, zeros = Ties.everywhere(torch.arange(6), gate, 2), torch.zeros(6, dtype=torch.bool)
    placed = reference.place(gate, inputs, position, None, starts, False)
    assert not len(placed.crossings.row)
    assert passing_in_doubt(gate, ties, zeros, inputs, placed, starts).tolist() == [0]
    apart = inputs + torch.tensor([0.0, 0.0, 0.5, 0.0, 0.0, 0.0])
    placed = reference.place(gate, apart, position, None, starts, False)
    assert placed.crossings.after.tolist() == [0, 2, 1]
    assert not len(passing_in_doubt(gate, ties, zeros, apart, placed, starts))


def test_a_step_that_only_leads_to_what_comes_out_is_known_by_its_rise() -> None:
    """Values that are no numbers have no order: the last step then has an infinite rise."""
    gate = GATES["sort"]
    inputs = stack(0, rounded=False)
    inputs[1, 2] = torch.nan
    placed = reference.place(gate, inputs, torch.arange(10.0).double(), None, STARTS, True)
    beside = (placed.crossings.row < 2) & ~placed.crossings.rise.isfinite()
    assert beside.any() and placed.crossings.rise[placed.crossings.row >= 2].isfinite().all()
