"""Certificates from strangers: mutants of a true one, each of which must end in a verdict, quickly.

    python benchmarks/fuzz_certificates.py [--quick] [--count 5000] [--seed 0] [--seconds 10] [--megabytes 1024]
                                           [--minutes 600] [--out FILE.json]

The JSON of a true certificate is changed in its structure (values, types, counts, depth, shapes, digests, huge
integers, fractions with huge coprime numbers, tokens that are no JSON) or in its text (truncated, spliced, bytes
changed), now and then with a digest of the question that fits again. Each mutant is read and checked against the
network and against the module itself.

It must be rejected with a ValueError, or be true: then rational arithmetic finds the interval that it states. No mutant
may take more than ``--seconds`` of processor time, nor the process more than ``--megabytes`` above what it held before.
Exits with 1 where one does. Every 500 mutants it says how far it is, and after ``--minutes`` it ends with those that it
has read.
"""

from __future__ import annotations

import copy
import json
import logging
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from random import Random
from typing import Any

import torch
from measuring import machine, parser, write_json
from torch import nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.intervals.certificates.certificate import question_digest

Json = Any
Path = tuple[Any, ...]


# ---------------------------------------------------------------- what is mutated


def subject() -> tuple[nn.Module, rational.ExactNetwork, str]:
    """A module, the exact network of it, and a true certificate as JSON."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.LeakyReLU(), nn.Linear(6, 3)]
    module = nn.Sequential(*layers).double().eval()
    x, d = torch.randn(2, 1, 4, dtype=torch.float64)
    network = rational.ExactNetwork(rr.Network.from_module(module, (4,)))
    (interval,) = rational.exact_interval(network, x, d)
    return module, network, rational.certify(network, x, d, interval).to_json()


# ---------------------------------------------------------------- mutations


def mutants(text: str, seed: int) -> Iterator[str]:
    """Mutants of a certificate's JSON without end; equal seeds give equal ones."""
    rng, fields = Random(seed), json.loads(text)
    while True:
        mutant = copy.deepcopy(fields)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            rng.choice([_replace, _replace, _count, _reshape, _deepen, _move])(rng, mutant)
        if rng.random() < 0.5:
            _ask_again(mutant)
        changed = json.dumps(mutant)
        yield rng.choice(_TEXTS)(rng, changed) if rng.random() < 0.3 else changed


def _paths(value: Json, path: Path = ()) -> Iterator[Path]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from _paths(child, (*path, key))


def _place(rng: Random, fields: Json, wanted: type | None = None) -> tuple[Json, Any] | None:
    """A container and the key of one of its values, of a type."""
    found = []
    for path in _paths(fields):
        holder = fields
        for key in path[:-1]:
            holder = holder[key]
        if wanted is None or isinstance(holder[path[-1]], wanted):
            found.append((holder, path[-1]))
    return rng.choice(found) if found else None


def _fibonacci(bits: int) -> str:
    """A fraction in lowest terms whose common divisor takes long to find."""
    one, other = 1, 1
    while other.bit_length() < bits:
        one, other = other, one + other
    return f"{one:x}/{other:x}"


def _junk(rng: Random) -> Json:
    top, bottom = rng.getrandbits(rng.choice([8, 64, 4000])), rng.getrandbits(rng.choice([8, 64, 4000])) | 1
    fraction = Fraction(rng.choice([-1, 1]) * top, bottom)
    plain = [
        None,
        True,
        False,
        0,
        -1,
        1,
        2**62,
        -(2**63),
        10**39,
        0.0,
        -0.0,
        1e308,
        5e-324,
        0.5,
        "",
        "inf",
        "-inf",
        "nan",
        [],
        {},
    ]
    strings = ["0/1", "1/0", "-0/1", "2/4", "1/3", "\x00", "\ud800", "é/1", "f" * 70_000 + "/1", "0" * 64, "f" * 64]
    made = [f"{fraction.numerator:x}/{fraction.denominator:x}", _fibonacci(rng.choice([60, 4000, 16_000, 40_000]))]
    return rng.choice([rng.choice(plain), rng.choice(strings), rng.choice(made), [0] * rng.choice([1, 1000, 100_000])])


def _replace(rng: Random, fields: Json) -> None:
    """Another value somewhere."""
    if place := _place(rng, fields):
        place[0][place[1]] = _junk(rng)


def _count(rng: Random, fields: Json) -> None:
    """A list made longer or shorter."""
    if place := _place(rng, fields, list):
        old = place[0][place[1]]
        longer = old * rng.choice([2, 10, 1000]) if len(old) < 1000 else old
        place[0][place[1]] = rng.choice([longer, old[:-1], old[1:], old[::-1], old + old[:1], []])


def _reshape(rng: Random, fields: Json) -> None:
    """Inputs of another shape, of which all fields that depend on it speak."""
    x, d, shape = (fields.get(name) for name in ("x", "d", "input_shape"))
    if isinstance(x, list) and isinstance(d, list) and isinstance(shape, list):
        # Several times in a row they would outgrow the memory before anything reads them.
        times = rng.choice([1, 2, 50, 1000, 3000]) if len(x) < 1000 else 2
        fields["x"], fields["d"] = x * times, d * times
        fields["input_shape"] = rng.choice(
            [[times, *shape], [*shape, times], [times * len(x)], [1] * 15 + [times * len(x)]]
        )
        if isinstance(fields.get("first_pattern"), list) and rng.random() < 0.5:
            fields["first_pattern"] = [
                part * times if isinstance(part, list) else part for part in fields["first_pattern"]
            ]


def _deepen(rng: Random, fields: Json) -> None:
    """A value within many lists or objects."""
    if place := _place(rng, fields):
        value = place[0][place[1]]
        for _ in range(rng.choice([1, 90, 110, 400])):
            value = [value] if rng.random() < 0.5 else {"t": value}
        place[0][place[1]] = value


def _move(rng: Random, fields: Json) -> None:
    """A value in the place of another."""
    one, other = _place(rng, fields), _place(rng, fields)
    if one and other:
        one[0][one[1]] = copy.deepcopy(other[0][other[1]])


def _ask_again(fields: Json) -> None:
    """The digest of the question that the fields now ask, where they still ask one."""
    try:
        ends = tuple(
            float(end) if "inf" in end else Fraction(*(int(n, 16) for n in end.split("/"))) for end in fields["t_range"]
        )
        asked = (tuple(fields["input_shape"]), tuple(fields["x"]), tuple(fields["d"]), ends, tuple(fields["classes"]))
        fields["question"] = question_digest(*asked)
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return  # the mutant asks nothing


def _spliced(rng: Random, text: str) -> str:
    start, stop = sorted(rng.choices(range(len(text)), k=2))
    at = rng.randrange(len(text))
    return text[:at] + text[start:stop] + text[at:]


def _with_token(rng: Random, text: str) -> str:
    at = rng.randrange(len(text))
    tokens = [
        "NaN",
        "-Infinity",
        "1e999999",
        "9" * 5000,
        "0x10",
        "1.",
        "-",
        "\\ud800",
        '"',
        "[" * 2000,
        '{"a":' * 2000,
        "\ufeff",
    ]
    return text[:at] + rng.choice(tokens) + text[at + rng.choice([0, 1, 5]) :]


_TEXTS: list[Callable[[Random, str], str]] = [
    lambda rng, text: text[: rng.randrange(len(text))],
    _spliced,
    _with_token,
    lambda rng, text: text.replace('"tied"', '"label"', 1),  # a field twice
]


# ---------------------------------------------------------------- verdicts


def verdict(text: str, model: nn.Module | rational.ExactNetwork) -> str:
    """What reading and checking a certificate says: the name of a ValueError, or "true".

    Raises:
        AssertionError: a false certificate was accepted.
    """
    try:
        certificate = rational.Certificate.from_json(text)
        rational.check(certificate, model)
    except ValueError as error:  # UnsupportedOperation and CertificateError are such
        return type(error).__name__
    line = [
        torch.tensor(part, dtype=torch.float64).view(1, *certificate.input_shape)
        for part in (certificate.x, certificate.d)
    ]
    classes = certificate.classes if len(certificate.classes) > 2 else None
    (found,) = rational.exact_interval(model, *line, certificate.t_range, classes)
    stated = (certificate.lo.exact, certificate.hi.exact, certificate.label, certificate.label_lo, certificate.label_hi)
    if stated != (found.lo, found.hi, found.label, found.label_lo, found.label_hi):
        raise AssertionError(f"A false certificate was accepted: {text[:2000]}")
    return "true"


def main() -> None:
    """Fuzz, print the verdicts, and write them as JSON."""
    options = parser(__doc__, "fuzz_certificates")
    options.add_argument("--count", type=int, default=5000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--minutes", type=float, default=600.0)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--megabytes", type=int, default=1024)
    given = options.parse_args()
    logging.getLogger("torch").setLevel(logging.CRITICAL)  # what tracing at impossible shapes says besides
    module, network, text = subject()
    verdicts: Counter[str] = Counter({verdict(text, network): 1})
    start, slowest, number = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0, 0
    until = time.monotonic() + 60 * given.minutes
    for number, mutant in zip(range(1, 1 + (100 if given.quick else given.count)), mutants(text, given.seed)):
        if number % 500 == 0:
            print(f"{number} mutants, slowest {slowest:.2f} s", flush=True)
        if time.monotonic() > until:
            number -= 1
            break
        for model in (network, module):
            began = time.process_time()
            verdicts[verdict(mutant, model)] += 1
            slowest = max(slowest, time.process_time() - began)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024
    for name, count in verdicts.most_common():
        print(f"{count:8d}  {name}")
    print(f"{number} mutants, each for a network and a module: slowest {slowest:.2f} s, {more} MB more than before")
    report = {
        "machine": machine(),
        "seed": given.seed,
        "mutants": number,
        "verdicts": dict(verdicts),
        "slowest_seconds": slowest,
        "megabytes": more,
    }
    write_json(report, given.out)
    if slowest > given.seconds or more > given.megabytes:
        sys.exit(1)


if __name__ == "__main__":
    main()
