"""The bar over a batch: when it is there, and what it says in the end."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import relu_regions as rr
from relu_regions.lines.progress import Progress
from tests.models import mlp


@pytest.mark.parametrize(("shown", "count"), [(True, 1), (None, 1), (False, 0)])
def test_a_bar_is_made_once_part_is_done_and_part_is_left(bars: list[Any], shown: bool | None, count: int) -> None:
    with Progress(10, "walk", shown) as bar:
        bar.reach(0)
        assert len(bars) == (shown is True)
        bar.reach(4)
        assert len(bars) == count
        bar.reach(10)
    assert len(bars) == count


def test_no_bar_for_what_comes_at_once(bars: list[Any]) -> None:
    with Progress(10, "walk") as bar:
        bar.reach(0)
        bar.reach(10)
    assert not bars


def test_a_walk_ends_with_all_segments(bars: list[Any]) -> None:
    x, d = torch.randn(2, 7, 3, dtype=torch.float64)
    rr.walk(mlp(3, 5, 2).double().eval(), x, d, progress=True, memory_budget=1)
    assert [bar.n for bar in bars] == [7]
