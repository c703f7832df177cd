"""The loops that numba compiles for convex polygons that lines cut: signs at corners, new corners, names.

A polygon is a row for each corner, counter-clockwise: ``numbers`` (s, t, radius of s, radius of t, and a, b, c, e of
the edge that begins there: it lies where a + b s + c t is 0, and e bounds the error of that form on the plane's whole
polygon, that of evaluating it in floats included) and ``names`` (two hashes that name the corner, and the edge's
label).
`relu_regions.backends.plane_reference` says what is computed, `docs/exactness.md` why it is right.
"""

import numpy as np
from numba import njit

__all__ = [
    "EVALUATION",
    "SMALLEST",
    "add_halves",
    "copy_corners",
    "crossing_name",
    "grown",
    "is_sure",
    "mixed",
    "put_crossing",
    "put_edge",
    "side_of",
]

# Rounding of a + b s + c t, as a multiple of |a| + S |b| + T |c|, that of bounds and of comparing with them included.
EVALUATION = 16 * 2.0**-53
# More than all that underflow takes away; and products beyond its inverse may have overflowed.
SMALLEST = 1e-290
LARGEST = 1e290


@njit(cache=True, nogil=True, error_model="numpy")
def mixed(number):
    """A permutation of the integers of 64 bits that leaves nothing of their order (splitmix64)."""
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))


@njit(cache=True, nogil=True, error_model="numpy")
def crossing_name(names, first, second, label, made, at):
    """Names the corner at which a line, by its label, crosses the edge between two corners."""
    one, other = names[first, 0] + names[second, 0], names[first, 1] + names[second, 1]
    made[at, 0] = mixed(one + mixed(label + np.uint64(0x9E3779B97F4A7C15)))
    made[at, 1] = mixed(other + mixed(label + np.uint64(0xD1B54A32D192ED03)))


@njit(cache=True, nogil=True, error_model="numpy")
def grown(array, size):
    """The array, or a copy with at least twice the room."""
    if size <= array.shape[0]:
        return array
    larger = np.empty((max(2 * array.shape[0], size), array.shape[1]), array.dtype)
    larger[: array.shape[0]] = array
    return larger


@njit(cache=True, nogil=True, error_model="numpy")
def copy_corners(polygon, names, first, count, other, other_names, at):
    """Copies corners, row by row: numba takes much longer to assign slices."""
    for i in range(count):
        for j in range(8):
            other[at + i, j] = polygon[first + i, j]
        for j in range(3):
            other_names[at + i, j] = names[first + i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def put_edge(polygon, names, at, a, b, c, e, label):
    """Writes the edge that begins at a corner."""
    polygon[at, 4], polygon[at, 5], polygon[at, 6], polygon[at, 7] = a, b, c, e
    names[at, 2] = label


@njit(cache=True, nogil=True, error_model="numpy")
def is_sure(height, a, b, c, e, polygon, here, last, reach_s, reach_t):
    """Whether a form has the sign of its computed height at a true corner, the crossing of two edges' true lines.

    With D the determinant of the two lines' slopes, it changes from the computed corner to the true one by what the
    two lines' own heights there are worth: det(form, line 2) / D of the first, det(line 1, form) / D of the second.
    """
    size = abs(height)
    if size > e + abs(b) * polygon[here, 2] + abs(c) * polygon[here, 3]:
        return True
    if not size > e:
        return False
    a1, b1, c1, e1 = polygon[last, 4], polygon[last, 5], polygon[last, 6], polygon[last, 7]
    a2, b2, c2, e2 = polygon[here, 4], polygon[here, 5], polygon[here, 6], polygon[here, 7]
    most_b, most_c = abs(b) + e / reach_s, abs(c) + e / reach_t
    most_b1, most_c1 = abs(b1) + e1 / reach_s, abs(c1) + e1 / reach_t
    most_b2, most_c2 = abs(b2) + e2 / reach_s, abs(c2) + e2 / reach_t
    det = abs(b1 * c2 - b2 * c1) - (most_b1 * e2 + most_b2 * e1) / reach_t - (most_c2 * e1 + most_c1 * e2) / reach_s
    if not SMALLEST < det < LARGEST:
        return False
    first = (
        abs(b * c2 - b2 * c) + (most_b * e2 + most_b2 * e) / reach_t + (most_c2 * e + most_c * e2) / reach_s + SMALLEST
    )
    second = (
        abs(b1 * c - b * c1) + (most_b1 * e + most_b * e1) / reach_t + (most_c * e1 + most_c1 * e) / reach_s + SMALLEST
    )
    off1 = abs(a1 + b1 * polygon[here, 0] + c1 * polygon[here, 1]) + e1
    off2 = abs(a2 + b2 * polygon[here, 0] + c2 * polygon[here, 1]) + e2
    return size > e + 1.0001 * (first * off1 + second * off2 + SMALLEST) / det


@njit(cache=True, nogil=True, error_model="numpy")
def side_of(a, b, c, e, polygon, start, count, reach_s, reach_t, bounded):
    """On which side of a line a polygon is: 1 or -1; 0 if the line crosses it, 2 if that is in doubt.

    Without bounds corners may be on the line; 1 and -1 then allow for such corners, and -1 is also all on the line.
    """
    above = below = False
    for i in range(count):
        here = start + i
        height = a + b * polygon[here, 0] + c * polygon[here, 1]
        if bounded and not abs(height) > e + abs(b) * polygon[here, 2] + abs(c) * polygon[here, 3]:
            last = start + (i - 1 if i > 0 else count - 1)
            if not is_sure(height, a, b, c, e, polygon, here, last, reach_s, reach_t):
                return 2
        above |= height > 0
        below |= height < 0
    if above and below:
        return 0
    return 1 if above else -1


@njit(cache=True, nogil=True, error_model="numpy")
def put_crossing(polygon, first, second, height, height_after, a, b, c, e, reach_s, reach_t, bounded, made, at):
    """Writes s, t and their radii where a line crosses the edge from one corner to the next."""
    share = height / (height - height_after)
    s = polygon[first, 0] + share * (polygon[second, 0] - polygon[first, 0])
    t = polygon[first, 1] + share * (polygon[second, 1] - polygon[first, 1])
    made[at, 0], made[at, 1], made[at, 2], made[at, 3] = s, t, 0.0, 0.0
    if not bounded:
        return
    # The true corner is on the true edge, between its true ends.
    radius_s = 1.0001 * max(
        abs(polygon[first, 0] - s) + polygon[first, 2], abs(polygon[second, 0] - s) + polygon[second, 2]
    )
    radius_t = 1.0001 * max(
        abs(polygon[first, 1] - t) + polygon[first, 3], abs(polygon[second, 1] - t) + polygon[second, 3]
    )
    a1, b1, c1, e1 = polygon[first, 4], polygon[first, 5], polygon[first, 6], polygon[first, 7]
    most_b, most_c = abs(b) + e / reach_s, abs(c) + e / reach_t
    most_b1, most_c1 = abs(b1) + e1 / reach_s, abs(c1) + e1 / reach_t
    det = abs(b1 * c - b * c1) - (most_b1 * e + most_b * e1) / reach_t - (most_c * e1 + most_c1 * e) / reach_s
    if SMALLEST < det < LARGEST:
        off = abs(a + b * s + c * t) + e
        off1 = abs(a1 + b1 * s + c1 * t) + e1
        near_s = 1.0001 * (most_c * off1 + most_c1 * off + SMALLEST) / det
        near_t = 1.0001 * (most_b * off1 + most_b1 * off + SMALLEST) / det
        radius_s = near_s if near_s < radius_s else radius_s
        radius_t = near_t if near_t < radius_t else radius_t
    made[at, 2], made[at, 3] = radius_s, radius_t


@njit(cache=True, nogil=True, error_model="numpy")
def add_halves(
    polygon,
    names,
    start,
    count,
    heights,
    line,
    label,
    reach_s,
    reach_t,
    bounded,
    above,
    above_names,
    below,
    below_names,
):
    """Cuts a polygon by a line that crosses it, and counts the corners of the part above it and of that below.

    Args:
        heights: of the line's form at the corners.
        line: its a, b, c, e.
        above, below: numbers of the parts, filled in, and their names.
    """
    up = down = 0
    a, b, c, e = line[0], line[1], line[2], line[3]
    for i in range(count):
        here, after = start + i, start + (i + 1 if i + 1 < count else 0)
        height, height_after = heights[i], heights[after - start]
        if height >= 0:
            copy_corners(polygon, names, here, 1, above, above_names, up)
            if height == 0 and not height_after > 0:
                put_edge(above, above_names, up, a, b, c, e, label)
            up += 1
        if height <= 0:
            copy_corners(polygon, names, here, 1, below, below_names, down)
            if height == 0 and not height_after < 0:
                put_edge(below, below_names, down, a, b, c, e, label)
            down += 1
        if (height > 0 and height_after < 0) or (height < 0 and height_after > 0):
            # The half that is left here goes on along the line, the other one along the edge.
            copy_corners(polygon, names, here, 1, above, above_names, up)
            put_crossing(polygon, here, after, height, height_after, a, b, c, e, reach_s, reach_t, bounded, above, up)
            crossing_name(names, here, after, label, above_names, up)
            copy_corners(above, above_names, up, 1, below, below_names, down)
            if height > 0:
                put_edge(above, above_names, up, a, b, c, e, label)
            else:
                put_edge(below, below_names, down, a, b, c, e, label)
            up += 1
            down += 1
    return up, down
