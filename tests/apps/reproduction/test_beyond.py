"""What goes beyond the paper: other architectures and training, the count of breakpoints, predictors."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import relu_regions as rr
from relu_regions.apps.reproduction.batched_sgd import TrainingConfig
from relu_regions.apps.reproduction.beyond_breakpoints import angle, he_network
from relu_regions.apps.reproduction.beyond_prediction import PREDICTORS, noisy, predictors, ranked
from relu_regions.apps.reproduction.data import Dataset, load
from relu_regions.apps.reproduction.modules import ARCHITECTURES, Maxout, _shifted, fit
from relu_regions.apps.reproduction.training import train
from relu_regions.apps.reproduction.training_loop import Descent
from relu_regions.lines.directions import pairs


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits").per_class(5)


@pytest.mark.long
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_was_fitted_is_read_again(architecture: str, digits: Dataset, tmp_path: Path) -> None:
    given = {"descent": Descent(momentum=0.9, max_epochs=3, checkpoints=(0, 2)), "cache_dir": tmp_path}
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = fit(architecture, digits, 0, **given)
    assert torch.equal(torch.random.get_rng_state(), before)
    (path,) = tmp_path.iterdir()
    stamp = path.stat().st_mtime_ns
    again, other = fit(architecture, digits, 0, **given), fit(architecture, digits, 1, **given)
    assert path.stat().st_mtime_ns == stamp and len(list(tmp_path.iterdir())) == 2
    with torch.no_grad():
        for epoch in (None, 0, 2):
            model, same = first.model(epoch), again.model(epoch)
            assert not model.training and torch.equal(model(digits.x_test), same(digits.x_test))
            assert not torch.equal(model(digits.x_test), other.model(epoch)(digits.x_test))
        logits = first.model()(digits.x_train)
    assert first.errors == again.errors == int((logits.argmax(1) != digits.y_train).sum())
    assert first.epochs == again.epochs == 3 and math.isclose(first.loss, again.loss)
    with pytest.raises(KeyError):
        first.model(1)
    # The walk reads each of them: its logits at both ends of a line are the network's own.
    line = pairs(digits.x_train, digits.y_train)[0]
    ends = rr.walk(first.model(), line.x, line.d, (0, 1), resolve="never").outputs[[0, -1]]
    with torch.no_grad():
        own = first.model().double()(torch.cat([line.x, line.x + line.d]))
    torch.testing.assert_close(ends, own, rtol=0, atol=1e-9)


def test_a_damaged_network_is_named(digits: Dataset, tmp_path: Path) -> None:
    fit("maxout", digits, 0, Descent(max_epochs=1), cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"is damaged.*delete it"):
        fit("maxout", digits, 0, Descent(max_epochs=1), cache_dir=tmp_path)


def test_maxout_is_the_largest_piece() -> None:
    torch.manual_seed(0)
    layer, x = Maxout(3, 4, pieces=5), torch.randn(7, 3)
    weight, bias = layer.linear.weight.view(4, 5, 3), layer.linear.bias.view(4, 5)
    torch.testing.assert_close(layer(x), (torch.einsum("opi,ni->nop", weight, x) + bias).amax(2))


def test_shifts_move_the_whole_image() -> None:
    torch.manual_seed(0)
    image = torch.zeros(200, 1, 9, 9)
    image[:, :, 4, 4] = 1
    moved = _shifted(image, 2).nonzero()[:, 2:]
    assert len(moved) == 200 and moved.min() == 2 and moved.max() == 6
    assert len({tuple(row) for row in moved.tolist()}) == 25


@pytest.mark.long
def test_first_layer_bends_as_often_as_rice_says() -> None:
    """θ / π a unit at every width; the sum over 4000 units is within five standard deviations."""
    generator = torch.Generator().manual_seed(0)
    x, d = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64)
    counts = rr.walk(he_network((6, 4000, 3), 0), x, d, (0, 1)).breakpoint_counts
    share = angle(x, x + d) / math.pi
    deviation = (4000 * share * (1 - share)).sqrt()
    assert ((counts - 4000 * share).abs() < 5 * deviation).all()
    assert angle(torch.tensor([[1.0, 0]]), torch.tensor([[0, 2.0]])).item() == pytest.approx(math.pi / 2)


def test_noise_permutes_a_share(digits: Dataset) -> None:
    for share in (0.0, 0.5, 1.0):
        labels = noisy(digits, share, 0)
        assert torch.equal(labels.bincount(), digits.y_train.bincount())
        assert (labels != digits.y_train).sum() <= share * len(labels)
    assert (noisy(digits, 1.0, 0) != digits.y_train).float().mean() > 0.7


def test_predictors_against_their_definitions(digits: Dataset) -> None:
    x = digits.x_train.flatten(1)
    (trained,) = train(x, digits.y_train, [0], TrainingConfig((64, 6, 5, 10), max_epochs=2))
    found = predictors(trained, x, digits.y_train)
    model = trained.model().double()
    first, second, third = (model[place].weight.detach().numpy() for place in (0, 2, 4))
    spectral = math.prod(np.linalg.svd(weight)[1][0] for weight in (first, second, third))
    assert found["spectral_norm"] == pytest.approx(-math.log(spectral))
    assert found["spectral_margin"] == pytest.approx(found["margin"] / spectral)
    paths = np.einsum("hi,kh,ok->", first**2, second**2, third**2)
    assert found["path_norm"] == pytest.approx(-0.5 * math.log(paths))
    with torch.no_grad():
        logits = model(x.double()).numpy()
    own = logits[np.arange(len(x)), digits.y_train]
    others = np.where(np.eye(10, dtype=bool)[digits.y_train], -np.inf, logits).max(1)
    assert found["margin"] == pytest.approx(np.quantile(own - others, 0.1))


def test_ranks_are_taken_among_those_alike() -> None:
    """Accuracy falls with depth, and within a depth it rises with the interval: only the second is the interval's."""
    rows = []
    for depth in (1, 3):
        for place in range(4):
            row = dict.fromkeys(PREDICTORS, 0.0) | {"mean_interval": 2 * depth + place / 10, "noise": 0}
            accuracy = 0.9 - depth / 10 + place / 100
            rows.append(row | {"hidden": f"{depth}×8", "training": f"way {place}", "validation_accuracy": accuracy})
    found = {group["name"]: group for group in ranked(rows)}
    assert found["real labels"]["mean_interval"] < 0 < found["real labels"]["depth"]
    within = found["real labels, within one depth"]
    assert within["mean_interval"] == pytest.approx(1) and math.isnan(within["depth"])
    assert (within["number"], within["groups"]) == (8, 2)
    assert found["real labels, within one training"]["groups"] == 0
