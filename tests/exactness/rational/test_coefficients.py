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

from relu_regions.exactness.rational.arithmetic import SparseMatrix, dyadic
from relu_regions.exactness.rational.coefficients import ExactAffine, ExactNetwork
from relu_regions.network.network import Network
from tests.models import mlp


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
