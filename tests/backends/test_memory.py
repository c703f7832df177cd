"""Memory for results."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relu_regions.backends.memory import Growing, budget, room, stack_bytes


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64, torch.int32, torch.bool])
def test_room_is_as_asked(dtype: torch.dtype) -> None:
    made = room((3, 0, 2), dtype, torch.device("cpu"))
    assert made.shape == (3, 0, 2) and made.dtype == dtype
    assert room((5,), dtype, torch.device("meta")).device.type == "meta"
    large = room((1 << 20, 5), dtype, torch.device("cpu"))
    assert large.shape == (1 << 20, 5) and large.dtype == dtype


@given(sizes=st.lists(st.integers(0, 9), max_size=12), done=st.sampled_from(["known", "wrong", "all"]))
def test_parts_become_one_and_stay_as_they_were(sizes: list[int], done: str) -> None:
    total, first = max(1, sum(sizes)), 0
    growing, parts = Growing(), []
    for size in sizes:
        part = torch.arange(first, first + size)[:, None] * torch.tensor([1, -1])
        first += size
        parts.append((part, part.clone()))
        growing.add(part, {"known": max(1, first) / total, "wrong": 0.9, "all": 1.0}[done])
    whole = growing.whole(torch.zeros(0, 2, dtype=torch.int64))
    assert torch.equal(whole, torch.arange(first)[:, None] * torch.tensor([1, -1]))
    assert all(torch.equal(part, before) for part, before in parts)


def test_a_budget_is_what_was_given_or_a_quarter_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relu_regions.backends.memory.free_memory", lambda device: 1000)
    processor, device = torch.device("cpu"), torch.device("meta")
    assert [budget(given, processor) for given in (None, 1, 700)] == [250, 1, 700]
    fastest = {"cpu": 64}
    assert [stack_bytes(allowed, fastest, processor) for allowed in (10, 64, 1000)] == [10, 64, 64]
    assert stack_bytes(1000, fastest, device) == 1000
