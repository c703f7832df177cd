"""The smallest change of class against HiGHS (1-, ∞-norm), conditions of optimality (2-norm), and answers by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise

import cvxpy
import numpy as np
import pytest
import torch
from scipy.optimize import linprog, nnls
from torch import nn

import relu_regions as rr
from relu_regions.regions import class_change
from relu_regions.regions.polytope import Polytope
from tests.quick import some_quick

NORMS = pytest.mark.parametrize("p", [1, 2, math.inf])
DUAL = {1: math.inf, 2: 2, math.inf: 1}


def model_of(sizes: tuple[int, ...], activation: str, seed: int = 0) -> nn.Module:
    """A network in which no class is ahead everywhere."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes[:-1]):
        wide = 2 * after if activation == "maxout" else after
        bend = [nn.Unflatten(1, (1, -1)), nn.MaxPool1d(2), nn.Flatten()] if activation == "maxout" else [nn.ReLU()]
        layers += [nn.Linear(before, wide), *bend]
    model = nn.Sequential(*layers, nn.Linear(*sizes[-2:])).double().eval()
    with torch.no_grad():
        model[-1].bias -= model(torch.randn(100, sizes[0], dtype=torch.float64)).mean(0)
    return model


def affine(weights: list[list[float]], bias: list[float]) -> nn.Module:
    model = nn.Linear(len(weights[0]), len(weights)).double().eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weights))
        model.bias.copy_(torch.tensor(bias))
    return model


def by_highs(matrix: np.ndarray, slack: np.ndarray, slopes: np.ndarray, ahead: float, p: float) -> float:
    """The least length of a move, in the 1- or ∞-norm, as a linear program; inf where there is no such move."""
    size = len(slopes)
    bounds = size if p == 1 else 1  # one for each coordinate, or one for all
    spread = np.eye(size) if p == 1 else np.ones((size, 1))
    rows = [
        [matrix, np.zeros((len(matrix), bounds))],
        [np.eye(size), -spread],
        [-np.eye(size), -spread],
        [-slopes[None], np.zeros((1, bounds))],
    ]
    upper = np.concatenate([slack, np.zeros(2 * size), [-ahead]])
    cost = np.concatenate([np.zeros(size), np.ones(bounds)])
    found = linprog(cost, np.block(rows), upper, bounds=(None, None))
    assert found.status in (0, 2)
    return found.fun if found.status == 0 else math.inf


def is_optimal(matrix: np.ndarray, slack: np.ndarray, slopes: np.ndarray, move: np.ndarray) -> bool:
    """Whether a move goes along the other class's slopes less normals of what it runs into: then no shorter does."""
    tight = slack - matrix @ move <= 1e-7
    towards = np.column_stack([slopes, -matrix[tight].T])
    return nnls(towards / np.linalg.norm(towards, axis=0), move / np.linalg.norm(move))[1] < 1e-5


@some_quick("sizes,activation,p", [(2, 8, 6, 3), (5, 7, 4)], ["relu", "maxout"], [1, 2, math.inf], one_in=5, ids=str)
def test_no_smaller_change_does(sizes: tuple[int, ...], activation: str, p: float) -> None:
    model, met = model_of(sizes, activation), []
    for x in torch.randn(5, sizes[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1)):
        region, label = Polytope.at(model, x), int(model(x[None]).argmax())
        matrix, slack = region.matrix.numpy(), region.slack(x[None])[0].numpy()
        (weights,), _ = (part.numpy() for part in rr.affine_map(model, x[None]))
        logits = model(x[None])[0].detach().numpy()
        change = region.smallest_change(x, p)
        rivals = [k for k in range(sizes[-1]) if k != label]
        every = [by_highs(matrix, slack, weights[k] - weights[label], logits[label] - logits[k], 1) for k in rivals]
        met.append(change is not None)
        assert met[-1] == any(math.isfinite(length) for length in every)
        if change is None:
            continue
        move = (change.point - x).numpy()
        assert change.distance == pytest.approx(np.linalg.norm(move, p), rel=1e-12)
        if p == 2:
            assert is_optimal(matrix, slack, weights[change.label] - weights[label], move)
        else:
            least = min(
                by_highs(matrix, slack, weights[k] - weights[label], logits[label] - logits[k], p) for k in rivals
            )
            assert change.distance == pytest.approx(least, rel=1e-7)
        assert change.distance * (1 - 1e-8) <= change.at_least <= change.distance
        assert change.excess <= 1e-9 * max(1.0, change.distance)
        there = model(change.point[None])[0]
        assert there[change.label].item() == pytest.approx(there[label].item(), abs=1e-8) and change.label != label
        assert region.slack(change.point[None]).min() > -1e-8
    assert len(set(met)) == 2 or sizes == (5, 7, 4)


@pytest.mark.parametrize(("p", "free", "kept"), [(1, 2, 2), (2, math.sqrt(2), math.sqrt(2.5)), (math.inf, 1, 1.5)])
def test_by_hand(p: float, free: float, kept: float) -> None:
    """Class 1 catches up where a + b = 2. With a ≤ 1/2 that is at (1/2, 3/2); with b ≤ 1 too, nowhere."""
    region, x = Polytope.at(affine([[0, 0], [1, 1]], [2, 0]), torch.zeros(2)), torch.zeros(2)
    assert region.smallest_change(x, p).distance == pytest.approx(free, rel=1e-8)
    half = region.within(-9, torch.tensor([0.5, 9.0]))
    change = half.smallest_change(x, p)
    assert change.distance == pytest.approx(kept, rel=1e-8) and change.label == 1
    if p != 1:  # in the 1-norm all points of the segment are as near
        assert change.point.tolist() == pytest.approx([0.5, 1.5], abs=1e-7)
    assert half.within(-9, 1).smallest_change(x, p) is None


@NORMS
@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_small_and_large_numbers_have_their_digits(p: float, scale: float) -> None:
    model = affine([[0, 0], [1 / scale, 1 / scale]], [2, 0])
    region = Polytope.at(model, torch.zeros(2)).within(-9 * scale, torch.tensor([0.5, 9.0]) * scale)
    kept = {1: 2, 2: math.sqrt(2.5), math.inf: 1.5}[p]
    assert region.smallest_change(torch.zeros(2), p).distance / scale == pytest.approx(kept, rel=1e-7)


@NORMS
def test_where_classes_tie_already_nothing_changes(p: float) -> None:
    for model in (affine([[1, 0], [0, 1]], [0, 0]), affine([[1, 2], [1, 2]], [0, 0])):
        change = Polytope.at(model, torch.ones(2)).smallest_change(torch.ones(2), p)
        assert (change.distance, change.at_least, change.excess, change.label) == (0, 0, 0, 1)
        assert change.point.tolist() == [1, 1]


@NORMS
def test_a_single_output_competes_with_zero(p: float) -> None:
    point = torch.tensor([1.0, 1.0])
    change = Polytope.at(affine([[2, 1]], [0]), point).smallest_change(point, p)
    assert change.label == 0 and change.distance == pytest.approx({1: 1.5, 2: 3 / math.sqrt(5), math.inf: 1}[p])


@NORMS
def test_a_region_without_interior(p: float) -> None:
    """The line a = 0, on which class 1 catches up at b = 2."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0], [-1.0, 0], [0, 1.0]]))
        model[0].bias.copy_(torch.tensor([0.0, 0, 5]))
        model[2].weight.copy_(torch.tensor([[0.0, 0, 0], [9, 9, 1]]))
        model[2].bias.copy_(torch.tensor([0.0, -7]))
    line = Polytope.of_pattern(rr.Network.from_module(model, (2,)), (torch.tensor([0, 0, 1]),))
    change = line.smallest_change(torch.zeros(2), p)
    assert change.distance == pytest.approx(2, rel=1e-6)
    assert change.point.tolist() == pytest.approx([0, 2], abs=1e-6)


def test_what_is_asked_wrongly_is_refused() -> None:
    region = Polytope.at(affine([[1, 0], [0, 1]], [0, 0]), torch.zeros(2)).within(-1, 1)
    with pytest.raises(ValueError, match="outside"):
        region.smallest_change(torch.tensor([9.0, 9.0]))
    for p in (3, 0, math.nan, True):
        with pytest.raises(ValueError, match="p must be"):
            region.smallest_change(torch.zeros(2), p)
    with pytest.raises(ValueError, match="batch of points"):
        region.smallest_change(torch.zeros(1, 2))


# ---------------------------------------------------------------- what does not rest on the solver


@pytest.mark.parametrize("p", [1, math.inf])
@pytest.mark.parametrize("seed", range(5))
def test_any_weights_prove_no_more_than_they_may(p: float, seed: int) -> None:
    """What is proven is at most what the weights prove in rational arithmetic, and almost as much."""
    rng = np.random.default_rng(seed)
    rows, room, towards = rng.normal(size=(6, 4)), rng.uniform(0, 2, 6), rng.normal(size=4)
    weights, weight = np.maximum(rng.normal(size=6), 0) * 0.1, 2.0
    exact = [[Fraction(number) for number in row] for row in rows]
    left = [
        Fraction(weight) * Fraction(t) - sum(Fraction(w) * row[k] for w, row in zip(weights, exact))
        for k, t in enumerate(towards)
    ]
    length = max(map(abs, left)) if p == 1 else sum(map(abs, left))
    true = (Fraction(weight) - sum(Fraction(w) * Fraction(r) for w, r in zip(weights, room))) / length
    proven = class_change._proven(rows, room, towards, weights, weight, p)
    assert Fraction(proven) <= max(true, Fraction(0))
    assert proven == pytest.approx(max(float(true), 0.0), rel=1e-12)


@NORMS
def test_a_solver_that_errs_is_found_out(p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights may be anything: what they prove stays true, and where that is too little there is no answer."""
    region, x = Polytope.at(affine([[0, 0], [1, 1]], [2, 0]), torch.zeros(2)).within(-9, 1.5), torch.zeros(2)
    true = region.smallest_change(x, p).distance
    proven, rng = class_change._proven, np.random.default_rng(0)
    seen = []

    def disturbed(rows, room, towards, weights, weight, p):
        noise = weights + rng.uniform(-1, 1, weights.shape)
        seen.append(proven(rows, room, towards, noise, weight * rng.uniform(0.5, 2), p))
        return seen[-1]

    monkeypatch.setattr(class_change, "_proven", disturbed)
    for _ in range(5):
        with pytest.raises(ValueError, match="ill-shaped"):
            region.smallest_change(x, p)
    unit = 2 / np.linalg.norm([1, 1], DUAL[p])
    assert max(seen) * unit <= true * (1 + 1e-9)


@pytest.mark.parametrize("trouble", ["error", "user_limit", "infeasible", "unbounded"])
def test_a_solver_without_an_answer_is_not_believed(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def solve(self: cvxpy.Problem, *_: object, **__: object) -> None:
        if trouble == "error":
            raise cvxpy.SolverError("no")
        self._status = trouble

    monkeypatch.setattr(cvxpy.Problem, "solve", solve)
    region = Polytope.at(affine([[0, 0], [1, 1]], [2, 0]), torch.zeros(2))
    with pytest.raises(ValueError, match="ill-shaped"):
        region.smallest_change(torch.zeros(2))


def test_cvxpy_is_loaded_when_it_is_asked() -> None:
    code = "import sys; from relu_regions.regions.polytope import Polytope; sys.exit('cvxpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
