"""Every example runs, in an empty folder, and says what it should."""

import runpy
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
REGIONS = (
    "logits_along_path",
    "norms_along_path",
    "change_along_path",
    "norm_ratios",
    "graph_of_regions",
    "attribution_image",
)
# What each prints, and the pictures that it draws.
EXPECTED = {
    "between_three_digits": ("exactly 1\n", {"between_three_digits.png"}),
    "breakpoints_of_a_curve": ("breakpoints_of_a_curve.png", {"breakpoints_of_a_curve.png"}),
    "breakpoints_of_the_function": ("function: ", {"breakpoints_of_the_function.png"}),
    "first_interval": ("mean length", set()),
    "integrated_gradients": ("exact", set()),
    "pictures_of_regions": ("norm_ratios.png", {f"{name}.png" for name in REGIONS}),
    "sampled_against_exact": ("3000", set()),
    "smallest_change": ("p = inf", set()),
    "triangles_of_digits": ("permuted labels", set()),
    "unbounded_line": ("inf]", {"unbounded_line.png"}),
}


def test_every_example_is_expected_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.long
@pytest.mark.parametrize("name", EXPECTED)
def test_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    said, pictures = EXPECTED[name]
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    plt.close("all")
    assert said in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == pictures
    assert all((tmp_path / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
