"""Planes that ``walk_plane`` finds, compared with what the exact walk finds; random networks and planes."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

import relu_regions as rr
from relu_regions import rational
from relu_regions.planes.planes import Planes
from relu_regions.planes.tiles import unpacked
from tests.networks import network_of
from tests.oracles.fractions_walk import Layers
from tests.planes.exact_planes import SQUARE
from tests.strategies import FLAVOURS, GATES, LINES, make_case

__all__ = [
    "EXACT_GATES",
    "POLYGONS",
    "RELU",
    "assert_same",
    "assert_true",
    "in_two_inputs",
    "patterns_of",
    "plane_case",
    "row",
]

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


def assert_same(planes: Planes, exact: rational.RationalPlane, number: int = 0, off: float = 1e-12) -> None:
    """A plane has the faces, corners, maps and class areas of the exact one, areas up to a share of the plane's."""
    answer, whole = planes.answers[number], float(exact.polygon.area)
    patterns = patterns_of(planes, number)
    faces = {face.pattern: face for face in exact.faces}
    assert len(patterns) == len(faces) and set(patterns) == set(faces)
    truth = [faces[pattern] for pattern in patterns]
    areas = np.array([float(face.area) for face in truth])
    assert np.abs(answer.tiles.areas - areas).max() <= off * whole
    assert answer.tiles.counts.tolist() == [len(face.corners) for face in truth]
    assert (len(answer.tiles.vertices), len(answer.tiles.ends)) == (len(exact.vertices), len(exact.edges))
    forms = np.array([[[float(n) for n in part] for part in (f.intercept, f.slope_s, f.slope_t)] for f in truth])
    sizes = np.abs(forms).max() + 1
    assert np.abs(answer.forms - forms.swapaxes(1, 2)).max() <= 10 * off * sizes
    if answer.cells is not None:
        assert len(answer.cells) == len(exact.cells)
        class_areas = np.array([float(area) for area in exact.class_areas()])
        assert np.abs(planes.class_areas()[number].numpy() - class_areas).max() <= off * whole


def assert_true(
    network: rr.Network, x: Tensor, u: Tensor, v: Tensor, polygon: Any = SQUARE, off: float = 1e-12
) -> Planes:
    planes = rr.walk_plane(network, x, u, v, polygon)
    assert planes.certain.all()
    for number, exact in enumerate(rational.walk_plane(network, x, u, v, polygon)):
        assert_same(planes, exact, number, off)
    return planes


def in_two_inputs(layers: Layers, polygon: Any = SQUARE) -> Planes:
    """The plane of all of two inputs, compared with the exact one."""
    return assert_true(network_of(layers, 2), row(0, 0), row(1, 0), row(0, 1), polygon)
