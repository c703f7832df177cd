"""Degenerate and hostile lines, one case each: the ones that other tools fail on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from tests.models import mlp


def chain(*layers: tuple[list[list[float]], list[float]], activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """A network from plain numbers."""
    modules: list[nn.Module] = []
    for weight, bias in layers:
        linear = nn.Linear(len(weight[0]), len(weight)).double()
        linear.weight.data, linear.bias.data = (
            torch.tensor(numbers, dtype=torch.float64) for numbers in (weight, bias)
        )
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1]).eval()


def line(x: list[float], d: list[float]) -> tuple[Tensor, Tensor]:
    return torch.tensor([x], dtype=torch.float64), torch.tensor([d], dtype=torch.float64)


IDENTITY = ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])


def test_all_units_of_a_bias_free_network_bend_at_the_origin() -> None:
    torch.manual_seed(0)
    model = mlp(5, 48, 48, 3, bias=False).double().eval()
    d = torch.randn(1, 5, dtype=torch.float64)
    path = rr.walk(model, -d, d, (-1, 3))[0]
    cluster = path.breakpoints
    assert len(cluster) and ((cluster - 1).abs() <= 1e-12).all()
    before, after = path.regions[0], path.regions[-1]
    for region, point in ((before, -0.5 * d), (after, 0.5 * d)):
        hidden = point
        for gate, layer in enumerate((model[0], model[2])):
            hidden = layer(hidden)
            assert torch.equal(region.pattern[gate], (hidden[0] > 0).long())
            hidden = hidden.relu()


def test_duplicate_units_make_one_breakpoint_with_several_flips() -> None:
    model = chain(([[1.0], [1.0], [1.0], [-1.0]], [0.5, 0.5, 0.5, -0.5]), ([[1.0, 2.0, 3.0, 4.0]], [0.0]))
    path = rr.walk(model, *line([0.0], [1.0]), (-1, 1))[0]
    assert path.breakpoints.tolist() == [-0.5]
    assert path.flips.unit.tolist() == [0, 1, 2, 3]
    assert path.flips.after.tolist() == [1, 1, 1, 0]


def test_zero_weights_and_dead_units_make_no_breakpoint() -> None:
    model = chain(([[0.0], [0.0], [0.0], [1.0]], [0.0, -3.0, 2.0, -50.0]), ([[1.0] * 4], [0.0]))
    paths = rr.walk(model, *line([0.0], [1.0]), (-1, 1))
    assert paths.breakpoint_counts.tolist() == [0]
    assert [pattern[0].tolist() for pattern in paths.patterns()] == [[0, 0, 1, 0]]


def test_a_unit_that_is_zero_on_a_stretch_flips_at_its_end() -> None:
    # The second layer's unit is exactly 0 while the first is inactive: inactive, by convention.
    model = chain(([[1.0]], [0.0]), ([[1.0]], [0.0]), ([[1.0]], [0.0]))
    path = rr.walk(model, *line([0.0], [1.0]), (-1, 1))[0]
    assert path.breakpoints.tolist() == [0.0]
    assert path.flips.gate.tolist() == [0, 1]
    assert [r.pattern[1].item() for r in path.regions] == [0, 1]


def test_a_direction_that_changes_nothing() -> None:
    model = chain(([[1.0, 0.0]], [1.0]), ([[1.0], [-1.0]], [0.0, 0.0]))
    x, d = line([1.0, 0.0], [0.0, 1.0])
    assert rr.walk(model, x, d, (-math.inf, math.inf)).breakpoint_counts.tolist() == [0]
    interval = rr.exact_interval(model, x, d)
    assert (interval.lo.item(), interval.hi.item(), interval.label.item()) == (-math.inf, math.inf, 0)


def test_a_bend_at_x_is_a_breakpoint_at_zero() -> None:
    path = rr.walk(chain(IDENTITY, ([[1.0, 1.0]], [0.0])), *line([0.0, 1.0], [1.0, 0.0]), (-1, 1))[0]
    assert path.breakpoints.tolist() == [0.0]


@pytest.mark.parametrize(("t_range", "active"), [((-1, 0), 0), ((0, 1), 1)])
def test_a_bend_at_an_end_of_the_range_is_no_breakpoint(t_range: tuple[float, float], active: int) -> None:
    model = chain(IDENTITY, ([[1.0, 1.0]], [0.0]))
    paths = rr.walk(model, *line([0.0, 1.0], [1.0, 0.0]), t_range)
    assert paths.breakpoint_counts.tolist() == [0]
    assert paths[0].regions[0].pattern[0].tolist() == [active, 1]


def test_touching_a_knot_is_no_breakpoint() -> None:
    # |t| reaches the second gate's knot at 0 from above and turns back.
    model = nn.Sequential(chain(([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])), nn.ReLU()).eval()
    path = rr.walk(model, *line([0.0], [1.0]), (-1, 1))[0]
    assert path.breakpoints.tolist() == [0.0]
    assert set(path.flips.gate.tolist()) == {0}


def test_ties_at_x_are_reported() -> None:
    model = chain(([[1.0], [-1.0], [0.0]], [0.0, 0.0, -1.0]))
    interval = rr.exact_interval(model, *line([0.0], [1.0]))
    assert interval.tied.item() and interval.label.item() == 0
    assert (interval.lo.item(), interval.hi.item()) == (0.0, math.inf)
    assert (interval.label_lo.item(), interval.label_hi.item()) == (1, -1)


def test_touching_another_class_does_not_end_the_interval() -> None:
    # Logits |t| and 0: they tie at t = 0 only.
    model = chain(([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0], [0.0, 0.0]], [0.0, 0.0]))
    interval = rr.exact_interval(model, *line([-1.0], [1.0]), (-1, 5))
    assert (interval.lo.item(), interval.hi.item(), interval.label_hi.item()) == (-1.0, 5.0, -1)


def test_a_network_without_gates() -> None:
    model = chain(([[1.0], [-1.0]], [0.0, 1.0]))
    x, d = line([0.0], [1.0])
    assert rr.walk(model, x, d, (-2, 2)).t.tolist() == [-2.0, 2.0]
    interval = rr.exact_interval(model, x, d)
    assert (interval.lo.item(), interval.hi.item()) == (-math.inf, 0.5)
    assert (interval.label.item(), interval.label_hi.item()) == (1, 0)
    path = rr.walk(model, x, d, (-math.inf, math.inf))[0]
    assert path.outputs.tolist() == [[-math.inf, math.inf], [math.inf, -math.inf]]
    assert path.outputs_at(torch.tensor([3.0])).tolist() == [[3.0, -2.0]]


@pytest.mark.parametrize("gap", [1e-12, 3e-8, 1e-15])
def test_near_duplicate_units_stay_apart(gap: float) -> None:
    model = chain(([[1.0], [1.0]], [-0.5, -0.5 - gap]), ([[1.0, -1.0]], [0.0]))
    path = rr.walk(model, *line([0.0], [1.0]), (-1, 1))[0]
    assert len(path.breakpoints) == 2
    assert path.breakpoints.diff().item() == pytest.approx(gap, rel=1e-3, abs=1.2e-16)


def test_the_small_exact_cases_of_the_literature() -> None:
    relu_of_two = nn.Sequential(nn.ReLU()).eval()
    path = rr.walk(relu_of_two, *line([-1.0, 3.0], [4.0, -4.0]), (0, 1))[0]
    assert path.t.tolist() == [0, 0.25, 0.75, 1]
    pooled = nn.Sequential(nn.MaxPool1d(2)).eval()
    x, d = torch.tensor([[[1.0, 2, 1, 3]]]).double(), torch.tensor([[[0.0, 0, 4, 0]]]).double()
    assert rr.walk(pooled, x, d, (0, 1)).t.tolist() == [0, 0.5, 1]
    both = nn.Sequential(nn.ReLU(), nn.MaxPool1d(2)).eval()
    x, d = torch.tensor([[[-1.0, 2, 1, 3]]]).double(), torch.tensor([[[2.0, 0, 4, 0]]]).double()
    assert rr.walk(both, x, d, (0, 1)).t.tolist() == [0, 0.5, 1]
    fused = nn.Sequential(nn.ReLU(), nn.MaxPool1d(2)).eval()
    x, d = torch.tensor([[[1.0, -3.0]]]).double(), torch.tensor([[[-4.0, 4.0]]]).double()
    assert rr.walk(fused, x, d, (0, 1)).t.tolist() == [0, 0.25, 0.75, 1]


@pytest.mark.parametrize("window", [2, 3, 5])
def test_ties_of_zeros_in_a_pooling_window_make_no_region(window: int) -> None:
    """Max pooling after ReLU: every bend must also be a bend of the ReLU or a real change of the maximum."""
    torch.manual_seed(window)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(window, 1)).double().eval()
    x, d = torch.randn(2, 1, 1, 9, 9, dtype=torch.float64)
    path = rr.walk(model, x, d, (-3, 3))[0]
    slopes = path.outputs.flatten(1).diff(dim=0) / path.t.diff()[:, None]
    patterns = [region.pattern for region in path.regions]
    for number in range(1, len(patterns)):
        relu_changes = bool((patterns[number][0] != patterns[number - 1][0]).any())
        bends = (slopes[number] - slopes[number - 1]).abs().max() > 1e-9
        assert relu_changes or bends


def test_single_output_and_decisions() -> None:
    single = chain(([[1.0]], [-1.0]))
    interval = rr.exact_interval(single, *line([0.0], [1.0]))
    assert (interval.label.item(), interval.hi.item(), interval.label_hi.item()) == (0, 1.0, 1)
    three = chain(([[0.0], [1.0], [2.0]], [0.0, -1.0, -4.0]))
    x, d = line([0.0], [1.0])
    assert rr.exact_interval(three, x, d).hi.item() == 1.0
    only = rr.exact_interval(three, x, d, decision=(2, 0))
    assert (only.hi.item(), only.label.item(), only.label_hi.item()) == (2.0, 0, 2)


def test_intervals_can_be_indexed_and_shown() -> None:
    model = chain(([[1.0], [-1.0]], [0.0, 1.0]))
    x, d = torch.zeros(3, 1).double(), torch.tensor([[1.0], [-1.0], [2.0]]).double()
    interval = rr.exact_interval(model, x, d, (-1, 1))
    assert len(interval) == 3 and len(interval[1:]) == 2 and len(list(interval)) == 3
    assert interval[2].hi.item() == 0.25 and interval[-1].hi.item() == 0.25
    assert "class 1" in repr(interval[0]) and "3 lines" in repr(interval)
    with pytest.raises(IndexError):
        interval[3]
    assert torch.equal(interval.length, interval.hi - interval.lo)


def test_outputs_at_refuses_t_outside() -> None:
    path = rr.walk(chain(IDENTITY), *line([0.0, 1.0], [1.0, 0.0]), (-1, 1))[0]
    for t in (2.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="between"):
            path.outputs_at(torch.tensor([t]))


@pytest.mark.parametrize("scale", [1e-300, 1.0])
@pytest.mark.parametrize("pooled", [False, True])
def test_what_overflows_to_nan_is_settled(pooled: bool, scale: float) -> None:
    """1e300 * 1e10 - 1e300 * 5e9 is 5e309, which no float holds, but 1e-300 times that is 5e9."""
    hidden, heads = [[1e300, -1e300], [1.0, 1.0]], [[scale, 0.0], [-scale, 0.0]]
    model = chain((hidden, [0.0, 0.0]), ([row[:1] for row in heads] if pooled else heads, [0.0, 0.0]))
    assert isinstance(model, nn.Sequential)
    if pooled:
        model = nn.Sequential(model[0], nn.Unflatten(1, (1, 2)), nn.MaxPool1d(2), nn.Flatten(), model[2]).eval()
    network = rr.Network.from_module(model, (2,))
    x, d = line([1e10, 5e9], [1.0, 0.0])
    paths, interval = rr.walk(network, x, d, (-1, 1)), rr.exact_interval(network, x, d, (-1, 1))
    logit = 5e9 if scale < 1 else math.inf
    assert paths.settled.all() and torch.allclose(paths.outputs_at_x, torch.tensor([[logit, -logit]]).double())
    assert interval.certain is not None and interval.certain.all() and interval.label.tolist() == [0]
    assert (interval.lo.item(), interval.hi.item()) == (-1, 1) and not interval.tied.any()


def test_a_network_without_steps() -> None:
    x, d = torch.randn(2, 3, 4, dtype=torch.float64)
    paths = rr.walk(nn.Identity().eval(), x, d)
    assert paths.certain.all() and torch.equal(paths.t, torch.tensor([-1.0, 2.0]).double().repeat(3))
    assert torch.equal(paths.values, torch.stack([x - d, x + 2 * d], 1).view(6, 4))


def test_ends_nearer_to_x_than_the_smallest_normal_float() -> None:
    model = nn.Sequential(nn.Linear(2, 2)).double().eval()
    x, d = torch.randn(2, 1, 2, dtype=torch.float64)
    interval = rr.exact_interval(model, x, d, (-1e-40, 2e-40), dtype=torch.float32)
    assert interval.lo.item() == pytest.approx(-1e-40, rel=1e-5) and interval.hi.item() == pytest.approx(
        2e-40, rel=1e-5
    )
