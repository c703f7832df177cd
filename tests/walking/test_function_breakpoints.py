"""Breakpoints of the function: those that a maximum and the activation beside it, as one gate, really have."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import relu_regions as rr
from relu_regions import rational
from relu_regions.network.gates import Maximum
from relu_regions.network.plan import fused
from tests.models import Wrapped
from tests.networks import network_of
from tests.oracles import fractions_walk as oracle

ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    "relu": ("knots", [0.0], [0.0, 1.0], [0.0, 0.0]),
    "leaky": ("knots", [0.0], [0.25, 1.0], [0.0, 0.0]),
    "clamped below": ("knots", [0.5], [0.0, 1.0], [0.5, 0.0]),
    "a floor, then two slopes": ("knots", [-1.0, 2.0], [0.0, 1.0, 2.0], [-1.0, 0.0, -2.0]),
}
# Flat above: each activation, with what is left of it without its cap.
CAPPED: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "hardtanh": (("knots", [-1.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]), ("knots", [-1.0], [0.0, 1.0], [-1.0, 0.0])),
    "steep": (("knots", [0.0, 2.0], [0.0, 3.0, 0.0], [0.0, 0.0, 6.0]), ("knots", [0.0], [0.0, 3.0], [0.0, 0.0])),
    "leaky with a cap": (
        ("knots", [0.0, 1.5], [0.25, 1.0, 0.0], [0.0, 0.0, 1.5]),
        ("knots", [0.0], [0.25, 1.0], [0.0, 0.0]),
    ),
}
WINDOWS = [[0, 1, 2], [2, 3], [5, 4, 3, 1]]
END = Fraction(3)


def layers_of(seed: int, activation: tuple[Any, ...], behind: bool, whole: bool) -> oracle.Layers:
    """A layer, an activation and a maximum (in this order, or the other way round), a layer, a ReLU and a layer."""
    random = Random(seed)

    def affine(outputs: int, inputs: int) -> tuple[Any, ...]:
        drawn = (lambda: float(random.randint(-2, 2))) if whole else (lambda: random.uniform(-2, 2))
        return "affine", [[drawn() for _ in range(inputs)] for _ in range(outputs)], [drawn() for _ in range(outputs)]

    pair = [("maximum", WINDOWS), activation] if behind else [activation, ("maximum", WINDOWS)]
    return [affine(6, 2), *pair, affine(3, 3), ACTIVATIONS["relu"], affine(2, 3)]


def bends_of(layers: oracle.Layers, x: Sequence[float], d: Sequence[float]) -> set[Fraction]:
    """Every t at which what some layers make bends, from the slopes on both sides of every breakpoint."""
    regions = oracle.walk(layers, x, d, -END, END).regions
    return {Fraction(one.hi) for one, other in pairwise(regions) if one.slope != other.slope}


def true_breakpoints(layers: oracle.Layers, x: Sequence[float], d: Sequence[float]) -> list[Fraction]:
    """Where the pair bends, and where the ReLU behind it changes its piece."""
    points = oracle.walk(layers, x, d, -END, END).breakpoints
    behind = {point.t for point in points if any(flip.gate == 2 for flip in point.flips)}
    return sorted(bends_of(layers[:3], x, d) | behind)


def line(seed: int, whole: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, d = torch.randn(2, 1, 2, generator=generator, dtype=torch.float64)
    return (x.mul(2).round(), d.mul(2).round() + 1 * (d.mul(2).round() == 0)) if whole else (x, d)


# Float64 alone cannot settle the coincidences of whole numbers.
MANNERS = {"generic": (False, "auto"), "generic, float64 alone": (False, "never"), "whole numbers": (True, "auto")}
# A leaky activation behind a maximum is no gate with it.
CAPPED_ORDERS = [
    (name, behind) for name in CAPPED for behind in (False, True) if (name, behind) != ("leaky with a cap", True)
]
ORDERS = [(name, behind) for name in ACTIVATIONS for behind in (False, True) if (name, behind) != ("leaky", True)]


@pytest.mark.parametrize(("whole", "resolve"), MANNERS.values(), ids=MANNERS)
@pytest.mark.parametrize(("name", "behind"), ORDERS)
def test_no_bend_is_missed_and_none_invented(name: str, behind: bool, whole: bool, resolve: Any) -> None:
    found = 0
    for seed in range(6):
        layers = layers_of(seed, ACTIVATIONS[name], behind, whole)
        network, (x, d) = network_of(layers, 2), line(seed, whole)
        truth = true_breakpoints(layers, x[0].tolist(), d[0].tolist())
        paths = rr.walk(network, x, d, (-float(END), float(END)), breakpoints="function", resolve=resolve)
        assert len(paths.t) - 2 == len(truth), seed
        for t, exact in zip(paths.t[1:-1].tolist(), truth):
            assert math.isclose(t, exact, rel_tol=1e-9, abs_tol=1e-9)
        (path,) = rational.walk(fused(network), x, d, (-END, END))
        assert [Fraction(t) for t in path.t[1:-1]] == truth
        found += len(truth)
    assert found > 20


@pytest.mark.parametrize(("whole", "resolve"), MANNERS.values(), ids=MANNERS)
@pytest.mark.parametrize(("name", "behind"), CAPPED_ORDERS)
def test_a_cap_stays_on_its_side_and_the_rest_is_fused(name: str, behind: bool, whole: bool, resolve: Any) -> None:
    activation, uncapped = CAPPED[name]
    found = everything = 0
    for seed in range(6):
        layers = layers_of(seed, activation, behind, whole)
        network, (x, d) = network_of(layers, 2), line(seed, whole)
        line_of = (x[0].tolist(), d[0].tolist())
        points = oracle.walk(layers, *line_of, -END, END).breakpoints
        # Where a number reaches or leaves the cap; behind a maximum, where the winner changes that is no floor.
        cap = (1 if behind else 0, len(activation[1]))
        own = {point.t for point in points for flip in point.flips if (flip.gate, max(flip.before, flip.after)) == cap}
        own |= {point.t for point in points if any(flip.gate == 2 for flip in point.flips)}
        if behind:
            own |= bends_of((*layers[:2], uncapped), *line_of)
        truth = sorted(own | bends_of(layers[:3], *line_of))
        paths = rr.walk(network, x, d, (-float(END), float(END)), breakpoints="function", resolve=resolve)
        assert len(paths.t) - 2 == len(truth), seed
        for t, exact in zip(paths.t[1:-1].tolist(), truth):
            assert math.isclose(t, exact, rel_tol=1e-9, abs_tol=1e-9)
        found, everything = found + len(truth), everything + len(points)
    assert 20 < found <= everything and (whole or found < everything)


@pytest.mark.parametrize("name", ["relu", "clamped below"])
def test_pieces_name_the_winner_or_the_floor(name: str) -> None:
    floor, floors, others = ACTIVATIONS[name][1][0], 0, 0
    for seed in range(6):
        layers = layers_of(seed, ACTIVATIONS[name], False, False)
        x, d = line(seed, False)
        (path,) = rr.walk(network_of(layers, 2), x, d, (-3, 3), breakpoints="function")
        for region in path.regions:
            t = Fraction(region.interior)
            point = [Fraction(a) + t * Fraction(b) for a, b in zip(x[0].tolist(), d[0].tolist())]
            inputs, _ = oracle.evaluate(layers[:1], point)
            for window, piece in zip(WINDOWS, region.pattern[0].tolist()):
                own = [inputs[place] for place in window]
                assert (max(own) < floor) == (piece == 0)
                assert piece == 0 or own[piece - 1] == max(own)
                floors, others = floors + (piece == 0), others + (piece > 0)
    assert floors > 5 and others > 20


def pooled(*between: Callable[[], nn.Module], features: int = 8) -> Callable[[], nn.Module]:
    """A convolution of 10 numbers, an activation and a pooling, and a last layer."""
    return lambda: nn.Sequential(
        nn.Conv1d(1, 2, 3), *(build() for build in between), nn.Flatten(), nn.Linear(features, 3)
    )


def wrapped(run: Callable[..., Tensor], **modules: tuple[int, int]) -> Callable[[], nn.Module]:
    """Linear layers of these sizes, and a forward pass."""
    return lambda: Wrapped(run, **{name: nn.Linear(*sizes) for name, sizes in modules.items()})


class Clamp(nn.Module):
    """Numbers below -0.3 become that."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=-0.3)


def two_deep() -> nn.Module:
    first = (nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.Conv2d(3, 4, 2), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def halves() -> nn.Module:
    return nn.MaxPool1d(2)


def two_slopes() -> nn.Module:
    prelu = nn.PReLU(2)
    prelu.weight.data[:] = torch.tensor([0.1, 0.4])
    return prelu


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "pooled": (pooled(nn.ReLU, halves), (1, 10)),
    "pooled with padding": (pooled(nn.ReLU, lambda: nn.MaxPool1d(3, 2, 1)), (1, 10)),
    "pooled, then rectified": (pooled(halves, nn.ReLU), (1, 10)),
    "leaky": (pooled(nn.LeakyReLU, halves), (1, 10)),
    "a slope for each channel": (pooled(two_slopes, halves), (1, 10)),
    "clamped": (pooled(Clamp, halves), (1, 10)),
    "flat above": (pooled(lambda: nn.Hardtanh(-0.2, 0.5), halves), (1, 10)),
    "pooled, then flat above": (pooled(halves, lambda: nn.Hardtanh(-0.2, 0.5)), (1, 10)),
    "maxout of activations": (
        wrapped(lambda m, x: m.b(torch.relu(m.a(x)).view(-1, 4, 3).transpose(1, 2).amax(1)), a=(4, 12), b=(4, 3)),
        (4,),
    ),
    "maximum of two activations": (
        wrapped(lambda m, x: m.c(torch.maximum(m.a(x).relu(), m.b(x).relu())), a=(4, 9), b=(4, 9), c=(9, 3)),
        (4,),
    ),
    "two deep": (two_deep, (1, 8, 8)),
}


def read(name: str) -> tuple[rr.Network, Tensor, Tensor]:
    torch.manual_seed(0)
    build, shape = MODELS[name]
    network = rr.Network.from_module(build().double().eval(), shape)
    x, d = torch.randn(2, 4, *shape, dtype=torch.float64)
    return network, x, d


@pytest.mark.parametrize("name", MODELS)
def test_the_same_function_with_fewer_breakpoints(name: str) -> None:
    network, x, d = read(name)
    everything, few = (rr.walk(network, x, d, (-1, 2), breakpoints=which) for which in ("pattern", "function"))
    assert few.certain.all() and (few.region_counts < everything.region_counts).all()
    assert few.network.units <= network.units
    maps = [paths.affine_maps() for paths in (few, everything)]
    for one, other in zip(few, everything):
        assert ((one.t[1:-1, None] - other.t).abs().amin(1) <= 1e-9).all()
        middle = torch.tensor([region.interior for region in one.regions], dtype=torch.float64)
        assert torch.allclose(one.outputs_at(middle), other.outputs_at(middle), rtol=1e-9, atol=1e-9)
        around = torch.bucketize(middle, other.t) - 1
        here, there = few.region_offsets[one.index], everything.region_offsets[other.index] + around
        for mine, theirs in zip(*maps):
            assert torch.allclose(mine[here : here + len(one)], theirs[there], rtol=1e-9, atol=1e-9)
        assert torch.allclose(one.norms(2), other.norms(2)[around], rtol=1e-6)
    assert torch.equal(few.network(x), network(x))


@pytest.mark.parametrize("name", MODELS)
def test_intervals_and_attributions_are_those_of_the_network_as_it_was_read(name: str) -> None:
    network, x, d = read(name)
    found = rr.exact_interval(network, x, d)
    for row, exact in enumerate(rational.exact_interval(network, x, d)):
        assert found.label[row] == exact.label and found.label_hi[row] == exact.label_hi
        for end, error, truth in ((found.lo, found.lo_error, exact.lo), (found.hi, found.hi_error, exact.hi)):
            assert end[row] == truth or abs(Fraction(end[row].item()) - truth) <= Fraction(error[row].item())
    attributions = rr.integrated_gradients(network, x, torch.zeros_like(x), 0)
    change = network(x)[:, 0] - network(torch.zeros_like(x))[:, 0]
    assert torch.allclose(attributions.flatten(1).sum(1), change, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("low", "high"), [(0.0, math.inf), (-math.inf, math.inf)])
@pytest.mark.parametrize("name", ["pooled", "clamped"])
def test_rays_have_the_same_floor(name: str, low: float, high: float) -> None:
    network, x, d = read(name)
    paths = rr.walk(network, x, d, (low, high), breakpoints="function")
    assert paths.certain.all()
    for path, exact in zip(paths, rational.walk(fused(network), x, d, (low, high))):
        assert len(path.t) == len(exact.t)
        assert torch.allclose(
            path.t[1:-1], torch.tensor([float(t) for t in exact.t[1:-1]], dtype=torch.float64), rtol=1e-9
        )


def test_a_line_on_the_floor_has_no_winner() -> None:
    """All pre-activations 0 or below it all along: ties, and no piece but the floor."""
    weight = [[0.0, 0.0], [1.0, -1.0], [-1.0, 1.0]]
    network = network_of([("affine", weight, None), ACTIVATIONS["relu"], ("maximum", [[0, 1, 2]])], 2)
    x, d = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    paths = rr.walk(network, x, d, (-2, 2), breakpoints="function")
    assert paths.t.tolist() == [-2, 2] and paths.patterns()[0].tolist() == [[0]] and paths.certain.all()


REFUSED: dict[str, Any] = {
    "a cap alone": lambda m, x: m.b(functional.max_pool1d(m.a(x).clamp(max=0.5), 2).flatten(1)),
    "flat between": lambda m, x: m.b(functional.max_pool1d(functional.softshrink(m.a(x)), 2).flatten(1)),
    "not increasing": lambda m, x: m.b(functional.max_pool1d(m.a(x).abs(), 2).flatten(1)),
    "read twice": lambda m, x: m.b((functional.max_pool1d(y := torch.relu(m.a(x)), 2) + y[..., :4]).flatten(1)),
    "negated between": lambda m, x: m.b(functional.max_pool1d(-torch.relu(m.a(x)), 2).flatten(1)),
    "shifted between": lambda m, x: m.b(functional.max_pool1d(torch.relu(m.a(x)) + 1, 2).flatten(1)),
    "leaky behind": lambda m, x: m.b(functional.leaky_relu(functional.max_pool1d(m.a(x), 2)).flatten(1)),
    "zeros between": lambda m, x: m.b(functional.max_pool1d(functional.pad(m.a(x).relu(), (0, 1)), 2).flatten(1)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_commute_stays_as_it_is(name: str) -> None:
    model = Wrapped(REFUSED[name], a=nn.Conv1d(1, 2, 3), b=nn.Linear(8, 3)).double().eval()
    network = rr.Network.from_module(model, (1, 10))
    assert fused(network) is network


def test_windows_over_different_slopes_stay_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.PReLU(6), nn.Unflatten(1, (1, 6)), nn.MaxPool1d(2), nn.Flatten()).double()
    model[1].weight.data[:] = torch.linspace(0.1, 0.6, 6)
    network = rr.Network.from_module(model.eval(), (4,))
    assert fused(network) is network
    model[1].weight.data[:] = torch.tensor([0.1, 0.1, 0.3, 0.3, 0.5, 0.5])
    network = rr.Network.from_module(model.eval(), (4,))
    assert isinstance(fused(network).gates[0].gate, Maximum)


def test_an_activation_between_two_maxima_goes_with_one() -> None:
    network = rr.Network.from_module(pooled(halves, nn.ReLU, halves, features=4)().double().eval(), (1, 10))
    assert [type(step.gate) for step in fused(network).gates] == [Maximum, Maximum]
    x = torch.randn(5, 1, 10, dtype=torch.float64)
    assert torch.equal(fused(network)(x), network(x))


def test_which_breakpoints_must_be_known() -> None:
    network, x, d = read("pooled")
    with pytest.raises(ValueError, match="breakpoints must be one of"):
        rr.walk(network, x, d, breakpoints="all")  # type: ignore[arg-type]


def test_hundreds_of_rearrangements_between_an_activation_and_a_maximum() -> None:
    def run(m: Wrapped, x: Tensor) -> Tensor:
        h = torch.relu(m.a(x))
        for _ in range(600):
            h = h.flip(1)
        return m.b(h.view(-1, 2, 3).amax(2))

    torch.manual_seed(0)
    model = Wrapped(run, a=nn.Linear(3, 6), b=nn.Linear(2, 2)).double().eval()
    x, d = torch.randn(2, 2, 3, dtype=torch.float64)
    assert rr.exact_interval(model, x, d, (-2, 2)).label.tolist() == model(x).argmax(1).tolist()
