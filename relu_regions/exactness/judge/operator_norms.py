"""Rigorous upper bounds of the 2-norms of affine steps.

A matrix A has ‖A‖₂² = ‖AᴴA‖₂ and ‖A‖₂ ≤ ‖A‖_F. So ‖A‖₂ ≤ ‖G_k‖_F^(1/2^k) with G_0 = A and G_{k+1} = G_kᴴ G_k, which
comes close to ‖A‖₂ after a few squarings (Delattre, Barthélemy, Araujo, Allauzen, "Efficient bound of Lipschitz
constant for convolutional layers by Gram iteration", ICML 2023). Each computed Gram matrix is within γ ‖G_k‖_F² of the
true one in the Frobenius norm (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.5), which
is added on the way back.

A convolution is a part of one on a torus that is large enough, whose norm is the largest of those of its symbol Σ_p K_p
exp(-i ω p), a small matrix at every frequency ω. One with a stride is a convolution of the phases of its input, which
are more channels (polyphase). Any other step has ‖A‖₂² ≤ ‖A‖₁ ‖A‖_∞.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, Convolution

__all__ = ["OperatorNorms", "spectral_norms"]

_UNIT = 2.0**-53
_SQUARINGS = 6
# Numbers of one block of a symbol.
_BLOCK_NUMBERS = 1 << 22


def _gamma(terms: int) -> float:
    return 2 * terms * _UNIT / (1 - 2 * terms * _UNIT)


@dataclass(frozen=True)
class OperatorNorms:
    """Upper bounds of the 2-norms of an affine step as a map from each of its inputs.

    Attributes:
        rows: of every output number's coefficients, for each input a tensor ``(1, *shape)``.
        whole: of the map itself, for each input.
    """

    rows: tuple[Tensor, ...]
    whole: tuple[float, ...]

    @classmethod
    def of(cls, network: Network, step: AffineStep) -> OperatorNorms:
        """Those of a step of a network in float64."""
        inputs = [network.shapes[name] for name in step.inputs]
        room = 1 + 2 * _gamma(step.terms + 8)
        if step.form is None or not step.constants[0].numel():
            sums = [_by_sums(step, inputs, place) for place in range(len(inputs))]
            return cls(tuple(rows * room for rows, _ in sums), tuple(norm * room for _, norm in sums))
        (constant,) = step.constants
        # Squares of such numbers don't underflow.
        squares = torch.where(constant != 0, constant.abs().clamp_min(2.0**-400), 0.0).square()
        rows = step.function(constant.new_ones(1, *inputs[0]), squares).sqrt() * room
        norm = _of_convolution(step.form, constant) if isinstance(step.form, Convolution) else None
        return cls((rows,), (float(spectral_norms(constant)) if norm is None else norm,))


def _by_sums(step: AffineStep, shapes: list[tuple[int, ...]], place: int) -> tuple[Tensor, float]:
    """The sums of each row's absolute coefficients of one input, and √(‖A‖₁ ‖A‖_∞)."""
    like = step.constants[0] if step.constants else torch.zeros(0, dtype=torch.float64)
    # The caller may be in inference mode, where nothing has a gradient.
    with torch.inference_mode(False), torch.enable_grad():
        values = [like.new_zeros(1, *shape) for shape in shapes]
        values[place] = torch.ones_like(values[place], requires_grad=True)
        rows = step.function(*values, *(constant.abs() for constant in step.constants))
        (columns,) = torch.autograd.grad(rows.sum(), values[place])
    rows = rows.detach()
    if not rows.numel() or not columns.numel():
        return rows, 0.0
    # A column has as many summands as there are outputs, and so many roundings.
    norm = math.sqrt(float(rows.max())) * math.sqrt(float(columns.max())) * (1 + _gamma(rows.numel() + 8))
    return rows, norm


def spectral_norms(matrices: Tensor) -> Tensor:
    """Upper bounds of the 2-norms of matrices, ``(…,)`` from ``(…, m, n)``, real or complex in double precision."""
    if matrices.shape[-2] < matrices.shape[-1]:
        matrices = matrices.mH
    height, width = matrices.shape[-2:]
    # One complex product has four real ones.
    made, small = _gamma(4 * height + 16), _gamma(height * width + 16)
    scales: list[Tensor] = []
    for squaring in range(_SQUARINGS + 1):
        scale = torch.linalg.matrix_norm(matrices) * (1 + small) + 2.0**-400
        scales.append(scale)
        if squaring < _SQUARINGS:
            matrices = matrices / scale[..., None, None]
            matrices = matrices.mH @ matrices
    # What remains of the last, less than 1, and of those before it, whose norms are squares.
    bound = scales[-1]
    for scale in reversed(scales[:-1]):
        bound = scale * (torch.sqrt(bound + made) * (1 + 8 * _UNIT) + small)
    return bound


def _of_convolution(form: Convolution, kernel: Tensor) -> float:
    """The norm of a convolution, that of its symbol on a torus that holds it, the largest of all its groups."""
    taps, sizes = _phases(form, kernel)
    groups, outputs, inputs = taps.shape[:3]
    flat = taps.flatten(3).permute(3, 0, 1, 2).flatten(1)  # a row for each place of the kernel
    places = torch.cartesian_prod(*(torch.arange(size) for size in taps.shape[3:])).view(flat.shape[0], -1)
    # A kernel of real numbers has conjugate symbols at opposite frequencies.
    spectrum = [size // 2 + 1 if first else size for first, size in zip((True, False), sizes)]
    frequencies = torch.cartesian_prod(*(torch.arange(size) for size in spectrum)).view(-1, len(sizes))
    turns = (frequencies.double() / torch.tensor(sizes)).double() @ places.double().T
    waves = torch.polar(torch.ones_like(turns), -2 * math.pi * (turns - turns.round())).to(kernel.device)
    # Sums of complex products, and waves whose angles are as many turns as the kernel is wide.
    terms = 4 * len(flat) + 64 * (1 + int(places.sum(1).max()))
    lost = _gamma(terms) * float(torch.linalg.vector_norm(flat.abs().sum(0)))
    largest = torch.zeros((), dtype=torch.float64)  # torch's maximum keeps a NaN
    for part in torch.split(waves, max(1, _BLOCK_NUMBERS // max(1, flat.shape[1]))):
        symbols = (part @ flat.to(part.dtype)).view(-1, groups, outputs, inputs)
        largest = torch.maximum(largest, spectral_norms(symbols).max().cpu())
    return (float(largest) + lost) * (1 + 8 * _UNIT)


def _phases(form: Convolution, kernel: Tensor) -> tuple[Tensor, list[int]]:
    """The kernel of stride 1 that acts on the phases of the input, ``(groups, outputs, inputs, *places)``, and the
    sizes of a torus on which it does not reach around.
    """
    count = len(form.kernel)
    spread = kernel
    for axis, (size, dilation) in enumerate(zip(form.kernel, form.dilation), 2):
        if dilation > 1:
            wide = kernel.new_zeros(*spread.shape[:axis], (size - 1) * dilation + 1, *spread.shape[axis + 1 :])
            wide[(slice(None),) * axis + (slice(None, None, dilation),)] = spread
            spread = wide
    shape, sizes = [form.groups, kernel.shape[0] // form.groups, kernel.shape[1]], []
    missing: list[int] = []
    for size, stride, output in zip(spread.shape[2:], form.stride, form.outputs[1:]):
        places = -(-size // stride)
        shape += [places, stride]
        missing = [0, places * stride - size, *missing]
        sizes.append(output + places)
    split = pad(spread, missing).reshape(shape)
    strides = [4 + 2 * axis for axis in range(count)]
    taps = split.permute(0, 1, 2, *strides, *(stride - 1 for stride in strides))
    return taps.reshape(*shape[:2], -1, *(shape[stride - 1] for stride in strides)), sizes
