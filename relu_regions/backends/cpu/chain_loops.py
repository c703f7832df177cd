"""The values along a chain, in loops that numba compiles: through a matrix, from the bends of one gate to the next one's.

Rows of values are made one after another, and only those around the present place are kept: the row before and the
row at hand lie in the nearest cache while signs are compared, and what is written is the next gate's output alone, or its
product with a narrow matrix.
"""

from numba import njit

from relu_regions.backends.cpu.crossing_loops import extent, gather, in_order, place_interval

__all__ = ["outputs", "rows"]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def row_there(products, i, bias, w, lines, own, b):
    """Keep a row that is there already, with the bias that its product lacks, at ``lines[own, b]``."""
    for u in range(products.shape[1]):
        lines[own, b, u] = products[i, u] + w * bias[u]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def slope_before(products, i, bias, growth, columns, unit, left, kink, begin, stop, slope):
    """The slope at the start of an interval: the whole change less what its bends add later; the last bend's part stays in.

    Args:
        growth: of the weight over the interval.
    """
    for u in range(len(slope)):
        slope[u] = products[i + 1, u] - products[i, u] + growth * bias[u]
    for n in range(begin, stop - 1):
        turn(slope, columns, unit[n], -(left[n] * kink[n]))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def turn(slope, columns, column, change):
    for u in range(len(slope)):
        slope[u] += change * columns[column, u]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def turn_and_step(slope, columns, column, change, step, lines, own, a, b):
    """Turn, and keep the row that lies a step along the slope from ``lines[own, a]``."""
    for u in range(len(slope)):
        turned = slope[u] + change * columns[column, u]
        slope[u] = turned
        lines[own, b, u] = lines[own, a, u] + step * turned


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def distances(lines, own, b, knots, w):
    """The distances of a row's units from their knots, kept beside it."""
    for k in range(own):
        for u in range(lines.shape[2]):
            lines[k, b, u] = lines[own, b, u] - knots[k, u] * w


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def opened(lines, own, b, knots, slopes, offsets, w, out, r):
    """The gate's output in row r."""
    for u in range(lines.shape[2]):
        value = lines[own, b, u]
        out[r, u] = slopes[0, u] * value + offsets[0, u] * w
    for k in range(knots.shape[0]):
        for u in range(lines.shape[2]):
            value = lines[own, b, u]
            if value > knots[k, u] * w:
                out[r, u] = slopes[k + 1, u] * value + offsets[k + 1, u] * w


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def positive(lines, b, out, r):
    """A ReLU's output in row r."""
    zero = lines.dtype.type(0)
    for u in range(lines.shape[2]):
        value = lines[0, b, u]
        out[r, u] = value if value > zero else zero


# With reassociation a compiler may add several parts of a sum at once.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"}, _nrt=False)
def product(opened, matrix, to_product, first, count):
    """Four rows of the gate's output times a matrix, ``(outputs, units)``, two outputs at a time for each look at the rows.

    Args:
        to_product: its rows from ``first`` on are filled in, as many as ``count`` says; what the others hold does not matter.
    """
    zero = opened.dtype.type(0)
    for o in range(0, len(matrix), 2):
        p = min(o + 1, len(matrix) - 1)
        a, b, c, d, e, f, g, h = zero, zero, zero, zero, zero, zero, zero, zero
        for u in range(matrix.shape[1]):
            one, other = matrix[o, u], matrix[p, u]
            a += opened[0, u] * one
            b += opened[1, u] * one
            c += opened[2, u] * one
            d += opened[3, u] * one
            e += opened[0, u] * other
            f += opened[1, u] * other
            g += opened[2, u] * other
            h += opened[3, u] * other
        for n, here, there in ((0, a, e), (1, b, f), (2, c, g), (3, d, h)):
            if n < count:
                to_product[first + n, o], to_product[first + n, p] = here, there


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def pieces(lines, own, b, knots, w, out, s):
    """The pieces of the units in segment s."""
    for u in range(lines.shape[2]):
        piece = 0
        for k in range(knots.shape[0]):
            piece += lines[own, b, u] > knots[k, u] * w
        out[s, u] = piece


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def close(distance, k, a, b, here, there, after, before):
    """Whether some unit is closer to its knot at one end of an interval than ``here`` or ``there`` and its change allow for."""
    count = 0
    for u in range(distance.shape[2]):
        one, other = distance[k, a, u], distance[k, b, u]
        change = abs(other - one)
        # Asked in this way, what overflowed to NaN is in doubt.
        count += not ((abs(one) > here + after * change) & (abs(other) > there + before * change))
    return count > 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def in_doubt(lines, k, a, b, extremes, near, r, level):
    """Whether some unit may be on the other side of its knot at an end of the interval from row r - 1 to row r."""
    here = near[0, r - 1] + level[0] * (extremes[a, 0] + level[1])
    there = near[0, r] + level[0] * (extremes[b, 0] + level[1])
    # No unit changes by more than this; only if that leaves it open are all of them looked at.
    most = extremes[a, 0] + extremes[b, 0] + 2 * level[1]
    if extremes[a, 1 + k] > here + near[2, r - 1] * most and extremes[b, 1 + k] > there + near[1, r] * most:
        return False
    return close(lines, k, a, b, here, there, near[2, r - 1], near[1, r])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def ends_of(position, weight, weighted, r):
    """Position, weight and t at both ends of the interval from row r - 1 to row r."""
    p, q, one = position[r - 1], position[r], position.dtype.type(1)
    if weighted:
        w, v = weight[r - 1], weight[r]
        return p, w, p / w, q, v, q / v
    return p, one, p, q, one, q


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def rows(
    products, bias, columns, offsets, added, row, unit, left, bend_row, kink, count, right,
    to_offsets, position, weight, weighted, knots, slopes, gate_offsets, is_relu, level,
    bounded, near, uncertain, recorded, first, last, lines, bits, extremes, extreme_bits, slope,
    matrix, to_product, out, size, to_added, integers, reals, inside, spots, shares,
):  # fmt: skip
    """The values at all points, the next gate's output there, and where it bends.

    Args:
        products: the values at the points there were, but for the bias, ``(P, units)``.
        bias, columns: of the matrix before them, ``(units,)`` and ``(inputs, units)``.
        offsets, added: of the points there were, and how many new ones each interval gets.
        row, unit, left, bend_row, kink, count: the bends of the gate before the matrix.
        right: the weight of each new point's interval's right end.
        to_offsets, position, weight: of all points.
        knots, slopes, gate_offsets, is_relu: the next gate.
        level: what taking the distance from a knot adds to the error: so many times the sum of the row's largest number and
            the largest knot; 0 where all knots are 0.
        near: what nearness gives, for all points.
        first, last: the next gate's pieces at the ends of segments, filled in if ``recorded``.
        lines: room for two neighbouring rows: of distances from each knot, and last of the values, ``(kinds, 2, units)``;
            one kind where these are the same.
        extremes: room for these rows' largest and smallest numbers, ``(2, 1 + kinds)``.
        bits, extreme_bits: the same numbers as integers.
        slope: room for a row's slope, ``(units,)``.
        matrix, to_product: the one that reads the gate's output, if it is narrow, and their product at all points, filled in
            and kept in place of that output; else nothing, ``(0, units)``.
        out, size, to_added: the next gate's output (room for four rows if the matrix is narrow), the largest number of its input, and
            how many new points each interval gets, at all points; filled in.
        integers, reals, inside, spots, shares: the next gate's bends and its new points, as in crossing_loops.py; filled in.

    Returns:
        How many bends there are, -1 where there is not enough room for them; how many new points; and whether a unit is
        exactly on its knot at some point.
    """
    width, dtype, own = products.shape[1], products.dtype.type, len(lines) - 1
    zero, stop, fresh, on_knot, m, g = dtype(0), 0, 0, False, 0, 0
    narrow = len(matrix) > 0
    for s in range(len(offsets) - 1):
        r = to_offsets[s]
        for i in range(offsets[s], offsets[s + 1]):
            begin = m
            while m < count and row[m] == i:
                m += 1
            at, place, ahead = begin - 1, zero, r + added[i]
            # The slope is turned by a bend only when the next row is made, by this unit and so much.
            turning, change = 0, zero
            # The point there was comes first, then one for each of the interval's bends that lies on a new point.
            while at < m:
                b = r & 1
                a = 1 - b
                if at < begin:
                    w = weight[r] if weighted else dtype(1)
                    row_there(products, i, bias, w, lines, own, b)
                    if added[i] > 0:
                        growth = weight[r + added[i] + 1] - w if weighted else zero
                        slope_before(products, i, bias, growth, columns, unit, left, kink, begin, m, slope)
                        turning, change = unit[m - 1], -(left[m - 1] * kink[m - 1])
                    else:
                        at = m - 1
                else:
                    fresh_row = r <= ahead and bend_row[at] == r
                    if fresh_row:
                        turn_and_step(slope, columns, turning, change, right[g] - place, lines, own, a, b)
                        place, g = right[g], g + 1
                    else:
                        turn(slope, columns, turning, change)
                    turning, change = unit[at], kink[at]
                    if not fresh_row:
                        at += 1
                        continue
                at += 1
                v, to = weight[r] if weighted else dtype(1), r % 4 if narrow else r
                if is_relu:
                    positive(lines, b, out, to)
                else:
                    opened(lines, own, b, knots, slopes, gate_offsets, v, out, to)
                if narrow and (to == 3 or r + 1 == len(position)):
                    product(out, matrix, to_product, r - to, to + 1)
                if own > 0:
                    distances(lines, own, b, knots, v)
                    extent(bits, own, a, b, extreme_bits, own)
                if recorded and r == to_offsets[s]:
                    pieces(lines, own, b, knots, v, first, s)
                begins = stop
                for k in range(len(knots)):
                    changed = extent(bits, k, a, b, extreme_bits, own)
                    on_knot |= extremes[b, 1 + k] == 0
                    if r == to_offsets[s]:
                        continue
                    if bounded and not uncertain[s]:
                        uncertain[s] = in_doubt(lines, k, a, b, extremes, near, r, level)
                    if changed < 0:
                        if 2 * (stop + width) - begins > integers.shape[1]:
                            return -1, fresh, on_knot
                        ends = ends_of(position, weight, weighted, r)
                        stop = gather(lines, bits, k, a, b, k, ends, weighted, stop, integers, reals)
                size[r] = extremes[b, 0]
                to_added[r] = 0
                if stop > begins:
                    if stop - begins > 1:
                        in_order(begins, stop, integers, reals)
                    before, (_, _, t, _, _, e) = fresh, ends_of(position, weight, weighted, r)
                    fresh = place_interval(r - 1, begins, stop, fresh, t, e, integers, reals, inside, spots, shares)
                    to_added[r - 1] = fresh - before
                r += 1
        if recorded:
            pieces(lines, own, (r - 1) & 1, knots, weight[r - 1] if weighted else dtype(1), last, s)
    return stop, fresh, on_knot


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def outputs(
    products, bias, columns, offsets, added, row, unit, left, bend_row, kink, count, right,
    to_offsets, weight, weighted, place, asked, slope, out, answers,
):  # fmt: skip
    """The values where no gate follows, at the points that are kept; arguments as rows.

    Args:
        place: how many points are kept before each row, ``(P + G + 1,)``. What is not kept is overwritten by what follows it.
        asked: rows whose values are wanted besides, in order.
        out, answers: the values at the points that are kept, and at those asked for; filled in.
    """
    width, dtype = products.shape[1], products.dtype.type
    m, g, answered = 0, 0, 0
    for s in range(len(offsets) - 1):
        r = to_offsets[s]
        for i in range(offsets[s], offsets[s + 1]):
            begin, last, at, to = m, r + added[i], dtype(0), place[r]
            while m < count and row[m] == i:
                m += 1
            w = weight[r] if weighted else dtype(1)
            for u in range(width):
                out[to, u] = products[i, u] + w * bias[u]
            answered = answer(asked, answered, r, out, to, answers)
            if added[i] > 0:
                growth = weight[last + 1] - w if weighted else dtype(0)
                slope_before(products, i, bias, growth, columns, unit, left, kink, begin, m, slope)
                turning, change = unit[m - 1], -(left[m - 1] * kink[m - 1])
                for n in range(begin, m):
                    if r < last and bend_row[n] == r + 1:
                        before, to, step = to, place[r + 1], right[g] - at
                        for u in range(width):
                            turned = slope[u] + change * columns[turning, u]
                            slope[u] = turned
                            out[to, u] = out[before, u] + step * turned
                        at, g, r = right[g], g + 1, r + 1
                        answered = answer(asked, answered, r, out, to, answers)
                    else:
                        turn(slope, columns, turning, change)
                    turning, change = unit[n], kink[n]
            r += 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def answer(asked, answered, r, out, to, answers):
    """Keep the values of row r, which lie at ``out[to]``, if they are asked for; gives how many answers there are."""
    if answered < len(asked) and asked[answered] == r:
        for u in range(out.shape[1]):
            answers[answered, u] = out[to, u]
        answered += 1
    return answered
