"""Bounds against the numbers that they bound; the chain and equation 10 against the forward pass and fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import relu_regions as rr
from relu_regions.network.gates import flattened
from relu_regions.network.steps import AffineStep
from relu_regions.paths.change import segment_change, weight_change
from relu_regions.regions.lipschitz_bounds import (
    factor_needed,
    guaranteed_radius,
    layer_norms,
    linear_network,
    linear_network_norm,
    logit_bounds,
    margins,
    product_bound,
    training_range,
)
from relu_regions.regions.norms import norms_at, operator_norm
from tests.models import ARCHITECTURES, STEPS, Architecture, mlp, of_each
from tests.networks import network_of
from tests.oracles.fractions_walk import evaluate
from tests.strategies import Case, cases

# Without weights of 1e-30 and 1e30, whose products leave the range of float64.
ORDINARY = st.sampled_from(["ordinary", "zeros", "duplicates", "neighbours", "dead", "integers"])
EVERY = of_each(STEPS)


def read(architecture: Architecture) -> rr.Network:
    return rr.Network.from_module(architecture.model(), architecture.shape)


@cache
def walked(architecture: Architecture) -> rr.Paths:
    generator = torch.Generator().manual_seed(5)
    x, d = torch.randn(2, 2, *architecture.shape, generator=generator, dtype=torch.float64)
    return rr.walk(architecture.model(), x, d, (-0.5, 1.5), resolve="never")


def chain_of(case: Case) -> tuple[rr.Network, rr.Paths]:
    network = network_of(case.layers, len(case.x))
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    return network, rr.walk(network, x, d, (max(case.lo, -1000.0), min(case.hi, 1000.0)), resolve="never")


# ---------------------------------------------------------------- the network alone


@EVERY
def test_layer_norms_are_those_of_the_matrices(architecture: Architecture) -> None:
    network = read(architecture)
    shapes = {network.input_name: network.input_shape} | {step.output: step.shape for step in network.steps}
    expected = []
    for step in network.steps:
        if isinstance(step, AffineStep):
            sizes = [math.prod(shapes[name]) for name in step.inputs]
            columns = torch.eye(sum(sizes), dtype=torch.float64).split(sizes, 1)
            inputs = [part.reshape(-1, *shapes[name]) for part, name in zip(columns, step.inputs)]
            expected.append(flattened(step.linear(*inputs)).abs().sum(0).max().item())
    np.testing.assert_allclose(layer_norms(network), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("activation", "slope"), [(nn.ReLU, 1), (lambda: nn.LeakyReLU(3.0), 3), (lambda: nn.Hardtanh(-1, 2), 1)]
)
def test_the_bound_of_a_chain_is_the_product(activation, slope: float) -> None:
    torch.manual_seed(0)
    model = mlp(5, 8, 7, 3, activation=activation).double().eval()
    network = rr.Network.from_module(model, (5,))
    weights = [layer.weight.detach().abs() for layer in model[::2]]
    norms = [weight.sum(1).max().item() for weight in weights]
    assert layer_norms(network).tolist() == pytest.approx(norms, rel=1e-14)
    assert product_bound(network) == pytest.approx(slope**2 * math.prod(norms), rel=1e-13)
    rows = slope**2 * (weights[2] @ weights[1] @ weights[0]).sum(1)
    assert torch.allclose(logit_bounds(network), rows, rtol=1e-13)


def test_the_bound_of_a_residual_network_is_propagated() -> None:
    model = next(a for a in ARCHITECTURES if a.name == "residual").model()  # c(relu(b(relu(a(x)))) + x)
    a, b, c = (layer.weight.detach().abs() for layer in (model.a, model.b, model.c))
    norms = [weight.sum(1).max().item() for weight in (a, b, c)]
    network = rr.Network.from_module(model, (5,))
    assert product_bound(network) == pytest.approx(norms[2] * (norms[1] * norms[0] + 1), rel=1e-13)
    rows = (c @ (b @ a + torch.eye(5, dtype=torch.float64))).sum(1)
    assert torch.allclose(logit_bounds(network), rows, rtol=1e-13)


@EVERY
def test_no_region_of_any_architecture_exceeds_the_bounds(architecture: Architecture) -> None:
    paths = walked(architecture)
    rows = logit_bounds(paths.network)
    assert rows.shape == paths.network.output_shape
    weights = paths.affine_maps()[0].reshape(-1, rows.numel(), math.prod(architecture.shape))
    assert (weights.abs().sum(2) <= rows.flatten() * (1 + 1e-12)).all()
    assert (paths.norms(math.inf) <= rows.max() * (1 + 1e-12)).all()
    assert rows.max() <= product_bound(paths.network) * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(cases(skips=st.booleans()))
def test_no_region_met_exceeds_the_bounds(case: Case) -> None:
    """Appendix A: ‖W_x‖∞ ≤ Π ‖W_l‖∞ on every region, whatever the gates and weights are."""
    network, paths = chain_of(case)
    # Rounding of W_x is relative to what its products would add up to without cancelling: to the bound itself.
    largest, product = logit_bounds(network).max(), product_bound(network)
    assert (paths.norms(math.inf) <= largest * (1 + 1e-12)).all()
    assert largest <= product * (1 + 1e-12)


# ---------------------------------------------------------------- the linear network


def test_the_linear_network_has_no_gates() -> None:
    torch.manual_seed(0)
    model = mlp(5, 8, 7, 3).double().eval()
    network = rr.Network.from_module(model, (5,))
    first, second, third = (layer.weight.detach() for layer in model[::2])
    product = third @ second @ first
    assert linear_network_norm(network) == pytest.approx(operator_norm(product, math.inf).item(), rel=1e-13)
    x = torch.randn(4, 5, dtype=torch.float64)
    plain = nn.Sequential(*model[::2])
    assert torch.allclose(linear_network(network)(x), plain(x).detach(), rtol=1e-13)


def test_a_maximum_cannot_be_removed() -> None:
    network = read(next(a for a in ARCHITECTURES if a.name == "maxout"))
    with pytest.raises(ValueError, match="chooses among several inputs"):
        linear_network(network)


def smallest_network(inner: list[float], outer: list[float]) -> tuple[float, float]:
    """‖W‖ of the linear network of 1 input, a layer of ReLU and 1 output, and the largest ‖W_x‖, at 1 and -1."""
    model = mlp(1, len(inner), 1, bias=False).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(inner)[:, None])
        model[2].weight.copy_(torch.tensor(outer)[None])
    network = rr.Network.from_module(model, (1,))
    return linear_network_norm(network), norms_at(network, torch.tensor([[1.0], [-1.0]]), math.inf).max().item()


def test_two_units_are_the_fewest_with_which_a_region_exceeds_the_linear_network() -> None:
    """Appendix A: ‖W_x‖∞ ≤ ‖W‖∞ is not guaranteed. With a unit in each layer W_x is W or 0, so it takes two."""
    numbers = [-2.0, -1.0, 1.0, 2.0]
    for inner, outer in product(numbers, repeat=2):
        whole, largest = smallest_network([inner], [outer])
        assert largest == whole
    # relu(2x) + relu(-x): the linear network is 2x - x, but for x > 0 the second unit takes nothing away.
    assert smallest_network([2.0, -1.0], [1.0, 1.0]) == (1.0, 2.0)
    # |x| = relu(x) + relu(-x): nothing is left of the linear network, so that no K bounds the quotient.
    assert smallest_network([1.0, -1.0], [1.0, 1.0]) == (0.0, 1.0)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 3)), min_size=1, max_size=9),
    st.sampled_from([0.1, 0.5, 0.99, 1]),
)
def test_the_factor_is_the_smallest_that_the_share_needs(pairs: list[tuple[float, int]], share: float) -> None:
    ratios, weights = map(list, zip(*pairs))
    weights[0] += 1

    def reached(factor: float) -> float:
        return sum(w for r, w in zip(ratios, weights) if r <= factor) / sum(weights)

    expected = min(ratio for ratio in ratios if reached(ratio) >= share)
    assert factor_needed(np.array(ratios), share, np.array(weights, dtype=float)) == expected
    whole = [ratio for ratio, weight in zip(ratios, weights) for _ in range(weight)]
    assert factor_needed(torch.tensor(whole, dtype=torch.float64), share) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "at least one"),
        (([math.nan],), "none of them NaN"),
        (([1.0], 0.0), "share must be"),
        (([1.0], 1.1), "share must be"),
        (([1.0, 2.0], 0.5, [1.0]), "weights must be 2"),
        (([1.0], 0.5, [-1.0]), "weights must be 1"),
        (([1.0], 0.5, [0.0]), "not all 0"),
    ],
)
def test_a_factor_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factor_needed(*arguments)


# ---------------------------------------------------------------- samples


def test_margins_of_logits_that_are_given() -> None:
    model = nn.Linear(3, 3, bias=False).double().eval()
    with torch.no_grad():
        model.weight.copy_(torch.eye(3))
    x = torch.tensor([[5.0, 2.0, 1.0], [0.0, 1.0, 4.0], [1.0, 1.0, 0.0]])
    assert margins(model, x, [0, 1, 0]).tolist() == [3, -3, 0]
    assert training_range(model, x[:1], torch.tensor([0])) == 3
    assert training_range(model, x, np.array([0, 1, 0])) == -3
    assert training_range(model, x[:0], torch.zeros(0, dtype=torch.int64)) == math.inf
    # Each logit changes as fast as its own input number: half the margin is the true distance.
    assert guaranteed_radius(model, x).tolist() == [1.5, 1.5, 0]
    assert guaranteed_radius(model, x, [0, 1, 0]).tolist() == [1.5, 0, 0]
    assert guaranteed_radius(model, x, lipschitz=torch.tensor([1.0, 0.0, 1.0])).tolist() == [2, 2, 0]
    assert guaranteed_radius(model, x, lipschitz=0.0).tolist() == [math.inf, math.inf, 0]


def test_a_single_output_competes_with_zero() -> None:
    model = nn.Linear(1, 1, bias=False).double().eval()
    with torch.no_grad():
        model.weight.fill_(2.0)
    x = torch.tensor([[3.0], [-1.0]])
    assert margins(model, x, [1, 0]).tolist() == [6, 2]
    assert margins(model, x, 1).tolist() == [6, -2]
    assert guaranteed_radius(model, x).tolist() == [3, 1]


@settings(max_examples=60, deadline=None)
@given(cases(skips=st.booleans(), flavour=ORDINARY, widths=st.lists(st.integers(2, 8), min_size=2, max_size=5)))
def test_no_line_leaves_its_class_within_the_radius(case: Case) -> None:
    network, paths = chain_of(case)
    found = rr.exact_interval(network, paths.x, paths.d, resolve="never")
    nearest = min(-float(found.lo), float(found.hi)) * float(paths.d.abs().max())
    for lipschitz in (None, logit_bounds(network)):
        radius = guaranteed_radius(network, paths.x, lipschitz=lipschitz)
        assert radius <= nearest * (1 + 1e-9) + 1e-12


def test_a_bound_for_each_logit_guarantees_more() -> None:
    torch.manual_seed(0)
    model = mlp(6, 12, 10, 4).double().eval()
    x = torch.randn(50, 6, dtype=torch.float64)
    network = rr.Network.from_module(model, (6,))
    plain, finer = guaranteed_radius(model, x), guaranteed_radius(model, x, lipschitz=logit_bounds(network))
    assert (finer > plain).all()
    label = model(x).argmax(1)
    expected = margins(model, x, label) / (2 * product_bound(network))
    assert torch.allclose(plain, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0, 1]}, "labels must be one integer, or 3"),
        ({"labels": torch.tensor([0.0, 1, 2])}, "labels must be one integer"),
        ({"labels": [0, 1, 4]}, "labels must be classes from 0 to 3"),
        ({"labels": -1}, "labels must be classes from 0 to 3"),
        ({"lipschitz": -1.0}, "must not be negative or NaN"),
        ({"lipschitz": math.nan}, "must not be negative or NaN"),
        ({"lipschitz": torch.ones(3)}, "lipschitz has shape"),
    ],
)
def test_a_radius_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        guaranteed_radius(mlp(6, 12, 4).eval(), torch.zeros(3, 6), **arguments)
    with pytest.raises(ValueError, match="vector of logits"):
        margins(nn.Conv1d(1, 1, 1).eval(), torch.zeros(1, 1, 3), 0)


def test_norms_at_points_are_those_of_their_maps() -> None:
    torch.manual_seed(0)
    model = mlp(6, 12, 10, 4).double().eval()
    x = torch.randn(20, 6, dtype=torch.float64)
    expected = operator_norm(rr.affine_map(model, x)[0], math.inf)
    assert torch.allclose(norms_at(model, x, math.inf), expected, rtol=1e-13)
    assert norms_at(model, x[:0], 1).shape == (0,)


# ---------------------------------------------------------------- along segments


@EVERY
def test_the_chain_adds_up_to_the_change(architecture: Architecture) -> None:
    paths = walked(architecture)
    found = segment_change(paths)
    ends = [paths.x + reach * paths.d for reach in (-0.5, 1.5)]
    with torch.no_grad():
        change = architecture.model()(ends[1]) - architecture.model()(ends[0])
    scale = change.abs().max()
    assert (found.sum - change).abs().max() <= 1e-11 * scale
    assert (found.change - change).abs().max() <= 1e-11 * scale
    assert torch.allclose(found.distance, (ends[1] - ends[0]).flatten(1).abs().amax(1), rtol=1e-14)
    norms = [paths.norms(math.inf)[a:b] for a, b in zip(paths.region_offsets[:-1], paths.region_offsets[1:])]
    shares = [path.t.diff() / 2 for path in paths]
    assert torch.allclose(found.mean_norm, torch.stack([(a * b).sum() for a, b in zip(norms, shares)]), rtol=1e-12)
    assert torch.allclose(found.largest_norm, torch.stack([own.max() for own in norms]), rtol=1e-13)
    above = 1 + 1e-11
    assert (found.size <= found.variation * above).all() and (found.variation <= found.bound * above).all()
    assert (found.bound <= product_bound(paths.network) * found.distance * above).all()


@settings(max_examples=40, deadline=None)
@given(cases(skips=st.booleans(), flavour=ORDINARY))
def test_the_chain_adds_up_to_the_change_of_fractions(case: Case) -> None:
    _, paths = chain_of(case)
    found = segment_change(paths)
    lo, hi = paths.t[0].item(), paths.t[-1].item()
    ends = [[Fraction(v) + Fraction(t) * Fraction(w) for v, w in zip(case.x, case.d)] for t in (lo, hi)]
    exact = [evaluate(case.layers, point)[0] for point in ends]
    change = torch.tensor([[float(b - a) for a, b in zip(*exact)]], dtype=torch.float64)
    # Where terms cancel, rounding is relative to them: to what the bound adds up.
    scale = product_bound(paths.network) * float(found.distance)
    assert (found.sum - change).abs().max() <= 1e-11 * scale


@EVERY
def test_the_two_parts_of_a_change_are_those_of_equation_10(architecture: Architecture) -> None:
    paths = walked(architecture)
    weights, biases = (part.flatten(1) for part in paths.affine_maps())
    weights = weights.view(len(biases), biases.shape[1], -1)
    for path in paths:
        found, first = weight_change(path), int(paths.region_offsets[path.index])
        assert found.weights.shape == found.direction.shape == path.outputs.shape
        own = next(region.row for region in path.regions if region.interval[0] <= 0 < region.interval[1])
        points = (paths.x[path.index] + path.t.view(-1, *[1] * len(architecture.shape)) * paths.d[path.index]).flatten(
            1
        )
        scale = path.outputs.abs().max()
        # At a breakpoint the regions before and after it agree.
        for shift in (-1, 0):
            rows = (first + torch.arange(len(points)) + shift).clamp(first, first + len(path) - 1)
            part = ((weights[rows] - weights[own]) @ points[..., None])[..., 0] + biases[rows] - biases[own]
            assert (found.weights.flatten(1) - part).abs().max() <= 1e-11 * scale
        straight = (points - paths.x[path.index].flatten()) @ weights[own].T
        assert (found.direction.flatten(1) - straight).abs().max() <= 1e-11 * scale
        total = path.outputs - paths.outputs_at_x[path.index]
        assert (found.weights + found.direction - total).abs().max() <= 1e-11 * scale
        assert (found.weights[own - first : own - first + 2] == 0).all()


def test_the_parts_of_a_change_where_x_is_on_a_breakpoint_or_at_an_end() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(1, 1, bias=False)).double().eval()
    with torch.no_grad():
        model[1].weight.fill_(3.0)
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    # x is on the breakpoint: x0's region is the one after it, where the slope is 3.
    found = weight_change(rr.walk(model, zero, one, (-1, 2))[0])
    assert found.t.tolist() == [-1, 0, 2]
    assert found.direction.flatten().tolist() == [-3, 0, 6] and found.weights.flatten().tolist() == [3, 0, 0]
    # At the upper end the region before it counts; at the lower one the first.
    assert weight_change(rr.walk(model, one, one, (-2, 0))[0]).direction.flatten().tolist() == [-6, -3, 0]
    assert weight_change(rr.walk(model, -one, one, (0, 2))[0]).direction.flatten().tolist() == [0, 0, 0]


def test_unbounded_segments_are_refused_and_no_segments_are_none() -> None:
    model = mlp(3, 5, 2).double().eval()
    x, d = torch.randn(2, 2, 3, dtype=torch.float64)
    paths = rr.walk(model, x, d, (0, math.inf))
    with pytest.raises(ValueError, match="unbounded"):
        segment_change(paths)
    with pytest.raises(ValueError, match="unbounded"):
        weight_change(paths[0])
    empty = segment_change(rr.walk(model, x[:0], d[:0], (0, 1)))
    assert len(empty) == 0 and empty.change.shape == empty.sum.shape == (0, 2) and empty.bound.shape == (0,)


def test_a_small_memory_budget_changes_nothing() -> None:
    paths = walked(ARCHITECTURES[0])
    whole, small = segment_change(paths), segment_change(paths, memory_budget=1)
    assert torch.allclose(whole.sum, small.sum, rtol=1e-13)
    assert torch.allclose(weight_change(paths[0]).weights, weight_change(paths[0], memory_budget=1).weights, atol=1e-13)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    model = mlp(6, 12, 10, 4).double().eval()
    x, d = torch.randn(2, 5, 6, dtype=torch.float64)
    here, there = rr.walk(model, x, d), rr.walk(model.cuda(), x.cuda(), d.cuda())
    for one, other in (
        (segment_change(here), segment_change(there)),
        (weight_change(here[0]), weight_change(there[0])),
    ):
        for name, value in vars(one).items():
            assert getattr(other, name).is_cuda and torch.allclose(value, getattr(other, name).cpu(), rtol=1e-10)
    assert linear_network_norm(there.network) == pytest.approx(linear_network_norm(here.network), rel=1e-12)
    assert guaranteed_radius(model, x.cuda()).is_cuda
