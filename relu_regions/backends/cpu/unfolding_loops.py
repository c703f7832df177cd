"""The loops that numba compiles for unfolded convolutions; as loops.py."""

from numba import njit

__all__ = ["add_up", "layout", "unfold"]


@njit(cache=True, nogil=True, error_model="numpy")
def layout(geometry):
    """The length of a padded row, of the stretch that holds all outputs, and of a padded plane."""
    height, width, out_height, out_width, tall, wide = geometry[:6]
    padding, padding_x, dilation, dilation_x = geometry[8:12]
    pitch = max(width + padding_x, out_width + (wide - 1) * dilation_x)
    rows = max(height + padding, out_height + (tall - 1) * dilation)
    return pitch, (out_height - 1) * pitch + out_width, rows * pitch


@njit(cache=True, nogil=True, error_model="numpy")
def unfold(values, start, stop, geometry, rectify, padded, columns):
    """Lays out the inputs of the points from start to stop, ``(numbers of the kernel, points * span)``."""
    height, width, tall, wide = geometry[0], geometry[1], geometry[4], geometry[5]
    padding, padding_x, dilation, dilation_x = geometry[8:12]
    pitch, span, _ = layout(geometry)
    for p in range(start, stop):
        fill(values[p], height, width, padding * pitch + padding_x, pitch, rectify, padded)
        to = (p - start) * span
        for c in range(len(padded)):
            for a in range(tall):
                for b in range(wide):
                    first = a * dilation * pitch + b * dilation_x
                    number = (c * tall + a) * wide + b
                    copy(padded, c, first, span, columns, number, to)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def fill(row, height, width, first, pitch, rectify, padded):
    for c in range(len(padded)):
        for y in range(height):
            source, target = row[(c * height + y) * width :], padded[c, first + y * pitch :]
            if rectify:
                for x in range(width):
                    value = source[x]
                    target[x] = value if value > 0 else 0
            else:
                for x in range(width):
                    target[x] = source[x]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def copy(padded, c, first, span, columns, number, to):
    source, target = padded[c, first:], columns[number, to:]
    for n in range(span):
        target[n] = source[n]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def add_up(start, stop, bias, weights, sums, geometry, result):
    """The sums of the points from start to stop with their biases, without what reaches across."""
    height, width = geometry[2], geometry[3]
    pitch = max(geometry[1] + geometry[9], width + (geometry[5] - 1) * geometry[11])
    span = (height - 1) * pitch + width
    for p in range(start, stop):
        for o in range(len(bias)):
            offset = bias[o] * weights[p]
            for y in range(height):
                source, target = sums[o, (p - start) * span + y * pitch :], result[p, (o * height + y) * width :]
                for x in range(width):
                    target[x] = source[x] + offset
