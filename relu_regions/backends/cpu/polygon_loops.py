"""The loops that numba compiles for convex polygons that lines cut: signs at corners, new corners, names.

A polygon is a row for each corner, counter-clockwise: ``numbers`` (s, t, radius of s, radius of t, and a, b, c, e of
the edge that begins there: it lies where a + b s + c t is 0, and e bounds the error of that form on the plane's whole
polygon, that of evaluating it in floats included) and ``names`` (two hashes that name the corner, and the edge's
label). A ``line`` and a ``plane`` are as in `relu_regions.backends.plane_corners`.
`relu_regions.backends.plane_reference` says what is computed, `docs/exactness.md` why it is right.
"""

import numpy as np
from numba import njit

from relu_regions.backends.cpu.plane_arrays import PARTS, STEP
from relu_regions.backends.plane_corners import Line

__all__ = [
    "EVALUATION",
    "LARGEST",
    "SMALLEST",
    "add_halves",
    "copy_corners",
    "crossing_name",
    "form_at",
    "is_sure",
    "mixed",
    "put_crossing",
    "put_edge",
    "put_part",
    "side_of",
    "take_back",
]

# Rounding of a + b s + c t, as a multiple of |a| + S |b| + T |c|, that of bounds and of comparing with them included.
EVALUATION = 16 * 2.0**-53
# More than all that underflow takes away; and products beyond its inverse may have overflowed.
SMALLEST = 1e-290
LARGEST = 1e290


@njit(**STEP)
def mixed(number):
    """A permutation of the integers of 64 bits that leaves nothing of their order (splitmix64)."""
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))


@njit(**STEP)
def crossing_name(names, first, second, label, made):
    """Names a new corner, at which a line, by its label, crosses the edge between two corners."""
    one, other = names[first, 0] + names[second, 0], names[first, 1] + names[second, 1]
    names[made, 0] = mixed(one + mixed(label + np.uint64(0x9E3779B97F4A7C15)))
    names[made, 1] = mixed(other + mixed(label + np.uint64(0xD1B54A32D192ED03)))


@njit(**STEP)
def copy_corners(corners, first, count, made, at):
    """Copies corners, row by row: numba takes much longer to compile assignments of slices."""
    for i in range(count):
        for j in range(8):
            made.numbers[at + i, j] = corners.numbers[first + i, j]
        for j in range(3):
            made.names[at + i, j] = corners.names[first + i, j]


@njit(**STEP)
def put_edge(corners, at, line):
    """Writes the edge that begins at a corner."""
    corners.numbers[at, 4], corners.numbers[at, 5] = line.a, line.b
    corners.numbers[at, 6], corners.numbers[at, 7] = line.c, line.error
    corners.names[at, 2] = line.label


@njit(**STEP)
def edge_of(corners, at):
    """The edge that begins at a corner."""
    numbers = corners.numbers
    return Line(numbers[at, 4], numbers[at, 5], numbers[at, 6], numbers[at, 7], corners.names[at, 2])


@njit(**STEP)
def form_at(line, corners, at):
    return line.a + line.b * corners.numbers[at, 0] + line.c * corners.numbers[at, 1]


@njit(**STEP)
def cross(one, other, plane):
    """The size of the determinant of two lines' slopes; and what their errors are worth in it, along t and along s."""
    one_b, one_c = abs(one.b) + one.error / plane.s, abs(one.c) + one.error / plane.t
    other_b, other_c = abs(other.b) + other.error / plane.s, abs(other.c) + other.error / plane.t
    along_t = (one_b * other.error + other_b * one.error) / plane.t
    along_s = (one_c * other.error + other_c * one.error) / plane.s
    return abs(one.b * other.c - other.b * one.c), along_t, along_s


@njit(**STEP)
def is_far(height, line, corners, here):
    """Whether a form's computed height is larger than all that it can differ by within the corner's radii."""
    numbers = corners.numbers
    return abs(height) > line.error + abs(line.b) * numbers[here, 2] + abs(line.c) * numbers[here, 3]


@njit(**STEP)
def is_sure(height, line, corners, here, last, plane):
    """Whether a form has the sign of its computed height at a true corner, the crossing of two edges' true lines.

    With D the determinant of the two lines' slopes, it changes from the computed corner to the true one by what the
    two lines' own heights there are worth: det(form, line 2) / D of the first, det(line 1, form) / D of the second.
    """
    if is_far(height, line, corners, here):
        return True
    if not abs(height) > line.error:
        return False
    before, after = edge_of(corners, last), edge_of(corners, here)
    size, along_t, along_s = cross(before, after, plane)
    det = size - along_t - along_s
    if not SMALLEST < det < LARGEST:
        return False
    size, along_t, along_s = cross(line, after, plane)
    first = size + along_t + along_s + SMALLEST
    size, along_t, along_s = cross(before, line, plane)
    second = size + along_t + along_s + SMALLEST
    off_before = abs(form_at(before, corners, here)) + before.error
    off_after = abs(form_at(after, corners, here)) + after.error
    return abs(height) > line.error + 1.0001 * (first * off_before + second * off_after + SMALLEST) / det


@njit(**STEP)
def side_of(line, corners, start, count, plane):
    """On which side of a line a polygon is: 1 or -1; 0 if the line crosses it, 2 if that is in doubt.

    Without bounds corners may be on the line; 1 and -1 then allow for such corners, and -1 is also all on the line.
    """
    above = below = False
    for i in range(count):
        here = start + i
        height = form_at(line, corners, here)
        if plane.bounded and not is_far(height, line, corners, here):
            last = start + (i - 1 if i > 0 else count - 1)
            if not is_sure(height, line, corners, here, last, plane):
                return 2
        above |= height > 0
        below |= height < 0
    if above and below:
        return 0
    return 1 if above else -1


@njit(**STEP)
def put_crossing(corners, first, second, height, height_after, line, plane, made):
    """Writes s, t and their radii where a line crosses the edge from one corner to the next."""
    numbers = corners.numbers
    share = height / (height - height_after)
    s = numbers[first, 0] + share * (numbers[second, 0] - numbers[first, 0])
    t = numbers[first, 1] + share * (numbers[second, 1] - numbers[first, 1])
    numbers[made, 0], numbers[made, 1], numbers[made, 2], numbers[made, 3] = s, t, 0.0, 0.0
    if not plane.bounded:
        return
    # The true corner is on the true edge, between its true ends.
    radius_s = 1.0001 * max(
        abs(numbers[first, 0] - s) + numbers[first, 2], abs(numbers[second, 0] - s) + numbers[second, 2]
    )
    radius_t = 1.0001 * max(
        abs(numbers[first, 1] - t) + numbers[first, 3], abs(numbers[second, 1] - t) + numbers[second, 3]
    )
    edge = edge_of(corners, first)
    size, along_t, along_s = cross(line, edge, plane)
    det = size - along_t - along_s
    if SMALLEST < det < LARGEST:
        off, off_edge = abs(form_at(line, corners, made)) + line.error, abs(form_at(edge, corners, made)) + edge.error
        line_b, line_c = abs(line.b) + line.error / plane.s, abs(line.c) + line.error / plane.t
        edge_b, edge_c = abs(edge.b) + edge.error / plane.s, abs(edge.c) + edge.error / plane.t
        near_s = 1.0001 * (line_c * off_edge + edge_c * off + SMALLEST) / det
        near_t = 1.0001 * (line_b * off_edge + edge_b * off + SMALLEST) / det
        radius_s = near_s if near_s < radius_s else radius_s
        radius_t = near_t if near_t < radius_t else radius_t
    numbers[made, 2], numbers[made, 3] = radius_s, radius_t


@njit(**STEP)
def add_halves(corners, start, count, heights, line, plane, above, below):
    """Cuts a polygon by a line that crosses it, and counts the corners of the part above it and of that below.

    Args:
        heights: of the line's form at the corners.
        above, below: where in the same array the parts begin, which are filled in.
    """
    up, down = above, below
    for i in range(count):
        after = i + 1 if i + 1 < count else 0
        here, height, height_after = start + i, heights[i], heights[after]
        if height >= 0:
            copy_corners(corners, here, 1, corners, up)
            if height == 0 and not height_after > 0:
                put_edge(corners, up, line)
            up += 1
        if height <= 0:
            copy_corners(corners, here, 1, corners, down)
            if height == 0 and not height_after < 0:
                put_edge(corners, down, line)
            down += 1
        if (height > 0 and height_after < 0) or (height < 0 and height_after > 0):
            # The half that is left here goes on along the line, the other one along the edge.
            copy_corners(corners, here, 1, corners, up)
            put_crossing(corners, here, start + after, height, height_after, line, plane, up)
            crossing_name(corners.names, here, start + after, line.label, up)
            copy_corners(corners, up, 1, corners, down)
            put_edge(corners, up if height > 0 else down, line)
            up += 1
            down += 1
    return up - above, down - below


@njit(**STEP)
def put_part(face, corners, start, count, made):
    """Writes a part but for its pieces, if there is room; whether there is."""
    parts, number = made.parts, made.counts[PARTS]
    end = parts.ends[number]
    if number >= parts.parents.shape[0] or end + count > parts.corners.numbers.shape[0]:
        return False
    copy_corners(corners, start, count, parts.corners, end)
    parts.parents[number], parts.ends[number + 1] = face, end + count
    made.counts[PARTS] = number + 1
    return True


@njit(**STEP)
def take_back(face, made):
    """Leaves a face without parts, because of a doubt."""
    made.doubt[face] = True
    while made.counts[PARTS] > 0 and made.parts.parents[made.counts[PARTS] - 1] == face:
        made.counts[PARTS] -= 1
