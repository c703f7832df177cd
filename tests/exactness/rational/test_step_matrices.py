"""The matrices of steps: every short cut against the basis vectors one by one."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch
from torch import nn

from relu_regions.exactness.rational import step_matrices
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep
from tests.architecture import Wrapped
from tests.models import ARCHITECTURES, Architecture, of_each


def affine_steps(network: Network) -> list[tuple[AffineStep, list[tuple[int, ...]]]]:
    """Every affine step, with the shapes of its inputs."""
    shapes = {network.input_name: network.input_shape} | {step.output: step.shape for step in network.steps}
    affine = [step for step in network.steps if isinstance(step, AffineStep)]
    return [(step, [shapes[name] for name in step.inputs]) for step in affine]


def from_basis_vectors(step: AffineStep, shapes: list[tuple[int, ...]], place: int) -> np.ndarray:
    """The matrix of one input: a column for what the step makes of each basis vector, the other inputs 0."""
    size = prod(shapes[place])
    inputs = [torch.zeros(size, *shape, dtype=torch.float64) for shape in shapes]
    inputs[place] = torch.eye(size, dtype=torch.float64).view(size, *shapes[place])
    return step.linear(*inputs).reshape(size, -1).T.numpy()


@of_each(ARCHITECTURES)
def test_every_short_cut_is_what_the_step_makes_of_basis_vectors(architecture: Architecture) -> None:
    for step, shapes in affine_steps(Network.from_module(architecture.model(), architecture.shape)):
        for place, matrix in enumerate(step_matrices.step_matrices(step, shapes)):
            expected = from_basis_vectors(step, shapes, place)
            assert np.array_equal(matrix if isinstance(matrix, np.ndarray) else matrix.to_dense().numpy(), expected)
            assert np.array_equal(step_matrices._probed(step, shapes, place).to_dense().numpy(), expected)


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
            expected = from_basis_vectors(step, shapes, 0)
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


COMBED = [
    (nn.AvgPool2d(3, 2, padding=1), (3, 8, 7)),
    (nn.AvgPool2d((2, 4), (3, 1), padding=(0, 2), count_include_pad=False, ceil_mode=True), (2, 7, 9)),
    (nn.AvgPool2d(2, 5, divisor_override=3), (1, 12, 11)),
    (nn.AvgPool1d(4, 1), (3, 10)),
    (nn.AvgPool3d(2), (2, 4, 5, 4)),
    (nn.AdaptiveAvgPool2d((3, 5)), (2, 7, 8)),
    (nn.AdaptiveAvgPool1d(3), (2, 8)),
    (nn.Upsample(size=(5, 9), mode="bilinear"), (2, 7, 4)),
    (nn.Upsample(scale_factor=2, mode="bicubic"), (2, 5, 4)),
    (Wrapped(lambda m, x: x.mean((1, 3))), (2, 5, 4)),
    (Wrapped(lambda m, x: x.sum(1, keepdim=True) + x.roll(1, 2)), (3, 5)),
    (Wrapped(lambda m, x: x.cumsum(1)), (4, 3)),
    (Wrapped(lambda m, x: x.mean(1)), (6,)),
]


@pytest.mark.parametrize(("model", "shape"), COMBED, ids=str)
def test_combs_tell_what_basis_vectors_tell(model: nn.Module, shape: tuple[int, ...]) -> None:
    for step, shapes in affine_steps(Network.from_module(model.double().eval(), shape)):
        for place in range(len(shapes)):
            found = step_matrices._probed(step, shapes, place).to_dense().numpy()
            assert np.array_equal(found, from_basis_vectors(step, shapes, place))


@pytest.mark.parametrize(
    ("model", "probes"),
    [(nn.AvgPool2d(2), 64 + 64 + 2 * 2), (nn.Upsample(size=(32, 32), mode="bilinear"), 64 + 64 + 2 * 2),
     (Wrapped(lambda m, x: x.mean(3)), 64 + 64 + 64)],
    ids=["pooling", "resampling", "mean"],
)  # fmt: skip
def test_a_large_step_takes_no_probe_for_every_input(model: nn.Module, probes: int) -> None:
    ((step, shapes),) = affine_steps(Network.from_module(model.double().eval(), (8, 64, 64)))
    taken = []

    def counted(*inputs: torch.Tensor) -> torch.Tensor:
        taken.append(len(inputs[0]))
        return step.function(*inputs)

    step_matrices._probed(replace(step, function=counted), shapes, 0)
    assert sum(taken) == 8 + probes
