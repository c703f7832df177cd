"""Networks whose numbers are exact forms of the input, such as lattices of minima and maxima, against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from relu_regions import exact_interval, rational, walk
from relu_regions.exactness.whole_forms import WholeForms, _grid
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep
from tests.exactness.test_equal_on_lines import differing

pytestmark = pytest.mark.filterwarnings("ignore::relu_regions.UnprovenWarning")


def extreme(pairs: int, sign: int) -> list[nn.Module]:
    """The larger of each two neighbouring numbers, or for -1 the smaller, from ReLUs of their sum and difference."""
    inner, outer = nn.Linear(2 * pairs, 4 * pairs, bias=False), nn.Linear(4 * pairs, pairs, bias=False)
    with torch.no_grad():
        rows = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]])
        inner.weight.copy_(torch.block_diag(*[rows] * pairs))
        outer.weight.copy_(torch.block_diag(*[torch.tensor([[0.5, -0.5, 0.5 * sign, 0.5 * sign]])] * pairs))
    return [inner, nn.ReLU(), outer]


def lattice(seed: int, dtype: torch.dtype = torch.float32, off: float = 0.0) -> Network:
    """The maximum of four minima of four of six affine functions, some of them twice.

    Args:
        dtype: of the functions' numbers.
        off: what the functions are moved apart where they are taken once more.
    """
    torch.manual_seed(seed)
    functions, taken = nn.Linear(2, 6, dtype=dtype).double(), nn.Linear(6, 16)
    with torch.no_grad():
        which = torch.randint(6, (16,))
        which[2:4], which[9] = which[1], which[8]
        taken.weight.copy_(nn.functional.one_hot(which, 6))
        taken.bias.zero_()
        taken.bias[3], taken.bias[9] = off, off
    layers = [functions, taken, *extreme(8, -1), *extreme(4, -1), *extreme(2, 1), *extreme(1, 1)]
    return Network.from_module(nn.Sequential(*layers).double().eval(), (2,))


def lines(seed: int, count: int = 3, inputs: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    x, d = torch.randn(2, count, inputs, dtype=torch.float64)
    return x, d


def whole(seed: int) -> Network:
    """A dense network of few-digit whole numbers, without biases now and then, with equal and dead units."""
    torch.manual_seed(seed)
    inputs, *widths = torch.randint(1, 6, (4,)).tolist()
    layers: list[nn.Module] = []
    for before, behind in zip([inputs, *widths], widths):
        layers += [nn.Linear(before, behind, bias=seed % 3 > 0), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], 2)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape) * 2.0 ** -(seed % 2))
    return Network.from_module(model, (inputs,))


RANGES = [(-1.0, 2.0), (-math.inf, math.inf), (0.0, 1.0), (-0.5, math.inf)]


@pytest.mark.parametrize("seed", range(4))
def test_lattices_are_proven_by_bounds_and_true(seed: int) -> None:
    network = lattice(seed)
    x, d = lines(seed)
    assert differing(network, x, d, RANGES[seed]) == ([], 3)
    assert set(walk(network, x, d, RANGES[seed]).decided_by) == {"bounds"}
    found, true = exact_interval(network, x, d), rational.exact_interval(network, x, d)
    assert found.lo_error is not None and found.hi_error is not None
    for line, exact in enumerate(true):
        ours = found[line]
        assert (ours.label, ours.label_lo, ours.label_hi) == (exact.label, exact.label_lo, exact.label_hi)
        for ends, errors, truth in ((found.lo, found.lo_error, exact.lo), (found.hi, found.hi_error, exact.hi)):
            end, error = float(ends[line]), float(errors[line])
            assert end == truth or abs(Fraction(end) - truth) <= Fraction(error)


def test_a_walk_in_windows_keeps_forms() -> None:
    network = lattice(0)
    x, d = lines(0, 8)
    whole, parts = (walk(network, x, d, memory_budget=budget) for budget in (None, 150_000))
    assert parts.certain.all() and torch.equal(parts.t, whole.t) and torch.equal(parts.flips.unit, whole.flips.unit)


@pytest.mark.parametrize("off", [2.0**-30, 2.0**-52])
def test_what_nearly_ties_does_not_tie(off: float) -> None:
    """A function and one that is hardly another one: their minimum is always the same one of them."""
    for seed in range(3):
        network = lattice(seed, off=off)
        x, d = lines(seed)
        assert not differing(network, x, d, (-1.0, 2.0))[0]


def test_a_walk_that_takes_small_numbers_for_0_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forms without their last bits: functions that are hardly different tie."""
    exact = WholeForms.affine

    def coarse(self: WholeForms, step: AffineStep, forms: dict[str, Tensor]) -> Tensor:
        return (exact(self, step, forms) * 2.0**12).round() / 2.0**12

    network = lattice(0, off=2.0**-30)
    x, d = lines(0)
    assert not differing(network, x, d, (-1.0, 2.0))[0]
    monkeypatch.setattr(WholeForms, "affine", coarse)
    assert differing(network, x, d, (-1.0, 2.0))[0]


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, 40))])
def test_networks_of_whole_numbers_that_are_certain_are_true(part: int) -> None:
    certain = 0
    for seed in range(25 * part, 25 * part + 25):
        network = whole(seed)
        x, d = (numbers.round() if seed % 5 == 0 else numbers for numbers in lines(seed, 2, network.input_shape[0]))
        d[:, 0] += d.abs().sum(1) == 0
        wrong, proven = differing(network, x, d, RANGES[seed % 4])
        assert not wrong, seed
        certain += proven
    assert certain > 25


def test_which_networks_have_exact_forms() -> None:
    assert WholeForms.of(lattice(0)) is not None
    # Sums of numbers of 53 bits may have more.
    assert WholeForms.of(lattice(0, torch.float64)) is None
    deep = nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(2, 2), nn.ReLU())), nn.Linear(2, 1))
    assert WholeForms.of(Network.from_module(deep.double().eval(), (2,))) is None

    class Thirds(nn.Module):
        """A mean hides a coefficient that no float is."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(torch.relu(x).mean(1, keepdim=True) - 1)

    assert WholeForms.of(Network.from_module(Thirds().eval(), (3,))) is None


def test_grid() -> None:
    assert _grid(torch.tensor([0.75, -6.0, 0.0], dtype=torch.float64)) == -2
    assert _grid(torch.tensor([8.0, 24.0], dtype=torch.float64)) == 3
    assert _grid(torch.zeros(2, dtype=torch.float64)) == 0
