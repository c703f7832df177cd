"""The loops that numba compiles: plain arrays in and out, no torch.

Each runs on the thread that calls it: with numba's own threads beside torch's, walks on busy cores took ten times as
    long.
"""

import numpy as np
from numba import njit

from relu_regions.backends.cpu.crossing_loops import gather, in_order, place_interval

__all__ = [
    "equalise",
    "exits",
    "fading",
    "insert",
    "insert_relu",
    "largest",
    "locate",
    "multiply",
    "note_extremes",
    "rows_in_doubt",
    "zero",
]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def note_extremes(bits, i, extremes):
    """Notes the largest, the smallest and the smallest absolute number but 0 of row i in ``extremes[:, i]``, as bits.

    Absolute floats are in the order of their bits as integers, whose maxima a compiler takes several at once.
    """
    # Each result is brought back to the numbers' own width, which numba leaves in any operation on integers.
    integer = bits.dtype.type
    mask = integer(~(integer(1) << (8 * bits.itemsize - 1)))
    most, least, above = integer(0), mask, mask
    for u in range(bits.shape[1]):
        size = integer(bits[i, u] & mask)
        most, least = integer(max(most, size)), integer(min(least, size))
        # One less than 0 are all bits, which no other number has.
        above = integer(min(above, integer(integer(size - integer(1)) & mask)))
    extremes[0, i], extremes[1, i] = most, least
    extremes[2, i] = above if above == mask else integer(above + integer(1))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def locate(z, bits, ends, knots, at_zero, weighted, starts_interval, extremes, distance, near, room, added):
    """Every crossing, in order of interval and t, and where it comes to lie.

    Args:
        z: the gate's inputs, ``(1, P, units)``; bits: of the same numbers.
        ends: position, weight and t of each point, ``(P, 3)``.
        at_zero: whether all knots are 0.
        extremes: bits of what note_extremes says of each row, ``(3, P)``, filled in.
        distance: room for the distances of two rows from a knot, ``(1, 2, units)``; near: of the same numbers.
        room: for crossings and new points, filled in.
        added: how many new points each interval gets, ``(P,)``, filled in.

    Returns:
        How many crossings there are, -1 where there is not enough room for them; and how many new points.
    """
    stop, fresh, units, integers, reals = 0, 0, z.shape[2], room.integers, room.reals
    for i in range(z.shape[1]):
        note_extremes(bits[0], i, extremes)
        added[i] = 0
        if not starts_interval[i]:
            continue
        start, before = stop, fresh
        both = (ends[i, 0], ends[i, 1], ends[i, 2], ends[i + 1, 0], ends[i + 1, 1], ends[i + 1, 2])
        for k in range(len(knots)):
            if 2 * (stop + units) - start > integers.shape[1]:
                return -1, fresh
            if at_zero:
                stop = gather(z, bits, 0, i, i + 1, k, both, weighted, stop, integers, reals)
                continue
            for u in range(units):
                distance[0, 0, u] = z[0, i, u] - knots[k, u] * both[1]
                distance[0, 1, u] = z[0, i + 1, u] - knots[k, u] * both[4]
            stop = gather(distance, near, 0, 0, 1, k, both, weighted, stop, integers, reals)
        if stop > start:
            in_order(start, stop, integers, reals)
            t, s = both[2], both[5]
            fresh = place_interval(i, start, stop, fresh, t, s, integers, reals, room.inside, room.spots, room.shares)
            added[i] = fresh - before
    return stop, fresh


@njit(cache=True, nogil=True, error_model="numpy")
def insert(values, added, left, right, first_new, result):
    for i in range(len(added)):
        at, g = i + first_new[i], first_new[i]
        for u in range(values.shape[1]):
            result[at, u] = values[i, u]
        for _ in range(added[i]):
            at += 1
            for u in range(values.shape[1]):
                result[at, u] = values[i, u] * left[g] + values[i + 1, u] * right[g]
            g += 1


@njit(cache=True, nogil=True, error_model="numpy")
def insert_relu(values, added, left, right, first_new, result):
    for i in range(len(added)):
        at, g = i + first_new[i], first_new[i]
        for u in range(values.shape[1]):
            value = values[i, u]
            result[at, u] = value if value > 0 else 0
        for _ in range(added[i]):
            at += 1
            for u in range(values.shape[1]):
                value = values[i, u] * left[g] + values[i + 1, u] * right[g]
                result[at, u] = value if value > 0 else 0
            g += 1


@njit(cache=True, nogil=True, error_model="numpy")
def zero(rows, units, inside, outputs):
    for m in range(len(rows)):
        if inside[m]:
            outputs[rows[m], units[m]] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def add_matrix_column(factor, column, slope):
    for u in range(len(slope)):
        slope[u] += factor * column[u]


@njit(cache=True, nogil=True, error_model="numpy")
def add_kernel(factor, column, unit, geometry, slope):
    """What an input number adds to the outputs of a convolution, which are ``outs`` channels at the kernel's places."""
    height, width, out_height, out_width, tall, wide = geometry[:6]
    stride, stride_x, padding, padding_x, dilation, dilation_x, channels = geometry[6:]
    channel, place = unit // (height * width), unit % (height * width)
    y, x = place // width + padding, place % width + padding_x
    outs, area = len(column) // (tall * wide), out_height * out_width
    first = channel // channels * outs * area
    for a in range(tall):
        down = y - a * dilation
        if down < 0 or down % stride != 0 or down // stride >= out_height:
            continue
        for b in range(wide):
            across = x - b * dilation_x
            if across < 0 or across % stride_x != 0 or across // stride_x >= out_width:
                continue
            at, number = first + down // stride * out_width + across // stride_x, (a * wide + b) * outs
            for o in range(outs):
                slope[at + o * area] += factor * column[number + o]


@njit(cache=True, nogil=True, error_model="numpy")
def add_column(factor, columns, unit, geometry, slope):
    if len(geometry) == 0:
        add_matrix_column(factor, columns[unit], slope)
    else:
        add_kernel(factor, columns[unit // (geometry[0] * geometry[1])], unit, geometry, slope)


@njit(cache=True, nogil=True, error_model="numpy")
def multiply(products, before, first, stop, columns, geometry, placed, result):
    """Fills the rows of a block of the points there were, and of the intervals before these.

    Args:
        products: at the points of the block, of which the first has the number ``first``.
        before: the product at the point before the block.
        stop: the first bend of the interval before the block; that of the block's first interval to leave out the one
            before it.

    Returns:
        The first bend of the interval after the block.
    """
    added, old_rows, first_new, right = placed.added, placed.old_rows, placed.first_new, placed.right
    row, unit, left, crossing_row, kink = placed.row, placed.unit, placed.left, placed.crossing_row, placed.kink
    size = products.shape[1]
    slope = np.empty(size, products.dtype)
    for r in range(products.shape[0]):
        here, start, i = products[r], stop, first + r - 1
        for u in range(size):
            result[old_rows[i + 1], u] = here[u]
        while stop < len(row) and row[stop] == i:
            stop += 1
        if i < 0 or added[i] == 0:
            continue
        last = before if r == 0 else products[r - 1]
        # From the whole change over the interval, what the bends after a place add is taken back.
        for u in range(size):
            slope[u] = here[u] - last[u]
        for m in range(start, stop):
            add_column(-(left[m] * kink[m]), columns, unit[m], geometry, slope)
        at, g, place = old_rows[i], first_new[i], products.dtype.type(0)
        end = at + added[i]
        for m in range(start, stop):
            if at < end and crossing_row[m] == at + 1:
                step = right[g] - place
                for u in range(size):
                    result[at + 1, u] = result[at, u] + step * slope[u]
                place, at, g = right[g], at + 1, g + 1
            add_column(kink[m], columns, unit[m], geometry, slope)
    return stop


@njit(cache=True, nogil=True, error_model="numpy")
def rows_in_doubt(distance, bound, before, after, asked, doubt):
    for i in range(distance.shape[0]):
        if not asked[i]:
            continue
        earlier, later = max(i - 1, 0), min(i + 1, distance.shape[0] - 1)
        count = 0
        for u in range(distance.shape[1]):
            size = abs(distance[i, u])
            # Asked in this way, what overflowed to NaN is in doubt.
            certain = (
                (size > bound[i])
                & (size > bound[i] + after[i] * abs(distance[later, u] - distance[i, u]))
                & (size > bound[i] + before[i] * abs(distance[i, u] - distance[earlier, u]))
            )
            count += not certain
        doubt[i] = count > 0


@njit(cache=True, nogil=True, error_model="numpy")
def equalise(values, table, offsets, target, source, front, channels, places):
    for i in range(values.shape[0]):
        for channel in range(channels):
            begun = front + channel * places
            for m in range(offsets[table[i]], offsets[table[i] + 1]):
                values[i, begun + target[m]] = values[i, begun + source[m]] if source[m] >= 0 else 0


@njit(cache=True, nogil=True, error_model="numpy")
def fading(values, zeros, least, found):
    for i in range(values.shape[0]):
        count = 0
        for u in range(values.shape[1]):
            count += (values[i, u] != 0) & (abs(values[i, u]) < least) & zeros[u]
        found[i] = count > 0


@njit(cache=True, nogil=True, error_model="numpy")
def largest(values, result):
    # So many maxima side by side are taken several at once; a single one would be waited for at each number.
    most = np.empty(64, values.dtype)
    whole = values.shape[1] // 64 * 64
    for i in range(values.shape[0]):
        most[:] = 0
        for start in range(0, whole, 64):
            for u in range(64):
                number = abs(values[i, start + u])
                most[u] = number if number > most[u] else most[u]
        for u in range(whole, values.shape[1]):
            number = abs(values[i, u])
            most[0] = number if number > most[0] else most[0]
        result[i] = most.max()


@njit(cache=True, nogil=True, error_model="numpy")
def exits(logits, offsets, label, error, first, close):
    for s in range(len(label)):
        own, row, near = label[s], offsets[s], False
        first[s] = logits.shape[0]
        while row < offsets[s + 1] and first[s] == logits.shape[0]:
            for k in range(logits.shape[1]):
                if k != own:
                    lead = logits[row, own] - logits[row, k]
                    near |= not abs(lead) > error[row]
                    if lead < 0:
                        first[s] = row
            row += 1
        close[s] = near
