"""The loops that numba compiles for a window of a maximum: which inputs may lead, where two are equal, and its name."""

from typing import NamedTuple

import numpy as np
from numba import njit

from relu_regions.backends.cpu.plane_arrays import STEP
from relu_regions.backends.cpu.polygon_loops import crossing_name, form_at, is_far, is_sure, mixed
from relu_regions.backends.plane_corners import Line, Plane
from relu_regions.network.arrays import Numbers

__all__ = [
    "Gate",
    "Pair",
    "candidates_of",
    "lead_of",
    "name_inside",
    "name_on_edge",
    "pair_of",
    "signs_of",
    "still_leading",
]


class Gate(NamedTuple):
    """A maximum on one face.

    Attributes:
        forms, bound, known: of its inputs, ``(3, inputs)``, ``(inputs,)``, and ``(inputs,)`` or ``(0,)``.
        windows: ``(units, k)``.
        origins: ``(inputs,)`` or ``(0,)``.
        label: the first of the gate.
        labels: how many each window has.
        plane: of the face.
    """

    forms: Numbers
    bound: Numbers
    known: Numbers
    windows: Numbers
    origins: Numbers
    label: np.uint64
    labels: np.uint64
    plane: Plane


class Pair(NamedTuple):
    """Two places of a unit's window, and which inputs they are."""

    unit: int
    lead: int
    rival: int
    one: int
    other: int


@njit(**STEP)
def candidates_of(window, known, found):
    """The places in a window whose inputs can lead, each input once, and how many.

    Of inputs that are known to be 0 the first stands for all, and none can lead where one is known to be above 0.
    """
    count, is_above = 0, False
    if known.shape[0] > 0:
        for k in range(window.shape[0]):
            is_above |= known[window[k]] == 1
    has_zero = is_above
    for k in range(window.shape[0]):
        source, again = window[k], False
        if known.shape[0] > 0 and known[source] == 0:
            if has_zero:
                continue
            has_zero = True
        for j in range(count):
            again |= window[found[j]] == source
        if not again:
            found[count] = k
            count += 1
    return count


@njit(**STEP)
def pair_of(gate, unit, lead, rival):
    return Pair(unit, lead, rival, gate.windows[unit, lead], gate.windows[unit, rival])


@njit(**STEP)
def first_label(gate, unit):
    """The first of the labels of a unit's window."""
    return gate.label + np.uint64(unit) * gate.labels


@njit(**STEP)
def pair_label(gate, unit, one, other):
    """The label of where two places of a window are equal; or those that stand for several inputs."""
    width = gate.windows.shape[1] + 2
    return first_label(gate, unit) + np.uint64(min(one, other) * width + max(one, other))


@njit(**STEP)
def lead_of(gate, pair):
    """The form by which one input leads another."""
    forms, one, other = gate.forms, pair.one, pair.other
    a, b, c = forms[0, one] - forms[0, other], forms[1, one] - forms[1, other], forms[2, one] - forms[2, other]
    label = pair_label(gate, pair.unit, pair.lead, pair.rival)
    return Line(a, b, c, gate.bound[one] + gate.bound[other], label)


@njit(**STEP)
def pair_on(edge, gate):
    """The two inputs that are equal on an edge, by its label, if this gate made it: -1, -1 for other edges."""
    windows = gate.windows
    if edge < gate.label or (edge - gate.label) // gate.labels >= np.uint64(windows.shape[0]):
        return -1, -1
    unit, number = np.int64((edge - gate.label) // gate.labels), np.int64((edge - gate.label) % gate.labels)
    width = windows.shape[1] + 2
    return windows[unit, number // width], windows[unit, number % width]


@njit(**STEP)
def are_equal_at(one, other, gate, edge, before):
    """Whether two inputs are equal at a corner by what the two edges are that meet there.

    They are where both come from ReLUs and are 0, and where another window of the gate has compared them, or each with
    the same third input.
    """
    origins = gate.origins
    if origins.shape[0] > 0 and origins[one] > 0 and origins[other] > 0 and origins[one] != origins[other]:
        on_one, on_other = edge == origins[one] or before == origins[one], edge == origins[other]
        if on_one and (on_other or before == origins[other]):
            return True
    p, q = pair_on(edge, gate)
    r, s = pair_on(before, gate)
    if p >= 0 and ((p == one and q == other) or (p == other and q == one)):
        return True
    if r >= 0 and ((r == one and s == other) or (r == other and s == one)):
        return True
    if p < 0 or r < 0:
        return False
    # What is left of the two pairs without the input that they share.
    if p == r:
        p, r = q, s
    elif p == s:
        p = q
    elif q == r:
        r = s
    elif q != s:
        return False
    return (p == one and r == other) or (p == other and r == one)


@njit(**STEP)
def signs_of(line, pair, gate, corners, start, count, heights):
    """Writes by how much one input leads another at corners; whether it is above 0, below, and in doubt at some."""
    above = below = doubt = False
    for i in range(count):
        here = start + i
        height = form_at(line, corners, here)
        heights[i] = height
        if gate.plane.bounded and not is_far(height, line, corners, here):
            last = start + (i - 1 if i > 0 else count - 1)
            if not is_sure(height, line, corners, here, last, gate.plane):
                if not are_equal_at(pair.one, pair.other, gate, corners.names[here, 2], corners.names[last, 2]):
                    doubt = True
                    continue
                heights[i] = height = 0.0
        above |= height > 0
        below |= height < 0
    return above, below, doubt


@njit(**STEP)
def still_leading(unit, found, count, gate, corners, start, size, heights):
    """Keeps those of the candidates that the one in front in the middle does not lead at all corners; how many."""
    forms, numbers = gate.forms, corners.numbers
    best, most = 0, -np.inf
    for j in range(count):
        source, total = gate.windows[unit, found[j]], 0.0
        for i in range(start, start + size):
            total += numbers[i, 0] * forms[1, source] + numbers[i, 1] * forms[2, source]
        total += size * forms[0, source]
        if total > most:
            best, most = j, total
    leader, kept = found[best], 0
    for j in range(count):
        if j != best:
            pair = pair_of(gate, unit, leader, found[j])
            above, below, doubt = signs_of(lead_of(gate, pair), pair, gate, corners, start, size, heights)
            if not below and not doubt and (above or leader < found[j]):
                continue
        found[kept] = found[j]
        kept += 1
    return kept


@njit(**STEP)
def name_on_edge(number, begin, size, pair, gate, names, made):
    """Names the corner at which two inputs are equal on an edge of a part.

    A neighbour names it alike, so that inputs that are equal on all of the edge go by one name: those that are 0 there,
    and two that a window has compared.
    """
    edge, known, origins, width = names[begin + number, 2], gate.known, gate.origins, gate.windows.shape[1]
    one, two = pair.lead, pair.rival
    p, q = pair_on(edge, gate)
    if p >= 0:
        shared = width + 1
        if known.shape[0] > 0 and (known[p] == 0 or known[q] == 0):
            shared = width
        one = shared if pair.one == p or pair.one == q else one
        two = shared if pair.other == p or pair.other == q else two
    if known.shape[0] > 0:
        if known[pair.one] == 0 or edge == origins[pair.one]:
            one = width
        if known[pair.other] == 0 or edge == origins[pair.other]:
            two = width
    after = begin + (number + 1 if number + 1 < size else 0)
    crossing_name(names, begin + number, after, pair_label(gate, pair.unit, one, two), made)


@njit(**STEP)
def name_inside(third, begin, size, pair, gate, names, made):
    """Names the corner in the inside of a part at which three places are equal."""
    width = gate.windows.shape[1]
    low, high = min(pair.lead, pair.rival, third), max(pair.lead, pair.rival, third)
    middle = pair.lead + pair.rival + third - low - high
    number = (width + 2) * (width + 2) + (low * width + middle) * width + high
    triple = first_label(gate, pair.unit) + np.uint64(number)
    one, other = np.uint64(0), np.uint64(0)
    for i in range(begin, begin + size):
        one, other = one + names[i, 0], other + names[i, 1]
    names[made, 0] = mixed(one + mixed(triple + np.uint64(1)))
    names[made, 1] = mixed(other + mixed(triple + np.uint64(2)))
