"""The laws that every architecture obeys: the walk is the network, no more and no less."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import relu_regions as rr
from relu_regions.lines.line_batch import Range
from relu_regions.network.gates import OrderStatistic
from relu_regions.network.steps import AffineStep
from tests.models import ARCHITECTURES, Architecture, of_each
from tests.quick import some_quick


# What settling in rational arithmetic changes is the matter of tests/exactness/test_error_bounds.py and tests/rational.
def walk(model: torch.nn.Module, x: torch.Tensor, d: torch.Tensor, t_range: Range, **options: int) -> rr.Paths:
    return rr.walk(model, x, d, t_range, resolve="never", **options)


SEGMENTS, EVERY = 4, of_each(ARCHITECTURES)


def lines(architecture: Architecture, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, d = torch.randn(2, SEGMENTS, *architecture.shape, generator=generator, dtype=torch.float64)
    return x, d


def _name(value: Architecture | float) -> str:
    return value.name if isinstance(value, Architecture) else str(value)


def forward(model: torch.nn.Module, x: torch.Tensor, d: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(x + t.view(-1, *[1] * x.ndim) * d)


@some_quick("architecture,reach", ARCHITECTURES, [2.0, 1000.0, math.inf], one_in=2, ids=_name)
def test_logits_are_the_forward_pass(architecture: Architecture, reach: float) -> None:
    model = architecture.model()
    x, d = lines(architecture)
    for index, path in enumerate(walk(model, x, d, (-reach, reach))):
        inside = path.breakpoints
        expected = forward(model, x[index], d[index], inside)
        scale = 1 + expected.abs().amax(1, keepdim=True)
        assert ((path.outputs[1:-1] - expected).abs() <= 1e-10 * scale).all()
        ends = min(reach, 30.0)
        t = (torch.rand(1000, dtype=torch.float64) * 2 - 1) * ends
        expected = forward(model, x[index], d[index], t)
        assert ((path.outputs_at(t) - expected).abs() <= 1e-10 * (1 + expected.abs().max())).all()


@EVERY
def test_patterns_are_those_of_every_region(architecture: Architecture) -> None:
    """Each region's pattern, rebuilt from flips, is what the gates do in its middle; neighbours differ."""
    model = architecture.model()
    x, d = lines(architecture)
    paths = walk(model, x, d, (-5, 5))
    patterns = paths.patterns()
    network = rr.Network.from_module(model, architecture.shape)
    segment = torch.arange(SEGMENTS).repeat_interleave(paths.region_counts)
    low, high = paths.t[paths.region_rows], paths.t[paths.region_rows + 1]
    middle = (low + high) / 2
    points = x[segment] + middle.view(-1, *[1] * len(architecture.shape)) * d[segment]
    wide = high - low > 1e-9
    values = {network.input_name: points}
    gates = iter(patterns)
    for step in network.steps:
        inputs = [values[name] for name in step.inputs]
        if isinstance(step, AffineStep):
            values[step.output] = step(*inputs)
            continue
        found, flat = next(gates), inputs[0].reshape(len(points), -1)
        if hasattr(step.gate, "knots"):
            expected = sum((flat > knot).long() for knot in step.gate.knots)
        elif isinstance(step.gate, OrderStatistic):
            numbers = flat[:, step.gate.windows]
            before = (numbers[..., None] < numbers[..., None, :]).sum(-1)
            level = (before <= step.gate.ranks[:, None]).int() * (before + 1)
            expected = level.argmax(-1)
        else:
            expected = flat[:, step.gate.windows].argmax(-1)
        assert torch.equal(found[wide], expected[wide])
        values[step.output] = step.gate.apply(flat).view(-1, *step.shape)
    for index in range(SEGMENTS):
        rows = slice(int(paths.region_offsets[index]), int(paths.region_offsets[index + 1]))
        whole = torch.cat([pattern[rows] for pattern in patterns], 1) if patterns else torch.zeros(1, 0)
        assert (whole[1:] != whole[:-1]).any(1).all()


@EVERY
def test_points_increase(architecture: Architecture) -> None:
    x, d = lines(architecture)
    for path in walk(architecture.model(), x, d, (-math.inf, math.inf)):
        assert (path.t.diff() > 0).all()


@EVERY
def test_interval_is_where_the_label_changes(architecture: Architecture) -> None:
    model = architecture.model()
    x, d = lines(architecture)
    intervals = rr.exact_interval(model, x, d, (-20, 20), resolve="never")

    def lead(index: int, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """How far the label's logit is above the largest other one."""
        logits = forward(model, x[index], d[index], t)
        logits = torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits
        others = logits.clone()
        others[:, label] = -math.inf
        return logits[:, label] - others.amax(1)

    for index in range(SEGMENTS):
        lo, hi = intervals.lo[index], intervals.hi[index]
        inside = lo + (hi - lo) * torch.linspace(0, 1, 2001, dtype=torch.float64)
        assert (lead(index, inside, intervals.label[index]) >= -1e-11).all()
        for end, beyond in ((lo, intervals.label_lo[index]), (hi, intervals.label_hi[index])):
            if beyond >= 0:
                outside = end + torch.sign(end) * 1e-7
                assert lead(index, outside[None], beyond) >= 0
                assert lead(index, outside[None], intervals.label[index]) < 0
            else:
                assert end.abs() == 20


def wide_regions(paths: rr.Paths, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ends and patterns of a segment's regions, without slivers between breakpoints that float64 cannot tell apart."""
    t, regions = paths[index].t, paths.region_offsets
    own = torch.arange(int(regions[index]), int(regions[index + 1]))
    pattern = torch.cat([*paths.patterns(own), torch.zeros(len(own), 0, dtype=torch.int64)], 1)
    wide = t.diff() > 1e-11
    return torch.stack([t[:-1][wide], t[1:][wide]]), pattern[wide]


def assert_same_regions(one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert one[0].shape == other[0].shape
    assert torch.allclose(one[0], other[0], rtol=1e-11, atol=1e-11)
    assert torch.equal(one[1], other[1])


@EVERY
@pytest.mark.parametrize(("budget", "reach"), [(1, 0.5), (400_000, 3)])
def test_windows_do_not_change_the_answer(architecture: Architecture, budget: int, reach: float) -> None:
    """A budget of a byte cuts wherever a cut can be made."""
    model = architecture.model()
    x, d = lines(architecture)
    whole = walk(model, x, d, (-reach, reach))
    cut = walk(model, x, d, (-reach, reach), memory_budget=budget)
    for index in range(SEGMENTS):
        assert_same_regions(wide_regions(whole, index), wide_regions(cut, index))


@EVERY
def test_turning_round_turns_the_answer(architecture: Architecture) -> None:
    model = architecture.model()
    x, d = lines(architecture)
    paths, turned = walk(model, x, d, (-3, 5)), walk(model, x, -d, (-5, 3))
    for index in range(SEGMENTS):
        ends, patterns = wide_regions(turned, index)
        assert_same_regions(wide_regions(paths, index), (-ends.flip(0, 1), patterns.flip(0)))


@EVERY
def test_the_batch_does_not_matter(architecture: Architecture) -> None:
    model = architecture.model()
    x, d = lines(architecture)
    together = walk(model, x, d, (-3, 3))
    for index in range(SEGMENTS):
        alone = walk(model, x[index : index + 1], d[index : index + 1], (-3, 3))
        assert_same_regions(wide_regions(together, index), wide_regions(alone, 0))


@EVERY
def test_float32_finds_nearly_the_same(architecture: Architecture) -> None:
    model = architecture.model()
    x, d = lines(architecture)
    x, d = x.float(), d.float()
    single_model = copy.deepcopy(model).float()
    single = rr.exact_interval(single_model, x, d, (-3, 3), dtype=torch.float32, resolve="never")
    double = rr.exact_interval(single_model, x, d, (-3, 3), resolve="never")
    assert torch.allclose(single.hi, double.hi, atol=1e-3)
