"""Planes in floats, against the exact walk of planes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import backends, rational
from relu_regions.backends import plane_reference
from relu_regions.planes import walk
from relu_regions.planes.form_bounds import FormBounds
from relu_regions.planes.planes import Planes
from relu_regions.planes.tiles import unpacked
from tests.models import STEPS_WITH_FACES, Architecture, mlp, of_each
from tests.networks import network_of
from tests.oracles.fractions_walk import Layers
from tests.planes.exact_planes import SQUARE
from tests.strategies import FLAVOURS, GATES, LINES, make_case

# The oracle's hardsigmoid has slope 1/6, which no float is.
EXACT_GATES = [name for name in GATES if name not in ("hardsigmoid", "order statistics")]
POLYGONS: list[list[tuple[Any, Any]]] = [
    [(0, 0), (1, 0), (0, 1)],
    SQUARE,
    SQUARE[::-1],
    [(-1, 0), (0, -1), (1, -1), (2, -1), (2, 0.5), (0, Fraction(1, 3))],  # with a straight corner
    [(Fraction(1, 3), Fraction(1, 7)), (Fraction(2, 3), Fraction(1, 7)), (Fraction(1, 3), Fraction(3, 7))],
]
RELU = ("knots", [0.0], [0.0, 1.0], [0.0, 0.0])


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def plane_case(seed: int, flavours: list[str] | None = None, **fixed: Any) -> tuple[rr.Network, Tensor, Tensor, Tensor]:
    """A small network, and a plane; everything is chosen by the seed but what is named."""
    rng = Random(seed)
    chosen: dict[str, Any] = {
        "widths": [rng.randint(2, 5), *(rng.randint(2, 8) for _ in range(rng.randint(1, 3))), rng.randint(1, 4)],
        "gates": rng.choices(EXACT_GATES, k=2),
        "flavour": rng.choice(flavours or list(FLAVOURS)),
        "line": rng.choice(list(LINES)),
        "bias": rng.random() < 0.7,
        "skips": rng.random() < 0.3,
        **fixed,
    }
    case = make_case(**chosen, seed=seed)
    while True:
        _, v = LINES[chosen["line"]](rng, len(case.d))
        if np.linalg.matrix_rank([case.d, v]) == 2:
            return network_of(case.layers, len(case.x)), row(*case.x), row(*case.d), row(*v)


def patterns_of(planes: Planes, number: int = 0) -> list[tuple[tuple[int, ...], ...]]:
    """The pattern of every face of a plane."""
    pairs = zip(planes.answers[number].patterns, planes.network.gates)
    gates = [unpacked(kept, step.units, step.gate.piece_count).tolist() for kept, step in pairs]
    return [tuple(tuple(gate[face]) for gate in gates) for face in range(len(planes.answers[number].tiles))]


def assert_same(planes: Planes, exact: rational.RationalPlane, number: int = 0) -> None:
    """A plane has the faces, corners, maps and class areas of the exact one."""
    answer, whole = planes.answers[number], float(exact.polygon.area)
    patterns = patterns_of(planes, number)
    faces = {face.pattern: face for face in exact.faces}
    assert len(patterns) == len(faces) and set(patterns) == set(faces)
    truth = [faces[pattern] for pattern in patterns]
    areas = np.array([float(face.area) for face in truth])
    assert np.abs(answer.tiles.areas - areas).max() <= 1e-12 * whole
    assert answer.tiles.counts.tolist() == [len(face.corners) for face in truth]
    assert (len(answer.tiles.vertices), len(answer.tiles.ends)) == (len(exact.vertices), len(exact.edges))
    forms = np.array([[[float(n) for n in part] for part in (f.intercept, f.slope_s, f.slope_t)] for f in truth])
    sizes = np.abs(forms).max() + 1
    assert np.abs(answer.forms - forms.swapaxes(1, 2)).max() <= 1e-11 * sizes
    if answer.cells is not None:
        assert len(answer.cells) == len(exact.cells)
        class_areas = np.array([float(area) for area in exact.class_areas()])
        assert np.abs(planes.class_areas()[number].numpy() - class_areas).max() <= 1e-12 * whole


def assert_true(network: rr.Network, x: Tensor, u: Tensor, v: Tensor, polygon: Any = SQUARE, **asked: Any) -> Planes:
    planes = rr.walk_plane(network, x, u, v, polygon, **asked)
    assert planes.certain.all()
    for number, exact in enumerate(rational.walk_plane(network, x, u, v, polygon)):
        assert_same(planes, exact, number)
    return planes


def in_two_inputs(layers: Layers, polygon: Any = SQUARE) -> Planes:
    """The plane of all of two inputs, compared with the exact one."""
    return assert_true(network_of(layers, 2), row(0, 0), row(1, 0), row(0, 1), polygon)


@pytest.fixture(params=["compiled", "reference"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with backends.use(request.param):
        yield request.param


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


def test_order_statistics_are_refused_by_name() -> None:
    network, x, u, v = plane_case(0, gates=["order statistics"], widths=[2, 4, 2])
    with pytest.raises(rr.UnsupportedOperation, match="sorts its numbers"):
        rr.walk_plane(network, x, u, v)


@pytest.mark.parametrize(
    "layers",
    [
        # lines of two ReLUs that meet, of which a maximum reads both
        [
            ("affine", [[1.0, 0.25], [0.5, -1.0], [0.25, 0.75]], [0.1, -0.2, 2.0]),
            RELU,
            ("maximum", [[0, 1], [2, 1]]),
            ("affine", [[1.0, -1.0], [0.25, 1.0]], [0.1, -0.1]),
        ],
        # a number and its negative, and a number twice
        [
            ("affine", [[1.0, 0.25], [-1.0, -0.25], [0.5, -1.0]], [0.1, -0.1, -0.2]),
            ("concatenate", [1, 1]),
            RELU,
            ("affine", [[1.0, -1.0, 0.3, 0.2, 0.7, 0.1], [0.25, 1.0, 0.3, 0.1, -0.3, 1.0]], [0.1, -0.1]),
        ],
    ],
)
def test_ties_by_construction(layers: Layers, backend: str) -> None:
    in_two_inputs(layers)


def test_a_concatenated_relu_leaves_no_doubt(backend: str) -> None:
    class Concatenated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(2, 5), nn.Linear(10, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            z = self.first(x)
            positive = torch.relu(torch.cat([z, -z], 1))
            again = torch.relu(torch.cat([positive, -positive], 1))[:, 5:15]
            return self.last(torch.relu(self.second(again)))

    torch.manual_seed(0)
    network = rr.Network.from_module(Concatenated().double().eval(), (2,))
    planes = assert_true(network, row(0, 0), row(1, 0), row(0, 1))
    assert not planes.settled.any()


# ---------------------------------------------------------------- bounds


def far_bundle(seed: int) -> tuple[rr.Network, Tensor, Tensor, Tensor]:
    """Four lines that would meet at one point, if a sum of large numbers did not round."""
    rng = Random(seed)
    x, y = 1e6 / 3, 1e6 / 7
    s, t = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)
    weight = [[rng.gauss(0, 1), rng.gauss(0, 1)] for _ in range(4)]
    bias = [-(a * (x + s) + b * (y + t)) for a, b in weight]
    return network_of([("affine", weight, bias), RELU], 2), row(x, y), row(1, 0), row(0, 1)


def test_lines_that_nearly_meet_are_settled(backend: str) -> None:
    for seed in range(20):
        assert assert_true(*far_bundle(seed)).settled.all()


def test_bounds_that_are_too_small_are_found_out(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests can fail: bounds a thousand times too small call wrong faces certain."""
    affine = FormBounds.affine
    monkeypatch.setattr(FormBounds, "affine", lambda self, *asked: affine(self, *asked) / 1000)
    wrong = 0
    for seed in range(20):
        case = far_bundle(seed)
        planes = rr.walk_plane(*case, SQUARE)
        (exact,) = rational.walk_plane(*case, SQUARE)
        wrong += set(patterns_of(planes)) != {face.pattern for face in exact.faces}
    assert wrong > 5


# ---------------------------------------------------------------- numbers at the ends of the range


@pytest.mark.parametrize("factor", [1e-320, 1e-300, 1e-160, 1e-30, 1e30, 1e150, 1e300])
def test_weights_of_any_size(factor: float, backend: str) -> None:
    rng = Random(3)
    first = [[factor * rng.gauss(0, 1) for _ in range(2)] for _ in range(4)]
    second = [[rng.gauss(0, 1) for _ in range(4)] for _ in range(3)]
    bias = [factor * rng.gauss(0, 0.3) for _ in range(4)]
    in_two_inputs([("affine", first, bias), RELU, ("affine", second, None), RELU, ("affine", second[:2], None)][:3])


@pytest.mark.parametrize("size", [Fraction(1, 10**100), 1e-40, 1e-12, Fraction(10**9, 3), 1e40, 1e100])
def test_polygons_of_any_size(size: Any, backend: str) -> None:
    network, x, u, v = plane_case(5, ["ordinary"], widths=[2, 6, 5, 2], gates=["relu"], line="gaussian", skips=False)
    assert_true(network, x, u, v, [(0, 0), (size, 0), (0, size)])


def test_narrow_polygons(backend: str) -> None:
    network, x, u, v = plane_case(5, ["ordinary"], widths=[2, 6, 5, 2], gates=["relu"], line="gaussian", skips=False)
    for width in (1e-9, 1e-30, Fraction(1, 10**50)):
        assert_true(network, x, u, v, [(-1, 0), (1, width), (0, 2 * width)])


def test_numbers_that_overflow_are_in_doubt(backend: str) -> None:
    weight = [[1e200, 0.5], [0.25, 1e200], [1.0, -1.0]]
    layers = [("affine", weight, None), RELU, ("affine", [[1e200, -1e200, 1.0], [1.0, 1e200, 1.0]], None)]
    network = network_of(layers, 2)
    planes = rr.walk_plane(network, row(1, 2), row(1, 0), row(0, 1), SQUARE)
    assert planes.certain.all() and planes.settled.all()
    rr.walk_plane(network, row(1, 2), row(1, 0), row(0, 1), SQUARE, resolve="never")


def test_corners_beyond_floats_are_refused() -> None:
    network, x, u, v = plane_case(5, ["ordinary"])
    with pytest.raises(ValueError, match="beyond the range of floats"):
        rr.walk_plane(network, x, u, v, [(0, 0), (10**400, 0), (0, 1)])


@pytest.mark.parametrize("relu", [False, True])
def test_windows_that_overlap_leave_no_doubt(relu: bool, backend: str) -> None:
    torch.manual_seed(2)
    layers = [nn.Conv2d(1, 2, 3, padding=1), nn.ReLU() if relu else nn.Identity(), nn.MaxPool2d(3, stride=1)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()
    network = rr.Network.from_module(model, (1, 4, 4))
    x, u, v = torch.randn(3, 3, 1, 4, 4, dtype=torch.float64)
    planes = assert_true(network, x, u, v, [(-1, -1), (1, -1), (0.5, 1)])
    assert not planes.settled.any() and planes.face_counts.min() > 10


def test_windows_that_overlap_and_zeros_in_them(backend: str) -> None:
    """Found by a search: on the line between a number and a zero, that number and all zeros go by one name."""

    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(2, 6), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            z = self.first(x)
            y = torch.cat([torch.relu(z[:, :2]), z[:, 2:]], 1)
            return self.last(y[:, [4, 1, 4, 4, 4, 3, 1, 5, 0, 3, 0, 0]].view(-1, 3, 4).amax(-1))

    for seed in range(12):
        torch.manual_seed(seed)
        network = rr.Network.from_module(Windows().double().eval(), (2,))
        assert_true(network, row(0, 0), row(2, 0), row(0, 2))


def test_a_plane_whose_parts_do_not_meet_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x, u, v = plane_case(5, ["ordinary"], widths=[2, 6, 5, 2], gates=["relu"], line="gaussian", skips=False)

    def each_alone(names: Any, first: int, last: int) -> tuple[Any, Any]:
        return np.arange(last - first), np.arange(first, last)

    with backends.use("reference"):
        assert not rr.walk_plane(network, x, u, v, SQUARE).settled.any()
        monkeypatch.setattr(plane_reference, "number_corners", each_alone)
        assert assert_true(network, x, u, v).settled.all()
