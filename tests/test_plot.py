"""Pictures: what is drawn is read back from the axes and compared with the numbers."""

import math
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import relu_regions as rr
from relu_regions.plot import _bands, interval_density, logits_along_path
from tests.models import mlp

mpl.use("Agg")


def new_axes() -> Axes:
    return Figure(figsize=(7, 4), layout="constrained").subplots()


def a_path(t_range: tuple[float, float] = (-1.0, 2.0), classes: int = 4, seed: int = 0) -> rr.Path:
    torch.manual_seed(seed)
    model = mlp(5, 12, 12, classes).double().eval()
    for parameter in model.parameters():
        parameter.data *= 2.5
    x, there = torch.randn(2, 1, 5, dtype=torch.float64)
    return rr.walk(model, x, there - x, t_range)[0]


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


def test_logits_refuses_a_single_output() -> None:
    with pytest.raises(ValueError, match="two or more"):
        logits_along_path(a_path(classes=1), new_axes())


# ---------------------------------------------------------------- densities


def test_density_and_atom_add_up_and_the_atom_is_not_smeared() -> None:
    generator = np.random.default_rng(0)
    lengths = np.minimum(generator.gamma(4, 0.7, 2000), 3.0)
    ax = new_axes()
    assert interval_density({"one": lengths, "other": torch.from_numpy(lengths / 2)}, 3.0, ax, bins=30) is ax
    outlines = [patch for patch in ax.patches if patch.get_label().startswith(("one", "other"))]
    values, edges, _ = outlines[0].get_data()
    share = (lengths == 3).mean()
    assert 0.1 < share < 0.9
    assert (values * np.diff(edges)).sum() == pytest.approx(1 - share)
    # The last bin holds those between its edges, not those at 3.
    assert values[-1] == pytest.approx(((lengths >= edges[-2]) & (lengths < 3)).mean() / (edges[-1] - edges[-2]))
    values, edges, _ = outlines[1].get_data()
    assert (values * np.diff(edges)).sum() == pytest.approx(1)
    (panel,) = (other for other in ax.figure.axes if other is not ax)
    assert [bar.get_height() for bar in panel.patches] == [pytest.approx(share), 0]
    assert panel.get_ylim() == (0, 1)
    assert [text.get_text() for text in panel.get_xticklabels()] == ["= 3"]


def test_infinite_lengths_are_an_atom_or_refused() -> None:
    lengths = {"lines": torch.tensor([1.0, 2.0, math.inf, math.inf])}
    ax = interval_density(lengths, math.inf, new_axes())
    (panel,) = (other for other in ax.figure.axes if other is not ax)
    assert panel.patches[0].get_height() == 0.5
    with pytest.raises(ValueError, match=r"math\.inf"):
        interval_density(lengths, ax=new_axes())


def test_only_atoms_and_no_atoms() -> None:
    interval_density({"all": np.full(5, 3.0)}, 3.0, new_axes()).figure.canvas.draw()
    ax = interval_density({"all": np.array([0.5, 1.0])}, ax=new_axes())
    assert ax.figure.axes == [ax]
    interval_density({"all": np.zeros(3)}, ax=new_axes()).figure.canvas.draw()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({}, "empty"),
        ({"a": np.zeros(0)}, "N at least 1"),
        ({"a": np.zeros((2, 2))}, "got shape"),
        ({"a": np.array([-1.0])}, "negative"),
        ({"a": np.array([math.nan])}, "NaN"),
    ],
)
def test_density_refuses(lengths: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interval_density(lengths, 3.0, new_axes())


def test_importing_the_library_imports_neither_matplotlib_nor_what_the_demo_needs() -> None:
    code = (
        "import sys, relu_regions, relu_regions.plot, relu_regions.sampling, relu_regions.cli\n"
        "print([name for name in ('matplotlib', 'typer', 'rich', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
