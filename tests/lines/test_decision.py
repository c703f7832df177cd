"""Every answer about the class, on networks with a single output, against exact evaluation; and the rule itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.intervals.certificates.check import _outputs
from relu_regions.lines.decision import Decision
from relu_regions.paths.graph import region_graph
from relu_regions.plot import change_along_path, logits_along_path, norms_along_path
from relu_regions.plot.along import _bands
from relu_regions.regions.lipschitz_bounds import guaranteed_radius, margins
from tests.models import mlp
from tests.plot.axes import new_axes

SEEDS = pytest.mark.parametrize("seed", range(6))
RANGE = (-3.0, 3.0)


def single(seed: int) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network with one output, whose class changes several times along a line that crosses many regions."""
    torch.manual_seed(seed)
    model = mlp(2, 8, 6, 1).double().eval()
    x, d = torch.randn(2, 1, 2, dtype=torch.float64)
    with torch.no_grad():
        outputs = model(x + torch.linspace(*RANGE, 200, dtype=torch.float64)[:, None] * d)
        model[-1].bias -= outputs.median()
    return model, x, d


def class_of(model: nn.Sequential) -> Callable[[Tensor], int]:
    """The class at one point, in exact arithmetic: 1 where the only output is positive."""
    layers = [
        [[Fraction(w) for w in row] + [Fraction(b)] for row, b in zip(layer.weight.tolist(), layer.bias.tolist())]
        for layer in model
        if isinstance(layer, nn.Linear)
    ]

    def found(point: Tensor) -> int:
        values = [Fraction(number) for number in point.reshape(-1).tolist()]
        for place, layer in enumerate(layers):
            values = [max(value, Fraction(0)) for value in values] if place else values
            values = [sum((w * v for w, v in zip(row, values)), row[-1]) for row in layer]
        return int(values[0] > 0)

    return found


@SEEDS
def test_intervals_of_a_single_output(seed: int) -> None:
    model, x, d = single(seed)
    truth = class_of(model)
    exact = rr.exact_interval(model, x, d, RANGE)
    assert 0 < exact.length < RANGE[1] - RANGE[0]
    assert exact.label.item() == truth(x)
    for t in np.linspace(exact.lo.item(), exact.hi.item(), 99)[1:-1]:
        assert truth(x + t * d) == exact.label.item()
    for end, beyond, side in ((exact.lo, exact.label_lo, -1), (exact.hi, exact.label_hi, 1)):
        if beyond.item() >= 0:
            assert beyond.item() == truth(x + (end + side * 1e-9) * d) != exact.label.item()
    (settled,) = rational.exact_interval(model, x, d, RANGE)
    sampled = rr.sampled_interval(model, x, d, RANGE, num=6001)
    certified = rr.exact_interval(model, x, d, RANGE, certify=True)
    named = rr.exact_interval(model, x, d, RANGE, decision=(1, 0), resolve="always")
    for other in (sampled, certified, named):
        for name in ("label", "label_lo", "label_hi", "tied"):
            assert getattr(other, name).item() == getattr(exact, name).item() == getattr(settled, name)
    certificate = rational.certify(model, x, d, exact)
    assert (certificate.label, certificate.label_lo, certificate.label_hi) == (
        exact.label.item(), exact.label_lo.item(), exact.label_hi.item(),
    )  # fmt: skip
    rational.check(certificate, model)


@SEEDS
def test_regions_of_a_single_output(seed: int) -> None:
    model, x, d = single(seed)
    truth = class_of(model)
    paths = rr.walk(model, x, d, RANGE)
    labels = [region.label for region in paths[0].regions]
    assert labels == [truth(x + region.interior * d) for region in paths[0].regions]
    assert set(labels) == {0, 1}
    assert "class 1)" in repr(paths[0].regions[labels.index(1)])
    for _, node in region_graph(paths).nodes(data=True):
        assert node["label"] == truth(node["point"])


@SEEDS
def test_bounds_of_a_single_output(seed: int) -> None:
    model, x, d = single(seed)
    truth = class_of(model)
    points = x + torch.linspace(*RANGE, 21, dtype=torch.float64)[:, None] * d
    own = torch.tensor([truth(point) for point in points])
    assert (margins(model, points, own) > 0).all()
    assert torch.equal(margins(model, points, 1 - own), -margins(model, points, own))
    assert torch.equal(guaranteed_radius(model, points), guaranteed_radius(model, points, own))
    assert (guaranteed_radius(model, points, 1 - own) == 0).all()
    for point, label in zip(points, own.tolist()):
        change = rr.Polytope.at(model, point).smallest_change(point)
        assert change is None or change.label == 1 - label


@SEEDS
def test_pictures_of_a_single_output(seed: int) -> None:
    model, x, d = single(seed)
    truth = class_of(model)
    path = rr.walk(model, x, d, RANGE)[0]
    logits = Decision.of((1,)).logits(path.outputs).numpy()
    edges, winners = _bands(path.t.numpy(), logits)
    assert winners.tolist() == [truth(x + t * d) for t in (edges[:-1] + edges[1:]) / 2]
    for draw in (logits_along_path, change_along_path, norms_along_path):
        bands = [patch for patch in draw(path, new_axes()).patches if patch.get_alpha() == 0.15]
        assert len(bands) == len(winners) > 1
    curves = {line.get_label(): line.get_ydata() for line in logits_along_path(path, new_axes()).get_lines()}
    assert np.array_equal(curves["class 1"], path.outputs[:, 0]) and not curves["class 0"].any()
    change = change_along_path(path, new_axes()).get_lines()[1]
    assert change.get_label() == "change of logit 1"
    np.testing.assert_allclose(change.get_ydata(), path.outputs[:, 0] - path.outputs_at([0.0])[0, 0], atol=1e-12)


def test_a_region_narrower_than_single_precision_has_its_own_class() -> None:
    # Positive around the middle of [0.1, 0.1 + 2e-10] alone.
    model = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1)).double().eval()
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[0].bias.copy_(-torch.tensor([0.1, 0.1 + 1e-10, 0.1 + 2e-10], dtype=torch.float64))
        model[2].weight.copy_(1e10 * torch.tensor([[1.0, -2.0, 1.0]]))
        model[2].bias.fill_(-0.25)
    path = rr.walk(model, torch.zeros(1, 1).double(), torch.ones(1, 1).double(), (0, 1))[0]
    assert [region.label for region in path.regions] == [0, 1, 1, 0]


def test_no_class_without_a_vector_of_logits() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Unflatten(1, (2, 2))).double().eval()
    region = rr.walk(model, torch.ones(1, 2).double(), torch.ones(1, 2).double())[0].regions[0]
    with pytest.raises(ValueError, match="vector of logits"):
        _ = region.label
    assert "class" not in repr(region)


# ---------------------------------------------------------------- the rule itself


@pytest.mark.parametrize(("outputs", "chosen"), [(1, None), (1, [1, 0]), (2, None), (5, None), (5, [4, 1, 2])])
def test_the_rule_against_numbers_compared_one_by_one(outputs: int, chosen: list[int] | None) -> None:
    decision = Decision.of((outputs,), chosen)
    assert decision.classes == tuple(sorted(chosen or range(max(2, outputs))))
    # Few different numbers: ties are frequent.
    numbers = torch.randint(-1, 2, (200, outputs), generator=torch.Generator().manual_seed(outputs)).double()
    labels, ties = decision.labels(numbers), decision.ties(numbers)
    for row, label, tied in zip(numbers.tolist(), labels.tolist(), ties.tolist()):
        logits = {0: 0.0, 1: row[0]} if outputs == 1 else {c: row[c] for c in decision.classes}
        assert decision.competing(row, 0.0) == logits
        best = [c for c in logits if logits[c] == max(logits.values())]
        assert (label, tied) == (best[0], len(best) > 1)
        own = torch.tensor([decision.classes[-1]])
        ahead = min(logits[own.item()] - logits[c] for c in logits if c != own.item())
        assert decision.margins(torch.tensor([row]).double(), own).item() == ahead
    assert ties.any() and not ties.all()
    assert torch.equal(decision.named(decision.places(labels)), labels)
    assert decision.named(torch.tensor([-1])).item() == -1


@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (), (0,), (2, 3)])
def test_the_checker_states_the_same_rule(shape: tuple[int, ...]) -> None:
    stated = _outputs(shape)
    if len(shape) != 1 or shape[0] == 0:
        assert not stated
        with pytest.raises(ValueError, match="vector of logits"):
            Decision.of(shape)
        return
    numbers = [10 + number for number in range(shape[0])]
    asked = Decision.of(shape).competing(numbers, 0)
    assert {c: 0 if j is None else numbers[j] for c, j in stated.items()} == asked
    assert list(stated) == list(Decision.of(shape).classes)


@pytest.mark.parametrize("decision", [3, (0.5, 1.5), (True, False), "01", [None, 1]])
def test_a_decision_is_made_of_integers(decision: object) -> None:
    with pytest.raises(TypeError, match="sequence of integers"):
        Decision.of((2,), decision)  # type: ignore[arg-type]
    model = mlp(2, 3, 2).double().eval()
    with pytest.raises(TypeError, match="sequence of integers"):
        rr.exact_interval(model, torch.zeros(1, 2), torch.ones(1, 2), (-math.inf, 1.0), decision=decision)  # type: ignore[arg-type]


def test_a_decision_may_be_a_tensor_or_an_array() -> None:
    assert Decision.of((4,), torch.tensor([3, 1])) == Decision.of((4,), np.array([1, 3])) == Decision(4, (1, 3))
