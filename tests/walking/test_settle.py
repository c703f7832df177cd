"""How long rational arithmetic may take, and that a person hears of what is left."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.exactness import effort
from relu_regions.walking import settle


def in_doubt() -> tuple[rr.Network, Tensor, Tensor]:
    """Three lines, two of which bend with all units at once: only rational arithmetic proves them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)).double().eval()
    x, d = torch.randn(2, 3, 4, dtype=torch.float64)
    x[[0, 2]] = -d[[0, 2]]
    return rr.Network.from_module(model, (4,)), x, d


def test_lines_are_left_when_time_is_up() -> None:
    network, x, d = in_doubt()
    with pytest.warns(
        rr.UnprovenWarning,
        match=r"2 of 3 lines .*: 2 were left after 0 seconds \(resolve_seconds\)",
    ):
        paths = rr.walk(network, x, d, resolve_seconds=0)
    assert paths.certain.tolist() == [False, True, False] and not paths.settled.any()
    with pytest.warns(rr.UnprovenWarning, match="2 of 3"):
        interval = rr.exact_interval(network, x, d, resolve="always", resolve_seconds=0)
    assert interval.certain is not None and interval.certain.tolist() == [False, True, False]


def test_some_lines_are_settled_before_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x, d = in_doubt()
    # It is looked at when rational arithmetic begins, and before each line.
    clock = itertools.count(0, 40)
    monkeypatch.setattr(effort.time, "monotonic", lambda: next(clock))
    with pytest.warns(rr.UnprovenWarning, match=r"1 of 3 .* after 60 seconds of rational arithmetic"):
        paths = rr.walk(network, x, d, (-2.0, 3.0))
    assert paths.settled.tolist() == [True, False, False] and paths.certain.tolist() == [True, True, False]
    assert [path.certain for path in paths] == [True, True, False]
    assert [path.decided_by for path in paths] == ["rational", "bounds", "nothing"]
    monkeypatch.undo()
    whole = rr.walk(network, x, d, (-2.0, 3.0))
    assert torch.equal(paths[0].t, whole[0].t)


def test_what_is_too_large_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x, d = in_doubt()
    monkeypatch.setattr(settle, "AFFORDABLE_PRODUCTS", 0)
    with pytest.warns(rr.UnprovenWarning, match="2 of 3 lines .*: 2 would take rational arithmetic too long"):
        rr.walk(network, x, d)


def test_no_warning_without_doubt_or_where_none_is_asked_for() -> None:
    network, x, d = in_doubt()
    with warnings.catch_warnings():
        warnings.simplefilter("error", rr.UnprovenWarning)
        for resolve in ("auto", "always", "never"):
            rr.walk(network, x, d, resolve=resolve)
            rr.exact_interval(network, x, d, resolve=resolve)
        rr.walk(network, x, d, dtype=torch.float32)


@pytest.mark.parametrize(("given", "error"), [(-1, ValueError), (float("nan"), ValueError), ("60", TypeError)])
def test_what_is_no_time_is_refused(given: float, error: type[Exception]) -> None:
    network, x, d = in_doubt()
    with pytest.raises(error, match="resolve_seconds"):
        rr.walk(network, x, d, resolve_seconds=given)


def test_to_certify_takes_as_long_as_it_takes() -> None:
    network, x, d = in_doubt()
    with pytest.raises(ValueError, match="resolve_seconds"):
        rr.exact_interval(network, x, d, certify=True, resolve_seconds=1)
