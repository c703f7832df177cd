"""The matrices of steps: every short cut against the basis vectors one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from relu_regions.exactness.rational import step_matrices
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep
from tests.models import ARCHITECTURES, Architecture


def affine_steps(network: Network) -> list[tuple[AffineStep, list[tuple[int, ...]]]]:
    """Every affine step, with the shapes of its inputs."""
    shapes = {network.input_name: network.input_shape} | {step.output: step.shape for step in network.steps}
    affine = [step for step in network.steps if isinstance(step, AffineStep)]
    return [(step, [shapes[name] for name in step.inputs]) for step in affine]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_every_short_cut_is_what_the_step_makes_of_basis_vectors(architecture: Architecture) -> None:
    for step, shapes in affine_steps(Network.from_module(architecture.model(), architecture.shape)):
        for place, matrix in enumerate(step_matrices.step_matrices(step, shapes)):
            probed = step_matrices._probed(step, shapes, place).to_dense().numpy()
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
            expected = step_matrices._probed(step, shapes, 0).to_dense().numpy()
            assert np.array_equal(step_matrices._convolution(step, shapes[0]).to_dense().numpy(), expected)
            found += 1
    assert found == 1


def test_a_step_that_adds_numbers_is_no_rearrangement() -> None:
    # Inside, three weights of 1/3 add up to 1, and their mean position is that of an input.
    model = nn.Sequential(nn.AvgPool1d(3, padding=1)).double().eval()
    ((step, shapes),) = affine_steps(Network.from_module(model, (1, 9)))
    assert step_matrices._taken(step, shapes, 0) is None


def test_a_large_step_is_probed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    ((step, shapes),) = affine_steps(Network.from_module(nn.AvgPool2d(2).double().eval(), (3, 6, 6)))
    whole = step_matrices._probed(step, shapes, 0).to_dense().numpy()
    monkeypatch.setattr(step_matrices, "_PROBE_NUMBERS", 7 * 3 * 36)
    assert np.array_equal(step_matrices._probed(step, shapes, 0).to_dense().numpy(), whole)


POOLINGS = [
    (nn.AvgPool2d(3, 2, padding=1), (3, 8, 7)),
    (nn.AvgPool2d((2, 4), (3, 1), padding=(0, 2), count_include_pad=False, ceil_mode=True), (2, 7, 9)),
    (nn.AvgPool2d(2, 5, divisor_override=3), (1, 12, 11)),
    (nn.AvgPool1d(4, 1), (3, 10)),
    (nn.AvgPool3d(2), (2, 4, 5, 4)),
    (nn.AdaptiveAvgPool2d((3, 5)), (2, 7, 8)),
    (nn.AdaptiveAvgPool1d(3), (2, 8)),
]


@pytest.mark.parametrize(("model", "shape"), POOLINGS, ids=str)
def test_poolings(model: nn.Module, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    ((step, shapes),) = affine_steps(Network.from_module(model.double().eval(), shape))
    expected = step_matrices._probed(step, shapes, 0).to_dense().numpy()
    monkeypatch.setattr(step_matrices, "_probed", None)
    (found,) = step_matrices.step_matrices(step, shapes)
    assert np.array_equal(found.to_dense().numpy(), expected)


def test_a_large_pooling_takes_no_probe_for_every_input(monkeypatch: pytest.MonkeyPatch) -> None:
    ((step, shapes),) = affine_steps(Network.from_module(nn.AvgPool2d(2).double().eval(), (8, 64, 64)))
    probes, linear = [], AffineStep.linear

    def counted(self: AffineStep, *inputs: torch.Tensor) -> torch.Tensor:
        probes.append(len(inputs[0]))
        return linear(self, *inputs)

    monkeypatch.setattr(AffineStep, "linear", counted)
    (found,) = step_matrices.step_matrices(step, shapes)
    assert found._nnz() == 8 * 64 * 64
    assert sum(probes) == 64 + 64 + 4
