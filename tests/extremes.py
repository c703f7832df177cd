"""Small networks and lines with numbers near the largest and the smallest floats, and what their answers must be.

    python -m tests.extremes BACKEND FIRST LAST SECONDS

asks about the cases from FIRST up to LAST on a backend, each for so many seconds at most, and prints what is wrong.
"""

from __future__ import annotations

import faulthandler
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from random import Random
from typing import Any, cast

import torch

import relu_regions as rr
from relu_regions import backends, rational
from tests.networks import network_of
from tests.strategies import Case, make_case

__all__ = ["complaints", "extreme_case"]

_LARGEST, _NORMAL, _SMALLEST = math.ldexp(1 - 2.0**-53, 1024), 2.0**-1022, 2.0**-1074
_SIZES = [
    _LARGEST, _LARGEST / 4, 1e300, 2.0**512, 1e100, 1.0, 1e-100, 2.0**-512, 1e-300, _NORMAL, _NORMAL / 2**20,
    8 * _SMALLEST, _SMALLEST,
]  # fmt: skip
_GATES = ["relu", "leaky_relu", "abs", "hardtanh", "softshrink", "maxout", "prelu"]


_HALVES = ("affine", [[-1.0], [1.0]], None)
_KNOWN = [
    # Inputs of a maximum that differ by more than the largest float; then a unit that does so over an interval.
    Case([_HALVES, ("maximum", [[0, 1]]), ("affine", [[1.0], [-1.0]], None)], [0.899e308], [1.79e308], -1.05, 0.5),
    Case([("knots", [0.0], [0.0, 1.0], [0.0, 0.0]), _HALVES], [-0.9e308], [1.7e308], -0.1, 1.5),
]


def extreme_case(seed: int) -> Case:
    """Cases that were wrong once, then those with everything chosen by the seed."""
    if seed < len(_KNOWN):
        return _KNOWN[seed]
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
    """Ordinary numbers, all of a layer times one power of two: values come near the ends of the floats together."""

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


# ---------------------------------------------------------------- what is asked of them


def complaints(case: Case) -> Iterator[str]:
    """What is wrong with the answers about a case. A ValueError is an answer, and doubt where certainty is false."""
    network, line = (
        network_of(case.layers, len(case.x)),
        (torch.tensor([part], dtype=torch.float64) for part in case[1:3]),
    )
    given = (network, *line, (case.lo, case.hi))
    for options in ({"resolve": "never"}, {"resolve": "never", "dtype": torch.float32}, {"dtype": torch.float32}):
        with suppress(ValueError):
            rr.walk(*given, **options)
            rr.exact_interval(*given, **options)
    paths = rr.walk(*given)
    if paths.certain.all():
        (path,) = rational.walk(*given)
        yield from _differences(paths, path)
    (interval,) = rational.exact_interval(*given)
    for found in (rr.exact_interval(*given), rr.exact_interval(*given, certify=True)):
        if found.certain is not None and found.certain.all():
            yield from _other_ends(found, interval)


def _differences(paths: rr.Paths, truth: rational.RationalPath) -> Iterator[str]:
    flips = torch.stack([paths.flips.row, paths.flips.gate, paths.flips.unit, paths.flips.before, paths.flips.after], 1)
    if flips.tolist() != [[row, *flip] for row, several in enumerate(truth.flips, 1) for flip in several]:
        yield "other flips"
    if [pieces[0].tolist() for pieces in paths.first_patterns] != truth.first_patterns:
        yield "another first pattern"
    assert paths.t_error is not None
    for t, error, exact in zip(paths.t.tolist(), paths.t_error.tolist(), truth.t):
        if not _within(t, error, exact):
            yield f"t is {t}, within {error}, not {exact}"


def _other_ends(found: rr.Interval, truth: rational.RationalInterval) -> Iterator[str]:
    row = {name: column[0].item() for name, column in found.numpy().items()}
    for name in ("label", "label_lo", "label_hi", "tied"):
        if row[name] != getattr(truth, name):
            yield f"{name} is {row[name]}, not {getattr(truth, name)}"
    for name in ("lo", "hi"):
        exact = getattr(truth, name)
        if not _within(row[name], row[f"{name}_error"], exact):
            yield f"{name} is {row[name]}, within {row[f'{name}_error']}, not {exact}"
        if not row.get(f"{name}_below", exact) <= exact <= row.get(f"{name}_above", exact):
            yield f"{name} is not enclosed: {exact}"


def _within(found: float, error: float, exact: Fraction | float) -> bool:
    """Whether a number is as far from the exact one as its bound says, at most; a bound of infinity says nothing."""
    if math.isinf(error) or found == exact:
        return True
    return math.isfinite(found + error) and not math.isinf(exact) and abs(Fraction(found) - exact) <= Fraction(error)


def main(backend: backends.Name, first: int, last: int, seconds: int) -> None:
    """Ask about cases on a backend, each under a time limit, and print what is wrong."""
    torch.set_num_threads(1)
    backends.use(backend)
    # Loops are compiled here, which takes longer.
    faulthandler.dump_traceback_later(10 * seconds, exit=True)
    list(complaints(extreme_case(len(_KNOWN))))
    for seed in range(first, last):
        # The whole process ends where this does: a loop without end holds the interpreter's lock.
        faulthandler.dump_traceback_later(seconds, exit=True)
        for complaint in complaints(extreme_case(seed)):
            print(f"case {seed}: {complaint[:300]}")
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(cast(backends.Name, sys.argv[1]), *map(int, sys.argv[2:]))
