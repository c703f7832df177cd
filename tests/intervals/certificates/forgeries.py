"""Certificates with one field changed: none may be accepted."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from fractions import Fraction
from random import Random
from typing import Any

import torch

from relu_regions import rational
from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.intervals.certificates.certificate import Certificate, CertificateError
from tests.networks import network_of
from tests.strategies import Case, make_case

__all__ = ["SOURCES", "certified", "mutations", "refused"]

LINE = (-math.inf, math.inf)
SOURCES = {
    "relu": make_case([3, 8, 7, 3], seed=7, t_range=LINE),
    "a range that ends first": make_case([3, 8, 7, 3], seed=7, t_range=LINE)._replace(lo=-0.125, hi=2.0),
    "several knots": make_case([3, 6, 3], ["hardtanh", "softshrink"], seed=22, t_range=LINE),
    "maximum": make_case([3, 9, 6, 3], ["maxout"], seed=9, t_range=LINE),
    "order statistics": make_case([3, 9, 6, 3], ["order statistics"], seed=3, t_range=LINE),
    "tied at x": make_case([2, 5, 3], line="whole numbers", flavour="integers", seed=34, t_range=(-3.0, 3.0)),
    "tied at x, the range ends first": make_case(
        [2, 5, 3], line="whole numbers", flavour="integers", seed=21, t_range=(-3.0, 3.0)
    ),
    "one output": make_case([3, 8, 1], seed=6, t_range=LINE),
    "rays": make_case([4, 6, 3], bias=False, line="through the origin", seed=1, t_range=LINE),
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to every value and every container of a JSON document."""
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from leaves(child, (*path, key))


def changed(rng: Random, value: Any) -> Any:
    """Another value that is as plausible as can be."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice([-1, 1, 2, 1000])
    if isinstance(value, float):
        return rng.choice(
            [math.nextafter(value, 9e9), math.nextafter(value, -9e9), -value or 1.0, value + 1, 0.5 * value + 0.1]
        )
    if value is None:
        return rng.choice([0.0, "0/1", "inf"])
    if isinstance(value, str) and "/" in value:
        fraction = Fraction(*(int(part, 16) for part in value.split("/")))
        other = rng.choice(
            [
                fraction + 1,
                -fraction or Fraction(1),
                fraction + Fraction(1, 10**30),
                fraction * 2 or Fraction(2),
                Fraction(0) if fraction else Fraction(3),
            ]
        )
        return f"{other.numerator:x}/{other.denominator:x}"
    if value in ("inf", "-inf"):
        return rng.choice(["-inf" if value == "inf" else "inf", "5/1", "-5/1"])
    if isinstance(value, str):
        place = rng.randrange(len(value))
        return value[:place] + ("0" if value[place] != "0" else "1") + value[place + 1 :]
    if isinstance(value, list):
        other = list(value)
        how = rng.choice(["drop", "double", "swap", "empty"])
        if how == "drop" and other:
            del other[rng.randrange(len(other))]
        elif how == "double" and other:
            other.insert(rng.randrange(len(other)), rng.choice(other))
        elif how == "swap" and len(other) > 1:
            first, second = rng.sample(range(len(other)), 2)
            other[first], other[second] = other[second], other[first]
        else:
            other = []
        return other
    return {name: part for name, part in value.items() if name != rng.choice(sorted(value))}


def mutations(certificate: Certificate, rounds: int, seed: int = 0) -> Iterator[tuple[tuple[Any, ...], str]]:
    """JSON texts with one field changed, every field in turn; each with the path of the field."""
    rng, fields = Random(seed), json.loads(certificate.to_json())
    for _ in range(rounds):
        for path in leaves(fields):
            mutant = copy.deepcopy(fields)
            holder = mutant
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = changed(rng, holder[path[-1]])
            if mutant != fields:
                yield path, json.dumps(mutant)


def certified(case: Case) -> tuple[Certificate, ExactNetwork]:
    """A certificate of the exact interval."""
    network = ExactNetwork(network_of(case.layers, len(case.x)))
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    (interval,) = rational.exact_interval(network, x, d, (case.lo, case.hi))
    return rational.certify(network, x, d, interval), network


def refused(text: str, network: ExactNetwork) -> bool:
    try:
        rational.check(Certificate.from_json(text), network)
    except CertificateError:
        return True
    return False
