"""The values along a chain, in loops that numba compiles: through a matrix, from one gate's bends to the next one's.

Rows of values are made one after another, and only those around the present place are kept: the row before and the
row at hand lie in the nearest cache while signs are compared, and what is written is the next gate's output alone, or
its product with a narrow matrix.
"""

from numba import njit

from relu_regions.backends.cpu.crossing_loops import extent, gather, in_order, place_interval

__all__ = ["outputs", "through_gate"]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def row_there(products, i, w, lines, own, b):
    """Keep a row that is there already, with the bias that its product lacks, at ``lines[own, b]``."""
    values, bias = products.values, products.bias
    for u in range(values.shape[1]):
        lines[own, b, u] = values[i, u] + w * bias[u]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def slope_before(products, i, growth, begin, stop):
    """The slope at the start of an interval: the whole change less what bends add later; the last one's part stays in.

    Args:
        growth: of the weight over the interval.
    """
    values, bias, slope = products.values, products.bias, products.slope
    for u in range(len(slope)):
        slope[u] = values[i + 1, u] - values[i, u] + growth * bias[u]
    for n in range(begin, stop - 1):
        turn(products, products.unit[n], -(products.left[n] * products.kink[n]))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def last_turn(products, stop):
    """The unit and the change of slope that slope_before leaves in."""
    return products.unit[stop - 1], -(products.left[stop - 1] * products.kink[stop - 1])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def turn(products, column, change):
    slope, columns = products.slope, products.columns
    for u in range(len(slope)):
        slope[u] += change * columns[column, u]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def turn_and_step(products, column, change, step, lines, own, b):
    """Turn, and keep the row that lies a step along the slope from the one before, at ``lines[own, b]``."""
    slope, columns, a = products.slope, products.columns, 1 - b
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
def apply_knots(lines, b, gate, w, out, r):
    """The gate's output in row r."""
    knots, slopes, offsets, own = gate.knots, gate.slopes, gate.offsets, len(lines) - 1
    for u in range(lines.shape[2]):
        value = lines[own, b, u]
        out[r, u] = slopes[0, u] * value + offsets[0, u] * w
    for k in range(knots.shape[0]):
        for u in range(lines.shape[2]):
            value = lines[own, b, u]
            if value > knots[k, u] * w:
                out[r, u] = slopes[k + 1, u] * value + offsets[k + 1, u] * w


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def apply_relu(lines, b, out, r):
    """A ReLU's output in row r."""
    zero = lines.dtype.type(0)
    for u in range(lines.shape[2]):
        value = lines[0, b, u]
        out[r, u] = value if value > zero else zero


# With reassociation a compiler may add several parts of a sum at once.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"}, _nrt=False)
def product(applied, matrix, to_product, first, count):
    """Four rows of the gate's output times a matrix, ``(outputs, units)``, two outputs for each look at the rows.

    Args:
        to_product: its rows from ``first`` on are filled in, as many as ``count`` says; what the others hold does not
            matter.
    """
    zero = applied.dtype.type(0)
    for o in range(0, len(matrix), 2):
        p = min(o + 1, len(matrix) - 1)
        a, b, c, d, e, f, g, h = zero, zero, zero, zero, zero, zero, zero, zero
        for u in range(matrix.shape[1]):
            one, other = matrix[o, u], matrix[p, u]
            a += applied[0, u] * one
            b += applied[1, u] * one
            c += applied[2, u] * one
            d += applied[3, u] * one
            e += applied[0, u] * other
            f += applied[1, u] * other
            g += applied[2, u] * other
            h += applied[3, u] * other
        for n, here, there in ((0, a, e), (1, b, f), (2, c, g), (3, d, h)):
            if n < count:
                to_product[first + n, o], to_product[first + n, p] = here, there


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def note_pieces(lines, b, knots, w, out, s):
    """The pieces of the units in segment s."""
    own = len(lines) - 1
    for u in range(lines.shape[2]):
        piece = 0
        for k in range(knots.shape[0]):
            piece += lines[own, b, u] > knots[k, u] * w
        out[s, u] = piece


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def close(distance, k, a, b, here, there, after, before):
    """Whether some unit is closer to its knot at an end of an interval than ``here``, ``there`` and its change let."""
    count = 0
    for u in range(distance.shape[2]):
        one, other = distance[k, a, u], distance[k, b, u]
        change = abs(other - one)
        # Asked in this way, what overflowed to NaN is in doubt.
        count += not ((abs(one) > here + after * change) & (abs(other) > there + before * change))
    return count > 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def in_doubt(lines, k, a, b, near, r, level):
    """Whether some unit may be on the other side of its knot at an end of the interval from row r - 1 to row r."""
    extremes = lines.extremes
    here = near[0, r - 1] + level[0] * (extremes[a, 0] + level[1])
    there = near[0, r] + level[0] * (extremes[b, 0] + level[1])
    # No unit changes by more than this; only if that leaves it open are all of them looked at.
    most = extremes[a, 0] + extremes[b, 0] + 2 * level[1]
    if extremes[a, 1 + k] > here + near[2, r - 1] * most and extremes[b, 1 + k] > there + near[1, r] * most:
        return False
    return close(lines.values, k, a, b, here, there, near[2, r - 1], near[1, r])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def ends_of(points, r):
    """Position, weight and t at both ends of the interval from row r - 1 to row r."""
    position = points.position
    p, q, one = position[r - 1], position[r], position.dtype.type(1)
    if points.weighted:
        w, v = points.weight[r - 1], points.weight[r]
        return p, w, p / w, q, v, q / v
    return p, one, p, q, one, q


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def apply(r, points, gate, lines, made):
    """The gate's output in row r, or four rows' product with a narrow matrix once they are there."""
    b, narrow = r & 1, len(made.matrix) > 0
    to = r % 4 if narrow else r
    if gate.is_relu:
        apply_relu(lines.values, b, made.applied, to)
    else:
        w = points.weight[r] if points.weighted else lines.values.dtype.type(1)
        apply_knots(lines.values, b, gate, w, made.applied, to)
    if narrow and (to == 3 or r + 1 == len(points.position)):
        product(made.applied, made.matrix, made.product, r - to, to + 1)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def take_row(r, s, stop, fresh, points, gate, bounds, pieces, lines, made, room):
    """Apply the gate to row r of segment s, compare it with the row before, and place the crossings between the two.

    Args:
        stop, fresh: how many crossings and new points there are before.

    Returns:
        How many there are then, the first -1 where there is not enough room; and whether a unit is exactly on its knot.
    """
    b, own, on_knot, begins, starts = r & 1, len(lines.values) - 1, False, stop, r == points.offsets[s]
    a, w = 1 - b, points.weight[r] if points.weighted else lines.values.dtype.type(1)
    apply(r, points, gate, lines, made)
    if own > 0:
        distances(lines.values, own, b, gate.knots, w)
        extent(lines.bits, own, a, b, lines.extreme_bits, own)
    if pieces.recorded and starts:
        note_pieces(lines.values, b, gate.knots, w, pieces.first, s)
    for k in range(len(gate.knots)):
        changed = extent(lines.bits, k, a, b, lines.extreme_bits, own)
        on_knot |= lines.extremes[b, 1 + k] == 0
        if starts:
            continue
        if bounds.bounded and not bounds.uncertain[s]:
            bounds.uncertain[s] = in_doubt(lines, k, a, b, bounds.near, r, gate.level)
        if changed < 0:
            if 2 * (stop + lines.values.shape[2]) - begins > room.integers.shape[1]:
                return -1, fresh, on_knot
            ends = ends_of(points, r)
            stop = gather(lines.values, lines.bits, k, a, b, k, ends, points.weighted, stop, room.integers, room.reals)
    made.size[r] = lines.extremes[b, 0]
    made.added[r] = 0
    if stop > begins:
        if stop - begins > 1:
            in_order(begins, stop, room.integers, room.reals)
        before, (_, _, t, _, _, e) = fresh, ends_of(points, r)
        fresh = place_interval(
            r - 1, begins, stop, fresh, t, e, room.integers, room.reals, room.inside, room.spots, room.shares
        )
        made.added[r - 1] = fresh - before
    return stop, fresh, on_knot


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def through_gate(products, points, gate, bounds, pieces, lines, made, room):
    """The values at all points, the next gate's output there, and where it bends; loop_arrays.py describes the groups.

    Args:
        products: what the values follow from.
        points: all of them.
        gate, bounds, pieces, made: of the next gate; the last three are filled in.
        room: for the next gate's bends and its new points, filled in.

    Returns:
        How many bends there are, -1 where there is not enough room for them; how many new points; and whether a unit is
        exactly on its knot at some point.
    """
    zero, one, own = lines.values.dtype.type(0), lines.values.dtype.type(1), len(lines.values) - 1
    stop, fresh, on_knot, m, g, r = 0, 0, False, 0, 0, 0
    for s in range(len(products.offsets) - 1):
        r = points.offsets[s]
        for i in range(products.offsets[s], products.offsets[s + 1]):
            begin = m
            while m < products.total and products.row[m] == i:
                m += 1
            at, place, ahead = begin - 1, zero, r + products.added[i]
            # The slope is turned by a bend only when the next row is made, by this unit and so much.
            turning, change = 0, zero
            # The point there was comes first, then one for each of the interval's bends that lies on a new point.
            while at < m:
                if at < begin:
                    w = points.weight[r] if points.weighted else one
                    row_there(products, i, w, lines.values, own, r & 1)
                    if products.added[i] > 0:
                        growth = points.weight[ahead + 1] - w if points.weighted else zero
                        slope_before(products, i, growth, begin, m)
                        turning, change = last_turn(products, m)
                    else:
                        at = m - 1
                else:
                    fresh_row = r <= ahead and products.crossing_row[at] == r
                    if fresh_row:
                        step = products.right[g] - place
                        turn_and_step(products, turning, change, step, lines.values, own, r & 1)
                        place, g = products.right[g], g + 1
                    else:
                        turn(products, turning, change)
                    turning, change = products.unit[at], products.kink[at]
                    if not fresh_row:
                        at += 1
                        continue
                at += 1
                stop, fresh, zeros = take_row(r, s, stop, fresh, points, gate, bounds, pieces, lines, made, room)
                if stop < 0:
                    return -1, fresh, on_knot
                on_knot |= zeros
                r += 1
        if pieces.recorded:
            w = points.weight[r - 1] if points.weighted else one
            note_pieces(lines.values, (r - 1) & 1, gate.knots, w, pieces.last, s)
    return stop, fresh, on_knot


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def outputs(products, points, place, asked, out, answers):
    """The values where no gate follows, at the points that are kept; products and points as through_gate.

    Args:
        place: how many points are kept before each row, ``(P + G + 1,)``. What is not kept is overwritten by what
            follows it.
        asked: rows whose values are wanted besides, in order.
        out, answers: the values at the points that are kept, and at those asked for; filled in.
    """
    width, zero, one = products.values.shape[1], products.values.dtype.type(0), products.values.dtype.type(1)
    slope, m, g, answered = products.slope, 0, 0, 0
    for s in range(len(products.offsets) - 1):
        r = points.offsets[s]
        for i in range(products.offsets[s], products.offsets[s + 1]):
            begin, last, at, to = m, r + products.added[i], zero, place[r]
            while m < products.total and products.row[m] == i:
                m += 1
            w = points.weight[r] if points.weighted else one
            for u in range(width):
                out[to, u] = products.values[i, u] + w * products.bias[u]
            answered = answer(asked, answered, r, out, to, answers)
            if products.added[i] > 0:
                growth = points.weight[last + 1] - w if points.weighted else zero
                slope_before(products, i, growth, begin, m)
                turning, change = last_turn(products, m)
                for n in range(begin, m):
                    if r < last and products.crossing_row[n] == r + 1:
                        before, to, step = to, place[r + 1], products.right[g] - at
                        for u in range(width):
                            turned = slope[u] + change * products.columns[turning, u]
                            slope[u] = turned
                            out[to, u] = out[before, u] + step * turned
                        at, g, r = products.right[g], g + 1, r + 1
                        answered = answer(asked, answered, r, out, to, answers)
                    else:
                        turn(products, turning, change)
                    turning, change = products.unit[n], products.kink[n]
            r += 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, inline="always")
def answer(asked, answered, r, out, to, answers):
    """Keep the values of row r, which lie at ``out[to]``, if they are asked for; gives how many answers there are."""
    if answered < len(asked) and asked[answered] == r:
        for u in range(out.shape[1]):
            answers[answered, u] = out[to, u]
        answered += 1
    return answered
