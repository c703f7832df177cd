"""The exact coefficients: floats as dyadic integers, steps as matrices, and the digest of a network."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from relu_regions.exactness.rational import coefficients
from relu_regions.exactness.rational.arithmetic import SparseMatrix, dyadic
from relu_regions.exactness.rational.coefficients import ExactAffine, ExactNetwork
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep
from tests.models import ARCHITECTURES, Architecture, mlp


def affine_steps(network: Network) -> list[tuple[AffineStep, list[tuple[int, ...]]]]:
    """Every affine step, with the shapes of its inputs."""
    shapes = {network.input_name: network.input_shape} | {step.output: step.shape for step in network.steps}
    affine = [step for step in network.steps if isinstance(step, AffineStep)]
    return [(step, [shapes[name] for name in step.inputs]) for step in affine]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_every_short_cut_is_what_the_step_makes_of_basis_vectors(architecture: Architecture) -> None:
    for step, shapes in affine_steps(Network.from_module(architecture.model(), architecture.shape)):
        for place, matrix in enumerate(coefficients._coefficients(step, shapes)):
            probed = coefficients._probed(step, shapes, place).to_dense().numpy()
            assert np.array_equal(matrix if isinstance(matrix, np.ndarray) else matrix.to_dense().numpy(), probed)


CONVOLUTIONS = [
    (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2), (4, 8, 7)),
    (nn.Conv1d(3, 3, 3, padding="same", groups=3), (3, 11)),
    (nn.Conv3d(2, 4, 2, stride=2), (2, 4, 5, 4)),
    (nn.Conv2d(4, 8, 3, groups=4, padding=1, padding_mode="reflect"), (4, 5, 5)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (4, 5, 4)),
    (nn.ConvTranspose1d(2, 3, 4, stride=3), (2, 6)),
]


@pytest.mark.parametrize(("model", "shape"), CONVOLUTIONS, ids=lambda part: type(part).__name__)
def test_convolutions(model: nn.Module, shape: tuple[int, ...]) -> None:
    found = 0
    for step, shapes in affine_steps(Network.from_module(model.double().eval(), shape)):
        if step.origin.operation.startswith("conv"):
            expected = coefficients._probed(step, shapes, 0).to_dense().numpy()
            assert np.array_equal(coefficients._convolution(step, shapes[0]).to_dense().numpy(), expected)
            found += 1
    assert found == 1


def test_a_step_that_adds_numbers_is_no_rearrangement() -> None:
    # Inside, three weights of 1/3 add up to 1, and their mean position is that of an input.
    model = nn.Sequential(nn.AvgPool1d(3, padding=1)).double().eval()
    ((step, shapes),) = affine_steps(Network.from_module(model, (1, 9)))
    assert coefficients._taken(step, shapes, 0) is None


def test_a_large_step_is_probed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    ((step, shapes),) = affine_steps(Network.from_module(nn.AvgPool2d(2).double().eval(), (3, 6, 6)))
    whole = coefficients._probed(step, shapes, 0).to_dense().numpy()
    monkeypatch.setattr(coefficients, "_PROBE_NUMBERS", 7 * 3 * 36)
    assert np.array_equal(coefficients._probed(step, shapes, 0).to_dense().numpy(), whole)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_dyadic_integers_are_the_floats(numbers: list[float]) -> None:
    integers, exponent = dyadic(np.array(numbers, dtype=np.float64))
    assert exponent >= 0
    assert [Fraction(integer, 2**exponent) for integer in integers] == [Fraction(number) for number in numbers]
    assert exponent == 0 or any(integer % 2 for integer in integers)


def test_dyadic_refuses_infinity() -> None:
    with pytest.raises(ValueError, match="infinity"):
        dyadic(np.array([1.0, math.inf]))


def test_a_convolution_is_sparse() -> None:
    network = Network.from_module(nn.Conv2d(2, 3, 3).double().eval(), (2, 9, 9))
    (step,) = (step for step in ExactNetwork(network).steps if isinstance(step, ExactAffine))
    (matrix,) = step.matrices
    assert isinstance(matrix, SparseMatrix)
    assert len(matrix.entries) == 3 * 7 * 7 * 2 * 9


def test_the_digest_tells_networks_apart() -> None:
    def digest(model: nn.Module) -> str:
        return ExactNetwork(Network.from_module(model.eval(), (4,))).digest

    model = mlp(4, 5, 3).double()
    known = digest(model)
    assert digest(model) == known
    with torch.no_grad():
        model[2].weight[1, 2] = math.nextafter(float(model[2].weight[1, 2]), 9)
    assert digest(model) != known
    assert digest(nn.Sequential(model[0], nn.LeakyReLU(0.1), model[2])) != digest(model)
