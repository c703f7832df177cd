"""Multiples of one number are 0 at once, as where several batch norms that shift nothing read it, in a dense block."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.exactness.equal_by_construction import EqualNumbers
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.exactness.judge import Claims, judge
from relu_regions.lines.line_batch import LineBatch
from relu_regions.walking.judging import claims_of
from relu_regions.walking.walker import collected
from tests.exactness.judge.test_verdict import assert_true
from tests.models import Wrapped

RANGE = (-1.0, 2.0)


def dense_block(shift: float = 0.0, layers: int = 3, grow: int = 3) -> rr.Network:
    """As in a DenseNet: every layer's norm and ReLU read what all layers before have made, each with its own scale."""
    modules: dict[str, nn.Module] = {"start": nn.Linear(4, grow)}
    for number in range(1, layers + 1):
        norm = nn.BatchNorm1d(number * grow)
        nn.init.uniform_(norm.weight, 0.5, 2.0)
        nn.init.normal_(norm.bias, 0.0, shift) if shift else nn.init.zeros_(norm.bias)
        modules |= {f"norm{number}": norm, f"layer{number}": nn.Linear(number * grow, grow)}

    def run(m: Wrapped, x: Tensor) -> Tensor:
        made = [m.start(x)]
        for number in range(1, layers + 1):
            norm, layer = getattr(m, f"norm{number}"), getattr(m, f"layer{number}")
            made.append(layer(torch.relu(norm(torch.cat(made, 1)))))
        return torch.cat(made, 1)

    return rr.Network.from_module(Wrapped(run, **modules).double().eval(), (4,))


def claimed(network: rr.Network, seed: int) -> tuple[rr.Paths, Claims]:
    torch.manual_seed(seed)
    lines = LineBatch.of(network, *torch.randn(2, 4, 4, dtype=torch.float64), RANGE)
    with torch.no_grad():
        paths = collected(lines, Certainty.of(lines.network, torch.float64))
    return paths, claims_of(lines, paths, torch.arange(len(paths)))


def without(claims: Claims, flip: int) -> Claims:
    """The claims but for one flip."""
    kept = torch.arange(len(claims.point)) != flip
    return replace(
        claims, **{name: getattr(claims, name)[kept] for name in ("point", "gate", "unit", "before", "after")}
    )


def test_units_that_read_multiples_of_one_number_flip_at_once() -> None:
    confirmed, tied = 0, 0
    for seed in range(8):
        torch.manual_seed(seed)
        network = dense_block()
        paths, claims = claimed(network, seed)
        verdict = judge(network, claims)
        assert_true(paths, verdict, RANGE)
        confirmed += int(verdict.confirmed.sum())
        counts = torch.bincount(claims.point)
        tied += int((counts > 1).sum())
        assert verdict.confirmed.all(), seed
    assert confirmed == 32 and tied > 20


def test_no_flip_of_a_multiple_can_be_left_out() -> None:
    torch.manual_seed(0)
    network = dense_block()
    _, claims = claimed(network, 0)
    counts = torch.bincount(claims.point)
    tied = (counts[claims.point] > 1).nonzero()[:, 0].tolist()
    assert len(tied) > 8
    ends = torch.bucketize(claims.point, claims.offsets[1:], right=True)
    for flip in tied:
        assert not judge(network, without(claims, flip)).confirmed[ends[flip]]


def test_norms_that_shift_make_no_multiples() -> None:
    torch.manual_seed(1)
    network = dense_block(shift=0.5)
    equal = EqualNumbers.of(network)
    roots = [set(equal.roots(step.inputs[0]).tolist()) for step in network.gates]
    assert not roots[0] & roots[1] and not roots[1] & roots[2]
    paths, claims = claimed(network, 1)
    assert int(torch.bincount(claims.point).max()) == 1
    assert_true(paths, judge(network, claims), RANGE)


def test_units_of_one_gate_may_be_multiples() -> None:
    """Of opposite signs too; other knots than 0 are met at other points. (Powers of two don't round.)"""
    scale = torch.tensor([[2.0, -0.5, 4.0]], dtype=torch.float64)
    for gate, count in ((nn.ReLU(), 3), (nn.Hardtanh(-0.5, 0.5), 1)):
        torch.manual_seed(2)

        def run(m: Wrapped, x: Tensor, gate: nn.Module = gate) -> Tensor:
            return m.b(gate(m.a(x).expand(-1, 3) * scale))

        network = rr.Network.from_module(Wrapped(run, a=nn.Linear(4, 1), b=nn.Linear(3, 2)).double().eval(), (4,))
        paths, claims = claimed(network, 2)
        verdict = judge(network, claims)
        assert_true(paths, verdict, RANGE)
        assert verdict.confirmed.all() and int(torch.bincount(claims.point).max()) == count
