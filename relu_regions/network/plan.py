"""How a walk takes a network: maxima fused, batch norms folded, products and chains found, gains; each made once."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import torch

from relu_regions.network.chains import Chain, chains_of, products_of
from relu_regions.network.folding import folded_steps
from relu_regions.network.fusing import fused_steps
from relu_regions.network.step_graph import StepGraph
from relu_regions.network.steps import AffineStep, Step

__all__ = ["chains", "folded", "fused", "gains", "products"]

N = TypeVar("N", bound=StepGraph)


def folded(network: N) -> N:
    """The network with its batch norms folded into the steps before them; itself if there are none."""
    return network.derived("folded", lambda: _with_folded_steps(network)) or network


def _with_folded_steps(network: N) -> N | None:
    steps = folded_steps(network.steps, network.releases)
    return None if len(steps) == len(network.steps) else replace(network, steps=steps)


def fused(network: N) -> N:
    """The same function with activations and maxima made one gate; the network itself where none can be."""
    return network.derived("fused", lambda: _with_fused_steps(network)) or network


def _with_fused_steps(network: N) -> N | None:
    steps = fused_steps(network.steps, network.releases, network.shapes)
    return None if _the_same(steps, network.steps) else replace(network, steps=steps)


def _the_same(steps: tuple[Step, ...], others: tuple[Step, ...]) -> bool:
    return len(steps) == len(others) and all(one is other for one, other in zip(steps, others))


def products(network: StepGraph) -> dict[int, AffineStep]:
    """The matrices and convolutions that alone read the output of the gate before them, by the gate's index."""
    return network.derived("products", lambda: products_of(network.steps, network.releases))


def chains(network: StepGraph) -> tuple[Chain, ...]:
    """Gates with knots and matrices one after another that nothing else goes around."""
    return network.derived("chains", lambda: chains_of(network.steps, network.input_name, network.releases))


def gains(network: StepGraph) -> dict[str, float]:
    """For each affine step the largest Σ |a| over its output numbers, by the output's name."""
    return network.derived("gains", lambda: _gains(network))


def _gains(network: StepGraph) -> dict[str, float]:
    affine = (step for step in network.steps if isinstance(step, AffineStep))
    return {step.output: _gain(step, [network.shapes[name] for name in step.inputs]) for step in affine}


def _gain(step: AffineStep, shapes: list[tuple[int, ...]]) -> float:
    if step.shape.count(0):
        return 0.0
    if step.is_matrix and step.constants[0].numel():
        return float(torch.linalg.matrix_norm(step.constants[0], math.inf))
    like = step.constants[0] if step.constants else torch.zeros(0, dtype=torch.float64)
    return float(step.magnitude(*(like.new_ones(1, *shape) for shape in shapes)).max())
