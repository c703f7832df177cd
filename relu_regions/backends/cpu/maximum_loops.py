"""The loops that numba compiles for maximum gates; as loops.py."""

import numpy as np
from numba import njit

from relu_regions.backends.cpu.loops import note_extremes

__all__ = ["follow", "leads_in_doubt", "maxima", "maxima_between", "winners"]


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
def maxima_between(values, places, interval, left, right, rows, result):
    """The maxima of interpolated inputs: of each new point, with its interval, both ends' weights, and its row."""
    mixed, candidates = np.empty((1, values.shape[1]), values.dtype), np.empty(places.shape, values.dtype)
    for g in range(len(interval)):
        i, here = interval[g], result[rows[g]]
        for u in range(values.shape[1]):
            mixed[0, u] = values[i, u] * left[g] + values[i + 1, u] * right[g]
        take(mixed[0], places, candidates)
        for u in range(len(here)):
            here[u] = candidates[0, u]
        for j in range(1, places.shape[0]):
            for u in range(places.shape[1]):
                value = candidates[j, u]
                here[u] = value if value > here[u] else here[u]


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
def find_rivals(candidates, places, short, leader, second, total):
    """For each unit the largest of its inputs but its leader, -inf where there is none, and the sum of their sizes.

    Args:
        places, short: as those of loop_arrays.Windows.
    """
    for u in range(candidates.shape[1]):
        second[u] = -np.inf if leader[u] == 0 else candidates[0, u]
        total[u] = abs(candidates[0, u])
    for j in range(1, candidates.shape[0]):
        for u in range(candidates.shape[1]):
            own = candidates[j, u]
            total[u] += abs(own)
            value = -np.inf if leader[u] == j else own
            second[u] = value if value > second[u] else second[u]
    for u in short:
        second[u] = -np.inf if leader[u] == 0 else candidates[0, u]
        for j in range(1, candidates.shape[0]):
            if j != leader[u] and places[j, u] != places[0, u] and candidates[j, u] > second[u]:
                second[u] = candidates[j, u]


@njit(cache=True, nogil=True, error_model="numpy")
def find_rivals_apart(row, windows, leader, tied, table, second):
    """As find_rivals, of the windows some of whose inputs are equal by construction: inputs that differ from theirs.

    Args:
        table: that holds beside the row.
    """
    ids, column = tied.alike[table], tied.column
    for m in range(tied.begun[table], tied.begun[table + 1]):
        u = tied.partly[m]
        own = ids[column[windows[u, leader[u]]]]
        second[u] = -np.inf
        for place in windows[u]:
            if ids[column[place]] != own and row[place] > second[u]:
                second[u] = row[place]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def note_leads(most, second, total, whole, lead, bits, i, leads):
    """Notes the smallest lead of row i in ``leads[:, i]``, as bits: of units whose inputs are not all 0, and of all.

    Args:
        whole: of each unit, whether all its inputs are equal at this row by construction; such units have no lead.
        lead: room, ``(2, units)``; bits: of the same numbers.
    """
    integer = bits.dtype.type
    for u in range(len(most)):
        own = most[u] - second[u]
        # What overflowed to NaN leads by nothing.
        own = own if own > 0 else lead.dtype.type(0)
        own = np.inf if whole[u] else own
        lead[0, u] = np.inf if total[u] == 0 else own
        lead[1, u] = own
    for which in range(2):
        least = integer(~(integer(1) << (8 * bits.itemsize - 1)))
        for u in range(len(most)):
            least = integer(min(least, bits[which, u]))
        leads[which, i] = least


@njit(cache=True, nogil=True, error_model="numpy")
def appended(found, count, row, unit, before, after):
    """A list of columns row, unit, before, after with one more, longer where it was full."""
    if count == found.shape[1]:
        longer = np.empty((4, 2 * count), np.int64)
        for part in range(4):
            for m in range(count):
                longer[part, m] = found[part, m]
        found = longer
    found[0, count], found[1, count], found[2, count], found[3, count] = row, unit, before, after
    return found


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def compare(here, there, differs):
    for u in range(len(here)):
        differs[u] = here[u] != there[u]


@njit(cache=True, nogil=True, error_model="numpy")
def winners(values, bits, taken, tied, starts_interval, record, outputs, extremes, leads):
    """Where the winners at the two ends of an interval differ, and where they do on the two sides of a point.

    An input that is the first of the largest at both ends of an interval wins at both; only where there is none are the
    winners looked for one by one.

    Args:
        bits: of the values.
        taken: the windows of the gate, loop_arrays.Windows.
        tied: which of their inputs are equal by construction, loop_arrays.Tied.
        outputs: the maxima, ``(P, units)``, filled in.
        extremes: as loops.locate, filled in.
        leads: bits of what note_leads says of each row, ``(2, P)``, filled in; ``(2, 0)`` where nobody asks.
    """
    windows, places, short = taken.windows, taken.places, taken.short
    crossings, changes = np.empty((4, 64), np.int64), np.empty((4, 64), np.int64)
    count, changed, units = 0, 0, len(windows)
    candidates = np.empty(places.shape, values.dtype)
    here, there, before = np.empty(units, np.int64), np.empty(units, np.int64), np.empty(units, np.int64)
    (second, total), lead = np.empty((2, units), values.dtype), np.empty((2, units), values.dtype)
    lead_bits = lead.view(bits.dtype)
    # Eight units at a time are looked at only if the leader of one of them differs, in this interval or the one before.
    differs, differed = np.zeros((2, (units + 7) // 8 * 8), np.uint8)
    eights, eights_before = differs.view(np.uint64), differed.view(np.uint64)
    for i in range(-1, values.shape[0] - 1):
        here, there = there, here
        differs, differed = differed, differs
        eights, eights_before = eights_before, eights
        note_extremes(bits, i + 1, extremes)
        take(values[i + 1], places, candidates)
        find_leaders(candidates, outputs[i + 1], there)
        if leads.shape[1] > 0:
            find_rivals(candidates, places, short, there, second, total)
            find_rivals_apart(values[i + 1], windows, there, tied, tied.between[i + 1], second)
            whole = tied.whole[tied.table[i + 1]]
            note_leads(outputs[i + 1], second, total, whole, lead, lead_bits, i + 1, leads)
        if i < 0 or not starts_interval[i]:
            continue
        follows = i > 0 and starts_interval[i - 1]
        if not follows:
            differed[:] = 0
        compare(here, there, differs)
        for eight in range(len(eights)):
            if eights[eight] | eights_before[eight] == 0:
                continue
            for u in range(8 * eight, min(8 * eight + 8, units)):
                if differs[u] | differed[u] == 0:
                    continue
                first = first_best(values, i, i + 1, windows[u])
                last = first_best(values, i + 1, i, windows[u])
                if first != last:
                    crossings, count = appended(crossings, count, i, u, first, last), count + 1
                earlier = before[u] if differed[u] else here[u]
                if record and follows and earlier != first:
                    changes, changed = appended(changes, changed, i, u, earlier, first), changed + 1
                before[u] = last
    return crossings[:, :count], changes[:, :changed]


@njit(cache=True, nogil=True, error_model="numpy")
def differences(v, row, a, b, scale):
    """How far input b is behind input a at a row, and ahead of it at the next one, both times a scale."""
    behind = v[row, a] * scale - v[row, b] * scale
    return v.dtype.type(0) if behind < 0 else behind, v[row + 1, b] * scale - v[row + 1, a] * scale


@njit(cache=True, nogil=True, error_model="numpy")
def overtaking(v, row, a, b):
    """How far input b is behind input a at a row and ahead of it at the next one, and the sum of both.

    The sum may overflow; where to b overtakes is known nevertheless, of quarters of the differences.
    """
    behind, ahead = differences(v, row, a, b, v.dtype.type(1))
    rise = behind + ahead
    if not abs(rise) < np.inf:
        behind, ahead = differences(v, row, a, b, v.dtype.type(0.25))
    return behind, ahead, rise


@njit(cache=True, nogil=True, error_model="numpy")
def next_winner(v, row, window, winner):
    """The place in its window of the input that overtakes the winner first (of several, the steepest)."""
    following, soonest, highest, a = 0, np.inf, -np.inf, window[winner]
    for j in range(len(window)):
        there = v[row + 1, window[j]]
        if there > v[row + 1, a]:
            behind, ahead, _ = overtaking(v, row, a, window[j])
            # This grows with the place of the crossing, and does not round to 1 for all who come late.
            late = behind / ahead
            late = late if late == late else np.inf
            if late < soonest or (late == soonest and there > highest):
                following, soonest, highest = j, late, there
    return following


@njit(cache=True, nogil=True, error_model="numpy")
def follow(v, windows, between, integers, reals):
    """Every crossing of the upper envelopes of units whose winners at an interval's ends differ; as envelope_crossings.

    Args:
        between: row, unit, first and last winner, ``(4, K)``; changed in place.
        integers: row, unit, winner before and after, ``(4, room)``, filled in: first the first crossings of all units,
            then the second ones, and so on.
        reals: the weights of both ends, and the rise, ``(3, room)``, filled in.

    Returns:
        How many crossings there are, -1 where there is not enough room for them.
    """
    count, stop = between.shape[1], 0
    weights = np.empty((2, count), v.dtype)
    weights[0], weights[1] = 1, 0
    while count > 0:
        going = 0
        if stop + count > integers.shape[1]:
            return -1
        for m in range(count):
            row, unit, winner = between[0, m], between[1, m], between[2, m]
            window = windows[unit]
            following = next_winner(v, row, window, winner)
            behind, ahead, rise = overtaking(v, row, window[winner], window[following])
            left, right = ahead / (behind + ahead), behind / (behind + ahead)
            # Rounding may put a later bend of the envelope before an earlier one.
            left = weights[0, m] if weights[0, m] < left or weights[0, m] != weights[0, m] else left
            right = weights[1, m] if weights[1, m] > right or weights[1, m] != weights[1, m] else right
            reached, largest = v[row + 1, window[following]], v[row + 1, window[0]]
            for j in range(1, len(window)):
                number = v[row + 1, window[j]]
                largest = number if number > largest or number != number else largest
            goes_on = v[row + 1, window[winner]] < reached and reached < largest
            after = following if goes_on else between[3, m]
            integers[0, stop], integers[1, stop], integers[2, stop], integers[3, stop] = row, unit, winner, after
            reals[0, stop], reals[1, stop], reals[2, stop] = left, right, rise
            stop += 1
            if goes_on:
                between[0, going], between[1, going], between[2, going] = row, unit, after
                between[3, going], weights[0, going], weights[1, going] = between[3, m], left, right
                going += 1
        count = going
    return stop


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
    """Whether input a is certainly above input b at a row, given shares of their difference's change on each side."""
    lead = v[at, a] - v[at, b]
    change_after = abs(v[after, a] - v[after, b] - lead)
    change_before = abs(v[before, a] - v[before, b] - lead)
    # Asked in this way, what overflowed to NaN is in doubt.
    return (lead > bound) & (lead > bound + share_after * change_after) & (lead > bound + share_before * change_before)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def mark_close(most, second, total, known, whole, bound, unsure):
    """Marks the units whose winner does not lead by more than the bound, unless all inputs are 0 and known to be.

    Of inputs that are all 0, which leads beside the row is decided at the row beside it, which has its own say.

    Args:
        known: of each unit, whether all its inputs are known to be 0 where they are computed to be.
        whole: of each unit, whether all its inputs are equal at this row by construction.
    """
    for u in range(len(most)):
        idle = ((total[u] == 0) & known[u]) | whole[u]
        unsure[u] = (not (most[u] - second[u] > bound)) & (not idle)


@njit(cache=True, nogil=True, error_model="numpy")
def leads_others(row, a, window, ids, column, bound):
    """Whether input a is above all of its window that are not equal to it by construction, by more than a bound."""
    close = 0
    for b in window:
        close += (ids[column[b]] != ids[column[a]]) & (not (row[a] - row[b] > bound))
    return close == 0


@njit(cache=True, nogil=True, error_model="numpy")
def mark_open_lead(v, at, other, window, alike, column, table, zeros, bound, before, after, doubt):
    """The winner of one window just inside an interval, at one of its ends."""
    last = v.shape[0] - 1
    a, here, there = window[first_best(v, at, other, window)], alike[table[at]], alike[table[other]]
    for j in range(len(window)):
        b = window[j]
        place = at
        if here[column[a]] == here[column[b]]:
            if there[column[a]] == there[column[b]]:
                continue
            place = other
        if zeros[a] and zeros[b] and v[at, a] == 0 and v[at, b] == 0:
            if v[other, a] == 0 and v[other, b] == 0:
                continue
            place = other
        rows = min(place + 1, last), max(place - 1, 0)
        if not leads(v, place, rows[0], rows[1], a, b, bound[place], after[place], before[place]):
            doubt[place] = True


@njit(cache=True, nogil=True, error_model="numpy")
def leads_in_doubt(
    v, bits, taken, alike, column, whole, zeros, table, between, bound, before, after, starts_interval, doubt
):
    """Marks the rows in doubt; taken are the windows of the gate, alike, column, whole, table and between its ties.

    Two inputs differ by no more than twice the largest number of a row. Where a winner leads by more than the bound
    with that in place of what their difference is on either side, it is certain; only where not is each lead looked at.
    """
    windows, places, short = taken.windows, taken.places, taken.short
    last, units = v.shape[0] - 1, len(windows)
    candidates, known, leader = np.empty(places.shape, v.dtype), np.empty(units, np.bool_), np.empty(units, np.int64)
    for u in range(units):
        known[u] = zeros[windows[u]].all()
    most, second, total = np.empty((3, units), v.dtype)
    unsure, size_bits = np.zeros((units + 7) // 8 * 8, np.uint8), np.empty((3, len(v)), bits.dtype)
    eights, size = unsure.view(np.uint64), size_bits.view(v.dtype)[0]
    noted = -1
    for i in range(last + 1):
        to_right, to_left = i < last and starts_interval[i], i > 0 and starts_interval[i - 1]
        if not (to_right or to_left):
            continue
        earlier, later = max(i - 1, 0), min(i + 1, last)
        for row in range(max(earlier, noted + 1), later + 1):
            note_extremes(bits, row, size_bits)
            noted = row
        take(v[i], places, candidates)
        find_leaders(candidates, most, leader)
        find_rivals(candidates, places, short, leader, second, total)
        change_after, change_before = 2 * size[i] + 2 * size[later], 2 * size[i] + 2 * size[earlier]
        allowed = bound[i] + max(after[i] * change_after, before[i] * change_before)
        mark_close(most, second, total, known, whole[table[i]], allowed, unsure)
        everywhere = alike[between[i]]
        for eight in range(len(eights)):
            if eights[eight] == 0:
                continue
            for u in range(8 * eight, min(8 * eight + 8, units)):
                if not unsure[u] or leads_others(v[i], windows[u, leader[u]], windows[u], everywhere, column, allowed):
                    continue
                if to_right:
                    mark_open_lead(v, i, i + 1, windows[u], alike, column, table, zeros, bound, before, after, doubt)
                if to_left:
                    mark_open_lead(v, i, i - 1, windows[u], alike, column, table, zeros, bound, before, after, doubt)
