"""Certificates: what a proof of a generalization interval consists of, and its JSON form."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import reprlib
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

__all__ = ["Bend", "Certificate", "CertificateError", "Endpoint", "Number", "question_digest"]

# An exact end: a Fraction, or a float that is ±inf.
Number = Fraction | float

_FORMAT = "relu_regions certificate 1"
# Limits for certificates from strangers, far above what true ones need.
_TEXT_LIMIT = 1 << 24  # characters of JSON: tens of thousands of regions
_DIGIT_LIMIT = 1 << 12  # hexadecimal digits of a numerator or denominator: some 200 layers of float64 numbers
_DEPTH_LIMIT = 100  # of lists and objects in one another; a certificate has 5
_DIMENSION_LIMIT = 16  # of the shape of an input
_NUMERAL_LIMIT = 40  # characters of a JSON number; a float64 takes 24
_FRACTION = re.compile(r"(-?)([0-9a-f]+)/([0-9a-f]+)", re.ASCII)
# A string that does not end is taken to the end, so that each character is looked at once.
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class CertificateError(ValueError):
    """An interval that is wrong, or a certificate that does not prove what it says.

    Attributes:
        t: where another class than the claimed one has the largest logit, if such a point was found.
        label: the class there.
        endpoint: the true endpoint, if that is known to differ.
    """

    def __init__(
        self, message: str, t: Fraction | None = None, label: int | None = None, endpoint: Number | None = None
    ) -> None:
        super().__init__(message)
        self.t, self.label, self.endpoint = t, label, endpoint


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
            _refuse(f"it has {len(text)} characters, more than the limit of {limit}")
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


def _refuse(reason: str) -> NoReturn:
    raise CertificateError(f"This is no certificate: {reason}.")


def _read(text: str, digits: int) -> Certificate:
    if _depth(text) > _DEPTH_LIMIT:
        _refuse(f"it is nested more than {_DEPTH_LIMIT} deep")
    try:
        fields = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        raise CertificateError(f"This is no certificate: it is no JSON ({error}).") from None
    names = [*Certificate.__dataclass_fields__]
    if not isinstance(fields, dict) or fields.pop("format", None) != _FORMAT:
        _refuse(f"its format is not {_FORMAT!r}")
    if sorted(fields) != sorted(names):
        _refuse(f"it has the fields {_shown(sorted(fields))}, not {sorted(names)}")
    certificate = Certificate(
        network=_digest(fields["network"]),
        question=_digest(fields["question"]),
        input_shape=tuple(_natural(size) for size in _list(fields["input_shape"])),
        x=tuple(_finite(number) for number in _list(fields["x"])),
        d=tuple(_finite(number) for number in _list(fields["d"])),
        t_range=(_number(_list(fields["t_range"], 2)[0], digits), _number(fields["t_range"][1], digits)),
        classes=tuple(_natural(number) for number in _list(fields["classes"])),
        label=_natural(fields["label"]),
        tied=_boolean(fields["tied"]),
        lo=_endpoint(fields["lo"], digits),
        hi=_endpoint(fields["hi"], digits),
        label_lo=_label(fields["label_lo"]),
        label_hi=_label(fields["label_hi"]),
        first_pattern=tuple(tuple(map(_natural, _list(pieces))) for pieces in _list(fields["first_pattern"])),
        bends=tuple(_bend(bend, digits) for bend in _list(fields["bends"])),
    )
    shape, count = certificate.input_shape, len(certificate.x)
    if len(shape) > _DIMENSION_LIMIT or prod(shape) != count or len(certificate.d) != count:
        _refuse("x, d and input_shape do not match")
    return certificate


def _depth(text: str) -> int:
    """How deep lists and objects lie in one another; what is in strings opens and closes none."""
    text = _STRING.sub("", text)
    deepest = depth = 0
    for start in range(0, len(text), 1 << 20):
        codes = np.frombuffer(text[start : start + (1 << 20)].encode("utf-8", "replace"), np.uint8)
        opens, closes = ((codes == ord(one)) | (codes == ord(other)) for one, other in ("[{", "]}"))
        depths = depth + np.cumsum(opens.astype(np.int64) - closes)
        deepest, depth = max(deepest, int(depths.max())), int(depths[-1])
    return deepest


def _shown(given: object) -> str:
    """The beginning of what was found, however large it is."""
    return reprlib.repr(given)[:80]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        _refuse("a field is there twice")
    return dict(pairs)


def _integer(numeral: str) -> int:
    return int(numeral) if len(numeral) <= _NUMERAL_LIMIT else _refuse("a number has too many digits")


def _float(numeral: str) -> float:
    return float(numeral) if len(numeral) <= _NUMERAL_LIMIT else _refuse("a number has too many digits")


def _constant(name: str) -> NoReturn:
    _refuse(f"it has the number {name}")


def _list(given: object, length: int | None = None) -> list[Any]:
    if not isinstance(given, list) or (length is not None and len(given) != length):
        _refuse(f"it has {_shown(given)} where a list belongs")
    return given


def _natural(given: object) -> int:
    if type(given) is not int or given < 0 or given.bit_length() > 62:
        _refuse(f"it has {_shown(given)} where a natural number belongs")
    return given


def _label(given: object) -> int:
    return -1 if given == -1 and type(given) is int else _natural(given)


def _boolean(given: object) -> bool:
    if type(given) is not bool:
        _refuse(f"it has {_shown(given)} where true or false belongs")
    return given


def _finite(given: object) -> float:
    if type(given) is not float or not math.isfinite(given):
        _refuse(f"it has {_shown(given)} where a finite float belongs")
    return given


def _digest(given: object) -> str:
    if not isinstance(given, str) or not _DIGEST.fullmatch(given):
        _refuse(f"it has {_shown(given)} where a SHA-256 belongs")
    return given


def _float_or_infinity(given: object) -> float:
    if isinstance(given, str) and given in ("inf", "-inf"):
        return float(given)
    return _finite(given)


def _number(given: object, digits: int) -> Number:
    if isinstance(given, str) and given in ("inf", "-inf"):
        return float(given)
    return _fraction(given, digits)


def _fraction(given: object, digits: int) -> Fraction:
    parts = _FRACTION.fullmatch(given) if isinstance(given, str) else None
    if parts is None:
        _refuse(f"it has {_shown(given)} where a fraction belongs")
    sign, numerator, denominator = parts.groups()
    if max(len(numerator), len(denominator)) > digits:
        _refuse(f"a fraction has more than {digits} digits; if you trust where it comes from, allow more by digits=")
    bottom = int(denominator, 16)
    fraction = Fraction(int(sign + numerator, 16), bottom) if bottom else None
    if fraction is None or fraction.denominator != bottom:
        _refuse(f"the fraction {_shown(given)} is not in lowest terms")
    return fraction


def _endpoint(given: object, digits: int) -> Endpoint:
    names = ["exact", "below", "above", "given", "error"]
    if not isinstance(given, dict) or sorted(given) != sorted(names):
        _refuse(f"it has {_shown(given)} where an end belongs")
    return Endpoint(
        exact=_number(given["exact"], digits),
        below=_float_or_infinity(given["below"]),
        above=_float_or_infinity(given["above"]),
        given=None if given["given"] is None else _float_or_infinity(given["given"]),
        error=None if given["error"] is None else _fraction(given["error"], digits),
    )


def _bend(given: object, digits: int) -> Bend:
    if not isinstance(given, dict) or sorted(given) != ["flips", "t"]:
        _refuse(f"it has {_shown(given)} where a bend belongs")
    flips = []
    for flip in _list(given["flips"]):
        gate, unit, before, after = map(_natural, _list(flip, 4))
        flips.append((gate, unit, before, after))
    return Bend(_fraction(given["t"], digits), tuple(flips))
