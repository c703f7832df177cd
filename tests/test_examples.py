"""Every example runs, in an empty folder, and says what it should."""

import runpy
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# What each prints, and the picture that it draws.
EXPECTED = {
    "breakpoints_of_a_curve": ("breakpoints_of_a_curve.png", "breakpoints_of_a_curve.png"),
    "first_interval": ("mean length", None),
    "integrated_gradients": ("exact", None),
    "sampled_against_exact": ("3000", None),
    "unbounded_line": ("inf]", "unbounded_line.png"),
}


def test_every_example_is_expected_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    said, picture = EXPECTED[name]
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    plt.close("all")
    assert said in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ([] if picture is None else [picture])
    if picture is not None:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
