"""The time that proofs have, stage by stage, and the bars of all stages."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions.exactness import effort
from relu_regions.exactness.effort import Effort
from relu_regions.exactness.judge import verdict
from relu_regions.exactness.resolving import Resolve


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of day, in seconds, to be set."""
    now = [100.0]
    monkeypatch.setattr(effort.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("resolve", "limit"), [("auto", 60), ("always", None)])
def test_by_default_what_takes_long_is_limited(clock: list[float], resolve: Resolve, limit: float | None) -> None:
    asked = Effort(resolve)
    with asked.stage("judge", 3) as stage:
        clock[0] += 1000
        assert stage.reach(1)
    for name in ("rational", "digits"):
        with asked.stage(name, 3) as stage:
            clock[0] += 59
            assert stage.reach(1)
            clock[0] += 2
            assert stage.reach(2) == (limit is None)
        assert asked.short_of == (None if limit is None else "rational")


def test_more_digits_have_several_times_as_long_as_the_walk(clock: list[float]) -> None:
    asked = Effort("auto")
    for _ in range(2):
        with asked.walk():
            clock[0] += 50
    for name, limit in (("digits", 12 * 100), ("rational", 60)):
        asked.short_of = None
        with asked.stage(name, 3) as stage:
            clock[0] += limit - 1
            assert stage.reach(1)
            clock[0] += 2
            assert not stage.reach(2)
        assert asked.limit == limit


def test_what_is_given_is_for_all_stages_together(clock: list[float]) -> None:
    asked = Effort("always", 10)
    clock[0] += 1000  # the walk itself does not count
    with asked.stage("judge", 3) as stage:
        clock[0] += 6
        assert stage.reach(2)
    with asked.stage("rational", 3) as stage:
        assert stage.reach(0)
        clock[0] += 6
        assert not stage.reach(1)
    assert asked.short_of == "rational"


def deep(units: int, layers: int) -> nn.Module:
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [nn.Linear(units, units), nn.ReLU()]
        nn.init.kaiming_normal_(parts[-2].weight)
    return nn.Sequential(*parts, nn.Linear(units, 3)).double().eval()


def test_the_judge_leaves_lines_when_time_is_up(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "_CHUNK_BYTES", 1)  # a block of points at a time
    model, (x, d) = deep(32, 14), torch.randn(2, 5, 32, dtype=torch.float64)
    whole = rr.walk(model, x, d)
    assert whole.decided_by == ["judge"] * 5
    reach, calls = effort.Stage.reach, []

    def slow(stage: effort.Stage, done: int) -> bool:
        calls.append(done)
        found = reach(stage, done)
        clock[0] += 1
        return found

    monkeypatch.setattr(effort.Stage, "reach", slow)
    assert rr.walk(model, x, d).decided_by == whole.decided_by
    half = calls.index(3)  # three lines are done then
    with pytest.warns(rr.UnprovenWarning, match=rf"2 were left after {half} seconds \(resolve_seconds\)"):
        some = rr.walk(model, x, d, resolve_seconds=half)
    assert some.decided_by == ["judge"] * 3 + ["nothing"] * 2


def test_bars_move_through_all_stages(bars: list[Any]) -> None:
    torch.manual_seed(0)
    # One line bends with all units at once, and takes rational arithmetic.
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)).double().eval()
    x, d = torch.randn(2, 3, 4, dtype=torch.float64)
    x[0] = -d[0]
    rr.walk(model, x, d, progress=True)
    assert [(bar.desc, bar.n, bar.total) for bar in bars] == [
        ("walk", 3, 3),
        ("judge", 1, 1),
        ("digits", 1, 1),
        ("rational", 1, 1),
    ]
    bars.clear()
    found = rr.exact_interval(model, x, d, progress=True, certify=True, deployed=torch.float32)
    assert found.certain is not None and found.certain.all()
    assert {bar.desc for bar in bars} >= {"exact_interval", "enclose", "deployed"}
    assert all(bar.n == bar.total for bar in bars if bar.desc in ("exact_interval", "judge", "rational"))
    bars.clear()
    rr.walk(model, x, d, progress=False)
    rr.exact_interval(model, x, d, progress=False)
    assert not bars


def test_bars_of_maps_and_norms(bars: list[Any]) -> None:
    model, (x, d) = deep(6, 2), torch.randn(2, 3, 6, dtype=torch.float64)
    paths = rr.walk(model, x, d, progress=False)
    paths.affine_maps(progress=True)
    paths.norms(2, progress=True)
    rr.affine_map(model, x, progress=True)
    assert [bar.desc for bar in bars] == ["affine_maps", "norms", "affine_maps"]
    assert [bar.total for bar in bars] == [len(paths.region_rows)] * 2 + [3]


@pytest.mark.parametrize("question", [rr.walk, rr.exact_interval])
def test_a_small_memory_budget_makes_small_chunks(question: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    judge, asked = importlib.import_module("relu_regions.exactness.judge.verdict"), list[list[int]]()
    chunks = judge.chunks

    def spied(lines: Any, blocks: int, device: torch.device) -> Any:
        for chunk in chunks(lines, blocks, device):
            asked[-1].append(len(chunk.line))
            yield chunk

    monkeypatch.setattr(judge, "chunks", spied)
    network = rr.Network.from_module(deep(24, 12), (24,))
    x, d = torch.randn(2, 1, 24, dtype=torch.float64)
    for memory in (None, 24 * 8 * 32 * 24 * 2):
        asked.append([])
        assert question(network, x, d, (-1, 2), memory_budget=memory).certain.all()
    first, second = asked
    assert sum(second) >= sum(first) > max(second) == 2
