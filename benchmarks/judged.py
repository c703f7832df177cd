"""The judge alone against rational arithmetic: whatever it confirms of a plain float64 walk must be true.

    python benchmarks/judged.py [--quick] [--count 1000] [--start 0] [--unit 1] [--evaluation NAME] [--out FILE.json]

Small random networks: dense ones, deep narrow ones (20 layers of 4), maxout, convolutions with max pooling before and
after the ReLU, residual ones; ordinary and degenerate, among them units that are multiples of others, so that
breakpoints lie closer than float64 tells apart. Each is walked without bounds, and the judge is asked about the walk
and about the generalization interval, whether bounds would have left doubt or not; and, beside the walk, about the same
with two breakpoints swapped or made one, one left out or one moved. Prints how many it confirms, and what of it is
false: a single one is a fault. What was altered may be true all the same, or within its bounds.

With --evaluation as_differences, with_digits or with_two_digits the judge evaluates so alone.

With --unit 0.001 the judge counts a rounding for a thousandth of what it is; then some of what it confirms must be
false.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from fractions import Fraction
from functools import cached_property
from random import Random

import torch
from agreement import FLAVOURS, LINES, RANGES, degrade, random_line, random_model, tallied
from measuring import parser, write_json
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.exactness.effort import Effort
from relu_regions.exactness.judge import Claims, balls, carried, digits, evaluations, judge
from relu_regions.exactness.judge import differences as from_anchors
from relu_regions.intervals.judging import confirmed
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import LineBatch
from relu_regions.walking.judging import claims_of

KINDS = ["dense", "deep and narrow", "maxout", "convolution, max pooling", "max pooling, then ReLU", "residual"]
MANNERS = [*FLAVOURS, "multiples"]


class Residual(nn.Module):
    """A branch of two layers beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


def network_of(seed: int, kind: str, manner: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A float64 network in eval mode, and the shape of its input."""
    if kind in ("deep and narrow", "residual"):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Linear(3, 4)]
        if kind == "residual":
            layers += [Residual(4) for _ in range(3)]
        else:
            for _ in range(19):
                layers += [nn.ReLU() if seed % 2 else nn.LeakyReLU(0.2), nn.Linear(4, 4)]
        model, shape = nn.Sequential(*layers, nn.ReLU(), nn.Linear(4, 3)).double().eval(), (3,)
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight.mul_(2.0)
                    layer.bias.normal_(0, 0.3)
                    degrade(layer.weight, layer.bias, manner)
    else:
        model, shape = random_model(seed, kind, manner)
    if manner == "multiples":
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, (nn.Linear, nn.Conv2d)):
                    half, factor = len(layer.weight) // 2, 0.1 + float(torch.rand(()))
                    layer.weight[half : 2 * half] = factor * layer.weight[:half]
                    layer.bias[half : 2 * half] = factor * layer.bias[:half]
    return model, shape


# How the judge evaluates.
EVALUATION = "in_float64"


def differences(seed: int) -> tuple[dict[str, str], list[str], bool, bool, int, int]:
    """What the network of a seed is, what it confirms that is false, whether it confirms walk and interval, how many
    altered claims it was asked about, and how many it confirms of those.
    """
    kind, manner = KINDS[seed % 6], MANNERS[seed // 6 % 8]
    model, shape = network_of(seed, kind, manner)
    line, t_range = LINES[seed // 48 % 4], RANGES[seed % 3]
    x, d = random_line(shape, line)
    network = rr.Network.from_module(model, shape)
    lines = LineBatch.of(network, x, d, t_range)
    paths, only = rr.walk(network, x, d, t_range, resolve="never"), torch.tensor([0])
    asked = [claims_of(lines, paths, only)]
    asked += altered(asked[0], Random(seed))
    verdict = judge(network, together(asked), evaluation=getattr(evaluations, EVALUATION))
    exact, wrong = ExactOnce(network, x, d, t_range), []
    bounds = verdict.t_error.split([len(claims.t) for claims in asked])
    for number in verdict.confirmed.nonzero()[:, 0].tolist():
        wrong += [f"{what}, altered" if number else what for what in exact.differs_from(asked[number], bounds[number])]
    plain = rr.exact_interval(network, x, d, t_range, resolve="never")
    good, columns = confirmed(lines, only, plain.lo, plain.hi, Decision.of(network.output_shape), Effort("auto"))
    if good[0]:
        wrong += exact.differs_from_ends({name: column[0].item() for name, column in columns.items()})
    about = {"kind": kind, "manner": manner, "line": line}
    also = int(verdict.confirmed[1:].sum())
    return about, wrong, bool(verdict.confirmed[0]), bool(good[0]), len(asked) - 1, also


# ---------------------------------------------------------------- claims that may be false


def altered(claims: Claims, random: Random) -> list[Claims]:
    """What is claimed of one line, otherwise: the closest breakpoints and others swapped, made one, left out, moved."""
    t, count = claims.t.tolist(), len(claims.t)
    pairs = sorted(range(count - 1), key=lambda number: t[number + 1] - t[number])
    found = []
    for number in {*pairs[:2], *random.sample(pairs, min(2, len(pairs)))}:
        moved = torch.where(claims.point == number, number + 1, claims.point)
        found.append(_at(claims, torch.where(claims.point == number + 1, number, moved)))
        found.append(without(_at(claims, moved), number))
    for number in random.sample(range(count), min(2, count)):
        found.append(without(claims, number))
        place = claims.t.clone()
        place[number] *= 1 + random.choice([-1, 1]) * 10.0 ** random.uniform(-16, -6)
        found.append(replace(claims, t=place))
    return found


def _at(claims: Claims, point: Tensor) -> Claims:
    """The flips at other breakpoints."""
    order = point.argsort(stable=True)
    parts = {name: getattr(claims, name)[order] for name in ("gate", "unit", "before", "after")}
    return replace(claims, point=point[order], **parts)


def without(claims: Claims, number: int) -> Claims:
    """One line without a breakpoint and its flips."""
    kept, flips = torch.arange(len(claims.t)) != number, claims.point != number
    parts = {name: getattr(claims, name)[flips] for name in ("gate", "unit", "before", "after")}
    point = claims.point[flips] - (claims.point[flips] > number).long()
    offsets = torch.tensor([0, len(claims.t) - 1])
    return replace(claims, t=claims.t[kept], offsets=offsets, point=point, **parts)


def together(claims: Sequence[Claims]) -> Claims:
    """Claims about lines one after another."""
    counts = torch.tensor([len(one.t) for one in claims])
    starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    parts = {field.name: [getattr(one, field.name) for one in claims] for field in fields(Claims)}
    parts["point"] = [point + start for point, start in zip(parts["point"], starts.tolist())]
    patterns = tuple(torch.cat(gate) for gate in zip(*parts.pop("first_patterns")))
    joined = {name: torch.cat(part) for name, part in parts.items() if name != "offsets"}
    return Claims(**joined, first_patterns=patterns, offsets=starts)


class ExactOnce:
    """The truth about one line."""

    def __init__(self, network: rr.Network, x: Tensor, d: Tensor, t_range: tuple[float, float]) -> None:
        self.question = (rational.ExactNetwork(network), x, d, t_range)

    @cached_property
    def path(self) -> rational.RationalPath:
        return rational.walk(*self.question)[0]

    def differs_from(self, claims: Claims, t_error: Tensor) -> list[str]:
        """What is false about claims of the line and bounds of its breakpoints."""
        true = self.path
        flips = torch.stack([claims.gate, claims.unit, claims.before, claims.after], 1)
        found = [flips[claims.point == number].tolist() for number in range(len(claims.t))]
        wrong = []
        if [sorted(at) for at in found] != [sorted(list(flip) for flip in flips) for flips in true.flips]:
            wrong.append("flips")
        elif any(
            abs(Fraction(t) - exact) > Fraction(error)
            for t, error, exact in zip(claims.t.tolist(), t_error.tolist(), true.breakpoints)
        ):
            wrong.append("a t outside of its bound")
        if [pattern[0].tolist() for pattern in claims.first_patterns] != true.first_patterns:
            wrong.append("first pattern")
        return wrong

    def differs_from_ends(self, found: dict[str, float]) -> list[str]:
        """What is false about an interval."""
        true = rational.exact_interval(*self.question)[0]
        wrong = [name for name in ("label", "label_lo", "label_hi") if found[name] != getattr(true, name)]
        for name in ("lo", "hi"):
            end, exact = found[name], getattr(true, name)
            if end != exact and (
                math.isinf(end) or math.isinf(exact) or abs(Fraction(end) - exact) > Fraction(found[f"{name}_error"])
            ):
                wrong.append(name)
        return [*wrong, "tied"] if true.tied else wrong


@contextmanager
def unit_of(share: float) -> Iterator[None]:
    """The judge's balls count a rounding for a share of what it is."""
    parts = (balls, carried, digits, from_anchors)
    units = [part.UNIT for part in parts]
    for part, unit in zip(parts, units):
        part.UNIT = share * unit
    try:
        yield
    finally:
        for part, unit in zip(parts, units):
            part.UNIT = unit


def main(given: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__, "judged")
    options.add_argument("--count", type=int, default=1000)
    options.add_argument("--start", type=int, default=0)
    options.add_argument("--evaluation", choices=evaluations.__all__[1:], default=EVALUATION, help="how it evaluates")
    options.add_argument("--unit", type=float, default=1.0, help="count each rounding for such a share of what it is")
    arguments = options.parse_args(given)
    globals()["EVALUATION"] = arguments.evaluation
    count = 24 if arguments.quick else arguments.count
    groups, columns = (
        {"kind": KINDS, "manner": MANNERS},
        ("walks confirmed", "intervals confirmed", "altered", "of these confirmed"),
    )
    with unit_of(arguments.unit):
        seeds = range(arguments.start, arguments.start + count)
        report, failures = tallied(seeds, differences, groups, columns, "false")
    write_json({**report, "false": failures}, arguments.out)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
