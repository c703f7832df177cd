"""The maps of regions against the forward pass, autograd, and fractions; the norms against numpy's."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import relu_regions as rr
from relu_regions.regions.affine_maps import Replay, affine_map, affine_maps_of
from relu_regions.regions.norms import norms_of, operator_norm
from relu_regions.regions.patterns import activation_patterns
from tests.models import ARCHITECTURES, STEPS, Architecture, mlp, of_each
from tests.networks import network_of
from tests.oracles.fractions_map import exact_map
from tests.strategies import Case, cases, make_case

EVERY = of_each(STEPS)
NORMS = pytest.mark.parametrize("p", [1, 2, math.inf, "fro"])


@cache
def walked(architecture: Architecture, segments: int = 3, reach: float = 3.0) -> rr.Paths:
    generator = torch.Generator().manual_seed(1)
    x, d = torch.randn(2, segments, *architecture.shape, generator=generator, dtype=torch.float64)
    return rr.walk(architecture.model(), x, d, (-reach, reach))


def owners(paths: rr.Paths) -> torch.Tensor:
    return torch.arange(len(paths)).repeat_interleave(paths.region_counts)


def points_at(paths: rr.Paths, t: torch.Tensor) -> torch.Tensor:
    """A point for each region, at its own t."""
    column = (-1, *[1] * (paths.x.ndim - 1))
    return paths.x[owners(paths)] + t.view(column) * paths.d[owners(paths)]


def maps(paths: rr.Paths, memory_budget: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    count = int(paths.region_offsets[-1])
    return affine_maps_of(paths.network, paths.patterns(), count, memory_budget=memory_budget)


def flat(paths: rr.Paths, matrices: torch.Tensor) -> torch.Tensor:
    return matrices.reshape(len(matrices), math.prod(paths.network.output_shape), -1)


@EVERY
def test_map_is_the_forward_pass_on_its_region(architecture: Architecture) -> None:
    paths = walked(architecture)
    matrices, constants = maps(paths)
    low, high = paths.t[paths.region_rows], paths.t[paths.region_rows + 1]
    for t in (low, low / 2 + high / 2, high):
        points = points_at(paths, t)
        with torch.no_grad():
            expected = architecture.model()(points).flatten(1)
        found = (flat(paths, matrices) @ points.flatten(1)[..., None])[..., 0] + constants.flatten(1)
        assert (found - expected).abs().max() <= 1e-11 * expected.abs().max()


@EVERY
def test_map_is_the_jacobian_inside(architecture: Architecture) -> None:
    paths = walked(architecture)
    low, high = paths.t[paths.region_rows], paths.t[paths.region_rows + 1]
    wide = high - low > 1e-9
    points = points_at(paths, low / 2 + high / 2)[wide]
    model = architecture.model()
    shape = (*paths.network.output_shape, *architecture.shape)
    jacobians = torch.stack([torch.autograd.functional.jacobian(model, p[None]).view(shape) for p in points])
    for matrices in (maps(paths)[0][wide], affine_map(model, points)[0]):
        assert matrices.shape == jacobians.shape
        # torch's derivative of hardsigmoid is 1/6 in single precision only.
        allowed = 1e-7 if architecture.name == "hardsigmoid" else 1e-12
        assert (matrices - jacobians).abs().max() <= allowed * jacobians.abs().max()


@EVERY
@NORMS
def test_norms_along_are_those_of_the_maps(architecture: Architecture, p: float | str) -> None:
    paths = walked(architecture)
    matrices = flat(paths, maps(paths)[0]).numpy()
    expected = [np.linalg.norm(matrix, p) for matrix in matrices]
    # A small budget cuts the segments, and W is computed anew where they are cut.
    for budget in (None, 1_000_000) if p == math.inf else (None,):
        whole = norms_of(paths.network, paths.patterns(), p, len(matrices), memory_budget=budget)
        for found in (paths.norms(p, memory_budget=budget), whole):
            assert found.shape == (len(expected),)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * max(expected))


@EVERY
def test_blocks_of_patterns_and_of_maps_do_not_change_them(architecture: Architecture) -> None:
    paths = walked(architecture, segments=2, reach=1.5)
    patterns, count = paths.patterns(), int(paths.region_offsets[-1])
    for size in (1, 3, count):
        blocks = [
            paths.table.patterns(paths.table.numbers(start, min(count, start + size)))
            for start in range(0, count, size)
        ]
        assert all(torch.equal(whole, torch.cat(parts)) for whole, parts in zip(patterns, zip(*blocks)))
    whole, small = (maps(paths, budget) for budget in (None, 1))
    assert all(torch.allclose(one, other, rtol=1e-13, atol=1e-13) for one, other in zip(whole, small))


# ---------------------------------------------------------------- fractions


@settings(max_examples=100, deadline=None)
@given(cases(skips=st.booleans()), st.randoms(use_true_random=False))
def test_any_pattern_has_the_map_that_fractions_give(case: Case, random) -> None:
    """Also patterns that belong to no region: the map comes from the pattern alone."""
    network = network_of(case.layers, len(case.x))
    pattern = [[random.randrange(step.gate.piece_count) for _ in range(step.units)] for step in network.gates]
    windows = iter(layer[1] for layer in case.layers if layer[0] in ("maximum", "order"))
    for step, pieces in zip(network.gates, pattern):
        if not hasattr(step.gate, "knots"):
            pieces[:] = [random.randrange(len(window)) for window in next(windows)]
    matrices, constants = affine_maps_of(network, tuple(torch.tensor([pieces]) for pieces in pattern))
    found = np.concatenate([matrices[0].numpy(), constants[0].numpy()[:, None]], 1)
    expected = np.array([[float(number) for number in row] for row in exact_map(case.layers, len(case.x), pattern)])
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13 * scale_of(case))


def scale_of(case: Case) -> float:
    """What the products of a network's weights may add up to: rounding is relative to that where they cancel."""
    scale = 1.0
    for kind, *description in case.layers:
        if kind == "affine":
            weight, bias = description
            scale = max(
                sum(abs(w) for w in row) * scale + abs(shift)
                for row, shift in zip(weight, bias or (weight and [0] * len(weight)))
            )
            scale = max(scale, 1e-300)
        elif kind not in ("maximum", "order"):
            scale = 6 * scale + 1
    return scale


def test_regions_shorter_than_rounding_have_their_own_map() -> None:
    """Sixty ReLU that bend one after the other, each at the next float: no point lies between two of them."""
    knots = [1.0]
    for _ in range(59):
        knots.append(float(np.nextafter(knots[-1], 2)))
    weights = torch.arange(1.0, 61, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(1, 60), nn.ReLU(), nn.Linear(60, 1)).double().eval()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.copy_(-torch.tensor(knots, dtype=torch.float64))
        model[2].weight.copy_(weights[None])
    paths = rr.walk(model, torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64), (0, 3))
    assert paths.t[1:-1].tolist() == knots
    expected = torch.cat([torch.zeros(1), weights.cumsum(0)])
    assert torch.equal(maps(paths)[0].flatten(), expected)
    assert torch.equal(paths.norms(math.inf), expected)


# ---------------------------------------------------------------- one point


def test_a_point_on_a_knot_has_the_piece_below() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 2)).double().eval()
    weight = model[1].weight.detach()
    matrices, constants = affine_map(model, np.array([[0.0, 1.0], [1.0, 0.0], [-0.0, -3.0]]))
    assert torch.equal(matrices, weight * torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 0.0]]], dtype=torch.float64))
    assert torch.equal(constants, model[1].bias.detach().expand(3, 2))


def test_a_tied_maximum_counts_the_first() -> None:
    model = nn.MaxPool1d(3).double().eval()
    matrices, _ = affine_map(model, torch.tensor([[[2.0, 2.0, 1.0]], [[0.0, 2.0, 2.0]]]))
    assert matrices.flatten(1).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def test_patterns_at_points_are_what_the_gates_do() -> None:
    architecture = next(a for a in ARCHITECTURES if a.name == "hardtanh")
    paths = walked(architecture)
    middle = paths.t[paths.region_rows] / 2 + paths.t[paths.region_rows + 1] / 2
    found = activation_patterns(paths.network, points_at(paths, middle))
    assert all(torch.equal(one, other) for one, other in zip(found, paths.patterns()))


def test_single_precision_and_an_untouched_model() -> None:
    model = mlp(6, 12, 10, 4).eval()
    before = [parameter.clone() for parameter in model.parameters()]
    x = torch.randn(5, 6, requires_grad=True)
    matrices, constants = affine_map(model, x, dtype=torch.float32)
    assert matrices.dtype == constants.dtype == torch.float32
    double = affine_map(model, x)
    assert double[0].dtype == torch.float64 and not double[0].requires_grad
    assert torch.allclose(double[0].float(), matrices, atol=1e-5)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters()))
    assert all(parameter.grad is None and parameter.dtype == torch.float32 for parameter in model.parameters())


def test_no_points_and_no_gates() -> None:
    matrices, constants = affine_map(mlp(6, 12, 4).double().eval(), torch.zeros(0, 6))
    assert matrices.shape == (0, 4, 6) and constants.shape == (0, 4)
    linear = nn.Linear(3, 2).double().eval()
    x, d = torch.randn(2, 4, 3, dtype=torch.float64)
    paths = rr.walk(linear, x, d)
    matrices, constants = affine_map(linear, x)
    assert torch.equal(matrices, linear.weight.detach().expand(4, 2, 3))
    assert torch.equal(constants, linear.bias.detach().expand(4, 2))
    assert torch.allclose(paths.norms(1), operator_norm(linear.weight.detach(), 1).expand(4))


# ---------------------------------------------------------------- norms


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 12), min_size=3, max_size=6))
def test_no_region_exceeds_the_product_of_the_layers(seed: int, widths: list[int]) -> None:
    """Appendix: ‖W_x‖ ≤ Π ‖W_l‖ for ReLU networks, in every operator norm."""
    torch.manual_seed(seed)
    model = mlp(*widths).double().eval()
    paths = rr.walk(model, *torch.randn(2, 3, widths[0], dtype=torch.float64))
    for p in (1, 2, math.inf):
        product = math.prod(float(operator_norm(layer.weight.detach(), p)) for layer in model[::2])
        assert (paths.norms(p) <= product * (1 + 1e-13)).all()


@NORMS
def test_units_of_two_gates_that_flip_at_one_point(p: float | str) -> None:
    """A change of rank two of which one part is zero: each gate counts with the others before or after, not both."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.ReLU(), nn.Linear(20, 12)).double().eval()
    paths = rr.walk(model, *torch.randn(2, 4, 5, dtype=torch.float64), (-3, 3))
    flips, regions = len(paths.flips.row), int(paths.region_offsets[-1])
    assert flips == 2 * (regions - 4) and 2 * flips < 12 * (regions - 4)  # so that W is carried on
    expected = [np.linalg.norm(matrix, p) for matrix in maps(paths)[0].numpy()]
    np.testing.assert_allclose(paths.norms(p), expected, rtol=1e-12)


@NORMS
def test_many_units_that_flip_at_one_point(p: float | str) -> None:
    """Without biases all units bend at the origin: the update then is of full rank."""
    case = make_case([5, 9, 8, 6], line="through the origin", bias=False, seed=3)
    network = network_of(case.layers, 5)
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    paths = rr.walk(network, x, d, (case.lo, case.hi))
    expected = [np.linalg.norm(matrix, p) for matrix in affine_maps_of(network, paths.patterns())[0].numpy()]
    np.testing.assert_allclose(paths.norms(p), expected, rtol=1e-12)


@pytest.mark.parametrize("p", [0, 3, -1, "nuc", None, True, math.nan])
def test_other_norms_are_refused(p: object) -> None:
    with pytest.raises(ValueError, match="p must be 1, 2"):
        operator_norm(torch.eye(2), p)  # type: ignore[arg-type]


def test_patterns_of_another_network_are_refused() -> None:
    network = rr.Network.from_module(mlp(3, 4, 2).eval(), (3,))
    for patterns in ((), (torch.zeros(1, 5, dtype=torch.int64),), (torch.zeros(4, dtype=torch.int64),)):
        with pytest.raises(ValueError, match=r"gates of \[4\] units"):
            Replay.of(network, patterns)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    model = mlp(6, 12, 10, 4).double().eval()
    x, d = torch.randn(2, 5, 6, dtype=torch.float64)
    here, there = rr.walk(model, x, d), rr.walk(model.cuda(), x.cuda(), d.cuda())
    assert len(here.t) == len(there.t)
    for one, other in zip(maps(here), maps(there)):
        assert other.is_cuda and torch.allclose(one, other.cpu(), rtol=1e-12, atol=1e-12)
    assert torch.allclose(here.norms(math.inf), there.norms(math.inf).cpu(), rtol=1e-12)


def test_regions_and_paths_give_the_same_maps() -> None:
    torch.manual_seed(0)
    model = mlp(4, 7, 6, 3).double().eval()
    x, d = torch.randn(2, 2, 4, dtype=torch.float64)
    paths = rr.walk(model, x, d, (-2, 2))
    weights, biases = paths.affine_maps()
    norms = paths.norms(math.inf)
    for path in paths:
        for region in path.regions:
            weight, bias = region.affine_map()
            assert torch.allclose(weight, weights[region.row], rtol=1e-12)
            assert torch.allclose(bias, biases[region.row], rtol=1e-12)
            assert region.norm(math.inf) == pytest.approx(float(norms[region.row]), rel=1e-12)
    affine = rr.walk(torch.nn.Linear(4, 3).double().eval(), x, d, (-2, 2))
    assert affine.affine_maps()[0].shape == (2, 3, 4) and affine.norms(1).shape == (2,)
