"""Sampled intervals against a plain loop over the samples, and against exact ones."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.intervals.sampling import sampled_interval
from tests.models import mlp

RANGE = (-1.0, 2.0)


def lines(number: int, inputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, there = torch.randn(2, number, inputs, generator=generator, dtype=torch.float64)
    return x, there - x


def network(*sizes: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = mlp(*sizes).double().eval()
    for parameter in model.parameters():
        # Large enough for the class to change often.
        parameter.data *= 2.5
    return model


def labels(model: nn.Sequential, points: np.ndarray) -> np.ndarray:
    """The class at points (P, inputs), in numpy and without the library."""
    for layer in model:
        if isinstance(layer, nn.Linear):
            points = points @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        else:
            points = np.maximum(points, 0)
    return points.argmax(1)


def looked_up(model: nn.Sequential, x: np.ndarray, d: np.ndarray, low: float, high: float, num: int) -> tuple:
    """One line's interval, sample by sample."""
    times = low + np.arange(num) / (num - 1) * (high - low)
    own, *seen = labels(model, np.concatenate([x[None], x + times[:, None] * d])).tolist()
    ends, beyond = [], []
    for side in (-1, 1):
        end, label = 0.0, -1
        for t, sample in sorted(zip(times, seen), key=lambda pair: abs(pair[0])):
            if t * side > 1e-12:
                if sample != own:
                    label = sample
                    break
                end = float(t)
        ends.append(end)
        beyond.append(label)
    return (*ends, own, *beyond)


@pytest.mark.parametrize("num", [2, 3, 4, 17, 64, 301])
@pytest.mark.parametrize("span", [RANGE, (0.0, 1.5), (-0.7, 0.0), (-0.01, 3.0)])
def test_agrees_with_a_loop_over_the_samples(num: int, span: tuple[float, float]) -> None:
    model = network(5, 16, 16, 4)
    x, d = lines(40, 5)
    found = sampled_interval(model, x, d, span, num=num)
    truth = [looked_up(model, a, b, *span, num) for a, b in zip(x.numpy(), d.numpy())]
    for name, column in zip(("lo", "hi", "label", "label_lo", "label_hi"), zip(*truth)):
        np.testing.assert_allclose(getattr(found, name).numpy(), column, rtol=0, atol=1e-12, err_msg=name)
    assert found.lo.dtype == found.hi.dtype == torch.float64
    assert found.label.dtype == found.label_lo.dtype == found.label_hi.dtype == torch.int64
    assert not found.tied.any()


def test_a_range_for_each_line() -> None:
    model = network(3, 12, 3)
    x, d = lines(30, 3)
    low, high = -torch.rand(30, dtype=torch.float64), torch.rand(30, dtype=torch.float64)
    found = sampled_interval(model, x, d, (low, high), num=50)
    for i in range(30):
        truth = looked_up(model, x[i].numpy(), d[i].numpy(), float(low[i]), float(high[i]), 50)
        np.testing.assert_allclose((found.lo[i], found.hi[i]), truth[:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("num", [20, 200])
def test_an_end_is_inside_the_exact_one_by_less_than_a_spacing_or_beyond_an_exit_it_missed(num: int) -> None:
    model = network(5, 16, 16, 4, seed=1)
    x, d = lines(200, 5, seed=1)
    exact = rr.exact_interval(model, x, d, RANGE)
    found = sampled_interval(model, x, d, RANGE, num=num)
    spacing = 3 / (num - 1)
    short = torch.stack([found.lo - exact.lo, exact.hi - found.hi])
    assert (short < spacing + 1e-9).all()
    assert (short >= 0).double().mean() > 0.8
    assert torch.equal(found.label, exact.label)


def bump(centre: float, width: float) -> nn.Sequential:
    """Class 1 beats class 0 on (centre - width / 2, centre + width / 2) and nowhere else."""
    model = mlp(1, 3, 2).double().eval()
    model[0].weight.data = torch.ones(3, 1, dtype=torch.float64)
    model[0].bias.data = torch.tensor([width - centre, -centre, -width - centre], dtype=torch.float64)
    model[2].weight.data = torch.tensor([[0.0, 0, 0], [1, -2, 1]], dtype=torch.float64)
    model[2].bias.data = torch.tensor([width / 2, 0], dtype=torch.float64)
    return model


def test_misses_what_happens_between_two_samples_and_says_so_nowhere() -> None:
    model = bump(0.55, 0.02)
    x, d = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    exact = rr.exact_interval(model, x, d, RANGE)
    assert exact.hi.item() == pytest.approx(0.54, abs=1e-12) and exact.label_hi.item() == 1
    coarse = sampled_interval(model, x, d, RANGE, num=31)
    assert coarse.hi.item() == 2 and coarse.label_hi.item() == -1
    fine = sampled_interval(model, x, d, RANGE, num=301)
    assert fine.hi.item() == pytest.approx(0.54, abs=0.01 + 1e-12) and fine.label_hi.item() == 1


def test_x_itself_is_evaluated_where_no_sample_lies_on_it() -> None:
    # With four samples of [-1, 1] none lies at 0, and the bump there is narrower than their distance.
    model = bump(0.0, 0.1)
    x, d = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    found = sampled_interval(model, x, d, (-1.0, 1.0), num=4)
    assert found.label.item() == 1
    assert found.lo.item() == found.hi.item() == 0
    assert found.label_lo.item() == found.label_hi.item() == 0


def test_answer_does_not_depend_on_the_memory_budget_or_the_batch() -> None:
    model = network(6, 20, 20, 5)
    x, d = lines(50, 6)
    whole = sampled_interval(model, x, d, RANGE, num=100).numpy()
    small = sampled_interval(model, x, d, RANGE, num=100, memory_budget=20_000).numpy()
    alone = [sampled_interval(model, x[i : i + 1], d[i : i + 1], RANGE, num=100).numpy() for i in range(50)]
    for name, column in whole.items():
        assert np.array_equal(column, small[name]), name
        assert np.array_equal(column, np.concatenate([one[name] for one in alone])), name


def test_turning_the_line_round_turns_the_interval_round() -> None:
    model = network(6, 20, 5)
    x, d = lines(50, 6)
    there = sampled_interval(model, x, d, RANGE, num=60)
    back = sampled_interval(model, x, -d, (-2.0, 1.0), num=60)
    torch.testing.assert_close(there.lo, -back.hi, rtol=0, atol=1e-12)
    torch.testing.assert_close(there.hi, -back.lo, rtol=0, atol=1e-12)
    assert torch.equal(there.label_lo, back.label_hi)


def test_only_some_logits_compete() -> None:
    model = network(6, 20, 5)
    x, d = lines(50, 6)
    found = sampled_interval(model, x, d, RANGE, num=40, decision=(1, 4))
    exact = rr.exact_interval(model, x, d, RANGE, decision=(1, 4))
    assert set(found.label.tolist()) == {1, 4} and torch.equal(found.label, exact.label)
    assert set(found.label_hi.tolist()) <= {-1, 1, 4}


def test_one_logit_decides_by_its_sign() -> None:
    model = network(6, 20, 1)
    x, d = lines(50, 6)
    found, exact = (function(model, x, d, RANGE) for function in (sampled_interval, rr.exact_interval))
    with torch.no_grad():
        assert torch.equal(found.label, (model(x)[:, 0] > 0).long())
    assert torch.equal(found.label, exact.label)
    assert (found.hi - exact.hi).abs().median() < 3 / 100


def test_tie_at_x_is_told_and_takes_the_first_class() -> None:
    model = nn.Sequential(nn.Linear(1, 2, bias=False)).double().eval()
    model[0].weight.data = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    x, d = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    found = sampled_interval(model, x, d, (-1.0, 1.0), num=11)
    assert found.tied.item() and found.label.item() == 0
    assert (found.lo.item(), found.hi.item(), found.label_lo.item()) == (0.0, 1.0, 1)


def test_images_float32_arrays_and_no_lines() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)).eval()
    x = np.random.default_rng(0).random((4, 1, 6, 6), dtype=np.float32)
    found = sampled_interval(model, x, -x[:1] + 1, (-3.0, 3.0), num=25, dtype=torch.float32)
    assert len(found) == 4 and found.lo.dtype == torch.float64
    empty = sampled_interval(model, x[:0], x[:1], (-1.0, 1.0), num=25)
    assert len(empty) == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"t_range": (-math.inf, 2.0)}, ValueError, "unbounded.*finite range"),
        ({"t_range": (0.5, 2.0)}, ValueError, "leaves out t = 0"),
        ({"num": 1}, ValueError, "at least 2"),
        ({"num": 10.0}, TypeError, "integer"),
        ({"num": True}, TypeError, "integer"),
        ({"d": torch.zeros(3, 4)}, ValueError, "d is zero"),
        ({"x": torch.full((3, 4), math.nan)}, ValueError, "x is not finite"),
        ({"x": torch.zeros(3, 4, dtype=torch.int64)}, TypeError, "floating-point"),
        ({"decision": (0, 7)}, ValueError, "decision"),
    ],
)
def test_refuses(change: dict, error: type[Exception], message: str) -> None:
    given = {"x": torch.zeros(3, 4), "d": torch.ones(3, 4), "t_range": RANGE, "num": 10, **change}
    with pytest.raises(error, match=message):
        sampled_interval(mlp(4, 5, 3).eval(), **given)


def test_refuses_a_model_in_training_mode_and_leaves_it_there() -> None:
    model = mlp(4, 5, 3).train()
    with pytest.raises(ValueError, match="training mode"):
        sampled_interval(model, torch.zeros(3, 4), torch.ones(3, 4), RANGE)
    assert model.training
