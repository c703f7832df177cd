"""How numbers are written on the pages: the cells of tables, and the same in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

__all__ = ["estimated", "number", "p_value", "percent", "share", "span", "table"]

# A mean, its interval and the number of networks, as `relu_regions.apps.reproduction.statistics.estimate` gives them.
Estimate = Sequence[float | None]


def number(value: float | None, digits: int = 3) -> str:
    """With a true minus sign; a dash for what is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def estimated(given: Estimate, digits: int = 3, *, networks: bool = False, largest: float = math.inf) -> str:
    """A mean, its interval in brackets and, if asked for, how many networks it is of.

    Without the number of networks among the numbers the interval is not one by Student's t: it is not shown. It is cut
    at ± ``largest``, what a correlation cannot exceed.
    """
    if len(given) != 4 or given[1] is None or given[2] is None:
        return number(given[0], digits)
    mean, low, high, networks_there = given[0], max(given[1], -largest), min(given[2], largest), given[3]
    text = f"{number(mean, digits)} [{number(low, digits)}, {number(high, digits)}]"
    return f"{text}, n = {networks_there:g}" if networks else text


def share(given: Estimate, digits: int = 1, *, networks: bool = False) -> str:
    """The same in percent; an interval by Student's t may reach beyond 0 or 100 %, and is cut there."""
    if given[0] is None:
        return "–"
    if len(given) != 4 or given[1] is None or given[2] is None:
        return percent(given[0], digits)
    low, high = max(0.0, given[1]), min(1.0, given[2])
    text = f"{percent(given[0], digits)} [{number(100 * low, digits)}, {number(100 * high, digits)}]"
    return f"{text}, n = {given[3]:g}" if networks else text


def percent(value: float, digits: int = 1) -> str:
    """In percent."""
    return f"{number(100 * value, digits)} %"


def p_value(value: float | None) -> str:
    """To one digit; tiny ones as a bound."""
    if value is None or not math.isfinite(value):
        return "–"
    return "< 1e-4" if value < 1e-4 else f"{value:.1g}"


def span(values: Iterable[float]) -> str:
    """The least and the largest."""
    ordered = sorted(values)
    return f"{ordered[0]:,g}" if ordered[0] == ordered[-1] else f"{ordered[0]:,g}–{ordered[-1]:,g}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, words: bool = False) -> str:
    """As Markdown, all columns but the first aligned to the right, unless they are of words."""
    lines = [header, ["---"] + ["---" if words else "---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
