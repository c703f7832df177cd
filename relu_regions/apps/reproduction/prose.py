"""Numbers in sentences: ``{{figure4/panels/784, plain SGD/real/mean | 3}}`` in a template becomes 2.548.

A path leads through the JSON files by keys; in a list by a number, or by the ``name`` of an item. What follows the bar
says how the number is written:

- ``3``: so many digits; of a list, its first number;
- ``%``, ``% 1``: in percent;
- ``est 3``, ``share 1``, ``r 2``: mean, 95 % interval and the number of networks, of correlations within ±1;
- ``p``: a p-value; ``n``: the number of networks of an estimate; ``count``: with commas; ``text``: as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from relu_regions.apps.reproduction.cells import estimated, number, p_value, percent, share

__all__ = ["filled", "looked_up"]

_PLACE = re.compile(r"\{\{(.+?)\|(.+?)\}\}")


def filled(template: str, results: Mapping[str, Any]) -> str:
    """The template with a number at each place.

    Raises:
        LookupError: a path leads nowhere; the message names it.
        ValueError: there is no such way of writing.
    """
    return _PLACE.sub(lambda match: _written(looked_up(results, match[1].strip()), match[2].split()), template)


def looked_up(results: Any, path: str) -> Any:
    """What is at the end of a path."""
    found = results
    for key in path.split("/"):
        try:
            if isinstance(found, list):
                found = found[int(key)] if re.fullmatch(r"-?\d+", key) else _named(found, key)
            else:
                found = found[key]
        except (KeyError, IndexError, TypeError) as error:
            raise LookupError(f"{path} leads nowhere at {key!r}") from error
    return found


def _named(items: list[Any], name: str) -> Any:
    for item in items:
        if isinstance(item, Mapping) and item.get("name") == name:
            return item
    raise KeyError(name)


def _written(value: Any, how: list[str]) -> str:
    kind, digits = how[0], int(how[1]) if len(how) > 1 else None
    if kind.isdigit():
        kind, digits = "number", int(kind)
    if kind not in _WAYS:
        raise ValueError(f"numbers are not written as {' '.join(how)!r}: choose from {', '.join(_WAYS)}, or digits")
    return _WAYS[kind](value, digits)


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, list) else value)


_WAYS: dict[str, Callable[[Any, int | None], str]] = {
    "number": lambda value, digits: number(_first(value), digits or 0),
    "%": lambda value, digits: percent(_first(value), digits or 0),
    "est": lambda value, digits: estimated(value, 3 if digits is None else digits, networks=True),
    "r": lambda value, digits: estimated(value, 2 if digits is None else digits, networks=True, largest=1),
    "share": lambda value, digits: share(value, 1 if digits is None else digits, networks=True),
    "p": lambda value, digits: p_value(value),
    "n": lambda value, digits: f"{value[3]:g}",
    "count": lambda value, digits: f"{value:,}",
    "text": lambda value, digits: str(value),
}
