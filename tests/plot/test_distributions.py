"""Pictures of distributions: what is drawn is read back from the axes and compared with the numbers."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from relu_regions.plot import interval_density, norm_ratios
from tests.plot.axes import new_axes

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


# ---------------------------------------------------------------- ratios of norms


def test_ratios_have_area_1_and_their_share_is_marked() -> None:
    ratios = {"one": np.exp(np.random.default_rng(0).normal(size=1000)), "other": torch.tensor([0.0, 0.5, 1.0, 2.0])}
    ax = new_axes()
    assert norm_ratios(ratios, ax, share=0.75) is ax and ax.get_xscale() == "log"
    outlines = [patch for patch in ax.patches if patch.get_label().startswith(("one", "other"))]
    for patch, area in zip(outlines, (1, 0.75)):  # a ratio of 0 is not on the axis
        values, edges, _ = patch.get_data()
        assert (values * np.diff(np.log10(edges))).sum() == pytest.approx(area)
    assert "25.0% are 0" in outlines[1].get_label() and "K = 1" in outlines[1].get_label()
    needed = sorted(ratios["one"])[749]
    marks = [line.get_xdata()[0] for line in ax.get_lines()]
    assert marks == pytest.approx([needed, 1.0, 1.0])


def test_ratios_are_weighted() -> None:
    ax = norm_ratios({"a": [1.0, 10.0]}, new_axes(), weights={"a": [3.0, 1.0]}, bins=2)
    values, edges, _ = ax.patches[0].get_data()
    assert (values * np.diff(np.log10(edges))).tolist() == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ({}, "no ratio is positive"),
        ({"a": np.zeros(3)}, "no ratio is positive"),
        ({"a": np.array([1.0, math.inf])}, "finite numbers"),
        ({"a": np.array([-1.0])}, "not negative"),
        ({"a": np.ones((2, 2))}, r"must be \(N,\)"),
    ],
)
def test_ratios_are_refused(ratios: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        norm_ratios(ratios, new_axes())


# ---------------------------------------------------------------- what is imported


def test_importing_the_library_imports_neither_matplotlib_nor_what_the_demo_needs() -> None:
    code = (
        "import sys, relu_regions, relu_regions.plot, relu_regions.intervals.sampling, relu_regions.apps.cli\n"
        "print([name for name in ('matplotlib', 'typer', 'rich', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
