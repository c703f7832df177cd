"""Exact planes: by hand, against polygons cut unit by unit in plain fractions, and against the exact walk of lines."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.exactness.rational import arithmetic
from relu_regions.exactness.rational.planes import sheet
from tests.models import STEPS_WITH_FACES, Architecture, mlp, of_each
from tests.networks import network_of
from tests.oracles import fractions_plane as truth
from tests.oracles.fractions_walk import Layers
from tests.strategies import FLAVOURS, GATES, LINES, make_case

# The oracle's hardsigmoid has slope 1/6, which no float is.
EXACT_GATES = [name for name in GATES if name not in ("hardsigmoid", "order statistics")]
THIRD = Fraction(1, 3)
SQUARE = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
POLYGONS: list[list[tuple[Any, Any]]] = [
    [(0, 0), (1, 0), (0, 1)],
    SQUARE,
    SQUARE[::-1],
    [(-1, 0), (0, -1), (1, -1), (2, -1), (2, 0.5), (0, THIRD)],  # with a straight corner
]


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def in_two_inputs(layers: Layers, polygon: Any = SQUARE) -> rational.RationalPlane:
    """The plane of all of two inputs."""
    (plane,) = rational.walk_plane(network_of(layers, 2), row(0, 0), row(1, 0), row(0, 1), polygon)
    assert_well_formed(plane)
    return plane


def assert_well_formed(plane: rational.RationalPlane) -> None:
    """Laws of a subdivision into convex faces, edge to edge."""
    inner = [edge for edge in plane.edges if edge.faces[1] is not None]
    assert len(plane.vertices) - len(plane.edges) + len(plane.faces) == 1
    assert sum(plane.areas) == plane.polygon.area and min(plane.areas) > 0
    assert len(set(plane.vertices)) == len(plane.vertices)
    assert len({face.pattern for face in plane.faces}) == len(plane.faces)
    for edge in inner:
        assert edge.flips
        first, second = (plane.faces[number] for number in edge.faces if number is not None)
        for flip in edge.flips:
            assert (first.pattern[flip.gate][flip.unit], second.pattern[flip.gate][flip.unit]) == flip[2:]
            assert flip.before != flip.after
        for number in edge.vertices:  # continuous
            assert first.outputs_at(*plane.vertices[number]) == second.outputs_at(*plane.vertices[number])
    uses = Counter(number for corners in plane.face_vertices for number in corners)
    assert set(uses) == set(range(len(plane.vertices)))


RELU = ("knots", [0.0], [0.0, 1.0], [0.0, 0.0])

# ---------------------------------------------------------------- by hand


def test_a_network_without_gates_has_one_face() -> None:
    plane = in_two_inputs([("affine", [[1.0, 2.0], [0.0, 0.0]], [3.0, 0.0])])
    (face,) = plane.faces
    assert (face.intercept, face.slope_s, face.slope_t, face.pattern) == ((3, 0), (1, 0), (2, 0), ())
    assert set(face.corners) == set(SQUARE) and face.area == 4
    assert len(plane.edges) == 4 and all(edge.faces == (0, None) and not edge.flips for edge in plane.edges)
    # Class 0 wins where 3 + s + 2 t > 0, which is everywhere but at one corner.
    assert plane.class_areas() == [4, 0]


def test_two_lines_that_cross() -> None:
    plane = in_two_inputs([("affine", [[2.0, 0.0], [0.0, 1.0]], [-1.0, 0.0]), RELU])
    areas = {face.pattern: face.area for face in plane.faces}
    assert areas == {((0, 0),): Fraction(3, 2), ((0, 1),): Fraction(3, 2), ((1, 0),): Fraction(1, 2), ((1, 1),): 0.5}
    assert (Fraction(1, 2), Fraction(0)) in plane.vertices
    assert (len(plane.vertices), len(plane.edges)) == (9, 12)
    flips = {edge.flips for edge in plane.edges if edge.faces[1] is not None}
    assert {(flip.gate, flip.unit) for (flip,) in flips} == {(0, 0), (0, 1)}
    # The logits are max(2 s - 1, 0) and max(t, 0): class 1 leads above the broken line, and of equals the first.
    assert plane.class_areas() == [Fraction(9, 4), Fraction(7, 4)]
    half = Fraction(1, 2)
    # Each segment with the class to its left first, whichever way it goes.
    directed = {b.ends if b.labels == (1, 0) else b.ends[::-1] for b in plane.boundaries}
    assert directed == {((-1, 0), (half, 0)), ((half, 0), (1, 1))}


def test_three_lines_through_one_point_and_lines_through_corners() -> None:
    plane = in_two_inputs([("affine", [[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]], None), RELU])
    assert len(plane) == 6
    # The centre, four ends of the axes, and two corners that the diagonal meets and two that it does not.
    assert len(plane.vertices) == 9
    assert sorted(plane.areas) == [0.5] * 4 + [1, 1]


def test_a_line_along_an_edge_of_the_polygon_cuts_nothing() -> None:
    plane = in_two_inputs([("affine", [[1.0, 0.0], [-1.0, 0.0], [1.0, 1.0]], [-1.0, 1.0, 2.0]), RELU])
    (face,) = plane.faces
    assert face.pattern == ((0, 1, 1),)


def test_units_that_share_a_line_flip_together() -> None:
    weight = [[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0], [1.0, 2.0]]
    plane = in_two_inputs([("affine", weight, [0.5, 1.0, -0.5, 0.5]), RELU])
    assert len(plane) == 2
    (inner,) = (edge for edge in plane.edges if edge.faces[1] is not None)
    assert [flip.unit for flip in inner.flips] == [0, 1, 2, 3]


def test_a_unit_that_is_0_on_a_face_is_on_the_piece_below() -> None:
    # The second gate sees relu(s), which is 0 for s < 0.
    plane = in_two_inputs([("affine", [[1.0, 0.0]], None), RELU, RELU, ("affine", [[-1.0]], None), RELU])
    assert {face.pattern for face in plane.faces} == {((0,), (0,), (0,)), ((1,), (1,), (0,))}


def test_equal_inputs_of_a_maximum_count_as_the_first() -> None:
    plane = in_two_inputs([("affine", [[1.0, 0.0], [0.0, 1.0]], None), ("maximum", [[1, 0, 0, 1]])])
    assert {face.pattern for face in plane.faces} == {((0,),), ((1,),)}
    assert plane.areas == [2, 2]


def test_four_inputs_of_a_maximum_that_lead_around_one_point() -> None:
    weight = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]
    plane = in_two_inputs([("affine", weight, None), ("maximum", [[0, 1, 2, 3, 4]])])
    # The last of them leads at the origin alone.
    assert {face.pattern for face in plane.faces} == {((k,),) for k in range(4)}
    assert plane.areas == [1, 1, 1, 1] and len(plane.vertices) == 5


def test_an_input_that_never_leads_cuts_nothing() -> None:
    weight = [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.25]]
    plane = in_two_inputs([("affine", weight, [1.0, 1.0, 0.0]), ("maximum", [[0, 1, 2]])])
    assert len(plane) == 2


def test_a_bias_free_network_with_the_origin_inside_is_a_fan() -> None:
    torch.manual_seed(0)
    model = mlp(4, 7, 7, 3, bias=False).double().eval()
    u, v = torch.randn(2, 1, 4, dtype=torch.float64)
    # x = -(u + v) / 4 puts the origin at (1/4, 1/4), exactly.
    u, v = (torch.round(part * 64) / 64 for part in (u, v))
    (plane,) = rational.walk_plane(model, -(u + v) / 4, u, v, [(-1, -1), (2, -1), (2, 2), (-1, 2)])
    assert_well_formed(plane)
    centre = plane.vertices.index((Fraction(1, 4), Fraction(1, 4)))
    assert all(centre in corners for corners in plane.face_vertices)
    assert len(plane) > 14


def test_pieces_of_a_class_that_meet_at_a_point_are_two() -> None:
    # The logits are 0 and |s| - |t|.
    absolute = ("knots", [0.0], [-1.0, 1.0], [0.0, 0.0])
    plane = in_two_inputs([("affine", [[1.0, 0.0], [0.0, 1.0]], None), absolute, ("affine", [[1.0, -1.0]], None)])
    assert plane.class_areas() == [2, 2]
    assert plane.components() == [[1, 1], [1, 1]]
    assert len(plane.boundaries) == 4
    one_class = in_two_inputs([("affine", [[1.0, 0.0], [0.0, 1.0]], None), absolute, ("affine", [[1.0, 1.0]], None)])
    assert one_class.components() == [[], [4]]


def test_an_empty_batch() -> None:
    network = network_of([("affine", [[1.0, 0.0]], None)], 2)
    nothing = torch.zeros(0, 2, dtype=torch.float64)
    assert rational.walk_plane(network, nothing, row(1, 0), row(0, 1)) == []


def test_weights_are_the_floats_they_are() -> None:
    plane = in_two_inputs([("affine", [[0.1, 0.0]], [-0.03]), RELU])
    assert {s for s, _ in plane.vertices} == {-1, 1, Fraction(0.03) / Fraction(0.1)}


def test_biases_one_float_apart_make_a_sliver() -> None:
    above = math.nextafter(0.7, 1)
    plane = in_two_inputs([("affine", [[1.0, 0.25], [1.0, 0.25]], [0.7, above]), RELU])
    assert len(plane) == 3
    assert min(plane.areas) == 2 * (Fraction(above) - Fraction(0.7))


def test_an_output_that_is_no_vector_has_faces_but_no_classes() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 2), nn.ReLU()).double().eval()
    x = torch.zeros(1, 1, 3, dtype=torch.float64)
    u, v = (torch.tensor([[numbers]], dtype=torch.float64) for numbers in ([1.0, 0, 0], [0.0, 0, 1]))
    (plane,) = rational.walk_plane(model, x, u, v)
    assert len(plane.outputs[0]) == 4
    with pytest.raises(ValueError, match="vector of logits"):
        plane.class_areas()


def test_the_faces_of_a_known_network() -> None:
    """As many as edge_subdivision, a library for plain networks in general position, counts."""
    torch.manual_seed(0)
    model = mlp(2, 64, 64, 2)
    x, u, v = row(0, 0), row(1, 0), row(0, 1)
    (plane,) = rational.walk_plane(model.eval(), x, u, v, SQUARE)
    assert len(plane) == 2943


def test_planes_of_a_batch_each_with_its_polygon() -> None:
    torch.manual_seed(0)
    network = rr.Network.from_module(mlp(3, 6, 2).eval(), (3,))
    x, u, v = torch.randn(3, 2, 3)
    polygons = [[(0, 0), (1, 0), (0, 1)], [(0, 0), (0, 2), (2, 0)]]
    planes = rational.walk_plane(network, x, u, v, polygons)
    assert [plane.polygon.area for plane in planes] == [THIRD * 3 / 2, 2]
    for row, (plane, polygon) in enumerate(zip(planes, polygons)):
        one = slice(row, row + 1)
        (alone,) = rational.walk_plane(network, x[one].numpy(), u[one], v[one], torch.tensor(polygon))
        assert [face.pattern for face in alone.faces] == [face.pattern for face in plane.faces]
        assert alone.areas == plane.areas


def test_faces_that_wait_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = make_case([2, 8, 8, 3], seed=1).layers
    together = in_two_inputs(layers)
    monkeypatch.setattr(sheet, "_FACES", 3)
    apart = in_two_inputs(layers)
    assert [(face.pattern, face.area) for face in apart.faces] == [(face.pattern, face.area) for face in together.faces]
    assert len(apart) > 30


def test_reprs_are_short() -> None:
    plane = in_two_inputs([("affine", [[1.0, 0.0]], None), RELU])
    assert repr(plane) == "RationalPlane(2 faces, area 4)"
    assert repr(plane.faces[0]) == "RationalFace(0, 4 corners, area 2)"
    assert repr(plane.cells[0]).startswith("RationalCell(face 0, class ")
    beyond_floats = in_two_inputs([("affine", [[1.0, 0.0]], None)], [(0, 0), (1e200, 0), (0, 1e200)])
    assert repr(beyond_floats) == "RationalPlane(1 faces, area inf)"


def test_faces_that_do_not_fit_together_are_an_error() -> None:
    plane = in_two_inputs([("affine", [[1.0, 0.0]], None), RELU])
    with pytest.raises(ArithmeticError, match="add up to 2, not to 4"):
        replace(plane, faces=plane.faces[:1])
    quarters = plane.faces[1].polygon.halves((0, 0, 1))  # a corner of theirs is in the middle of a side of the other
    with pytest.raises(ArithmeticError, match="edge to edge"):
        replace(plane, faces=(plane.faces[0], *(replace(plane.faces[1], polygon=quarter) for quarter in quarters)))


# ---------------------------------------------------------------- against plain fractions


def plane_case(seed: int, **fixed: Any) -> tuple[Layers, list[float], list[float], list[float]]:
    """A small network, and a plane; everything is chosen by the seed but what is named."""
    rng = Random(seed)
    chosen: dict[str, Any] = {
        "widths": [rng.randint(2, 4), *(rng.randint(1, 5) for _ in range(rng.randint(0, 3))), rng.randint(1, 3)],
        "gates": rng.choices(EXACT_GATES, k=2),
        "flavour": rng.choice(list(FLAVOURS)),
        "line": rng.choice(list(LINES)),
        "bias": rng.random() < 0.7,
        "skips": rng.random() < 0.3,
        **fixed,
    }
    case = make_case(**chosen, seed=seed)
    while True:
        _, v = LINES[chosen["line"]](rng, len(case.d))
        if np.linalg.matrix_rank([case.d, v]) == 2:
            return case.layers, case.x, case.d, v


def assert_true(case: tuple[Layers, list[float], list[float], list[float]], polygon: list[tuple[Any, Any]]) -> None:
    layers, x, u, v = case
    (plane,) = rational.walk_plane(network_of(layers, len(x)), row(*x), row(*u), row(*v), polygon)
    assert_well_formed(plane)
    expected = truth.areas_of_patterns(layers, x, u, v, polygon)
    assert {face.pattern: face.area for face in plane.faces} == {key: found.area for key, found in expected.items()}
    for face in plane.faces:
        for corner, logits in expected[face.pattern].logits.items():
            assert face.outputs_at(*corner) == logits
    assert plane.class_areas() == truth.areas_of_classes(layers, x, u, v, polygon)
    assert [sum(areas) for areas in plane.components()] == plane.class_areas()


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_random_networks_fall_into_their_true_faces(start: int) -> None:
    for seed in range(start, start + 20):
        assert_true(plane_case(seed), POLYGONS[seed % len(POLYGONS)])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_flavour_on_every_plane(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, line in enumerate(LINES):
        monkeypatch.setattr(arithmetic, "FLINT", arithmetic.FLINT and seed < 4)
        gates = ["relu", "maxout"] if seed % 2 else ["relu"]
        case = plane_case(seed, widths=[3, 5, 4, 3], gates=gates, flavour=flavour, line=line, skips=False)
        assert_true(case, POLYGONS[seed % len(POLYGONS)])


@pytest.mark.parametrize("gate", EXACT_GATES)
def test_every_gate(gate: str) -> None:
    for seed, skips in enumerate((False, True)):
        assert_true(plane_case(seed, widths=[2, 5, 4, 2], gates=[gate], flavour="integers", skips=skips), SQUARE)


# ---------------------------------------------------------------- against the exact walk of lines


@of_each(STEPS_WITH_FACES)
def test_a_segment_in_the_plane_crosses_the_faces_that_a_walk_finds(architecture: Architecture) -> None:
    network = rational.ExactNetwork(rr.Network.from_module(architecture.model(), architecture.shape))
    # Multiples of 1/64, so that points of the plane are floats.
    generator = torch.Generator().manual_seed(1)
    x, u, v = (torch.randn(3, 1, *architecture.shape, generator=generator, dtype=torch.float64) * 64).round() / 64
    size = Fraction(1, 8 if network.network.units < 50 else 64)
    (plane,) = rational.walk_plane(network, x, u, v, [(0, 0), (size, 0), (0, size)])
    assert_well_formed(plane)
    faces = {face.pattern: face for face in plane.faces}
    # From (0, size / 4) to (size, 0).
    start, along = x + float(size) / 4 * v, float(size) * u - float(size) / 4 * v
    (path,) = rational.walk(network, start, along, (0, 1))
    for region, pattern in zip(path.regions, path.patterns()):
        face = faces[tuple(map(tuple, pattern))]
        for t in region.interval:
            s, t_plane = Fraction(t) * size, (1 - Fraction(t)) * size / 4
            assert all(a + b * s + c * t_plane >= 0 for a, b, c in face.polygon.lines)
            assert face.outputs_at(s, t_plane) == region.outputs_at(t)


@of_each(STEPS_WITH_FACES)
def test_the_model_agrees_inside_every_face(architecture: Architecture) -> None:
    model = architecture.model()
    generator = torch.Generator().manual_seed(2)
    x, u, v = torch.randn(3, 1, *architecture.shape, generator=generator, dtype=torch.float64) / 2
    (plane,) = rational.walk_plane(model, x, u, v, [(0, 0), (THIRD / 8, 0), (0, THIRD / 8)])
    places = [tuple(map(float, face.inside)) for face in plane.faces]
    inside = torch.cat([x + s * u + t * v for s, t in places])
    expected = [[float(number) for number in face.outputs_at(*face.inside)] for face in plane.faces]
    with torch.no_grad():
        assert torch.allclose(model(inside).flatten(1), torch.tensor(expected, dtype=torch.float64), atol=1e-10)
