"""Products with matrices and convolution kernels, exact where the numbers are on grids: sums of products, in any order.

A library may convolve by Winograd's or Fourier's way, which multiplies other numbers than these. torch's convolution of
float64 on a CPU unfolds and multiplies matrices; elsewhere it is unfolded here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from relu_regions.network.steps import AffineStep, Convolution

__all__ = ["Product", "product_of"]

Product = Callable[[Tensor, Tensor], Tensor]

# What may be unfolded at once.
_COLUMN_BYTES = 4 << 20


def product_of(step: AffineStep) -> Product | None:
    """The product of stacks of values with a constant like that of a step, of however many outputs; None if the step
    is no matrix and no convolution.
    """
    if isinstance(step.form, Convolution):
        form = step.form
        return lambda values, kernel: _convolved(form, values, kernel)
    if step.is_matrix or step.function is functional.linear:
        return functional.linear
    return None


def _convolved(form: Convolution, values: Tensor, kernel: Tensor) -> Tensor:
    values = _padded(form, values)
    columns = math.prod(form.kernel) * kernel.shape[1] * form.groups * math.prod(form.outputs[1:])
    block = max(1, _COLUMN_BYTES // max(1, 8 * columns))
    convolve = _on_cpu if values.device.type == "cpu" else _unfolded
    if len(values) <= block:
        return convolve(form, values, kernel)
    result = values.new_empty(len(values), len(kernel), *form.outputs[1:])
    for start in range(0, len(values), block):
        result[start : start + block] = convolve(form, values[start : start + block], kernel)
    return result


def _padded(form: Convolution, values: Tensor) -> Tensor:
    """The input with its padding, that before the first place and what the outputs need behind the last one."""
    sides: list[int] = []
    places = zip(form.inputs[1:], form.outputs[1:], form.kernel, form.stride, form.padding, form.dilation)
    for size, out, kernel, stride, before, dilation in places:
        behind = (out - 1) * stride + dilation * (kernel - 1) + 1 - size - before
        sides = [before, max(0, behind), *sides]
    return functional.pad(values, sides) if any(sides) else values


def _on_cpu(form: Convolution, values: Tensor, kernel: Tensor) -> Tensor:
    convolve = functional.conv1d if len(form.kernel) == 1 else functional.conv2d
    made: Tensor = convolve(values, kernel, None, form.stride, 0, form.dilation, form.groups)
    return _cut(form, made)


def _unfolded(form: Convolution, values: Tensor, kernel: Tensor) -> Tensor:
    flat = len(form.kernel) == 1
    size, dilation, stride = (
        (1, *numbers) if flat else numbers for numbers in (form.kernel, form.dilation, form.stride)
    )
    columns = functional.unfold(values[:, :, None] if flat else values, size, dilation, 0, stride)
    columns = columns.view(len(values), form.groups, -1, columns.shape[-1])
    made = kernel.reshape(form.groups, -1, columns.shape[2]) @ columns
    places = zip((1, *values.shape[2:])[-2:], size, dilation, stride)
    shape = [(length - d * (k - 1) - 1) // s + 1 for length, k, d, s in places]
    made = made.reshape(len(values), len(kernel), *shape)
    return _cut(form, made[:, :, 0] if flat else made)


def _cut(form: Convolution, made: Tensor) -> Tensor:
    """As many places as the step has."""
    for axis, size in enumerate(form.outputs[1:], 2):
        made = made.narrow(axis, 0, size)
    return made
