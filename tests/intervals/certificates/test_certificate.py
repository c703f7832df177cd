"""Certificates: what certify says of true and of false intervals, and what is read from strangers."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import relu_regions as rr
from relu_regions import rational
from relu_regions.intervals.certificates.certificate import Certificate, CertificateError, Endpoint
from relu_regions.network.network import Network
from tests.networks import network_of
from tests.oracles import fractions_walk as truth
from tests.strategies import Case, make_case


def tensors(case: Case) -> tuple[Network, Tensor, Tensor]:
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    return network_of(case.layers, len(case.x)), x, d


@pytest.fixture(scope="module")
def case() -> Case:
    """Finite on both sides, with breakpoints in between."""
    return make_case([4, 12, 10, 3], seed=6, t_range=(-math.inf, math.inf))


@pytest.fixture(scope="module")
def interval(case: Case) -> rr.Interval:
    return rr.exact_interval(*tensors(case))


@pytest.fixture(scope="module")
def certificate(case: Case, interval: rr.Interval) -> Certificate:
    return rational.certify(*tensors(case), interval)


def moved(interval: rr.Interval, **changes: float) -> rr.Interval:
    tensors = {name: torch.full_like(getattr(interval, name), number) for name, number in changes.items()}
    return replace(interval, **tensors)


# ---------------------------------------------------------------- true intervals


def test_it_says_what_plain_fractions_say(case: Case, certificate: Certificate) -> None:
    expected = truth.exact_interval(case.layers, case.x, case.d, case.lo, case.hi)
    assert (certificate.lo.exact, certificate.hi.exact) == (expected.lo, expected.hi)
    assert (certificate.label, certificate.tied) == (expected.label, expected.tied)
    assert (certificate.label_lo, certificate.label_hi) == (expected.label_lo, expected.label_hi)
    assert math.isfinite(expected.lo)
    assert math.isfinite(expected.hi)


def test_it_lists_the_regions_and_no_others(case: Case, certificate: Certificate) -> None:
    low, high = certificate.lo.exact, certificate.hi.exact
    exact = truth.walk(case.layers, case.x, case.d, low, high)
    assert len(exact.breakpoints) > 3
    assert certificate.region_count == len(exact.regions)
    assert [(bend.t, bend.flips) for bend in certificate.bends[1:-1]] == [
        (point.t, tuple(point.flips)) for point in exact.breakpoints
    ]
    # The class changes inside of regions here, so the regions just beyond the ends are those just within.
    assert [bend.flips for bend in (certificate.bends[0], certificate.bends[-1])] == [(), ()]
    assert certificate.first_pattern == exact.first_pattern


def test_each_end_has_its_neighbours_and_the_error_of_the_float(
    interval: rr.Interval, certificate: Certificate
) -> None:
    for name in ("lo", "hi"):
        end, given = getattr(certificate, name), float(getattr(interval, name))
        assert end.below < end.exact < end.above
        assert math.nextafter(end.below, math.inf) == end.above
        assert end.given == given
        assert Fraction(end.given) - end.exact == end.error
        assert abs(end.error) < 1e-14


def test_the_neighbours_of_a_float_are_itself() -> None:
    assert Endpoint.at(Fraction(3, 4)) == Endpoint(Fraction(3, 4), 0.75, 0.75)
    assert Endpoint.at(-math.inf, -math.inf) == Endpoint(-math.inf, -math.inf, -math.inf, -math.inf, Fraction(0))
    assert Endpoint.at(Fraction(10**400)).above == math.inf


def test_an_exact_interval_can_be_certified_too(case: Case, certificate: Certificate) -> None:
    (exact,) = rational.exact_interval(*tensors(case))
    again = rational.certify(*tensors(case), exact)
    assert again.bends == certificate.bends
    assert (again.lo.given, again.lo.error) == (None, None)


def test_ends_of_the_range() -> None:
    for t_range in ((-0.25, 0.125), (0.0, 1e-3), (-1e-3, math.inf)):
        arguments = tensors(make_case([4, 12, 10, 3], seed=3))
        certificate = rational.certify(*arguments, rr.exact_interval(*arguments, t_range))
        assert certificate.label_lo == -1
        assert certificate.lo.exact == t_range[0] == certificate.t_range[0]
        rational.check(certificate, arguments[0])


def test_a_true_interval_takes_one_walk(
    case: Case, interval: rr.Interval, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is given, the line is not searched from x outwards; where it is not, the search finds the same."""
    module = sys.modules["relu_regions.intervals.certificates.certify"]
    (exact,) = rational.exact_interval(*tensors(case))

    def searched(*_: object) -> None:
        raise AssertionError("The line was searched.")

    with monkeypatch.context() as patch:
        patch.setattr(module, "interval_on", searched)
        patch.setattr(module, "_walked", searched)
        assert rational.certify(*tensors(case), interval) == certificate
        assert rational.certify(*tensors(case), exact).bends == certificate.bends
        rational.certify(*tensors(case), rr.exact_interval(*tensors(case), (-0.25, 0.0)))
    monkeypatch.setattr(module, "interval_within", lambda *_: None)
    assert rational.certify(*tensors(case), interval) == certificate


# ---------------------------------------------------------------- false intervals


def test_an_end_too_far_out_has_a_counter_example(case: Case, interval: rr.Interval, certificate: Certificate) -> None:
    for changes, end in (
        ({"hi": float(interval.hi) + 1e-3}, certificate.hi.exact),
        ({"lo": float(interval.lo) - 1e-3}, certificate.lo.exact),
        ({"hi": math.inf, "label_hi": -1}, certificate.hi.exact),
    ):
        with pytest.raises(CertificateError, match="too far out") as raised:
            rational.certify(*tensors(case), moved(interval, **changes))
        error = raised.value
        assert error.endpoint == end
        assert error.t is not None
        point = [Fraction(a) + error.t * Fraction(b) for a, b in zip(case.x, case.d)]
        logits, _ = truth.evaluate(case.layers, point)
        assert max(range(3), key=lambda k: logits[k]) == error.label != certificate.label


def test_an_end_too_near_has_the_true_one(case: Case, interval: rr.Interval, certificate: Certificate) -> None:
    for changes, end in (
        ({"hi": float(interval.hi) - 1e-3}, certificate.hi.exact),
        ({"lo": float(interval.lo) + 1e-3}, certificate.lo.exact),
    ):
        with pytest.raises(CertificateError, match="too near") as raised:
            rational.certify(*tensors(case), moved(interval, **changes))
        assert raised.value.endpoint == end


def test_false_classes(case: Case, interval: rr.Interval, certificate: Certificate) -> None:
    other = 3 - certificate.label - certificate.label_hi
    with pytest.raises(CertificateError, match=f"class at x is {certificate.label}, not {other}"):
        rational.certify(*tensors(case), moved(interval, label=other))
    with pytest.raises(CertificateError, match=f"lies class {certificate.label_hi}, not {other}"):
        rational.certify(*tensors(case), moved(interval, label_hi=other))


def test_how_much_rounding_is_allowed(case: Case, interval: rr.Interval) -> None:
    late = moved(interval, hi=float(interval.hi) + 1e-6)
    certificate = rational.certify(*tensors(case), late, rounding=1e-5)
    assert certificate.hi.error is not None
    assert float(certificate.hi.error) == pytest.approx(1e-6, rel=1e-6)
    rational.check(certificate, tensors(case)[0])
    with pytest.raises(CertificateError):
        rational.certify(*tensors(case), late)


def test_one_line_at_a_time(case: Case, interval: rr.Interval) -> None:
    network, x, d = tensors(case)
    with pytest.raises(ValueError, match="one line"):
        rational.certify(network, x.repeat(2, 1), d, interval)
    with pytest.raises(ValueError, match="one line"):
        rational.certify(network, x, d, interval[[0, 0]])
    with pytest.raises(TypeError, match="interval"):
        rational.certify(network, x, d, (-1.0, 1.0))


# ---------------------------------------------------------------- JSON


def test_it_comes_back_from_json(certificate: Certificate) -> None:
    assert Certificate.from_json(certificate.to_json()) == certificate
    rays = replace(certificate, t_range=(-math.inf, Fraction(7, 3)), lo=Endpoint.at(-math.inf), label_lo=-1)
    assert Certificate.from_json(rays.to_json()) == rays


def test_it_comes_back_from_a_file(certificate: Certificate, tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    path.write_text("something older")
    certificate.save(path)
    assert Certificate.load(path) == certificate
    assert [found.name for found in tmp_path.iterdir()] == ["proof.json"]


def test_a_file_that_cannot_be_written_is_left_as_it_was(
    certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "proof.json"
    path.write_text("something older")
    broken = replace(certificate, x=(math.nan,))
    with pytest.raises(ValueError, match="JSON"):
        broken.save(path)
    assert path.read_text() == "something older"
    assert [found.name for found in tmp_path.iterdir()] == ["proof.json"]


def test_truncated_text_is_refused(certificate: Certificate) -> None:
    text = certificate.to_json()
    for length in (*range(0, 200, 7), *range(200, len(text), 97), len(text) - 1):
        with pytest.raises(CertificateError):
            Certificate.from_json(text[:length])


def with_field(certificate: Certificate, name: str, value: Any) -> str:
    fields = json.loads(certificate.to_json())
    fields[name] = value
    return json.dumps(fields)


DEEP, MANY = 100_000, 1_000_000
HOSTILE = {
    "deep lists": "[" * DEEP + "]" * DEEP,
    "deep objects": '{"x":' * DEEP + "1" + "}" * DEEP,
    "unclosed": "[" * MANY,
    "no object": "3",
    "empty": "",
    "no JSON": "\x00\xff",
    "another format": '{"format": "certificate 0"}',
    "a huge number": '{"label": ' + "9" * MANY + "}",
    "a huge float": '{"label": 0.' + "9" * MANY + "}",
    "a huge exponent": '{"label": 1e' + "9" * MANY + "}",
    "NaN": '{"x": [NaN]}',
    "infinity": '{"x": [-Infinity]}',
    "twice": '{"format": 1, "format": 2}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_refused_quickly(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(CertificateError):
        Certificate.from_json(text)
    assert time.perf_counter() - start < 1


FIELDS = [
    ("x", [1e999, 0.0, 0.0, 0.0]),
    ("x", [1, 0.0, 0.0, 0.0]),
    ("x", [0.5]),
    ("x", "0.5"),
    ("input_shape", [2, 3]),
    ("input_shape", [-1, -4]),
    ("input_shape", [True, 4]),
    ("input_shape", [4] + [1] * 100),
    ("label", 1.0),
    ("label", True),
    ("label", -1),
    ("label", 2**70),
    ("label_lo", -2),
    ("tied", 0),
    ("network", "00"),
    ("network", None),
    ("t_range", ["-inf"]),
    ("t_range", ["-inf", "nan"]),
    ("t_range", ["-inf", 1.0]),
    ("lo", {"exact": "1/2"}),
    ("lo", [1, 2]),
    ("bends", [{"t": "1/0", "flips": []}]),
    ("bends", [{"t": "2/4", "flips": []}]),
    ("bends", [{"t": "1/-2", "flips": []}]),
    ("bends", [{"t": " 1/2", "flips": []}]),
    ("bends", [{"t": "1_0/3", "flips": []}]),
    ("bends", [{"t": "٣/4", "flips": []}]),  # a digit, but not of ours
    ("bends", [{"t": "f" * MANY + "/1", "flips": []}]),
    ("bends", [{"t": "1/2", "flips": [[0, 0, 0]]}]),
    ("bends", [{"t": "1/2"}]),
    ("bends", {"t": "1/2"}),
    ("first_pattern", [[0.0]]),
    ("first_pattern", [0]),
    ("first_pattern", [[[[[0]]]]]),
    ("more", 1),
]


@pytest.mark.parametrize(("name", "value"), FIELDS, ids=lambda part: str(part)[:30])
def test_fields_of_another_form_are_refused(certificate: Certificate, name: str, value: Any) -> None:
    with pytest.raises(CertificateError, match="no certificate"):
        Certificate.from_json(with_field(certificate, name, value))


def test_long_text_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    text, path = certificate.to_json(), tmp_path / "proof.json"
    certificate.save(path)
    assert Certificate.from_json(text, limit=len(text)) == Certificate.load(path, limit=len(text)) == certificate
    for read in (
        lambda: Certificate.from_json(text, limit=len(text) - 1),
        lambda: Certificate.load(path, len(text) - 1),
    ):
        with pytest.raises(CertificateError, match="limit"):
            read()


def test_long_fractions_are_refused_unless_allowed(certificate: Certificate) -> None:
    one, other = 1, 1
    while other.bit_length() < 4 * 5000:
        one, other = other, one + other
    text = with_field(certificate, "bends", [{"t": f"{one:x}/{other:x}", "flips": []}])
    with pytest.raises(CertificateError, match="digits="):
        Certificate.from_json(text)
    assert Certificate.from_json(text, digits=5000).bends[0].t == Fraction(one, other)


def test_depth_is_limited_whatever_the_recursion_limit() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(CertificateError, match="deep"):
            Certificate.from_json('{"x":[' * DEEP)
    finally:
        sys.setrecursionlimit(limit)


def test_brackets_in_strings_hide_no_depth() -> None:
    with pytest.raises(CertificateError, match="deep"):
        Certificate.from_json(f'["{"]" * DEEP}\\"", {"[" * DEEP}{"]" * DEEP}]')
    with pytest.raises(CertificateError, match="format"):
        Certificate.from_json(f'["{"[" * DEEP}"]')


def test_a_missing_field_is_refused(certificate: Certificate) -> None:
    fields = json.loads(certificate.to_json())
    for name in fields:
        with pytest.raises(CertificateError, match="no certificate"):
            Certificate.from_json(json.dumps({other: value for other, value in fields.items() if other != name}))


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(CertificateError, match="no ordinary file"):
            Certificate.load(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CertificateError, match="no text"):
        Certificate.load(path)
