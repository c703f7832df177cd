"""Numbers that are equal whatever the input: copies, opposites, and zeros that gates make."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from relu_regions import walk
from relu_regions.exactness.equal_by_construction import EqualNumbers
from relu_regions.network.network import Network
from tests.models import Wrapped, mlp


def equal_numbers(run, shape=(4,), **modules: nn.Module) -> tuple[EqualNumbers, Network]:
    network = Network.from_module(Wrapped(run, **modules).double().eval(), shape)
    return EqualNumbers.of(network), network


def test_a_plain_chain_copies_nothing() -> None:
    found, network = equal_numbers(lambda m, x: m.net(x), net=mlp(4, 6, 5, 3))
    assert not found.copies and set(found.zeros) == {step.output for step in network.gates}
    assert not found.shared


def test_values_that_gates_share_numbers_of() -> None:
    run = {
        "a gate's output": lambda m, x: torch.relu(torch.relu(m.a(x)) - 0.0),
        "a copy of it": lambda m, x: torch.relu(-torch.relu(m.a(x)).flip(1)),
        "a value read again": lambda m, x: torch.relu(h := m.a(x)) + nn.functional.leaky_relu(h),
        "a copy of what is read again": lambda m, x: torch.relu(-(h := m.a(x))) + nn.functional.leaky_relu(h),
    }
    for name, of in run.items():
        found, network = equal_numbers(of, a=nn.Linear(4, 3))
        assert found.shared == {network.gates[1].inputs[0]}, name


def test_opposites_and_permutations_are_copies() -> None:
    found, network = equal_numbers(lambda m, x: torch.relu(torch.cat([h := m.a(x), -h.flip(1)], 1)), a=nn.Linear(4, 3))
    sources = found.sources(network.gates[0].inputs[0])
    assert sources[3:].tolist() == (-sources[:3].flip(0)).tolist() and len(set(sources[:3].tolist())) == 3


def test_what_scales_shifts_or_adds_is_no_copy() -> None:
    for run in (
        lambda m, x: torch.relu(2 * m.a(x)),
        lambda m, x: torch.relu(m.a(x) + 1),
        lambda m, x: torch.relu((h := m.a(x)) - h.flip(1)),
        lambda m, x: torch.relu(m.a(x).view(-1, 1, 3).mean(1) * 0.5),
        lambda m, x: torch.relu(functional.interpolate(m.a(x)[:, None], scale_factor=2, mode="linear").flatten(1)),
    ):
        found, network = equal_numbers(run, a=nn.Linear(4, 3))
        sources = found.sources(network.gates[0].inputs[0])
        first = found.sources(network.steps[0].output)
        assert not set(sources.abs().tolist()) & set(first.tolist())


def test_padding_is_zero_and_constants_are_not() -> None:
    pad = functional.pad
    found, network = equal_numbers(lambda m, x: torch.relu(pad(torch.relu(m.a(x)), (1, 1))), a=nn.Linear(4, 3))
    name = network.gates[1].inputs[0]
    assert found.sources(name)[[0, -1]].tolist() == [0, 0] and found.zeros[name].all()
    found, network = equal_numbers(
        lambda m, x: torch.relu(pad(torch.relu(m.a(x)), (1, 1), value=0.5)), a=nn.Linear(4, 3)
    )
    assert found.zeros[network.gates[1].inputs[0]].tolist() == [False, True, True, True, False]


def test_what_takes_nothing_is_zero() -> None:
    """A sum over no numbers, in the middle and at the end of a network."""

    def run(m: Wrapped, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.cat([m.a(x), x[:, :0].sum(1, keepdim=True)], 1)) + x[:, 4:].sum(1, keepdim=True)

    found, network = equal_numbers(run, a=nn.Linear(4, 3))
    assert found.sources(network.gates[0].inputs[0])[3] == 0
    x, d = torch.randn(2, 3, 4, dtype=torch.float64)
    for line, path in enumerate(walk(network, x, d, (-2, 2))):
        true = network(x[line] + path.breakpoints[:, None] * d[line])
        torch.testing.assert_close(path.outputs_at(path.breakpoints), true)


def test_zeros_come_from_gates_that_do_not_pass_through_them() -> None:
    kept = {
        "relu": True, "relu6": True, "abs": True, "leaky_relu": False, "hardtanh": False, "softshrink": False,
    }  # fmt: skip
    for name, expected in kept.items():
        function = getattr(functional, name, torch.abs)
        found, network = equal_numbers(lambda m, x, f=function: f(m.a(x)), a=nn.Linear(4, 3))
        assert (network.gates[0].output in found.zeros) == expected, name
    found, network = equal_numbers(
        lambda m, x: functional.max_pool1d(torch.relu(m.a(x))[:, None], 2).flatten(1), a=nn.Linear(4, 6)
    )
    assert found.zeros[network.gates[1].output].all()
    found, network = equal_numbers(lambda m, x: functional.max_pool1d(m.a(x)[:, None], 2).flatten(1), a=nn.Linear(4, 6))
    assert not found.zeros


def test_what_is_scaled_is_a_multiple_and_what_is_shifted_is_not() -> None:
    factor = torch.tensor([2.0, 0.0, -0.5])
    for run, expected in (
        (lambda m, x: torch.relu(m.a(x) * factor), [0, None, 2]),
        (lambda m, x: torch.relu(-(m.a(x) * factor).flip(1)), [2, None, 0]),
        (lambda m, x: torch.relu(m.a(x) * factor + factor.flip(0)), [-1, None, -1]),
        (lambda m, x: torch.relu((h := m.a(x)) - h.flip(1)), [-1, -1, -1]),
    ):
        found, network = equal_numbers(run, a=nn.Linear(4, 3))
        name, first = network.gates[0].inputs[0], found.roots(network.steps[0].output).tolist()
        roots = found.roots(name).tolist()
        for root, place in zip(roots, expected):
            if place is None:
                assert root in (0, *found.sources(name).abs().tolist()) and root not in first
            else:
                assert (root == first[place]) if place >= 0 else root not in first
