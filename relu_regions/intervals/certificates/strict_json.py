"""JSON of strangers, read strictly: bounded in depth and length, and each value of the kind that belongs there."""

from __future__ import annotations

import json
import math
import re
import reprlib
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np

__all__ = [
    "CertificateError", "Number", "boolean_in", "digest_in", "finite_in", "float_or_infinity_in", "fraction_in",
    "label_in", "list_in", "natural_in", "number_in", "parsed", "refuse", "shown",
]  # fmt: skip

# An exact end: a Fraction, or a float that is ±inf.
Number = Fraction | float

_DEPTH_LIMIT = 100  # of lists and objects in one another; a certificate has 5
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


def refuse(reason: str) -> NoReturn:
    """Raise a CertificateError with a reason."""
    raise CertificateError(f"This is no certificate: {reason}.")


def parsed(text: str) -> Any:
    """The values in a JSON text.

    Raises:
        CertificateError: it is no JSON, is nested too deeply, has a number that is too long, or a field twice.
    """
    if _depth(text) > _DEPTH_LIMIT:
        refuse(f"it is nested more than {_DEPTH_LIMIT} deep")
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        raise CertificateError(f"This is no certificate: it is no JSON ({error}).") from None


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


def shown(given: object) -> str:
    """The beginning of what was found, however large it is."""
    return reprlib.repr(given)[:80]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        refuse("a field is there twice")
    return dict(pairs)


def _integer(numeral: str) -> int:
    return int(numeral) if len(numeral) <= _NUMERAL_LIMIT else refuse("a number has too many digits")


def _float(numeral: str) -> float:
    return float(numeral) if len(numeral) <= _NUMERAL_LIMIT else refuse("a number has too many digits")


def _constant(name: str) -> NoReturn:
    refuse(f"it has the number {name}")


# Each of these returns the value if it is of its kind, and refuses it otherwise.


def list_in(given: object, length: int | None = None) -> list[Any]:
    """A list, of this length if one is given."""
    if not isinstance(given, list) or (length is not None and len(given) != length):
        refuse(f"it has {shown(given)} where a list belongs")
    return given


def natural_in(given: object) -> int:
    """A natural number of at most 62 bits."""
    if type(given) is not int or given < 0 or given.bit_length() > 62:
        refuse(f"it has {shown(given)} where a natural number belongs")
    return given


def label_in(given: object) -> int:
    """A class, or -1 for none."""
    return -1 if given == -1 and type(given) is int else natural_in(given)


def boolean_in(given: object) -> bool:
    """True or false."""
    if type(given) is not bool:
        refuse(f"it has {shown(given)} where true or false belongs")
    return given


def finite_in(given: object) -> float:
    """A finite float."""
    if type(given) is not float or not math.isfinite(given):
        refuse(f"it has {shown(given)} where a finite float belongs")
    return given


def digest_in(given: object) -> str:
    """A SHA-256 in hexadecimal."""
    if not isinstance(given, str) or not _DIGEST.fullmatch(given):
        refuse(f"it has {shown(given)} where a SHA-256 belongs")
    return given


def float_or_infinity_in(given: object) -> float:
    """A finite float, or ``"inf"`` or ``"-inf"``."""
    if isinstance(given, str) and given in ("inf", "-inf"):
        return float(given)
    return finite_in(given)


def number_in(given: object, digits: int) -> Number:
    """A fraction, or ``"inf"`` or ``"-inf"``."""
    if isinstance(given, str) and given in ("inf", "-inf"):
        return float(given)
    return fraction_in(given, digits)


def fraction_in(given: object, digits: int) -> Fraction:
    """A fraction in lowest terms, such as ``"-1f/40"``, with so many hexadecimal digits at most."""
    parts = _FRACTION.fullmatch(given) if isinstance(given, str) else None
    if parts is None:
        refuse(f"it has {shown(given)} where a fraction belongs")
    sign, numerator, denominator = parts.groups()
    if max(len(numerator), len(denominator)) > digits:
        refuse(f"a fraction has more than {digits} digits; if you trust where it comes from, allow more by digits=")
    bottom = int(denominator, 16)
    fraction = Fraction(int(sign + numerator, 16), bottom) if bottom else None
    if fraction is None or fraction.denominator != bottom:
        refuse(f"the fraction {shown(given)} is not in lowest terms")
    return fraction
