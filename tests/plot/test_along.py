"""Pictures along a segment: what is drawn is read back from the axes and compared with the numbers."""

import math

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import StepPatch

import relu_regions as rr
from relu_regions.plot import change_along_path, logits_along_path, norms_along_path
from relu_regions.plot.along import _bands
from relu_regions.regions.lipschitz_bounds import linear_network_norm, logit_bounds, product_bound
from tests.models import ARCHITECTURES
from tests.plot.axes import a_path, new_axes


def lines_of(ax: Axes) -> dict[str, np.ndarray]:
    return {line.get_label(): np.asarray(line.get_xydata()) for line in ax.get_lines()}


# ---------------------------------------------------------------- logits along a path


def test_draws_the_logits_through_every_breakpoint() -> None:
    path = a_path()
    ax = new_axes()
    assert logits_along_path(path, ax) is ax
    drawn = [np.asarray(line.get_xydata()) for line in ax.get_lines() if len(line.get_xydata()) == len(path.t)]
    assert len(drawn) == 4
    for k in range(4):
        truth = np.column_stack([path.t.numpy(), path.outputs[:, k].numpy()])
        assert any(np.allclose(truth, one, rtol=0, atol=1e-12) for one in drawn)
    ticks = lines_of(ax)[f"{len(path.breakpoints)} breakpoints"]
    assert np.array_equal(ticks[:, 0], path.breakpoints.numpy())
    assert ax.get_xlim() == (-1, 2) and ax.get_xlabel() and ax.get_ylabel() == "logit"


@pytest.mark.parametrize("seed", range(8))
def test_the_bands_are_the_classes_of_a_dense_evaluation(seed: int) -> None:
    path = a_path(classes=6, seed=seed)
    bounds, winners = _bands(path.t.numpy(), path.outputs.numpy())
    assert bounds[0] == -1 and bounds[-1] == 2 and (np.diff(bounds) > 0).all()
    assert (np.diff(winners) != 0).all()
    t = np.random.default_rng(seed).uniform(-1, 2, 3000)
    t = t[np.abs(t[:, None] - bounds).min(1) > 1e-9]
    truth = path.outputs_at(torch.from_numpy(t)).argmax(1).numpy()
    assert np.array_equal(winners[np.searchsorted(bounds, t) - 1], truth)


@pytest.mark.parametrize("seed", range(8))
def test_the_band_around_0_is_the_exact_interval(seed: int) -> None:
    path = a_path(classes=6, seed=seed)
    bounds, _ = _bands(path.t.numpy(), path.outputs.numpy())
    interval = rr.exact_interval(path.paths.network, path.paths.x, path.paths.d, (-1.0, 2.0))
    at = np.searchsorted(bounds, 0.0)
    assert bounds[at - 1] == pytest.approx(interval.lo.item(), abs=1e-11)
    assert bounds[at] == pytest.approx(interval.hi.item(), abs=1e-11)


def test_bands_of_several_classes_in_one_region_and_of_ties() -> None:
    # On [0, 1] without a breakpoint: class 0, then 1, then 2; class 3 equals class 0.
    t = np.array([0.0, 1.0])
    logits = np.array([[1.0, 0.5, -1.0, 1.0], [-1.0, 0.5, 2.0, -1.0]])
    bounds, winners = _bands(t, logits)
    assert winners.tolist() == [0, 1, 2]
    np.testing.assert_allclose(bounds, [0, 0.25, 0.5, 1])
    # All equal at 0: the steepest one wins right after it.
    assert _bands(t, np.array([[0.0, 0.0], [1.0, 2.0]]))[1].tolist() == [1]


def test_bold_is_the_class_at_x_or_the_one_asked_for() -> None:
    path = a_path()

    def bold(ax: Axes) -> list[str]:
        return [line.get_label() for line in ax.get_lines() if line.get_linewidth() > 2]

    own = int(path.outputs_at([0.0])[0].argmax())
    assert bold(logits_along_path(path, new_axes())) == [f"class {own}"]
    names = ["cat", "dog", "owl", "fox"]
    assert bold(logits_along_path(path, new_axes(), label=2, class_names=names)) == ["owl"]


def test_an_unbounded_path_is_shown_past_its_last_breakpoints() -> None:
    path = a_path((-math.inf, math.inf))
    ax = logits_along_path(path, new_axes())
    low, high = ax.get_xlim()
    assert low < path.breakpoints.min() and high > path.breakpoints.max()
    assert math.isfinite(low) and math.isfinite(high)
    assert f"{len(path.breakpoints)} breakpoints" in lines_of(ax)
    near = logits_along_path(path, new_axes(), t_range=(-0.5, 0.5))
    assert near.get_xlim() == (-0.5, 0.5)


def test_more_classes_than_ten_get_colours_of_their_own() -> None:
    path = a_path((-30.0, 30.0), classes=14)
    ax = logits_along_path(path, new_axes())
    named = [line for line in ax.get_lines() if line.get_label().startswith("class")]
    assert len({to_rgb(line.get_color()) for line in named}) == len(named) > 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 4}, "label must be a class from 0 to 3"),
        ({"class_names": ["one"]}, "class_names must name 4 classes"),
        ({"t_range": (-2.0, 1.0)}, "leaves the path"),
        ({"t_range": (1.0, 0.0)}, "in order"),
    ],
)
def test_logits_refuses(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        logits_along_path(a_path(), new_axes(), **change)


def test_logits_refuses_outputs_that_are_no_vector() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Unflatten(1, (2, 2))).eval()
    path = rr.walk(model, torch.ones(1, 4), torch.ones(1, 4))[0]
    with pytest.raises(ValueError, match="vector of logits"):
        logits_along_path(path, new_axes())


# ---------------------------------------------------------------- norms along a path


def steps_of(ax: Axes) -> tuple[np.ndarray, np.ndarray]:
    """The heights and edges of the only stairs."""
    (steps,) = (patch for patch in ax.patches if isinstance(patch, StepPatch))
    values, edges, _ = steps.get_data()
    return values, edges


def test_draws_the_norm_of_every_region_and_what_bounds_it() -> None:
    path = a_path()
    ax = new_axes()
    assert norms_along_path(path, ax) is ax and ax.get_yscale() == "log"
    values, edges = steps_of(ax)
    np.testing.assert_allclose(values, [region.norm(math.inf) for region in path.regions], rtol=1e-12)
    assert np.array_equal(edges, path.t.numpy())
    network = path.paths.network
    mean = (values * np.diff(edges)).sum() / 3
    levels = [mean, linear_network_norm(network), float(logit_bounds(network).max()), product_bound(network)]
    drawn = [line.get_ydata()[0] for line in ax.get_lines() if line.get_label().count(": ")]
    np.testing.assert_allclose(drawn, levels, rtol=1e-12)


def test_norms_of_a_part_and_of_an_unbounded_path() -> None:
    path = a_path()
    values, edges = steps_of(norms_along_path(path, new_axes(), t_range=(-0.5, 0.5), bounds=False))
    inside = path.breakpoints[(path.breakpoints > -0.5) & (path.breakpoints < 0.5)].numpy()
    assert np.array_equal(edges, [-0.5, *inside, 0.5])
    middles = (edges[:-1] + edges[1:]) / 2
    regions = [next(r for r in path.regions if r.interval[0] <= t <= r.interval[1]) for t in middles]
    np.testing.assert_allclose(values, [region.norm(math.inf) for region in regions], rtol=1e-12)
    unbounded = a_path((-math.inf, math.inf))
    values, edges = steps_of(norms_along_path(unbounded, new_axes()))
    assert len(values) == len(unbounded) and np.isfinite(edges).all()


def test_norms_of_a_network_that_has_no_linear_network() -> None:
    model = next(a for a in ARCHITECTURES if a.name == "maxout").model()
    x, d = torch.randn(2, 1, 5, dtype=torch.float64)
    ax = norms_along_path(rr.walk(model, x, d)[0], new_axes())
    assert not any("removed" in line.get_label() for line in ax.get_lines())
    ax.figure.canvas.draw()


# ---------------------------------------------------------------- the parts of a change


def test_the_parts_drawn_add_up_to_the_change_of_the_logit() -> None:
    path = a_path()
    for label in (None, 2):
        ax = new_axes()
        assert change_along_path(path, ax, label=label) is ax
        chosen = int(path.outputs_at([0.0])[0].argmax()) if label is None else label
        whole, weights, direction = (
            np.asarray(line.get_ydata()) for line in ax.get_lines() if len(line.get_ydata()) == len(path.t)
        )
        expected = (path.outputs - path.outputs_at([0.0]))[:, chosen]
        np.testing.assert_allclose(whole, expected, atol=1e-12)
        np.testing.assert_allclose(weights + direction, expected, atol=1e-12)


def test_a_change_is_refused() -> None:
    with pytest.raises(ValueError, match="label must be a class"):
        change_along_path(a_path(), new_axes(), label=4)
    with pytest.raises(ValueError, match="unbounded"):
        change_along_path(a_path((-math.inf, 1.0)), new_axes())
    flat = rr.walk(torch.nn.Conv1d(1, 1, 1).eval(), torch.zeros(1, 1, 3), torch.ones(1, 1, 3))[0]
    with pytest.raises(ValueError, match="vector of logits"):
        change_along_path(flat, new_axes())
