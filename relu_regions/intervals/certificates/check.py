"""check(): does a certificate prove what it says? In integers alone, and with nothing of the walks.

What the checker trusts is how the library reads a model as steps, and the exact coefficients of these. What comes
from the certificate it verifies. With a pattern for every region, each value of the network is an affine function of
t and integer bends at the listed points. So each unit is evaluated once at every point where its input or its piece
changes: in between its input is affine, and stays on one piece if it is on that piece just inside both ends. A unit of
order statistics is evaluated too wherever its number meets another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NoReturn

import numpy as np

from relu_regions.exactness.rational.arithmetic import SparseVector, dyadic
from relu_regions.exactness.rational.coefficients import (
    ExactAffine,
    ExactKnots,
    ExactMaximum,
    ExactNetwork,
    ExactOrderStatistic,
    Piecewise,
)
from relu_regions.intervals.certificates.certificate import (
    Certificate,
    CertificateError,
    Endpoint,
    Number,
    question_digest,
)
from relu_regions.lines.line_batch import Model
from relu_regions.network.network import Network, read

__all__ = ["check"]

# A module is traced for inputs of so many numbers because a certificate says so.
_NUMBERS_LIMIT = 4096


def check(certificate: Certificate, model: Model | ExactNetwork, input_shape: Sequence[int] | None = None) -> None:
    """Verify a certificate, in less time than it takes to find the interval.

    What is cheap comes first: a false certificate is rejected before anything is built that is as large as it says.

    Args:
        certificate: from anyone.
        model: what it speaks of: a torch.nn.Module in eval mode, an exported program, a Network or an ExactNetwork.
        input_shape: of one input of the model, without the batch dimension. A certificate for another is then rejected
            at once. Without it a module is traced at the shape that the certificate names, if that has 4096 numbers at
            most.

    Raises:
        CertificateError: the certificate does not prove what it says; the text says where.
        TypeError, ValueError, UnsupportedOperation: the model cannot be read, or input_shape is needed.
    """
    _check_question(certificate)
    known = model.network if isinstance(model, ExactNetwork) else model
    shapes = [tuple(input_shape)] if input_shape is not None else []
    shapes += [known.input_shape] if isinstance(known, Network) else []
    if any(shape != certificate.input_shape for shape in shapes):
        _reject("it speaks of another network, with inputs of another shape")
    if not shapes and len(certificate.x) > _NUMBERS_LIMIT:
        raise ValueError(
            f"The certificate names inputs of shape {certificate.input_shape}; a module is traced for so many numbers "
            f"only where its input_shape is known to be that: give check(..., input_shape={certificate.input_shape})."
        )
    network = model if isinstance(model, ExactNetwork) else ExactNetwork(read(known, certificate.input_shape)[0])
    checked = _Check(certificate, network)
    if network.digest != certificate.network:
        _reject("it speaks of another network")
    checked.run()


def _reject(reason: str) -> NoReturn:
    raise CertificateError(f"The certificate is rejected: {reason}.")


def _check_question(made: Certificate) -> None:
    """What is asked for, and the ends: all that does not depend on the network."""
    if question_digest(made.input_shape, made.x, made.d, made.t_range, made.classes) != made.question:
        _reject("x, d, t_range or classes are not those that it was made for")
    if not any(made.d):
        _reject("its direction is zero")
    low, high, lo, hi = *made.t_range, made.lo.exact, made.hi.exact
    if not (low <= lo <= 0 <= hi <= high and low < high):
        _reject("its ends are not around 0 and inside of t_range")
    if (
        min(made.label_lo, made.label_hi) < -1
        or (made.label_lo < 0) != (lo == low)
        or (made.label_hi < 0) != (hi == high)
    ):
        _reject("a class takes over at an end of t_range, or none at an end inside of it")
    if made.lo != Endpoint.at(lo, made.lo.given) or made.hi != Endpoint.at(hi, made.hi.given):
        _reject("the neighbours or the error of an end are others")
    # Where a class takes over, the end is a bend itself; an end of t_range is none.
    places: list[Number] = [bend.t for bend in made.bends]
    lower: list[Number] = [lo] if made.label_lo >= 0 else []
    upper: list[Number] = [hi] if made.label_hi >= 0 and (hi > lo or not lower) else []
    ordered = all(before < after for before, after in pairwise(places))
    if not ordered or places != [*lower, *(t for t in places if lo < t < hi), *upper]:
        _reject("its bends are not in order between its ends")
    if not all(bend.flips for bend in made.bends if lo < bend.t < hi):
        _reject("it lists a point where nothing bends")


@dataclass
class _Value:
    """With points p / q, function j is (intercept + slope t + Σ jump max(0, q t − p)) / 2**exponent."""

    exponent: int
    intercept: SparseVector
    slope: SparseVector
    jumps: list[SparseVector]


# A point p / q as (p, q), infinite where q is 0; an affine function as (intercept, slope).
_Point = tuple[int, int]
_Line = tuple[int, int]
# Which of some functions is a unit's just beside a point.
_Chosen = Callable[[dict[int, _Line], _Point, int], int]


def _point(t: Number) -> _Point:
    return (1 if t > 0 else -1, 0) if isinstance(t, float) and math.isinf(t) else t.as_integer_ratio()


class _Check:
    """Takes the line of a certificate through a network, whose sizes are compared first."""

    def __init__(self, certificate: Certificate, network: ExactNetwork) -> None:
        self.certificate, self.network = certificate, network
        sizes, shape = [gate.units for gate in network.network.gates], network.network.output_shape
        if list(map(len, certificate.first_pattern)) != sizes:
            _reject("its first pattern does not fit the network's gates")
        if not {*certificate.classes} <= _outputs(shape).keys():
            _reject("its classes or its label do not fit the network")
        self.points = [_point(bend.t) for bend in certificate.bends]
        # The evidence begins and ends just inside of t_range, or just beyond the points where a class takes over.
        self.start = (_point(certificate.lo.exact), 1 if certificate.label_lo < 0 else -1)
        self.stop = (_point(certificate.hi.exact), -1 if certificate.label_hi < 0 else 1)
        # By gate, point and unit: the pieces before and after.
        self.changes: list[dict[int, dict[int, tuple[int, int]]]] = [{} for _ in sizes]
        for k, bend in enumerate(certificate.bends):
            previous = (-1, -1)
            for gate, unit, before, after in bend.flips:
                if not previous < (gate, unit) or gate >= len(sizes) or unit >= sizes[gate] or before == after:
                    _reject(f"the units that change at its bend {k} are out of order, or do not exist or change")
                self.changes[gate].setdefault(k, {})[unit], previous = (before, after), (gate, unit)

    def run(self) -> None:
        """Every gate's pieces, then the classes."""
        size = len(self.certificate.x)
        integers, exponent = dyadic(np.array([self.certificate.x, self.certificate.d]))
        intercept, slope = dict(enumerate(integers[:size])), dict(enumerate(integers[size:]))
        values = {self.network.network.input_name: _Value(exponent, intercept, slope, [{} for _ in self.points])}
        gate = 0
        for step, released in zip(self.network.steps, self.network.releases):
            if isinstance(step, ExactAffine):
                values[step.output] = _affine(step, [values[name] for name in step.inputs])
            elif isinstance(step, ExactKnots):
                values[step.output] = self._knots(gate, step, values[step.input])
            else:
                values[step.output] = self._selection(gate, step, values[step.input])
            gate += not isinstance(step, ExactAffine)
            for name in released:
                del values[name]
        self._check_classes(values[self.network.network.output_name])

    def _knots(self, gate: int, step: ExactKnots, value: _Value) -> _Value:
        value = _lifted(value, step.input_exponent(value.exponent))
        tables, changes = step.at(value.exponent), self.changes[gate]
        made = _Value(value.exponent + step.slope_exponent, {}, {}, [{} for _ in self.points])
        jumps = list(value.jumps)
        for k, changed in changes.items():
            jumps[k] = {**dict.fromkeys(changed, 0), **jumps[k]}
        events = _events(jumps)
        for unit, piece in enumerate(self.certificate.first_pattern[gate]):
            table = tables[unit if len(tables) > 1 else 0]
            knots, slopes, last = table.knots, table.slopes, len(table.knots)
            intercept, slope = value.intercept.get(unit, 0), value.slope.get(unit, 0)
            fits = 0 <= piece <= last and _lies(table, piece, (intercept, slope), *self.start)
            if not fits:
                _reject(f"unit {unit} of gate {gate} starts on another piece")
            made.intercept[unit] = slopes[piece] * intercept + table.offsets[piece]
            made.slope[unit] = slopes[piece] * slope
            for k, jump in events.get(unit, ()):
                top, bottom = point = self.points[k]
                at, old = intercept * bottom + slope * top, (intercept, slope)
                before, after = changes.get(k, {}).get(unit, (piece, piece))
                intercept, slope = intercept - jump * top, slope + jump * bottom
                # Strictly between two knots at the point, the unit is on that piece on both sides of it.
                if (
                    before != piece or after != piece
                    or (piece > 0 and at <= knots[piece - 1] * bottom)
                    or (piece < last and at >= knots[piece] * bottom)
                ):  # fmt: skip
                    fits = before == piece and 0 <= after <= last and _lies(table, piece, old, point, -1)
                    if not fits or not _lies(table, after, (intercept, slope), point, 1):
                        _reject(f"unit {unit} of gate {gate} is on another piece beside bend {k}")
                if change := slopes[after] * slope - slopes[piece] * old[1]:
                    made.jumps[k][unit] = change // bottom
                piece = after
            if not _lies(table, piece, (intercept, slope), *self.stop):
                _reject(f"unit {unit} of gate {gate} ends on another piece")
        return made

    def _selection(self, gate: int, step: ExactMaximum | ExactOrderStatistic, value: _Value) -> _Value:
        made = _Value(value.exponent, {}, {}, [{} for _ in self.points])
        events = _events(value.jumps)
        changes, turns = self.changes[gate], dict[int, list[int]]()
        for k, changed in changes.items():
            for unit in changed:
                turns.setdefault(unit, []).append(k)
        for unit, (window, piece) in enumerate(zip(step.windows, self.certificate.first_pattern[gate])):
            lines = {p: (value.intercept.get(i, 0), value.slope.get(i, 0)) for p, i in window}
            chosen = _leader if isinstance(step, ExactMaximum) else partial(_ranked, step.ranks[unit])
            start = self.start
            if piece != chosen(lines, *start):
                _reject(f"unit {unit} of gate {gate} starts on another piece")
            made.intercept[unit], made.slope[unit] = lines[piece]
            moves: dict[int, list[tuple[int, int]]] = {k: [] for k in turns.get(unit, ())}
            for position, i in window:
                for k, jump in events.get(i, ()):
                    moves.setdefault(k, []).append((position, jump))
            for k in sorted(moves):
                point, old = self.points[k], lines[piece][1]
                before, after = changes.get(k, {}).get(unit, (piece, piece))
                fits = before == piece == chosen(lines, point, -1)
                # The largest at both ends is the largest between them; other ranks may have been others' meanwhile.
                fits = fits and (chosen is _leader or _keeps(chosen, lines, piece, start, point))
                for position, jump in moves[k]:
                    lines[position] = _bent(lines[position], jump, point)
                if not fits or after != chosen(lines, point, 1):
                    _reject(f"unit {unit} of gate {gate} is on another piece beside bend {k}")
                if change := lines[after][1] - old:
                    made.jumps[k][unit] = change // point[1]
                piece, start = after, (point, 1)
            keeps = chosen is _leader or _keeps(chosen, lines, piece, start, self.stop[0])
            if not keeps or piece != chosen(lines, *self.stop):
                _reject(f"unit {unit} of gate {gate} ends on another piece")
        return made

    def _check_classes(self, value: _Value) -> None:
        """The class leads on the whole interval, and falls behind just beyond it."""
        made, outputs = self.certificate, _outputs(self.network.network.output_shape)
        known = sorted({*made.classes} & {*outputs})
        if len(known) < 2 or list(made.classes) != known or made.label not in known:
            _reject("its classes or its label do not fit the network")
        place = {c: j for c, j in outputs.items() if c in known and j is not None}
        lines = dict.fromkeys(made.classes, (0, 0))
        lines |= {c: (value.intercept.get(j, 0), value.slope.get(j, 0)) for c, j in place.items()}
        points, at_x = self.points, sum(bend.t < 0 for bend in made.bends)
        for region in range(len(points) + 1):
            if region:
                for c, j in place.items():
                    lines[c] = _bent(lines[c], value.jumps[region - 1].get(j, 0), points[region - 1])
            if region == at_x:
                largest = max(lines.values(), key=lambda line: line[0])[0]
                leaders = [c for c in made.classes if lines[c][0] == largest]
                if leaders[0] != made.label or made.tied != (len(leaders) > 1):
                    _reject("its label is not the class of x, or tied is wrong")
            if region == 0 and made.label_lo >= 0:
                self._check_beyond(lines, points[0], -1, made.label_lo)
            elif region == len(points) and made.label_hi >= 0:
                self._check_beyond(lines, points[-1], 1, made.label_hi)
            elif made.lo.exact != made.hi.exact:  # there is a region
                left = points[region - 1] if region else self.start[0]
                self._check_lead(lines, left, points[region] if region < len(points) else self.stop[0])

    def _check_lead(self, lines: dict[int, _Line], left: _Point, right: _Point) -> None:
        intercept, slope = lines[self.certificate.label]
        for c, line in lines.items():
            lead = intercept - line[0], slope - line[1]
            if _sign_beside(lead, left, 1) < 0 or _sign_beside(lead, right, -1) < 0:
                _reject(f"class {c} is ahead of its label inside of the interval")

    def _check_beyond(self, lines: dict[int, _Line], end: _Point, side: int, label: int) -> None:
        if label != _leader(lines, end, side):
            _reject(f"class {label} is not ahead beyond an end")
        own, other = lines[self.certificate.label], lines[label]
        if _sign_beside((own[0] - other[0], own[1] - other[1]), end, side) >= 0:
            _reject("its label does not fall behind at an end")


def _outputs(shape: tuple[int, ...]) -> dict[int, int | None]:
    """The output that is the logit of each class: a single one is that of class 1, and the logit of class 0 is 0.

    Stated here anew, where the walk asks `Decision`: what is wrong there is not believed here, and who trusts a proof
    reads this file alone. A test holds both to each other.
    """
    if shape == (1,):
        return {0: None, 1: 0}
    return {c: c for c in range(shape[0])} if len(shape) == 1 else {}


def _affine(step: ExactAffine, values: list[_Value]) -> _Value:
    parts = [
        (matrix.times([value.intercept, value.slope, *value.jumps]), value.exponent + exponent)
        for matrix, exponent, value in zip(step.matrices, step.exponents, values)
    ]
    parts.append(([step.bias], step.bias_exponent))
    common = max(exponent for _, exponent in parts)
    total, *others = ([_shifted(vector, common - exponent) for vector in vectors] for vectors, exponent in parts)
    for vectors in others:
        for sums, vector in zip(total, vectors):
            for j, number in vector.items():
                sums[j] = sums.get(j, 0) + number
    return _Value(common, total[0], total[1], total[2:])


def _shifted(vector: SparseVector, by: int) -> SparseVector:
    return {j: number << by for j, number in vector.items()} if by else vector


def _lifted(value: _Value, exponent: int) -> _Value:
    vectors = [_shifted(v, exponent - value.exponent) for v in (value.intercept, value.slope, *value.jumps)]
    return _Value(exponent, vectors[0], vectors[1], vectors[2:])


def _events(jumps: Sequence[SparseVector]) -> dict[int, list[tuple[int, int]]]:
    """For each function that bends the points at which it does, with the jump."""
    events: dict[int, list[tuple[int, int]]] = {}
    for k, jump in enumerate(jumps):
        for unit, number in jump.items():
            events.setdefault(unit, []).append((k, number))
    return events


def _bent(line: _Line, jump: int, point: _Point) -> _Line:
    return line[0] - jump * point[0], line[1] + jump * point[1]


def _sign_beside(line: _Line, point: _Point, side: int) -> int:
    """The sign of an affine function just right (side 1) or left (-1) of a point, or just inside of infinity."""
    number = line[0] * point[1] + line[1] * point[0] or line[1] * side or line[0]
    return (number > 0) - (number < 0)


def _lies(table: Piecewise, piece: int, line: _Line, point: _Point, side: int) -> bool:
    """Whether an input is on a piece just beside a point: above the knot below it, not above the knot on top of it."""
    knots = table.knots
    if piece > 0 and _sign_beside((line[0] - knots[piece - 1], line[1]), point, side) <= 0:
        return False
    return piece == len(knots) or _sign_beside((line[0] - knots[piece], line[1]), point, side) <= 0


def _leader(lines: dict[int, _Line], point: _Point, side: int) -> int:
    """Which affine function is the largest just beside a point; of equals the first."""
    return max(lines, key=lambda c: (lines[c][0] * point[1] + lines[c][1] * point[0], lines[c][1] * side, lines[c][0]))


def _ranked(rank: int, lines: dict[int, _Line], point: _Point, side: int) -> int:
    """Which affine function has so many above it just beside a point; of equals the first."""
    keys = {c: (a * point[1] + b * point[0], b * side, a) for c, (a, b) in lines.items()}
    key = sorted(keys.values(), reverse=True)[rank]
    return next(c for c in lines if keys[c] == key)


def _keeps(chosen: _Chosen, lines: dict[int, _Line], piece: int, start: tuple[_Point, int], end: _Point) -> bool:
    """Whether a piece chosen beside a point is so up to another: right of every place where it meets another one."""
    (intercept, slope), (point, side) = lines[piece], start
    for a, b in lines.values():
        top, bottom = (intercept - a, b - slope) if b > slope else (a - intercept, slope - b)
        after = top * point[1] - point[0] * bottom
        inside = bottom and (after > 0 or (after == 0 and side < 0)) and top * end[1] < end[0] * bottom
        if inside and chosen(lines, (top, bottom), 1) != piece:
            return False
    return True
