"""Rigorous upper bounds of the 2-norms of affine steps.

Let A be a matrix and G = A Aᴴ, so that ‖A‖₂² = ‖G‖₂. For every number s and matrix L, G = s I - L Lᴴ - E with
E = s I - G - L Lᴴ, and as L Lᴴ has no negative eigenvalue, ‖G‖₂ ≤ s + ‖E‖_F. So L needs no trust: it is what a
Cholesky factorisation makes of s I - G, with an s that power iteration has guessed and a little more. Where the
guess is too small there is no such factor, E is large, and a larger s is tried; ‖G‖₂ ≤ ‖G‖_F holds anyway. A computed
product of matrices X Y with sums of n products is within γ_n ‖X‖_F ‖Y‖_F of the true one in the Frobenius norm (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.5), which is added. A matrix of many rows is cut:
‖A‖₂² ≤ Σ ‖A_i‖₂² for groups A_i of its rows.

A convolution is a part of one on a torus that is large enough, whose norm is the largest of those of its symbol
S(ω) = Σ_p K_p exp(-i ω p), a small matrix at every frequency ω (Sedghi, Gupta, Long, "The singular values of
convolutional layers", ICLR 2019). One with a stride is a convolution of the phases of its input, which are more
channels (polyphase). On a large torus few frequencies do. Along an axis with P places, Re(exp(iα) uᴴ S(ω) v), moved by
(P - 1)/2 places, is a real trigonometric polynomial of degree n = (P - 1)/2. Where such a one has its maximum M, at ω*,
it is at least M cos(n (ω - ω*)) up to |ω - ω*| = π/n (M. Riesz, 1914; for half a degree take ω/2). One of N equidistant
frequencies lies within π/N of ω*, so the largest norm at these is at least cos(n π/N) of that at all frequencies, for
each axis.

Any other step has ‖A‖₂² ≤ ‖A‖₁ ‖A‖_∞.
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
# Rows of a matrix that are taken together: their norm costs as much as so many evaluations of its step.
_ROWS = 512
# Steps of power iteration, and larger numbers that are tried where it has guessed too small a norm.
_POWERS, _TRIES = 20, 100
# Frequencies along an axis for each place beyond the first: at these are 995 of a thousand of the norm at least, or 95
# of a hundred where the symbol has so many numbers that each frequency costs much.
_FOR_EACH_PLACE, _OF_LARGE, _LARGE = 16, 5, 1 << 15
# Numbers of one block of a symbol.
_BLOCK_NUMBERS = 1 << 22


def _gamma(terms: int, unit: float = _UNIT) -> float:
    return 2 * terms * unit / (1 - 2 * terms * unit)


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
    if matrices.shape[-2] > matrices.shape[-1]:
        matrices = matrices.mH
    # Any scale is right; this one keeps products away from the ends of the floats.
    scale: Tensor = torch.linalg.matrix_norm(matrices) + 2.0**-400
    scaled = matrices / scale[..., None, None]
    # No setting of torch's lets a processor multiply complex float32 numbers in less precision.
    if scaled.is_complex() and scaled.device.type == "cpu":
        scaled = scaled.to(torch.complex64)
    squares = torch.stack([_squared_norms(rows) for rows in torch.split(scaled, _ROWS, -2)]).sum(0)
    room = 1 + _gamma(matrices.shape[-2] + 8)
    # The scaled numbers, whose 2-norm is about 1, are rounded.
    return scale * (torch.sqrt(squares * room) * room + 16 * _unit(scaled))


def _squared_norms(matrices: Tensor) -> Tensor:
    """Upper bounds of the squares of 2-norms, ``(…,)``, of matrices that have a Frobenius norm of about 1 at most."""
    height, width = matrices.shape[-2:]
    unit, gram = _unit(matrices), matrices @ matrices.mH
    # One complex product has four real ones.
    made = _gamma(4 * width + 16, unit) * _frobenius(matrices).square()
    top = _guessed(gram)
    for _ in range(_TRIES):
        away = -gram
        away.diagonal(dim1=-2, dim2=-1).add_(top[..., None])
        factor, failed = torch.linalg.cholesky_ex(away)
        if not failed.any():
            break
        top = torch.where(failed > 0, 1.03 * top, top)
    rounded = _gamma(4 * height + 16, unit) * _frobenius(factor).square() + 8 * unit * (height * top.double() + 1)
    square = top.double() + _frobenius(away - factor @ factor.mH) * (1 + 4 * unit) + rounded
    # A factor of a matrix that has none may be no number. Less than 2^-100 is lost by underflow.
    square = torch.fmin(square, _frobenius(gram)) + made + 2.0**-100
    return square * (1 + _gamma(2 * width * width + 32))


def _unit(matrices: Tensor) -> float:
    return torch.finfo(matrices.dtype).eps / 2


def _frobenius(matrices: Tensor) -> Tensor:
    """Frobenius norms, in float64."""
    numbers = torch.view_as_real(matrices.resolve_conj()) if matrices.is_complex() else matrices[..., None]
    norms: Tensor = torch.linalg.vector_norm(numbers, dim=(-3, -2, -1), dtype=torch.float64)
    return norms


def _guessed(gram: Tensor) -> Tensor:
    """A little more than the largest eigenvalues of Gram matrices, most likely, ``(…,)``; nothing relies on it."""
    largest = gram.diagonal(dim1=-2, dim2=-1).abs().argmax(-1)
    vector = gram.gather(-1, largest[..., None, None].expand(*gram.shape[:-1], 1))
    for _ in range(_POWERS):
        size = torch.linalg.vector_norm(vector, dim=-2, keepdim=True)
        vector = gram @ (vector / (size + 2.0**-100))
    found: Tensor = torch.linalg.vector_norm(vector, dim=(-2, -1))
    return 1.02 * found + 2.0**-60


def _of_convolution(form: Convolution, kernel: Tensor) -> float:
    """The norm of a convolution, that of its symbol on a torus that holds it, the largest of all its groups."""
    taps = _phases(form, kernel)
    for_each = _FOR_EACH_PLACE if math.prod(taps.shape[:3]) < _LARGE else _OF_LARGE
    looked_at = [_frequencies(*numbers, for_each) for numbers in zip(form.outputs[1:], taps.shape[3:])]
    sizes, least = [size for size, _ in looked_at], math.prod(share for _, share in looked_at)
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
    return (float(largest) + lost) / least * (1 + 16 * _UNIT)


def _frequencies(outputs: int, places: int, for_each: int) -> tuple[int, float]:
    """How many frequencies are looked at along an axis, and which share of the norm they have at least.

    On a torus of as many numbers as the outputs reach no output is reached around it, and its own frequencies are all.
    """
    whole, few = outputs + places - 1, for_each * (places - 1)
    if whole <= max(1, few):
        return whole, 1.0
    if places == 1:
        return 1, 1.0
    return few, math.cos(math.pi * (places - 1) / (2 * few)) * (1 - 8 * _UNIT)


def _phases(form: Convolution, kernel: Tensor) -> Tensor:
    """The kernel of stride 1 that acts on the phases of the input, ``(groups, outputs, inputs, *places)``."""
    count = len(form.kernel)
    spread = kernel
    for axis, (size, dilation) in enumerate(zip(form.kernel, form.dilation), 2):
        if dilation > 1:
            wide = kernel.new_zeros(*spread.shape[:axis], (size - 1) * dilation + 1, *spread.shape[axis + 1 :])
            wide[(slice(None),) * axis + (slice(None, None, dilation),)] = spread
            spread = wide
    shape = [form.groups, kernel.shape[0] // form.groups, kernel.shape[1]]
    missing: list[int] = []
    for size, stride in zip(spread.shape[2:], form.stride):
        places = -(-size // stride)
        shape += [places, stride]
        missing = [0, places * stride - size, *missing]
    split = pad(spread, missing).reshape(shape)
    strides = [4 + 2 * axis for axis in range(count)]
    taps = split.permute(0, 1, 2, *strides, *(stride - 1 for stride in strides))
    return taps.reshape(*shape[:2], -1, *(shape[stride - 1] for stride in strides))
