"""The checker: accepts every true certificate, rejects every falsified one, and knows nothing of the walks."""

from __future__ import annotations

import ast
import importlib
import math
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import relu_regions as rr
from relu_regions import rational
from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.intervals.certificates.certificate import (
    Bend,
    Certificate,
    CertificateError,
    Endpoint,
    question_digest,
)
from relu_regions.intervals.certificates.check import check as checker
from tests.intervals.certificates.forgeries import SOURCES, certified, mutations, refused
from tests.models import ARCHITECTURES, Architecture, mlp, of_each
from tests.networks import network_of
from tests.strategies import GATES, Case, cases, make_case

FORGERIES = 10_000
EXACT_GATES = [name for name in GATES if name != "hardsigmoid"]


# ---------------------------------------------------------------- true certificates


@settings(max_examples=150, deadline=None)
@given(cases(gates=st.lists(st.sampled_from(EXACT_GATES), min_size=1, max_size=2), skips=st.booleans()))
def test_true_certificates_are_accepted(case: Case) -> None:
    certificate, network = certified(case)
    rational.check(Certificate.from_json(certificate.to_json()), network)


@of_each(ARCHITECTURES)
def test_every_architecture(architecture: Architecture) -> None:
    model = architecture.model()
    generator = torch.Generator().manual_seed(0)
    x, d = torch.randn(2, 1, *architecture.shape, generator=generator, dtype=torch.float64)
    network = rr.Network.from_module(model, architecture.shape)
    if len(network.output_shape) != 1:
        pytest.skip("its output is no vector of logits")
    certificate = rational.certify(network, x, d, rr.exact_interval(network, x, d))
    rational.check(Certificate.from_json(certificate.to_json()), model)


def test_the_checker_imports_nothing_of_the_walks() -> None:
    imported = set()
    for node in ast.walk(ast.parse(Path(checker.__globals__["__file__"]).read_text())):
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        elif isinstance(node, ast.Import):
            imported.update(name.name for name in node.names)
    assert {name for name in imported if name.startswith("relu_regions")} == {
        "relu_regions.lines.line_batch",
        "relu_regions.network.network",
        "relu_regions.exactness.rational.arithmetic",
        "relu_regions.intervals.certificates.certificate",
        "relu_regions.exactness.rational.coefficients",
    }


# ---------------------------------------------------------------- one field changed


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(case, marks=[pytest.mark.long] * (number % 4 > 0), id=name)
        for number, (name, case) in enumerate(SOURCES.items())
    ],
)
def test_every_change_of_one_field_is_rejected(source: Case) -> None:
    certificate, network = certified(source)
    rational.check(Certificate.from_json(certificate.to_json()), network)
    count = seed = 0
    while count < FORGERIES / len(SOURCES):
        for path, text in mutations(certificate, rounds=1, seed=seed):
            assert refused(text, network), f"accepted with another {path}"
            count += 1
        seed += 1


# ---------------------------------------------------------------- forged so that all else fits


@pytest.fixture(scope="module")
def relu() -> tuple[Certificate, ExactNetwork]:
    certificate, network = certified(SOURCES["relu"])
    assert certificate.region_count == 10
    assert min(certificate.label_lo, certificate.label_hi) >= 0
    return certificate, network


def rejected(certificate: Certificate, network: ExactNetwork, reason: str) -> None:
    asked = (certificate.input_shape, certificate.x, certificate.d, certificate.t_range, certificate.classes)
    with pytest.raises(CertificateError, match=reason):
        rational.check(replace(certificate, question=question_digest(*asked)), network)


def with_hi(certificate: Certificate, hi: Fraction, bends: tuple[Bend, ...], **others: Any) -> Certificate:
    return replace(certificate, hi=Endpoint.at(hi), bends=bends, **others)


def test_an_interval_made_longer(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, network = relu
    hi = certificate.hi.exact + Fraction(1, 10**6)
    rejected(with_hi(certificate, hi, (*certificate.bends[:-1], Bend(hi, ()))), network, "ahead of its label inside")


def test_an_interval_made_shorter(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, network = relu
    hi = certificate.hi.exact - Fraction(1, 10**6)
    rejected(with_hi(certificate, hi, (*certificate.bends[:-1], Bend(hi, ()))), network, "not ahead beyond an end")
    # As if the range ended there, while it does not.
    cut = with_hi(certificate, hi, certificate.bends[:-1], label_hi=-1)
    rejected(cut, network, "none at an end inside")
    lo = certificate.lo.exact + Fraction(1, 10**6)
    low_cut = replace(certificate, lo=Endpoint.at(lo), bends=certificate.bends[1:], label_lo=-1)
    rejected(low_cut, network, "none at an end inside")
    # A range that does end there is another question, and the answer to it is true.
    asked = replace(cut, t_range=(cut.t_range[0], hi))
    digest = question_digest(asked.input_shape, asked.x, asked.d, asked.t_range, asked.classes)
    rational.check(replace(asked, question=digest), network)


def test_a_region_left_out(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, network = relu
    for k in range(1, len(certificate.bends) - 1):
        fewer = certificate.bends[:k] + certificate.bends[k + 1 :]
        rejected(replace(certificate, bends=fewer), network, "unit .* of gate")


def test_a_region_made_up(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, network = relu
    before, after = certificate.bends[2:4]
    middle = (before.t + after.t) / 2

    def with_bend(*flips: tuple[int, int, int, int]) -> Certificate:
        return replace(certificate, bends=(*certificate.bends[:3], Bend(middle, flips), *certificate.bends[3:]))

    rejected(with_bend(), network, "nothing bends")
    for unit in range(8):
        for flip in ((0, unit, 0, 1), (0, unit, 1, 0)):
            rejected(with_bend(flip), network, "on another piece")


def test_a_breakpoint_moved(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, network = relu
    for k in range(1, len(certificate.bends) - 1):
        moved = replace(certificate.bends[k], t=certificate.bends[k].t + Fraction(1, 10**40))
        bends = (*certificate.bends[:k], moved, *certificate.bends[k + 1 :])
        rejected(replace(certificate, bends=bends), network, "on another piece")


def test_a_unit_on_another_piece_throughout(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, network = relu
    for gate, pieces in enumerate(certificate.first_pattern):
        for unit, piece in enumerate(pieces):
            other = (*pieces[:unit], 1 - piece, *pieces[unit + 1 :])
            pattern = (*certificate.first_pattern[:gate], other, *certificate.first_pattern[gate + 1 :])
            bends = tuple(
                replace(
                    bend,
                    flips=tuple(
                        (g, u, 1 - a, 1 - b) if (g, u) == (gate, unit) else (g, u, a, b) for g, u, a, b in bend.flips
                    ),
                )
                for bend in certificate.bends
            )
            rejected(replace(certificate, first_pattern=pattern, bends=bends), network, f"unit {unit} of gate {gate}")


def test_another_class(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, network = relu
    rejected(
        replace(certificate, label=certificate.label_hi, label_hi=certificate.label),
        network,
        "class of x|ahead|fall behind",
    )
    (other,) = {0, 1, 2} - {certificate.label, certificate.label_hi}
    rejected(replace(certificate, label_hi=other), network, "not ahead beyond")
    rejected(replace(certificate, classes=(0, 1)), network, "class|label|ahead")
    rejected(replace(certificate, classes=(0, 1, 3)), network, "do not fit")


def test_another_line(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, network = relu
    x = (math.nextafter(certificate.x[0], 9), *certificate.x[1:])
    rejected(replace(certificate, x=x), network, "on another piece")


def test_another_network(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, _ = relu
    other = ExactNetwork(network_of(make_case([3, 8, 7, 3], seed=2).layers, 3))
    rejected(certificate, other, "another network")
    rejected(replace(certificate, network=other.digest), other, "unit|class")


@pytest.mark.parametrize("name", ["relu", "several knots", "maximum", "order statistics", "rays"])
def test_a_unit_whose_change_is_hidden(name: str) -> None:
    """The pieces must hold on both sides of every bend and just beyond the ends, for units that change nowhere too."""
    certificate, network = certified(SOURCES[name])
    ends = (certificate.lo.exact, certificate.hi.exact)
    flips = [flip for bend in certificate.bends for flip in bend.flips]
    once = [flip for flip in flips if sum(other[:2] == flip[:2] for other in flips) == 1]
    assert once
    for gate, unit, before, after in once:
        bends = tuple(
            replace(bend, flips=tuple(flip for flip in bend.flips if flip[:2] != (gate, unit)))
            for bend in certificate.bends
        )
        bends = tuple(bend for bend in bends if bend.flips or bend.t in ends)
        for piece in (before, after):
            pieces = list(certificate.first_pattern[gate])
            pieces[unit] = piece
            pattern = (*certificate.first_pattern[:gate], tuple(pieces), *certificate.first_pattern[gate + 1 :])
            rejected(replace(certificate, first_pattern=pattern, bends=bends), network, "unit")


def test_a_rank_that_is_another_input_s_meanwhile() -> None:
    """Of 0, t - 1 and -t - 1 the first is the middle one just inside of both ends, but not between -1 and 1."""
    layers = [
        ("affine", [[0.0], [1.0], [-1.0]], [0.0, -1.0, -1.0]),
        ("order", [[0, 1, 2]], [1]),
        ("affine", [[1.0], [0.0]], [9.0, 0.0]),
    ]
    certificate, network = certified(Case(layers, [0.0], [1.0], -3.0, 3.0))
    assert [bend.flips for bend in certificate.bends] == [((0, 0, 0, 2),), ((0, 0, 2, 1),), ((0, 0, 1, 0),)]
    rejected(replace(certificate, bends=()), network, "unit 0 of gate 0")
    rejected(replace(certificate, bends=certificate.bends[1:2]), network, "unit 0 of gate 0")


@pytest.mark.parametrize("step", [-1, 1], ids=["early", "late"])
@pytest.mark.parametrize("name", ["relu", "maximum", "order statistics"])
def test_a_unit_that_changes_one_bend_off(name: str, step: int) -> None:
    certificate, network = certified(SOURCES[name])
    ends = (certificate.lo.exact, certificate.hi.exact)
    for k in range(1, len(certificate.bends) - 1):
        for flip in certificate.bends[k].flips:
            bends = list(certificate.bends)
            bends[k] = replace(bends[k], flips=tuple(other for other in bends[k].flips if other != flip))
            if flip[:2] in [other[:2] for other in bends[k + step].flips]:
                continue
            bends[k + step] = replace(bends[k + step], flips=tuple(sorted((*bends[k + step].flips, flip))))
            kept = tuple(bend for bend in bends if bend.flips or bend.t in ends)
            rejected(replace(certificate, bends=kept), network, "on another piece")


def test_a_unit_that_changes_to_the_piece_it_is_on(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, network = relu
    bend = certificate.bends[2]
    taken = {flip[:2] for flip in bend.flips}
    for unit, piece in enumerate(certificate.first_pattern[0]):
        if (0, unit) not in taken:
            more = replace(bend, flips=tuple(sorted((*bend.flips, (0, unit, piece, piece)))))
            bends = (*certificate.bends[:2], more, *certificate.bends[3:])
            rejected(replace(certificate, bends=bends), network, "do not exist or change")


def test_an_end_at_which_the_class_goes_on(relu: tuple[Certificate, ExactNetwork]) -> None:
    certificate, network = relu
    hi = certificate.hi.exact - Fraction(1, 10**6)
    shorter = with_hi(certificate, hi, (*certificate.bends[:-1], Bend(hi, ())), label_hi=certificate.label)
    rejected(shorter, network, "does not fall behind")


def test_no_direction() -> None:
    certificate, network = certified(make_case([3, 8, 7, 3], seed=7, t_range=(-1.0, 1.0)))
    rejected(replace(certificate, d=(0.0, 0.0, 0.0)), network, "direction is zero")


# ---------------------------------------------------------------- nothing is spent on lies


def with_inputs(certificate: Certificate, times: int, shape: tuple[int, ...], units: int = 1) -> Certificate:
    """The certificate for so many times as many inputs, its question and the counts of its units with it."""
    x, d = certificate.x * times, certificate.d * times
    pattern = tuple(pieces * units for pieces in certificate.first_pattern)
    question = question_digest(shape, x, d, certificate.t_range, certificate.classes)
    return replace(certificate, input_shape=shape, x=x, d=d, question=question, first_pattern=pattern)


def test_sizes_are_compared_before_anything_is_built(
    relu: tuple[Certificate, ExactNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, network = relu
    model = mlp(3, 8, 7, 3).double().eval()

    def built(*_: object) -> None:
        raise AssertionError("Exact coefficients were made.")

    monkeypatch.setattr(ExactNetwork, "_coefficients", property(built))
    for forged in (
        with_inputs(certificate, 40, (40, 3)),
        with_inputs(certificate, 40, (40, 3), units=40),
        replace(certificate, first_pattern=certificate.first_pattern[:1]),
        replace(certificate, bends=(replace(certificate.bends[0], flips=((0, 8, 0, 1),)), *certificate.bends[1:])),
    ):
        with pytest.raises(CertificateError, match=r"fit|exist"):
            rational.check(forged, model)
    for read in (network, network.network):
        with pytest.raises(CertificateError, match="another shape"):
            rational.check(with_inputs(certificate, 2, (6,)), read)


def test_a_module_is_not_traced_at_a_shape_that_is_known_to_be_wrong(
    relu: tuple[Certificate, ExactNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, _ = relu
    module = sys.modules["relu_regions.intervals.certificates.check"]

    def traced(*_: object) -> None:
        raise AssertionError("The module was traced.")

    monkeypatch.setattr(module, "read", traced)
    model = mlp(3, 8, 7, 3).eval()
    with pytest.raises(CertificateError, match="another shape"):
        rational.check(with_inputs(certificate, 2, (6,)), model, input_shape=(3,))
    with pytest.raises(ValueError, match="give check"):
        rational.check(with_inputs(certificate, 2000, (6000,)), model)


def test_mutants_end_in_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    fuzz = importlib.import_module("fuzz_certificates")
    _, network, text = fuzz.subject()
    assert fuzz.verdict(text, network) == "true"
    start = time.perf_counter()
    verdicts = [fuzz.verdict(mutant, network) for _, mutant in zip(range(80), fuzz.mutants(text, seed=1))]
    assert set(verdicts) <= {"true", "CertificateError", "ValueError"} and verdicts.count("true") < 20
    assert time.perf_counter() - start < 80
