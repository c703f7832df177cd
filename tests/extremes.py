"""Small networks and lines with numbers near the largest and the smallest floats."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from tests.strategies import Case, make_case

__all__ = ["extreme_case"]

_LARGEST, _NORMAL, _SMALLEST = math.ldexp(1 - 2.0**-53, 1024), 2.0**-1022, 2.0**-1074
_SIZES = [
    _LARGEST, _LARGEST / 4, 1e300, 2.0**512, 1e100, 1.0, 1e-100, 2.0**-512, 1e-300, _NORMAL, _NORMAL / 2**20,
    8 * _SMALLEST, _SMALLEST,
]  # fmt: skip
_GATES = ["relu", "leaky_relu", "abs", "hardtanh", "softshrink", "maxout", "prelu"]


def extreme_case(seed: int) -> Case:
    """A case with everything chosen by the seed."""
    rng = Random(seed)
    widths = [rng.randint(1, 3), *(rng.randint(1, 6) for _ in range(rng.randint(1, 3))), rng.randint(1, 3)]
    gates, skips, bias = rng.choices(_GATES, k=2), rng.random() < 0.3, rng.random() < 0.7
    case = make_case(widths, gates, skips=skips, bias=bias, seed=seed)
    return _scaled(rng, case) if rng.random() < 0.5 else _scattered(rng, case)


def _scattered(rng: Random, case: Case) -> Case:
    """Single numbers of a few extreme sizes, which meet often."""
    share = rng.choice([0.1, 0.5, 1.0])
    weights, places, steps = (rng.sample(_SIZES, rng.randint(1, 3)) for _ in range(3))

    def number(sizes: list[float]) -> float:
        size = rng.choice(sizes) * rng.choice([1.0, 1.0, 0.5 + rng.random() / 2])
        return rng.choice([size, size, -size, -size, 0.0, -0.0])

    def changed(numbers: list[float], sizes: list[float]) -> list[float]:
        return [number(sizes) if rng.random() < share else old for old in numbers]

    layers = [_affine(layer, lambda row: changed(row, weights)) for layer in case.layers]
    d = changed(case.d, steps)
    ends = [abs(number([*_SIZES, 1.0, 2.0, math.inf])) for _ in range(2)]
    return Case(
        layers, changed(case.x, places), d if any(d) else [_SMALLEST, *d[1:]], -ends[0], ends[1] or float(not ends[0])
    )


def _scaled(rng: Random, case: Case) -> Case:
    """Ordinary numbers, all of a layer times one power of two, so that values come near the ends of the floats together."""

    def power() -> float:
        return 2.0 ** rng.choice([0, 0, rng.randint(-1060, 1020), rng.randint(980, 1022), rng.randint(-1070, -1000)])

    def by(factor: float, numbers: list[float]) -> list[float]:
        return [max(-_LARGEST, min(_LARGEST, factor * number)) for number in numbers]

    factors = [power() for _ in case.layers]
    layers = [_affine(layer, lambda row, f=factor: by(f, row)) for layer, factor in zip(case.layers, factors)]
    place, step = power(), power()
    x, d = by(place, case.x), by(step, case.d)
    reach = min(_LARGEST, max(_SMALLEST, rng.choice([power(), place / step])))
    lo, hi = rng.choice([(-reach, reach), (0.0, reach), (-reach, 0.0), (-math.inf, math.inf)])
    return Case(layers, x, d if any(d) else [_SMALLEST, *d[1:]], lo, hi)


def _affine(layer: tuple[Any, ...], change: Any) -> tuple[Any, ...]:
    if layer[0] != "affine":
        return layer
    kind, weight, bias = layer
    return kind, [change(row) for row in weight], bias and change(bias)
