"""Planes in floats, against the exact walk of planes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import backends, rational
from relu_regions.network.plan import fused
from relu_regions.planes import walk
from tests.models import STEPS_WITH_FACES, Architecture, mlp, of_each
from tests.networks import network_of
from tests.oracles.fractions_walk import Layers
from tests.planes.exact_planes import SQUARE
from tests.planes.true_planes import (
    EXACT_GATES,
    POLYGONS,
    RELU,
    assert_same,
    assert_true,
    in_two_inputs,
    patterns_of,
    plane_case,
    row,
)

# ---------------------------------------------------------------- known networks


def test_the_faces_of_a_known_network() -> None:
    """As many as edge_subdivision, a library for plain networks in general position, counts."""
    torch.manual_seed(0)
    model = mlp(2, 64, 64, 2).eval()
    planes = rr.walk_plane(model, row(0, 0), row(1, 0), row(0, 1), SQUARE)
    assert planes.face_counts.tolist() == [2943]
    assert planes.certain.tolist() == [True] and planes.settled.tolist() == [False]
    assert planes.areas.sum().item() == pytest.approx(4, abs=1e-12)


def test_two_lines_that_cross(backend: str) -> None:
    layers = [
        ("affine", [[2.0, 0.0], [0.0, 1.0]], [-1.0, 0.125]),
        RELU,
        ("affine", [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.3]),
    ]
    planes = in_two_inputs(layers)
    areas = dict(zip(patterns_of(planes), planes.areas.tolist()))
    assert areas[((1, 1),)] == pytest.approx(0.5 * 1.125)
    assert not planes.settled.any()


@pytest.mark.parametrize(
    "layers",
    [
        # three lines through one point; a line through two corners
        [("affine", [[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]], None), RELU],
        # a line along an edge
        [("affine", [[1.0, 0.0], [-1.0, 0.0], [1.0, 1.0]], [-1.0, 1.0, 2.0]), RELU],
        # units that share a line
        [("affine", [[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0], [1.0, 2.0]], [0.5, 1.0, -0.5, 0.5]), RELU],
        # units that are 0 on a face
        [("affine", [[1.0, 0.25]], [0.125]), RELU, RELU, ("affine", [[-1.0]], None), RELU],
        [("affine", [[1.0, 0.0], [0.0, 1.0]], None), ("maximum", [[1, 0, 0, 1]])],
        # four inputs of a maximum that lead around one point
        [
            ("affine", [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]], None),
            ("maximum", [[0, 1, 2, 3, 4]]),
        ],
        # biases one float apart
        [("affine", [[1.0, 0.25], [1.0, 0.25]], [0.7, math.nextafter(0.7, 1)]), RELU],
        # a maximum of what ReLUs made, zeros among them
        [
            ("affine", [[1.0, 0.25], [0.5, -1.0], [-0.75, 1.0]], [0.1, -0.2, 0.3]),
            RELU,
            ("maximum", [[0, 1, 2], [2, 1], [1, 0]]),
            ("affine", [[1.0, -1.0, 0.5], [0.25, 1.0, -1.0]], [0.1, -0.1]),
            RELU,
        ],
        # nothing bends
        [("affine", [[1.0, 2.0], [0.0, 0.0]], [3.0, 0.0])],
    ],
)
def test_by_hand(layers: Layers, backend: str) -> None:
    in_two_inputs(layers)


def test_a_bias_free_network_with_the_origin_inside() -> None:
    torch.manual_seed(0)
    model = mlp(4, 7, 7, 3, bias=False).double().eval()
    u, v = (torch.round(part * 64) / 64 for part in torch.randn(2, 1, 4, dtype=torch.float64))
    network = rr.Network.from_module(model, (4,))
    planes = assert_true(network, -(u + v) / 4, u, v, [(-1, -1), (2, -1), (2, 2), (-1, 2)])
    assert planes.settled.all()


def test_zeros_of_relus_that_a_maximum_compares_leave_no_doubt(backend: str) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3),
    ).double().eval()  # fmt: skip
    network = rr.Network.from_module(model, (1, 4, 4))
    x, u, v = torch.randn(3, 2, 1, 4, 4, dtype=torch.float64)
    planes = assert_true(network, x, u, v, [(0, 0), (0.5, 0), (0, 0.5)])
    assert not planes.settled.any() and planes.face_counts.min() > 10


# ---------------------------------------------------------------- against the exact walk


@pytest.mark.parametrize("start", range(0, 120, 40))
def test_random_networks(start: int) -> None:
    for seed in range(start, start + 40):
        assert_true(*plane_case(seed), POLYGONS[seed % len(POLYGONS)])


@pytest.mark.long
@pytest.mark.parametrize("start", range(1000, 1600, 100))
def test_many_random_networks(start: int) -> None:
    for seed in range(start, start + 100):
        assert_true(*plane_case(seed), POLYGONS[seed % len(POLYGONS)])


def test_random_networks_by_the_reference() -> None:
    with backends.use("reference"):
        for seed in range(200, 230):
            assert_true(*plane_case(seed), POLYGONS[seed % len(POLYGONS)])


@pytest.mark.parametrize("gate", EXACT_GATES)
def test_every_gate(gate: str) -> None:
    for seed, skips in enumerate((False, True)):
        assert_true(*plane_case(seed, widths=[3, 8, 6, 3], gates=[gate], flavour="ordinary", skips=skips))


def test_without_doubt_nothing_is_settled() -> None:
    counts = [
        rr.walk_plane(*plane_case(seed, ["ordinary"], line="gaussian", skips=False), SQUARE).settled.item()
        for seed in range(30)
    ]
    assert sum(counts) <= 3


@of_each(STEPS_WITH_FACES)
def test_every_architecture(architecture: Architecture) -> None:
    network = rr.Network.from_module(architecture.model(), architecture.shape)
    generator = torch.Generator().manual_seed(1)
    x, u, v = torch.randn(3, 1, *architecture.shape, generator=generator, dtype=torch.float64)
    size = 0.5 if network.units < 50 else 0.125
    assert_true(network, x, u, v, [(0, 0), (size, 0), (0, size)])


# ---------------------------------------------------------------- batches, blocks, memory


class _Shifted(nn.Module):
    """Constants added to numbers that are read once more, or to several copies of them."""

    def __init__(self, *constants: int) -> None:
        super().__init__()
        self.constants = nn.Parameter(torch.randn(*constants))
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        shifted = x.view(-1, 1, 3) + self.constants
        return torch.relu(torch.cat([shifted.flatten(1), self.linear(x)], 1))


@pytest.mark.parametrize("constants", [(3,), (1, 3), (4, 3), (1, 2, 3)])
def test_constants_are_added_beside_what_is_read_once_more(constants: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, (x, u, v) = _Shifted(*constants).eval(), torch.randn(3, 1, 3, dtype=torch.float64)
    network = rr.Network.from_module(model, (3,))
    assert_true(network.to(torch.float64, torch.device("cpu")), x, u, v)


def test_planes_of_a_batch_each_with_its_polygon() -> None:
    torch.manual_seed(0)
    network = rr.Network.from_module(mlp(3, 12, 9, 3).eval(), (3,))
    x, u, v = torch.randn(3, 5, 3)
    polygons = [[(0, 0), (1 + k, 0), (0, 2)] for k in range(5)]
    planes = rr.walk_plane(network, x, u, v, polygons)
    for number in range(5):
        one = slice(number, number + 1)
        (exact,) = rational.walk_plane(network, x[one], u[one], v[one], polygons[number])
        assert_same(planes, exact, number)


def test_blocks_of_few_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = rr.Network.from_module(mlp(3, 12, 9, 3).eval(), (3,))
    x, u, v = torch.randn(3, 4, 3)
    together = rr.walk_plane(network, x, u, v, SQUARE)
    apart = rr.walk_plane(network, x, u, v, SQUARE, memory_budget=10_000)
    monkeypatch.setattr(walk, "_BLOCK_BYTES", 1)
    single = rr.walk_plane(network, x, u, v, SQUARE)
    for other in (apart, single):
        assert torch.equal(other.face_counts, together.face_counts)
        for number in range(4):
            assert set(patterns_of(other, number)) == set(patterns_of(together, number))


def test_an_empty_batch() -> None:
    network = network_of([("affine", [[1.0, 0.0]], None)], 2)
    nothing = torch.zeros(0, 2, dtype=torch.float64)
    assert len(rr.walk_plane(network, nothing, row(1, 0), row(0, 1))) == 0


def test_in_float32_the_answer_is_that_of_the_plane_as_given() -> None:
    torch.manual_seed(0)
    network = rr.Network.from_module(mlp(3, 12, 9, 3).eval(), (3,))
    x, u, v = torch.randn(3, 2, 3, dtype=torch.float64)
    planes = rr.walk_plane(network, x, u, v, SQUARE, dtype=torch.float32)
    assert planes.x.dtype == torch.float32 and planes.certain.all()
    assert torch.equal(planes.face_counts, rr.walk_plane(network, x, u, v, SQUARE).face_counts)


# ---------------------------------------------------------------- doubt


def test_without_bounds_nothing_is_certain() -> None:
    network, x, u, v = plane_case(3, ["ordinary"])
    planes = rr.walk_plane(network, x, u, v, SQUARE, resolve="never")
    assert not planes.certain.any() and not planes.settled.any()
    assert planes.areas.sum().item() == pytest.approx(4)


def test_degenerate_networks_without_bounds_end() -> None:
    for seed in range(60):
        case = plane_case(seed, ["zeros", "duplicates", "neighbours", "integers"])
        with backends.use(["compiled", "reference"][seed % 2]):
            planes = rr.walk_plane(*case, SQUARE, resolve="never")
        assert planes.areas.sum().item() == pytest.approx(4, abs=1e-6)


def test_planes_that_are_not_settled_in_time_are_not_proven() -> None:
    layers = [("affine", [[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]], None), RELU]
    network = network_of(layers, 2)
    with pytest.warns(rr.UnprovenWarning, match=r"1 of 1 planes .* 1 were left after 0 seconds"):
        planes = rr.walk_plane(network, row(0, 0), row(1, 0), row(0, 1), SQUARE, resolve_seconds=0)
    assert not planes.certain.any() and planes.face_counts.tolist() == [6]
    with pytest.raises(ValueError, match="resolve must be one of"):
        rr.walk_plane(network, row(0, 0), row(1, 0), row(0, 1), SQUARE, resolve="maybe")  # type: ignore[arg-type]


def test_a_plane_beyond_the_range_of_floats_leaves_no_doubt_of_others() -> None:
    torch.manual_seed(0)
    model, (x, u, v) = mlp(2, 5, 4, 2).eval(), torch.randn(3, 3, 2)
    planes = rr.walk_plane(model, x, u, v, [SQUARE, [(0, 0), (1e70, 0), (0, 1)], SQUARE])
    assert planes.certain.all() and planes.settled.tolist() == [False, True, False]


def test_order_statistics_are_refused_by_name() -> None:
    network, x, u, v = plane_case(0, gates=["order statistics"], widths=[2, 4, 2])
    with pytest.raises(rr.UnsupportedOperation, match="sorts its numbers"):
        rr.walk_plane(network, x, u, v)


def test_threads_give_the_same_planes() -> None:
    torch.manual_seed(0)
    model = mlp(6, 24, 24, 3).eval()
    x, u, v = torch.randn(3, 6, 6, requires_grad=True)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = rr.walk_plane(model, x, u, v, SQUARE)
        torch.set_num_threads(3)
        together = rr.walk_plane(model, x, u, v, SQUARE, progress=True)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone.face_counts, together.face_counts) and together.certain.all()
    for number in range(6):
        assert patterns_of(alone, number) == patterns_of(together, number)
    assert torch.equal(alone.areas, together.areas)


# ---------------------------------------------------------------- fused maxima


def pooled(activation: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 3, 3, padding=1), activation, nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(), nn.ReLU6()])
def test_faces_of_the_function(activation: nn.Module, backend: str) -> None:
    model = pooled(activation)
    x, u, v = torch.randn(3, 2, 1, 4, 4, dtype=torch.float64)
    asked = x, u, v, [(0, 0), (0.5, 0), (0, 0.5)]
    planes = rr.walk_plane(model, *asked, breakpoints="function")
    assert planes.certain.all()
    network = fused(rr.Network.from_module(model, (1, 4, 4)))
    for number, exact in enumerate(rational.walk_plane(network, *asked)):
        assert_same(planes, exact, number)
    every = rr.walk_plane(model, *asked)
    assert (planes.face_counts < every.face_counts).all()
    assert torch.allclose(planes.class_areas(), every.class_areas(), rtol=0, atol=1e-13)
    assert len(planes.network.gates) <= len(every.network.gates)


def test_other_breakpoints_are_refused() -> None:
    with pytest.raises(ValueError, match="breakpoints must be one of"):
        rr.walk_plane(mlp(2, 3, 2), row(0, 0), row(1, 0), row(0, 1), breakpoints="all")  # type: ignore[arg-type]
