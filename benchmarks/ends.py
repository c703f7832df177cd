"""Proven ends of intervals against rational arithmetic, where rounding is large: a search for a wrong proof.

    python benchmarks/ends.py [--quick] [--count 2000] [--start 0] [--lines 256] [--out FILE.json]

Small networks with one to three inputs, ReLU, leaky ReLU, maxout or both, weights and biases of sizes from 1 to 10⁹,
and directions so small, down to the smallest floats, that ends lie far away, several within the error of one computed
end, often with one class beyond both; or so large that breakpoints lie at subnormal t. What bounds and the judge prove
of intervals and walks, without rational arithmetic, and what `certify=True` encloses must be true of the real-valued
network; a single difference is a fault. Lines with an error of a hundredth of the interval or more are all compared
with rational arithmetic, a few of the others too. Prints how many lines there are, and how many are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from random import Random
from typing import Any

import torch
from agreement import tallied
from measuring import parser, write_json
from torch import Tensor
from torch.nn import functional

import relu_regions as rr
from relu_regions import rational
from relu_regions.network.gates import Knots, Maximum
from relu_regions.network.steps import AffineStep, GateStep, Origin, Step
from relu_regions.walking import settle

GATES = ["ReLU", "leaky ReLU", "maxout", "maxout, ReLU"]
# Of biases and points where the direction is so long that breakpoints lie at subnormal t.
_SMALL = 1e-12
MANNERS = ["ordinary", "large biases", "large weights", "all large", "sums that cancel", "subnormal t"]


def network_of(seed: int, gate: str, manner: str) -> rr.Network:
    """A float64 network, made of steps at once, which takes a thousandth of the time of reading a module."""
    rng, generator = Random(seed), torch.Generator().manual_seed(seed)
    inputs = width = rng.randint(1, 3)
    steps: list[Step] = []

    def add(step: type[AffineStep] | type[GateStep], units: int, *parts: Any) -> None:
        steps.append(step(f"value{len(steps) + 1}", (f"value{len(steps)}",), (units,), Origin("", "step"), *parts))

    def affine(units: int) -> None:
        weight, bias = _coefficients(rng, generator, manner, units, width)
        add(AffineStep, units, functional.linear, (weight,), bias, width, functional.linear)

    for _ in range(rng.randint(1, 3)):
        of, after = rng.randint(2, 3) if "maxout" in gate else 1, rng.randint(1, 5)
        affine(of * after)
        width = after
        if of > 1:
            add(GateStep, after, Maximum(torch.arange(of * after).view(after, of)))
        if gate != "maxout":
            slopes = torch.tensor([[0.1 if gate == "leaky ReLU" else 0.0], [1.0]], dtype=torch.float64)
            add(GateStep, after, Knots(torch.zeros_like(slopes[:1]), slopes, torch.zeros_like(slopes)))
    outputs = rng.choice([1, 2, 3, 3])
    affine(outputs)
    return rr.Network(tuple(steps), "value0", f"value{len(steps)}", (inputs,), (outputs,))


def _coefficients(
    rng: Random, generator: torch.Generator, manner: str, units: int, width: int
) -> tuple[Tensor, Tensor]:
    weight = torch.randn(units, width, dtype=torch.float64, generator=generator)
    bias = torch.randn(units, dtype=torch.float64, generator=generator)
    weight *= 10.0 ** rng.randint(0, 9) if manner in ("large weights", "all large") else 1.0
    bias *= 10.0 ** rng.randint(0, 9) if manner in ("large biases", "all large") else 1.0
    bias *= _SMALL if manner == "subnormal t" else 1.0
    half = units // 2
    if manner == "sums that cancel" or (manner == "all large" and rng.random() < 0.5):
        # As many digits are lost as two biases share.
        bias[half : 2 * half] = -bias[:half] * (1 + 2.0 ** -rng.randint(20, 50))
        weight[half : 2 * half] += weight[:half]
    return weight, bias


def lines_of(seed: int, manner: str, size: int, count: int) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Points, directions of one size, and a range that is infinite or as long as the directions are short."""
    rng, generator = Random(seed), torch.Generator().manual_seed(seed)
    x, d = torch.randn(2, count, size, dtype=torch.float64, generator=generator)
    if manner == "subnormal t":
        reach = _SMALL * 10.0 ** rng.uniform(-307, -295)
        return _SMALL * x, d.clamp(-1.7, 1.7) * _SMALL / reach, rng.choice([(-math.inf, math.inf), (-reach, reach)])
    x *= rng.choice([1.0, 1.0, 1e3, 1e-100])
    # On unbounded lines the error grows with t², and is as large as t itself from some 10^14 on.
    far = rng.random() < 0.7
    step = 10.0 ** (-rng.uniform(11, 16) if far else rng.choice([0, -5, -100, -290, -305, -308, 100, 290, 300]))
    d *= step
    d[d.abs().amax(1) == 0] = step
    reach = min(1e308, rng.choice([1.0, 1e3, 1e12]) / step)
    return (
        x,
        d,
        rng.choice(
            [(-math.inf, math.inf)] if far else [(-math.inf, math.inf), (-reach, reach), (0.0, math.inf), (-reach, 0.0)]
        ),
    )


def differences(seed: int, count: int) -> tuple[dict[str, str], list[str], int, int]:
    """What the network of a seed is, what is false, how many lines there are, and how many are compared."""
    about = {"gate": GATES[seed % 4], "manner": MANNERS[seed // 4 % 6]}
    network = network_of(seed, about["gate"], about["manner"])
    x, d, t_range = lines_of(seed, about["manner"], *network.input_shape, count)
    with nothing_settled():
        found, paths = rr.exact_interval(network, x, d, t_range), rr.walk(network, x, d, t_range)
    assert found.certain is not None and found.lo_error is not None and found.hi_error is not None
    coarse = 100 * torch.maximum(found.lo_error, found.hi_error) > torch.minimum(-found.lo, found.hi)
    some = found.certain & (coarse | (torch.arange(count) % 16 == 0))
    exact = rational.ExactNetwork(network)
    wrong = [f"line {line} of the walk: {what}" for line, what in _bends(paths, exact, t_range, 4)]
    if some.any():
        truth = rational.exact_interval(exact, x[some], d[some], t_range)
        certified = rr.exact_interval(network, x[some], d[some], t_range, certify=True)
        for name, intervals in (("default", found[some]), ("certify", certified)):
            for line, interval, true in zip(some.nonzero()[:, 0].tolist(), intervals, truth):
                row = {key: column.item() for key, column in interval.numpy().items()}
                wrong += [f"line {line}, {name}: {what}" for what in _false(row, true)]
    return about, wrong, count, int(some.sum())


@contextmanager
def nothing_settled() -> Iterator[None]:
    """No line is taken to rational arithmetic."""
    affordable, settle.AFFORDABLE_PRODUCTS = settle.AFFORDABLE_PRODUCTS, -1
    try:
        yield
    finally:
        settle.AFFORDABLE_PRODUCTS = affordable


def _false(row: dict[str, float], true: rational.RationalInterval) -> Iterator[str]:
    """What is false about one interval."""
    if not row["certain"]:
        yield "not certain"
    for name in ("label", "label_lo", "label_hi", "tied"):
        if row[name] != getattr(true, name):
            yield f"{name} is {row[name]}, not {getattr(true, name)}"
    for name in ("lo", "hi"):
        end, exact = row[name], getattr(true, name)
        if not _within(end, row[f"{name}_error"], exact):
            yield f"{name} is {end} ± {row[f'{name}_error']}, not {float(exact)}"
        if not row.get(f"{name}_below", exact) <= exact <= row.get(f"{name}_above", exact):
            yield f"{name} is enclosed by {row[f'{name}_below']} and {row[f'{name}_above']}, not {float(exact)}"


def _bends(
    paths: rr.Paths, network: rational.ExactNetwork, t_range: tuple[float, float], count: int
) -> Iterator[tuple[int, str]]:
    """What is false about the first so many walks that are called certain, and the number of the line."""
    assert paths.t_error is not None
    for line in paths.certain.nonzero()[:count, 0].tolist():
        path = paths[line]
        true = rational.walk(network, paths.x[line : line + 1], paths.d[line : line + 1], t_range)[0]
        flips = torch.stack([path.flips.gate, path.flips.unit, path.flips.before, path.flips.after], 1)
        found = [flips[path.flips.row == row].tolist() for row in range(1, len(path))]
        if found != [[list(flip) for flip in flips] for flips in true.flips]:
            yield line, "flips"
            continue
        errors = paths.t_error[path.rows][1:-1].tolist()
        for t, error, exact in zip(path.breakpoints.tolist(), errors, true.breakpoints):
            if not _within(t, error, exact):
                yield line, f"t is {t} ± {error}, not {float(exact)}"


def _within(found: float, error: float, exact: Fraction | float) -> bool:
    """Whether a number is as close to the exact one as its bound says; a bound of infinity says nothing."""
    if math.isinf(error) or found == exact:
        return True
    return math.isfinite(found + error) and not math.isinf(exact) and abs(Fraction(found) - exact) <= Fraction(error)


def main(given: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__, "ends")
    options.add_argument("--count", type=int, default=2000, help="how many networks")
    options.add_argument("--start", type=int, default=0)
    options.add_argument("--lines", type=int, default=256, help="of each network")
    arguments = options.parse_args(given)
    count, lines = (24, 8) if arguments.quick else (arguments.count, arguments.lines)
    seeds = range(arguments.start, arguments.start + count)
    groups, columns = {"gate": GATES, "manner": MANNERS}, ("lines", "compared")
    report, failures = tallied(seeds, lambda seed: differences(seed, lines), groups, columns, "are wrong")
    write_json({**report, "wrong": failures}, arguments.out)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
