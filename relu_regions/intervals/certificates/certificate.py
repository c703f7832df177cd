"""Certificates: what a proof of a generalization interval consists of, and its JSON form."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from relu_regions.intervals.certificates.strict_json import (
    CertificateError,
    Number,
    boolean_in,
    digest_in,
    finite_in,
    float_or_infinity_in,
    fraction_in,
    label_in,
    list_in,
    natural_in,
    number_in,
    parsed,
    refuse,
    shown,
)

__all__ = ["Bend", "Certificate", "CertificateError", "Endpoint", "Number", "question_digest"]

_FORMAT = "relu_regions certificate 1"
# Limits for certificates from strangers, far above what true ones need.
_TEXT_LIMIT = 1 << 24  # characters of JSON: tens of thousands of regions
_DIGIT_LIMIT = 1 << 12  # hexadecimal digits of a numerator or denominator: some 200 layers of float64 numbers
_DIMENSION_LIMIT = 16  # of the shape of an input


@dataclass(frozen=True)
class Endpoint:
    """One end of an interval.

    Attributes:
        exact: the fraction; ±inf where the interval has no end.
        below, above: the neighbouring float64 numbers, ``below <= exact <= above``; equal where exact is a float.
        given: the float64 end that was certified, if it came from floating-point arithmetic.
        error: ``given - exact``; 0 where both are infinite.
    """

    exact: Number
    below: float
    above: float
    given: float | None = None
    error: Fraction | None = None

    @classmethod
    def at(cls, exact: Number, given: float | None = None) -> Endpoint:
        """The end at a number, with its neighbours.

        Raises:
            CertificateError: one of exact and given is infinite, and the other is not the same.
        """
        if given is not None and given != exact and (isinstance(exact, float) or math.isinf(given)):
            raise CertificateError(f"The end is {exact}, but {given} was given.")
        if isinstance(exact, float):
            return cls(exact, exact, exact, given, None if given is None else Fraction(0))
        error = None if given is None else Fraction(given) - exact
        try:
            near = float(exact)
        except OverflowError:
            near = math.inf if exact > 0 else -math.inf
        below = near if near <= exact else math.nextafter(near, -math.inf)
        above = near if near >= exact else math.nextafter(near, math.inf)
        return cls(exact, below, above, given, error)


@dataclass(frozen=True)
class Bend:
    """A breakpoint on the interval and the units that change their piece there: (gate, unit, before, after) each."""

    t: Fraction
    flips: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True)
class Certificate:
    """A proof that a network keeps its class on an interval of a line, and no further.

    It says of the real-valued network of the float64 coefficients: on ``[lo, hi]`` the class of x has the largest
    logit, and just beyond an end class ``label_lo`` or ``label_hi`` is ahead of it. The proof is the list of all
    regions that the interval crosses: on each region the pattern makes every pre-activation affine in t, so that its
    signs just inside both ends are its signs on the whole region, gate after gate.

    Attributes:
        network: SHA-256 of the network's coefficients.
        question: SHA-256 of x, d, t_range and classes.
        input_shape: shape of x and d.
        x, d: flattened; float64.
        t_range: where the class was asked for.
        classes: the classes that compete.
        label: the class at x.
        tied: whether others share its logit at x; it is the first of them.
        lo, hi: the ends.
        label_lo, label_hi: the class just beyond each end; -1 where t_range ends first.
        first_pattern: for each gate the piece of every unit, in the first region; where a class takes over at lo this
            is the region just beyond lo.
        bends: in order of t: every breakpoint strictly inside the interval, and the ends at which a class takes over
            (whether a unit changes its piece there or not).
    """

    network: str
    question: str
    input_shape: tuple[int, ...]
    x: tuple[float, ...]
    d: tuple[float, ...]
    t_range: tuple[Number, Number]
    classes: tuple[int, ...]
    label: int
    tied: bool
    lo: Endpoint
    hi: Endpoint
    label_lo: int
    label_hi: int
    first_pattern: tuple[tuple[int, ...], ...]
    bends: tuple[Bend, ...]

    @property
    def region_count(self) -> int:
        """How many regions the interval crosses."""
        inside = sum(self.lo.exact < bend.t < self.hi.exact for bend in self.bends)
        return inside + (self.lo.exact < self.hi.exact)

    def to_json(self) -> str:
        """The certificate as JSON text; fractions are hexadecimal, as ``"-1f/40"``."""
        fields: dict[str, Any] = {"format": _FORMAT, "network": self.network, "question": self.question}
        fields |= {"input_shape": list(self.input_shape), "x": list(self.x), "d": list(self.d)}
        fields |= {"t_range": [_written(end) for end in self.t_range], "classes": list(self.classes)}
        fields |= {"label": self.label, "tied": self.tied, "lo": _end_fields(self.lo), "hi": _end_fields(self.hi)}
        fields |= {"label_lo": self.label_lo, "label_hi": self.label_hi}
        fields |= {"first_pattern": [list(pieces) for pieces in self.first_pattern]}
        fields |= {"bends": [{"t": _written(bend.t), "flips": list(map(list, bend.flips))} for bend in self.bends]}
        return json.dumps(fields, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, limit: int = _TEXT_LIMIT, digits: int = _DIGIT_LIMIT) -> Certificate:
        """Read a certificate from someone who need not be trusted, in a time that grows with the length of the text.

        Args:
            text: JSON.
            limit: how many characters to read at most; parsing them may take some fifty times as many bytes.
            digits: how many hexadecimal digits a numerator or denominator may have; the time for each grows with their
                square.

        Raises:
            CertificateError: the text is no certificate, or beyond these limits. Whether it is true is left to
                ``relu_regions.rational.check``.
        """
        if len(text) > limit:
            refuse(f"it has {len(text)} characters, more than the limit of {limit}")
        return _read(text, digits)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate to a JSON file, whole or not at all."""
        target = Path(path)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(self.to_json())
            os.replace(name, target)  # noqa: PTH105 (name is a plain string)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str], limit: int = _TEXT_LIMIT, digits: int = _DIGIT_LIMIT) -> Certificate:
        """Read a certificate from a JSON file; limits as in ``from_json``.

        Raises:
            CertificateError: as ``from_json``.
            OSError: the file cannot be read.
        """
        source = Path(path)
        if source.exists() and not source.is_file():
            raise CertificateError(f"{source} is no ordinary file.")
        with source.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise CertificateError(f"{source} has more bytes than the limit of {limit}.")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CertificateError(f"{source} is no text: {error}.") from None
        return cls.from_json(text, limit, digits)


def question_digest(
    input_shape: tuple[int, ...],
    x: tuple[float, ...],
    d: tuple[float, ...],
    t_range: tuple[Number, Number],
    classes: tuple[int, ...],
) -> str:
    """SHA-256 of what an interval is asked for, in hexadecimal."""
    ends = [_written(end) for end in t_range]
    hashed = hashlib.sha256(json.dumps([list(input_shape), ends, list(classes)]).encode())
    hashed.update(np.array([x, d], dtype="<f8").tobytes())
    return hashed.hexdigest()


# ---------------------------------------------------------------- JSON


def _written(number: Number | None) -> str | None:
    if number is None:
        return None
    if isinstance(number, float):
        return "inf" if number > 0 else "-inf"
    return f"{number.numerator:x}/{number.denominator:x}"


def _end_fields(end: Endpoint) -> dict[str, Any]:
    floats = {"below": end.below, "above": end.above, "given": end.given}
    # JSON has no infinity: a string stands for it.
    written = {name: _written(f) if f is not None and math.isinf(f) else f for name, f in floats.items()}
    return {"exact": _written(end.exact), **written, "error": _written(end.error)}


def _read(text: str, digits: int) -> Certificate:
    fields = parsed(text)
    names = [*Certificate.__dataclass_fields__]
    if not isinstance(fields, dict) or fields.pop("format", None) != _FORMAT:
        refuse(f"its format is not {_FORMAT!r}")
    if sorted(fields) != sorted(names):
        refuse(f"it has the fields {shown(sorted(fields))}, not {sorted(names)}")
    certificate = Certificate(
        network=digest_in(fields["network"]),
        question=digest_in(fields["question"]),
        input_shape=tuple(natural_in(size) for size in list_in(fields["input_shape"])),
        x=tuple(finite_in(number) for number in list_in(fields["x"])),
        d=tuple(finite_in(number) for number in list_in(fields["d"])),
        t_range=(number_in(list_in(fields["t_range"], 2)[0], digits), number_in(fields["t_range"][1], digits)),
        classes=tuple(natural_in(number) for number in list_in(fields["classes"])),
        label=natural_in(fields["label"]),
        tied=boolean_in(fields["tied"]),
        lo=_endpoint(fields["lo"], digits),
        hi=_endpoint(fields["hi"], digits),
        label_lo=label_in(fields["label_lo"]),
        label_hi=label_in(fields["label_hi"]),
        first_pattern=tuple(tuple(map(natural_in, list_in(pieces))) for pieces in list_in(fields["first_pattern"])),
        bends=tuple(_bend(bend, digits) for bend in list_in(fields["bends"])),
    )
    shape, count = certificate.input_shape, len(certificate.x)
    if len(shape) > _DIMENSION_LIMIT or prod(shape) != count or len(certificate.d) != count:
        refuse("x, d and input_shape do not match")
    return certificate


def _endpoint(given: object, digits: int) -> Endpoint:
    names = ["exact", "below", "above", "given", "error"]
    if not isinstance(given, dict) or sorted(given) != sorted(names):
        refuse(f"it has {shown(given)} where an end belongs")
    return Endpoint(
        exact=number_in(given["exact"], digits),
        below=float_or_infinity_in(given["below"]),
        above=float_or_infinity_in(given["above"]),
        given=None if given["given"] is None else float_or_infinity_in(given["given"]),
        error=None if given["error"] is None else fraction_in(given["error"], digits),
    )


def _bend(given: object, digits: int) -> Bend:
    if not isinstance(given, dict) or sorted(given) != ["flips", "t"]:
        refuse(f"it has {shown(given)} where a bend belongs")
    flips = []
    for flip in list_in(given["flips"]):
        gate, unit, before, after = map(natural_in, list_in(flip, 4))
        flips.append((gate, unit, before, after))
    return Bend(fraction_in(given["t"], digits), tuple(flips))
