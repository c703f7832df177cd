"""Lines between images with blank parts: the judge knows what ties on them, and what it confirms is true."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.exactness.can_tie import can_tie
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.exactness.judge import Claims, Verdict, judge
from relu_regions.lines.line_batch import LineBatch
from relu_regions.walking.judging import claims_of
from relu_regions.walking.walker import collected
from tests.exactness.judge.test_verdict import assert_true
from tests.quick import some_quick


def heard(network: rr.Network, x: Tensor, d: Tensor, t_range: tuple[float, float]) -> tuple[rr.Paths, Claims, Verdict]:
    """A walk that gives equal numbers one value, what it claims, and what the judge says of it."""
    lines = LineBatch.of(network, x, d, t_range)
    with torch.no_grad():
        paths = collected(lines, Certainty.of(lines.network, torch.float64))
        claims = claims_of(lines, paths, torch.arange(len(paths)))
        return paths, claims, judge(network, claims)


RANGES = [(-1.0, 2.0), (-math.inf, math.inf), (-0.5, 1.0)]


def network_of(seed: int, pool_first: bool, slope: float | None = None) -> rr.Network:
    torch.manual_seed(seed)

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=seed % 2 > 0)
        norm, gate = nn.BatchNorm2d(outputs), nn.ReLU() if slope is None else nn.PReLU(init=slope)
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.3)
        last: list[nn.Module] = [gate, nn.MaxPool2d(2)]
        return [conv, norm, *(last[::-1] if pool_first else last)]

    layers = [*block(1, 3), *block(3, 3), nn.Flatten(), nn.Linear(12, 3)]
    return rr.Network.from_module(nn.Sequential(*layers).double().eval(), (1, 8, 8))


def images(seed: int, count: int = 2) -> Tensor:
    """Pictures of 8 × 8 with few grey values, blank but for a part that lies elsewhere in each."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(count, 1, 8, 8, dtype=torch.float64)
    for picture in found:
        top, left = torch.randint(0, 4, (2,), generator=generator).tolist()
        picture[0, top : top + 4, left : left + 3] = torch.randint(0, 17, (4, 3), generator=generator) / 16
    return found


@pytest.mark.parametrize("pool_first", [False, True])
@some_quick("seed", range(8), one_in=2)
def test_lines_between_images_are_confirmed(seed: int, pool_first: bool) -> None:
    network, (x, other) = network_of(seed, pool_first), images(seed)
    for t_range in RANGES:
        paths, _, verdict = heard(network, x[None], (other - x)[None], t_range)
        assert verdict.confirmed.all(), (seed, pool_first, t_range)
        assert_true(paths, verdict, t_range)


def test_lines_whose_ends_tie_are_confirmed_together() -> None:
    """The last row of a line and the first of the next are no neighbours, whatever ties at both."""
    network, pictures = network_of(0, True), images(0, 8)
    x, d = pictures[:4], pictures[4:] - pictures[:4]
    paths, _, verdict = heard(network, x, d, (0.0, 1.0))
    assert verdict.confirmed.all()
    assert_true(paths, verdict, (0.0, 1.0))


def test_without_tables_they_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = __import__("relu_regions.exactness.judge.verdict", fromlist=["verdict"])
    monkeypatch.setattr(verdict, "can_tie", lambda network: False)
    found = []
    for seed in range(4):
        x, other = images(seed)
        found.append(bool(heard(network_of(seed, False), x[None], (other - x)[None], (-1.0, 2.0))[2].confirmed.all()))
    assert not all(found)


def test_no_flip_of_a_tie_can_be_left_out() -> None:
    network, (x, other) = network_of(0, False), images(0)
    _, claims, verdict = heard(network, x[None], (other - x)[None], (-1.0, 2.0))
    assert verdict.confirmed.all()
    counts = torch.bincount(claims.point)
    tied = (counts[claims.point] > 1).nonzero()[:, 0]
    assert len(tied) > 4
    for left in tied[:: max(1, len(tied) // 12)].tolist():
        kept = torch.arange(len(claims.point)) != left
        parts = {name: getattr(claims, name)[kept] for name in ("point", "gate", "unit", "before", "after")}
        assert not judge(network, replace(claims, **parts)).confirmed.any()


def test_networks_of_matrices_alone_have_no_tables() -> None:
    assert not can_tie(rr.Network.from_module(nn.Linear(3, 2).double().eval(), (3,)))
