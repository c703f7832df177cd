"""One face cut exactly: a gate's lines in integers, whatever they have in common, with the corners' names.

Corners are exact, so that it is no special case if a line passes through one, along an edge, or with others through one
point. A line through a corner makes no new corner. What a neighbour sees of a line or of the inputs of a maximum is the
same on all of the edge that the two share, since values are continuous, so a corner's name is made of nothing else:

- of the lines that cross an edge between its ends, in their order; of those through one point the first names it;
- of all inputs of a window that are largest at the corner, those that are equal on all of the edge being one. Where two
  are, this is the name that the kernels give (``relu_regions.backends.plane_reference``).

So faces that are cut here fit to their neighbours, however those are cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple, TypeAlias

from relu_regions.backends.plane_corners import Name, crossing_name, first_of, inside_name, pair_label, pair_of
from relu_regions.exactness.rational.planes.polygons import Form, crossing, difference, primitive

__all__ = ["Lead", "NamedCorner", "Part", "cut_at_knots", "cut_by_leads", "heights_of", "inside_of"]


class NamedCorner(NamedTuple):
    """A corner of a convex polygon.

    Attributes:
        at: (w, p, q), the point (p / w, q / w) without a common factor, w > 0.
        name: its two hashes.
        line: of the edge that begins there, with either sign.
        label: of that edge.
    """

    at: tuple[int, int, int]
    name: Name
    line: Form
    label: int


Part: TypeAlias = list[NamedCorner]


def heights_of(part: Part, form: Form) -> list[int]:
    """A form at every corner, times the corner's denominator."""
    a, b, c = form
    return [a * w + b * p + c * q for (w, p, q), *_ in part]


def inside_of(part: Part) -> tuple[int, int, int]:
    """A point (w, p, q) strictly inside."""
    w, p, q = (sum(numbers) for numbers in zip(*(corner.at for corner in part)))
    return w, p, q


def cut_at_knots(part: Part, lines: Sequence[tuple[Form, int]]) -> Iterator[Part]:
    """The parts into which lines cut a face, each line a form and its label, in the order of the kernels."""
    waiting = [(part, _crossing_lines(part, lines))]
    while waiting:
        part, lines = waiting.pop()
        if not lines:
            yield part
            continue
        (form, label), *others = lines
        heights = heights_of(part, form)
        above = _half(part, heights, primitive(form), label)
        below = _half(part, [-height for height in heights], primitive(form), label)
        waiting += [(half, _crossing_lines(half, others)) for half in (above, below)]


def _crossing_lines(part: Part, lines: Sequence[tuple[Form, int]]) -> list[tuple[Form, int]]:
    return [line for line in lines if _is_crossed(heights_of(part, line[0]))]


def _is_crossed(heights: Sequence[int]) -> bool:
    return min(heights) < 0 < max(heights)


def _half(part: Part, heights: Sequence[int], line: Form, label: int) -> Part:
    """The part on which the heights of a line's form are positive; the line crosses the inside."""
    half = []
    for place, (corner, height) in enumerate(zip(part, heights)):
        following = (place + 1) % len(part)
        after = heights[following]
        if height > 0 or (height == 0 and after > 0):
            half.append(corner)
        elif height == 0:
            half.append(corner._replace(line=line, label=label))
        if (height > 0 > after) or (height < 0 < after):
            name = crossing_name(corner.name, part[following].name, label)
            made = corner._replace(at=crossing(corner.line, line), name=name)
            half.append(made._replace(line=line, label=label) if height > 0 else made)
    return half


class Lead(NamedTuple):
    """A maximum on one face.

    Attributes:
        forms: of its inputs.
        windows: which of them compete for each unit.
        passed_on: whether an input is a number that a ReLU has passed on, or 0.
        label: the first of the gate.
    """

    forms: Sequence[Form]
    windows: Sequence[Sequence[int]]
    passed_on: Sequence[bool]
    label: int


def cut_by_leads(part: Part, lead: Lead) -> Iterator[Part]:
    """The parts into which a maximum cuts a face, so that one input leads in each window; in the kernels' order."""
    waiting = [(part, 0)]
    while waiting:
        part, unit = waiting.pop()
        regions = [part]
        while unit < len(lead.windows) and len(regions) == 1:
            regions = _regions(part, lead, unit)
            unit += 1
        if len(regions) == 1:
            yield regions[0]
        else:
            waiting += [(region, unit) for region in regions]


def _regions(part: Part, lead: Lead, unit: int) -> list[Part]:
    """Where in a part each input of a window leads, one after the other."""
    places: dict[Form, int] = {}
    for place, source in enumerate(lead.windows[unit]):
        places.setdefault(lead.forms[source], place)
    rows = {place: heights_of(part, form) for form, place in places.items()}
    most = [max(column) for column in zip(*rows.values())]
    if most in rows.values():
        return [part]
    middle = inside_of(part)
    first = max(places, key=lambda form: (_height(form, middle), -places[form]))
    ahead = rows[places[first]]
    leading = {
        place: form
        for form, place in places.items()
        if form == first or any(height > most for height, most in zip(rows[place], ahead))
    }
    named = {corner.at: corner.name for corner in part}
    regions = []
    for place, form in leading.items():
        region = _where_largest(part, lead, unit, place, leading)
        if region is not None:
            regions.append([_named(corner, part, lead, unit, form, leading, named) for corner in region])
    return regions


def _where_largest(part: Part, lead: Lead, unit: int, place: int, leading: dict[int, Form]) -> Part | None:
    for rival, form in leading.items():
        if rival == place:
            continue
        line = difference(leading[place], form)
        heights = heights_of(part, line)
        if max(heights) <= 0:
            return None
        if min(heights) < 0:
            label = pair_label(lead.label, unit, place, rival, len(lead.windows[unit]))
            part = _half(part, heights, primitive(line), label)
    return part


def _named(
    corner: NamedCorner,
    part: Part,
    lead: Lead,
    unit: int,
    form: Form,
    leading: dict[int, Form],
    named: dict[tuple[int, int, int], Name],
) -> NamedCorner:
    """A corner of the region in which a form leads, by the name that all regions and neighbours give it."""
    if corner.at not in named:
        edge = next((number for number, end in enumerate(part) if not _height(end.line, corner.at)), None)
        if edge is None:
            most = _height(form, corner.at)
            largest = sorted(place for place, other in leading.items() if _height(other, corner.at) == most)
            named[corner.at] = inside_name((end.name for end in part), _number_inside(lead, unit, largest))
        else:
            start, end = part[edge], part[(edge + 1) % len(part)]
            label = _label_on(start, end, corner.at, lead, unit)
            named[corner.at] = crossing_name(start.name, end.name, label)
    return corner._replace(name=named[corner.at])


def _number_inside(lead: Lead, unit: int, largest: list[int]) -> int:
    """The number by which a corner inside of a part is named where these places are the largest."""
    width = len(lead.windows[unit])
    # Of any other count than three kernels know nothing; the 1 in front tells one count from another.
    numbers = largest if len(largest) == 3 else [1, *largest]
    return first_of(lead.label, unit, width) + (width + 2) ** 2 + _joined(numbers, width)


def _label_on(start: NamedCorner, end: NamedCorner, at: tuple[int, int, int], lead: Lead, unit: int) -> int:
    """The label by which a corner on an edge is named, from all that is largest there."""
    window, width = lead.windows[unit], len(lead.windows[unit])
    most = max(_height(lead.forms[source], at) for source in window)
    equal: dict[tuple[int, int], list[int]] = {}
    for place, source in enumerate(window):
        form = lead.forms[source]
        if _height(form, at) == most:
            equal.setdefault((_height(form, start.at), _height(form, end.at)), []).append(place)
    pair = pair_of(lead.label, start.label, len(lead.windows), width)
    compared = () if pair is None else [lead.windows[pair[0]][place] for place in pair[1:]]
    numbers = sorted(
        width
        if not any(ends) and any(lead.passed_on[window[place]] for place in places)
        else (width + 1 if any(window[place] in compared for place in places) else places[0])
        for ends, places in equal.items()
    )
    if len(numbers) == 2:
        return pair_label(lead.label, unit, numbers[0], numbers[1], width)
    return first_of(lead.label, unit, width) + (width + 2) ** 2 + _joined([1, *numbers], width + 2)


def _joined(numbers: list[int], base: int) -> int:
    """One number for several, which are smaller than the base."""
    return reduce(lambda joined, number: joined * base + number, numbers, 0)


def _height(form: Form, at: tuple[int, int, int]) -> int:
    return form[0] * at[0] + form[1] * at[1] + form[2] * at[2]
