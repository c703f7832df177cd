"""Random networks on random segments, in the oracle's plain form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from random import Random
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.oracles.fractions_walk import Layers

__all__ = ["FLAVOURS", "GATES", "LINES", "RANGES", "Case", "cases", "make_case", "random_case"]

Matrix = list[list[float]]
Vector = list[float]


class Case(NamedTuple):
    """A network and a segment ``x + t d``, t from lo to hi."""

    layers: Layers
    x: Vector
    d: Vector
    lo: float
    hi: float


# ---------------------------------------------------------------- gates: on a number of units, one layer


def _maxout(rng: Random, width: int) -> tuple[Any, ...]:
    """Windows that overlap, leave units out, and list some twice."""
    return ("maximum", [rng.choices(range(width), k=rng.randint(1, 4)) for _ in range(rng.randint(1, width))])


def _order_statistics(rng: Random, width: int) -> tuple[Any, ...]:
    """Windows that overlap and leave units out, with a rank each."""
    size, units = rng.randint(1, min(4, width)), rng.randint(1, width)
    windows = [rng.sample(range(width), size) for _ in range(units)]
    return ("order", windows, [rng.randrange(size) for _ in windows])


def _prelu(rng: Random, width: int) -> tuple[Any, ...]:
    return ("knots", [0.0], [[rng.choice([-0.5, 0.0, 0.25, rng.random()]), 1.0] for _ in range(width)], [0.0, 0.0])


def _everywhere(knots: Vector, slopes: Sequence[Any], offsets: Sequence[Any]) -> Callable[..., tuple[Any, ...]]:
    return lambda rng, width: ("knots", knots, slopes, offsets)


GATES: dict[str, Callable[[Random, int], tuple[Any, ...]]] = {
    "relu": _everywhere([0.0], [0.0, 1.0], [0.0, 0.0]),
    "leaky_relu": _everywhere([0.0], [0.01, 1.0], [0.0, 0.0]),
    "prelu": _prelu,
    "abs": _everywhere([0.0], [-1.0, 1.0], [0.0, 0.0]),
    "relu6": _everywhere([0.0, 6.0], [0.0, 1.0, 0.0], [0.0, 0.0, 6.0]),
    "hardtanh": _everywhere([-1.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]),
    "hardsigmoid": _everywhere([-3.0, 3.0], [0.0, Fraction(1, 6), 0.0], [0.0, 0.5, 1.0]),
    "softshrink": _everywhere([-0.5, 0.5], [1.0, 0.0, 1.0], [0.5, 0.0, -0.5]),
    "clamp_min": _everywhere([-0.25], [0.0, 1.0], [-0.25, 0.0]),
    "clamp_max": _everywhere([0.75], [1.0, 0.0], [0.0, 0.75]),
    "maxout": _maxout,
    "order statistics": _order_statistics,
}


# ---------------------------------------------------------------- flavours: what is done to ordinary weights


def _ordinary(rng: Random, weight: Matrix, bias: Vector) -> None:
    """Nothing."""


def _zeros(rng: Random, weight: Matrix, bias: Vector) -> None:
    """Zero entries, rows, columns, now and then all of a layer."""
    chance = rng.choice([0.2, 0.5, 0.9, 1.0])
    rows, columns = ({k for k in range(size) if rng.random() < chance / 4} for size in (len(weight), len(weight[0])))
    for u, row in enumerate(weight):
        row[:] = [0.0 if u in rows or v in columns or rng.random() < chance else w for v, w in enumerate(row)]
        bias[u] = 0.0 if rng.random() < chance / 2 else bias[u]


def _duplicates(rng: Random, weight: Matrix, bias: Vector) -> None:
    """Units equal to another, opposite to it, or a multiple of it: they bend where it does."""
    for u in range(1, len(weight)):
        if rng.random() < 0.6:
            source, factor = rng.randrange(u), rng.choice([1.0, 1.0, -1.0, 2.0, 0.5])
            weight[u], bias[u] = [factor * w for w in weight[source]], factor * bias[source]


def _neighbours(rng: Random, weight: Matrix, bias: Vector) -> None:
    """Units that bend at almost the same place as another."""
    for u in range(1, len(weight)):
        if rng.random() < 0.5:
            source = rng.randrange(u)
            weight[u], bias[u] = list(weight[source]), bias[source] + rng.choice([3e-8, 1e-12, -1e-12])


def _dead(rng: Random, weight: Matrix, bias: Vector) -> None:
    """Units that never or always act, on any short segment."""
    bias[:] = [rng.choice([b, -100.0, 100.0]) for b in bias]


def _integers(rng: Random, weight: Matrix, bias: Vector) -> None:
    """Small whole numbers: many crossings coincide, many logits tie."""
    for row in (*weight, bias):
        row[:] = [float(rng.randint(-2, 2)) for _ in row]


def _scaled(*factors: float) -> Callable[[Random, Matrix, Vector], None]:
    def scale(rng: Random, weight: Matrix, bias: Vector) -> None:
        for u, row in enumerate(weight):
            factor = rng.choice(factors)
            row[:], bias[u] = [factor * w for w in row], factor * bias[u]

    return scale


FLAVOURS: dict[str, Callable[[Random, Matrix, Vector], None]] = {
    "ordinary": _ordinary,
    "zeros": _zeros,
    "duplicates": _duplicates,
    "neighbours": _neighbours,
    "dead": _dead,
    "integers": _integers,
    "tiny": _scaled(1e-30),
    "huge": _scaled(1e30),
    "tiny and huge": _scaled(1e-30, 1.0, 1e30),
}


# ---------------------------------------------------------------- lines and ranges


def _nonzero(rng: Random, d: Vector) -> Vector:
    if not any(d):
        d[rng.randrange(len(d))] = 1.0
    return d


def _gaussian(rng: Random, size: int) -> tuple[Vector, Vector]:
    return [rng.gauss(0, 1) for _ in range(size)], [rng.gauss(0, 1) for _ in range(size)]


def _from_origin(rng: Random, size: int) -> tuple[Vector, Vector]:
    return [0.0] * size, _gaussian(rng, size)[1]


def _through_origin(rng: Random, size: int) -> tuple[Vector, Vector]:
    """Exactly through it, at t = -1/2 or another such number."""
    _, d = _gaussian(rng, size)
    factor = rng.choice([0.5, -1.0, 2.0, -0.25])
    return [factor * v for v in d], d


def _whole(rng: Random, size: int) -> tuple[Vector, Vector]:
    """Small whole numbers: with such weights, kinks at x and at the ends of the range."""
    x, d = ([float(rng.randint(-2, 2)) for _ in range(size)] for _ in range(2))
    return x, _nonzero(rng, d)


def _one_coordinate(rng: Random, size: int) -> tuple[Vector, Vector]:
    return _gaussian(rng, size)[0], _nonzero(rng, [0.0] * size)


def _short(rng: Random, size: int) -> tuple[Vector, Vector]:
    x, d = _gaussian(rng, size)
    return x, [1e-8 * v for v in d]


LINES: dict[str, Callable[[Random, int], tuple[Vector, Vector]]] = {
    "gaussian": _gaussian,
    "from the origin": _from_origin,
    "through the origin": _through_origin,
    "whole numbers": _whole,
    "one coordinate": _one_coordinate,
    "short": _short,
}

RANGES: list[tuple[float, float]] = [
    (-1.0, 2.0),
    (-math.inf, math.inf),
    (-1000.0, 1000.0),
    (0.0, 1.0),
    (-2.0, 0.0),
    (-0.75, math.inf),
    (-math.inf, 0.5),
]


# ---------------------------------------------------------------- networks


def make_case(
    widths: Sequence[int],
    gates: Sequence[str] = ("relu",),
    flavour: str = "ordinary",
    line: str = "gaussian",
    t_range: tuple[float, float] = (-1.0, 2.0),
    bias: bool = True,
    skips: bool = False,
    seed: int = 0,
) -> Case:
    """A network of affine layers with gates between them, and a segment through its input space.

    Args:
        widths: of the input, of each hidden layer, and of the logits.
        gates: names from GATES, used in turn.
        flavour: a name from FLAVOURS.
        line: a name from LINES.
        t_range: lower and upper end of t.
        bias: whether affine layers have one.
        skips: whether to put sums of values and concatenations after some gates.
        seed: of all that is random; equal arguments give equal cases.
    """
    rng = Random(repr((list(widths), list(gates), flavour, line, t_range, bias, skips, seed)))
    layers: list[tuple[Any, ...]] = []
    sizes = [widths[0]]  # of value 0, 1, …

    def add(layer: tuple[Any, ...], size: int) -> None:
        layers.append(layer)
        sizes.append(size)

    for number, width in enumerate(widths[1:]):
        scale = math.sqrt(2 / sizes[-1])
        weight = [[rng.gauss(0, scale) for _ in range(sizes[-1])] for _ in range(width)]
        shift = [rng.gauss(0, 0.5) for _ in range(width)]
        FLAVOURS[flavour](rng, weight, shift)
        add(("affine", weight, shift if bias else None), width)
        if number == len(widths) - 2:
            break
        gate = GATES[gates[number % len(gates)]](rng, width)
        add(gate, len(gate[1]) if gate[0] in ("maximum", "order") else width)
        if skips:
            same = [source for source, size in enumerate(sizes) if size == sizes[-1]]
            chosen = [*rng.sample(same[:-1], min(len(same) - 1, 2)), same[-1]]
            add(("add", chosen), sizes[-1])
            # The newest value always goes on: a gate that no logit depends on is none to a reader of graphs.
            joined = [rng.randrange(len(sizes) - 1), len(sizes) - 1]
            add(("concatenate", joined), sum(sizes[source] for source in joined))
    return Case(layers, *LINES[line](rng, widths[0]), *t_range)


def random_case(seed: int, **fixed: Any) -> Case:
    """A case with everything chosen by the seed but what is named: ``random_case(7, flavour="dead", bias=False)``."""
    rng = Random(seed)
    chosen = {
        "widths": [rng.randint(1, 6), *(rng.randint(1, 20) for _ in range(rng.randint(0, 4))), rng.randint(1, 5)],
        "gates": rng.choices(list(GATES), k=2),
        "flavour": rng.choice(list(FLAVOURS)),
        "line": rng.choice(list(LINES)),
        "t_range": rng.choice(RANGES),
        "bias": rng.random() < 0.7,
        "skips": False,
    }
    return make_case(**{**chosen, **fixed}, seed=seed)


@st.composite
def cases(draw: st.DrawFn, /, max_layers: int = 5, max_width: int = 20, **fixed: Any) -> Case:
    """A hypothesis strategy over all cases; keyword arguments fix arguments of make_case to strategies or values.

    Shrinks to few layers, narrow ones, and the first entries of GATES, FLAVOURS, LINES and RANGES.
    """
    hidden = st.lists(st.integers(1, max_width), max_size=max_layers - 1)
    free = {
        "widths": st.tuples(st.integers(1, 6), hidden, st.integers(1, 5)).map(lambda w: [w[0], *w[1], w[2]]),
        "gates": st.lists(st.sampled_from(list(GATES)), min_size=1, max_size=2),
        "flavour": st.sampled_from(list(FLAVOURS)),
        "line": st.sampled_from(list(LINES)),
        "t_range": st.sampled_from(RANGES),
        "bias": st.booleans().map(lambda without: not without),
        "skips": st.just(False),
        "seed": st.integers(0, 999),
    }
    chosen = {
        name: draw(value) if isinstance(value, st.SearchStrategy) else value
        for name, value in {**free, **fixed}.items()
    }
    return make_case(**chosen)
