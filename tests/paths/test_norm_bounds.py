"""benchmarks/verify_norm_bounds.py: the whole of it on little data, and its MILP against every region of a plane."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

import relu_regions as rr
from relu_regions.apps.reproduction.claims_norms import judged_norms
from relu_regions.apps.reproduction.tables_norms import norm_tables
from relu_regions.regions.lipschitz_bounds import guaranteed_radius, logit_bounds
from relu_regions.regions.polytope import Polytope
from tests.models import mlp

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.long
def test_a_quick_run_judges_every_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = importlib.import_module("verify_norm_bounds")
    assert script.main(["--quick", "--seeds", "1", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "norm_bounds.json").read_text())
    assert [training["name"] for training in report["trainings"]] == ["plain SGD", "momentum 0.9"]
    for training in report["trainings"]:
        judged_as_proven(training, said)
    assert all(table for table in norm_tables(report).values())
    names = ("norm_ratios", "norms_along", "widths_and_depths")
    pictures = {f"{name}_{way}" for name in names for way in ("plain", "momentum")}
    files = {f"{name}.{kind}" for name in pictures for kind in ("png", "svg")}
    assert {path.name for path in tmp_path.iterdir()} == files | {"norm_bounds.json", "cache"}


def judged_as_proven(training: dict[str, Any], said: str) -> None:
    """What is a theorem holds, the radii agree with the MILP, and the appendix's radius is that of its formula."""
    claims = judged_norms(training)
    assert all(claim["claim"] in said and claim["verdict"] in said and claim["values"] for claim in claims)
    verdicts = {claim["claim"]: claim["verdict"] for claim in claims}
    assert verdicts["‖W_x‖ ≤ Π ‖W_l‖ on every region"].startswith("holds")
    assert verdicts["f(x) − f(x_i) = Σ λ_k W_k (x − x_i)"].startswith("holds")
    assert verdicts["‖f(x) − f(x_i)‖ ≤ (Σ λ_k ‖W_k‖) ‖x − x_i‖ ≤ Π ‖W_l‖ ‖x − x_i‖"].startswith("holds")
    assert verdicts["a radius of half the margin by the bound keeps the label"].startswith("holds")
    for record in training["networks"]:
        own = record["segment_changes"]
        radius = own["training_range"] / (2 * record["K"] * record["linear"])
        assert own["appendix_radius"] == pytest.approx(radius, rel=1e-6)
        assert own["least_distance"] <= own["median_distance"]
    for record in training["small_networks"]:
        assert record["radius"]["largest_gap_at_the_point"] <= 1e-8
        assert record["radius"]["class_ends_earlier_by"] <= 1e-8


def by_enumeration(network: rr.Network, x: torch.Tensor, reach: float) -> float:
    """The distance to another class in a plane: a linear program in every region of a box around x."""
    label = int(network(x[None]).argmax())
    seen, waiting, nearest = set(), [Polytope.at(network, x)], np.inf
    while waiting:
        region = waiting.pop().within(x - reach, x + reach)
        key = tuple(torch.cat(region.pattern).tolist())
        if key in seen:
            continue
        seen.add(key)
        matrix, constant = (
            part[0].numpy() for part in rr.affine_map(network, torch.as_tensor(region.chebyshev()[0])[None])
        )
        point = cp.Variable(2)
        inside = region.matrix.numpy() @ point <= region.bounds.numpy()
        for other in set(range(len(constant))) - {label}:
            ahead = (matrix[other] - matrix[label]) @ point + constant[other] - constant[label]
            problem = cp.Problem(cp.Minimize(cp.norm_inf(point - x.numpy())), [inside, ahead >= 0])
            nearest = min(nearest, problem.solve(solver=cp.HIGHS))
        rows = (row for row in region.facets.tolist() if region.inequalities.gate[row] >= 0)
        waiting += [Polytope.of_pattern(network, region.neighbour(row)) for row in rows]
    assert len(seen) > 5
    return nearest


@pytest.mark.parametrize("seed", range(3))
def test_the_milp_finds_the_nearest_of_all_regions_and_no_guarantee_reaches_it(seed: int) -> None:
    from norm_bounds.minimal_distance import minimal_distance

    torch.manual_seed(seed)
    model = mlp(2, 5, 4, 3).double().eval()
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight *= 2.5
    network = rr.Network.from_module(model, (2,))
    x = torch.randn(2, dtype=torch.float64)
    nearest = minimal_distance(model, x.numpy(), 2.0)
    expected = by_enumeration(network, x, 2.0)
    if nearest is None:
        assert expected == np.inf
        return
    assert nearest.distance == pytest.approx(expected, rel=1e-6)
    point = torch.from_numpy(nearest.point)
    logits = model(point)
    assert (logits[nearest.label] - logits[model(x).argmax()]).abs() <= 1e-8 * logits.abs().max()
    # On the way there no class is met earlier, and no guaranteed radius reaches as far.
    assert rr.exact_interval(model, x[None], (point - x)[None], (0, 2)).hi >= 1 - 1e-8
    for lipschitz in (None, logit_bounds(network)):
        assert guaranteed_radius(network, x[None], lipschitz=lipschitz) <= nearest.distance
    # A box in which there is no other class.
    assert minimal_distance(model, x.numpy(), 0.99 * nearest.distance) is None
