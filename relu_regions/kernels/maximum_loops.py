"""The loops that numba compiles for maximum gates; as loops.py."""

import numpy as np
from numba import njit

__all__ = ["leads_in_doubt", "maxima", "winners"]


@njit(cache=True, nogil=True, error_model="numpy")
def take(row, places, candidates):
    """The inputs of every unit, ``(k, units)``, so that what follows goes through numbers side by side."""
    for j in range(places.shape[0]):
        for u in range(places.shape[1]):
            candidates[j, u] = row[places[j, u]]


@njit(cache=True, nogil=True, error_model="numpy")
def maxima(values, places, result):
    """The largest of several inputs for each unit; ``places`` are those of the inputs, ``(k, units)``."""
    candidates = np.empty(places.shape, values.dtype)
    for i in range(values.shape[0]):
        take(values[i], places, candidates)
        for u in range(places.shape[1]):
            result[i, u] = candidates[0, u]
        for j in range(1, places.shape[0]):
            for u in range(places.shape[1]):
                value = candidates[j, u]
                result[i, u] = value if value > result[i, u] else result[i, u]


@njit(cache=True, nogil=True, error_model="numpy")
def find_leaders(candidates, most, leader):
    """For each unit the first of its inputs that are largest."""
    for u in range(candidates.shape[1]):
        most[u], leader[u] = candidates[0, u], 0
    for j in range(1, candidates.shape[0]):
        for u in range(candidates.shape[1]):
            value, top = candidates[j, u], most[u]
            leader[u] = j if value > top else leader[u]
            most[u] = value if value > top else top


@njit(cache=True, nogil=True, error_model="numpy")
def appended(found, count, row, unit, before, after):
    """A list of columns row, unit, before, after with one more, longer where it was full."""
    if count == found.shape[1]:
        longer = np.empty((4, 2 * count), np.int64)
        longer[:, :count] = found
        found = longer
    found[0, count], found[1, count], found[2, count], found[3, count] = row, unit, before, after
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def winners(values, windows, places, starts_interval, record):
    """Where the winners at the two ends of an interval differ, and where they do on the two sides of a point.

    An input that is the first of the largest at both ends of an interval wins at both; only where there is none are the
    winners looked for one by one.
    """
    bends, changes = np.empty((4, 64), np.int64), np.empty((4, 64), np.int64)
    count, changed, units = 0, 0, len(windows)
    candidates, most = np.empty(places.shape, values.dtype), np.empty(units, values.dtype)
    here, there = np.empty(units, np.int64), np.empty(units, np.int64)
    # Eight units at a time are looked at only if the leader of one of them differs, in this interval or the one before.
    differs, differed = np.zeros((2, (units + 7) // 8 * 8), np.uint8)
    eights, eights_before = differs.view(np.uint64), differed.view(np.uint64)
    before = np.empty(units, np.int64)
    for i in range(values.shape[0] - 1):
        if not starts_interval[i]:
            continue
        follows = i > 0 and starts_interval[i - 1]
        if not follows:
            take(values[i], places, candidates)
            find_leaders(candidates, most, here)
            differed[:] = 0
        take(values[i + 1], places, candidates)
        find_leaders(candidates, most, there)
        for u in range(units):
            differs[u] = here[u] != there[u]
        for eight in range(len(eights)):
            if eights[eight] | eights_before[eight] == 0:
                continue
            for u in range(8 * eight, min(8 * eight + 8, units)):
                if differs[u] | differed[u] == 0:
                    continue
                first = first_best(values, i, i + 1, windows[u])
                last = first_best(values, i + 1, i, windows[u])
                if first != last:
                    bends, count = appended(bends, count, i, u, first, last), count + 1
                earlier = before[u] if differed[u] else here[u]
                if record and follows and earlier != first:
                    changes, changed = appended(changes, changed, i, u, earlier, first), changed + 1
                before[u] = last
        here, there = there, here
        differs, differed = differed, differs
        eights, eights_before = eights_before, eights
    return bends[:, :count], changes[:, :changed]


@njit(cache=True, nogil=True, error_model="numpy")
def first_best(v, at, other, window):
    """The first of the inputs that are largest at a row and, among these, largest at another."""
    best = 0
    for j in range(1, len(window)):
        here, there = v[at, window[j]], v[other, window[j]]
        top, then = v[at, window[best]], v[other, window[best]]
        if here > top or (here == top and there > then):
            best = j
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def leads(v, at, after, before, a, b, bound, share_after, share_before):
    """Whether input a is certainly above input b at a row, with shares of what their difference changes by on either side."""
    lead = v[at, a] - v[at, b]
    change_after = abs(v[after, a] - v[after, b] - lead)
    change_before = abs(v[before, a] - v[before, b] - lead)
    return not (
        (lead <= bound) | (lead <= bound + share_after * change_after) | (lead <= bound + share_before * change_before)
    )


@njit(cache=True, nogil=True, error_model="numpy")
def open_leads(
    earlier, here, later, known, leader, most, most_after, most_before, bound, share_before, share_after, unsure
):
    """Marks the units at a row whose leader might be in doubt on either side; that is certain of no other.

    Args:
        earlier, here, later: the inputs of every unit at the row and its neighbours, ``(k, units)``.
        known: which of them are 0 where they are computed to be, ``(k, units)``.
        most_after, most_before: filled with the leader's values there.
    """
    for u in range(here.shape[1]):
        most_after[u], most_before[u], unsure[u] = later[0, u], earlier[0, u], 0
    for j in range(1, here.shape[0]):
        for u in range(here.shape[1]):
            most_after[u] = later[j, u] if leader[u] == j else most_after[u]
            most_before[u] = earlier[j, u] if leader[u] == j else most_before[u]
    for j in range(here.shape[0]):
        for u in range(here.shape[1]):
            lead = most[u] - here[j, u]
            change_after = abs(most_after[u] - later[j, u] - lead)
            change_before = abs(most_before[u] - earlier[j, u] - lead)
            doubtful = (
                (lead <= bound)
                | (lead <= bound + share_after * change_after)
                | (lead <= bound + share_before * change_before)
            )
            zero = (here[j, u] == 0) & (earlier[j, u] == 0) & (later[j, u] == 0)
            zero &= (most[u] == 0) & (most_before[u] == 0) & (most_after[u] == 0) & known[j, u]
            unsure[u] |= doubtful & ~zero & (leader[u] != j)
    for u in range(here.shape[1]):
        # Which of several zeros leads is no question, if the leader is one of them.
        known_leader = known[leader[u], u]
        unsure[u] |= (most[u] == 0) & (not known_leader)


@njit(cache=True, nogil=True, error_model="numpy")
def mark_open_lead(v, at, other, window, alike, zeros, bound, before, after, doubt):
    """The winner of one window just inside an interval, at one of its ends."""
    last = v.shape[0] - 1
    a = window[first_best(v, at, other, window)]
    for j in range(len(window)):
        b = window[j]
        if alike[a] == alike[b]:
            continue
        place = at
        if zeros[a] and zeros[b] and v[at, a] == 0 and v[at, b] == 0:
            if v[other, a] == 0 and v[other, b] == 0:
                continue
            place = other
        rows = min(place + 1, last), max(place - 1, 0)
        if not leads(v, place, rows[0], rows[1], a, b, bound[place], after[place], before[place]):
            doubt[place] = True


@njit(cache=True, nogil=True, error_model="numpy")
def leads_in_doubt(v, windows, places, alike, zeros, bound, before, after, starts_interval, doubt):
    last, units, shape = v.shape[0] - 1, len(windows), places.shape
    earlier, here, later = np.empty(shape, v.dtype), np.empty(shape, v.dtype), np.empty(shape, v.dtype)
    most, most_after, most_before = np.empty(units, v.dtype), np.empty(units, v.dtype), np.empty(units, v.dtype)
    leader, unsure = np.empty(units, np.int64), np.zeros((units + 7) // 8 * 8, np.uint8)
    eights, known = unsure.view(np.uint64), np.empty(shape, np.bool_)
    take(zeros, places, known)
    taken = -1
    for i in range(last + 1):
        to_right, to_left = i < last and starts_interval[i], i > 0 and starts_interval[i - 1]
        if not (to_right or to_left):
            continue
        if taken == i - 1 and i > 0:
            earlier, here, later = here, later, earlier
        else:
            take(v[max(i - 1, 0)], places, earlier)
            take(v[i], places, here)
        take(v[min(i + 1, last)], places, later)
        taken = i
        find_leaders(here, most, leader)
        open_leads(
            earlier, here, later, known, leader, most, most_after, most_before, bound[i], before[i], after[i], unsure
        )  # fmt: skip
        for eight in range(len(eights)):
            if eights[eight] == 0:
                continue
            for u in range(8 * eight, min(8 * eight + 8, units)):
                if unsure[u] and to_right:
                    mark_open_lead(v, i, i + 1, windows[u], alike, zeros, bound, before, after, doubt)
                if unsure[u] and to_left:
                    mark_open_lead(v, i, i - 1, windows[u], alike, zeros, bound, before, after, doubt)
