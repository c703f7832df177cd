"""Bounds of 2-norms lie above the singular values of the whole matrix, and close to them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.exactness.judge import operator_norms
from relu_regions.exactness.judge.operator_norms import OperatorNorms, spectral_norms
from relu_regions.network.steps import AffineStep


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (1, 7), (7, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_matrices(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for matrix in (torch.randn(shape, dtype=dtype), torch.ones(shape, dtype=dtype), torch.eye(*shape, dtype=dtype)):
        for scale in (1e-100, 1.0, 1e100):
            true = float(torch.linalg.matrix_norm(matrix, 2)) * scale
            assert true <= float(spectral_norms(scale * matrix)) <= 1.1 * true


def test_matrices_at_the_ends_of_the_floats() -> None:
    zero = torch.zeros(3, 4, dtype=torch.float64)
    small = torch.full_like(zero, 5e-324)
    assert 0 <= float(spectral_norms(zero)) < 1e-100 and 1e-323 < float(spectral_norms(small)) < 1e-100
    large = float(spectral_norms(torch.full_like(zero, 1.7e308)))
    assert not large <= 1.7e308  # infinite, or no number: it bounds nothing


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_matrices_of_many_rows(dtype: torch.dtype) -> None:
    """Groups of rows are bounded one by one."""
    torch.manual_seed(0)
    matrix = torch.randn(300, 280, dtype=dtype)
    true = float(torch.linalg.matrix_norm(matrix, 2))
    assert true <= float(spectral_norms(matrix)) <= 1.5 * true


def _no_factor(matrix: Tensor) -> tuple[Tensor, Tensor]:
    return torch.randn_like(matrix) / len(matrix), torch.zeros(matrix.shape[:-2], dtype=torch.int32)


def _too_little(matrix: Tensor) -> Tensor:
    return matrix.new_full(matrix.shape[:-2], 1e-3).real


@pytest.mark.parametrize(
    ("where", "name", "wrong"),
    [(torch.linalg, "cholesky_ex", _no_factor), (operator_norms, "_guessed", _too_little)],
    ids=["factor", "guess"],
)
def test_neither_factors_nor_guesses_are_trusted(
    where: Any, name: str, wrong: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    monkeypatch.setattr(where, name, wrong)
    for matrix in torch.randn(50, 6, 9, dtype=torch.float64):
        assert float(torch.linalg.matrix_norm(matrix, 2)) <= float(spectral_norms(matrix))


def is_above(bound: float, matrix: list[list[int]]) -> bool:
    """Whether a bound is above the 2-norm of a matrix of integers: bound² - A Aᵀ has positive pivots, in fractions."""
    square = Fraction(bound) ** 2
    rows = [[Fraction(-sum(map(int.__mul__, one, other))) for other in matrix] for one in matrix]
    for place, row in enumerate(rows):
        row[place] += square
    for place, pivot in enumerate(rows):
        if pivot[place] <= 0:
            return False
        for row in rows[place + 1 :]:
            share = row[place] / pivot[place]
            row[place:] = [one - share * other for one, other in zip(row[place:], pivot[place:])]
    return True


def norms_and_matrices(model: nn.Module, *shape: int) -> list[tuple[OperatorNorms, list[Tensor]]]:
    """The bounds of every affine step, and its matrices, from one column after another."""
    network, found = rr.Network.from_module(model.double().eval(), shape), []
    for step in network.steps:
        if isinstance(step, AffineStep):
            shapes = [network.shapes[name] for name in step.inputs]
            matrices = []
            for place, inputs in enumerate(shapes):
                size = torch.Size(inputs).numel()
                values = [torch.zeros(size, *other, dtype=torch.float64) for other in shapes]
                values[place] = torch.eye(size, dtype=torch.float64).view(size, *inputs)
                matrices.append(step.linear(*values).flatten(1).T)
            found.append((OperatorNorms.of(network, step), matrices))
    return found


CONVOLUTIONS = [
    nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, groups=2, stride=2),
    nn.Conv2d(2, 2, 1, stride=2), nn.Conv2d(1, 3, (2, 4), padding=2, dilation=(2, 1)), nn.Conv2d(2, 2, 2, stride=3),
]  # fmt: skip


@pytest.mark.parametrize("convolution", CONVOLUTIONS, ids=str)
def test_convolutions(convolution: nn.Conv2d) -> None:
    torch.manual_seed(1)
    ((norms, (matrix,)),) = norms_and_matrices(convolution, convolution.in_channels, 7, 6)
    true = float(torch.linalg.matrix_norm(matrix, 2))
    assert true <= norms.whole[0] <= 1.3 * true
    rows = torch.linalg.vector_norm(matrix, dim=1)
    assert (norms.rows[0].flatten() >= rows).all() and (norms.rows[0].flatten() <= 1.001 * rows + 1e-12).all()


def test_convolutions_in_fractions() -> None:
    """The bound is above the norm, and a tenth less is not, in rational arithmetic."""
    torch.manual_seed(4)
    for convolution in (nn.Conv1d(2, 2, 3, padding=1, bias=False), nn.Conv1d(2, 4, 2, stride=2, groups=2, bias=False)):
        with torch.no_grad():
            convolution.weight.copy_(torch.randint(-9, 10, convolution.weight.shape))
        ((norms, (matrix,)),) = norms_and_matrices(convolution, 2, 6)
        whole, numbers = norms.whole[0], matrix.long().tolist()
        assert is_above(whole, numbers) and not is_above(0.8 * whole, numbers)


@pytest.mark.parametrize("length", [60, 9])
def test_the_largest_symbol_lies_between_the_frequencies(length: int) -> None:
    """|S(ω)| = 2 |sin ω| is largest at π/2, as far from multiples of π/5 as can be."""
    convolution = nn.Conv1d(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[[1.0, 0.0, -1.0]]]))
    ((norms, (matrix,)),) = norms_and_matrices(convolution, 1, length)
    true = float(torch.linalg.matrix_norm(matrix, 2))
    assert true <= norms.whole[0] <= 1.12 * true


class Others(nn.Module):
    """A convolution along one axis, a product of one number, a mean, and a sum of two values."""

    def __init__(self) -> None:
        super().__init__()
        self.along, self.up = nn.Conv1d(2, 2, 3, padding=1), nn.ConvTranspose1d(2, 2, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.along(x)) * 1.5 + x
        return torch.nn.functional.avg_pool1d(self.up(torch.relu(y)), 2)


def test_other_steps() -> None:
    torch.manual_seed(2)
    found = norms_and_matrices(Others(), 2, 6)
    assert len(found) > 3
    for norms, matrices in found:
        for rows, whole, matrix in zip(norms.rows, norms.whole, matrices, strict=True):
            assert float(torch.linalg.matrix_norm(matrix, 2)) <= whole
            assert (rows.expand(1, *rows.shape[1:]).flatten() >= torch.linalg.vector_norm(matrix, dim=1)).all()


def test_a_caller_in_inference_mode_has_the_same_norms() -> None:
    with torch.inference_mode():
        network = rr.Network.from_module(nn.AvgPool1d(3, 2).double().eval(), (2, 9))
        (step,) = network.steps
        assert isinstance(step, AffineStep)
        inside = OperatorNorms.of(network, step).whole
    assert inside == OperatorNorms.of(network, step).whole
