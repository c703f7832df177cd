"""Every benchmark runs in its quick form and writes its figures."""

import importlib
import json
import math
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# What each writes for every network, setting or method that it measures.
EXPECTED = {
    "agreement": "networks",
    "architectures": "networks",
    "certified": "certificates",
    "exact_vs_sampled": "networks",
    "floor": "networks",
    "integrated_gradients": "networks",
    "norms": "methods",
    "scaling": "tables",
}
# Those that have tests of their own, or take longer than a test should.
OTHERS = {"architectures", "verify_norm_bounds"}


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_every_benchmark_is_expected_here() -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == {*EXPECTED, *OTHERS, "measuring"}


@pytest.mark.parametrize("name", EXPECTED)
def test_quick(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "integrated_gradients":
        pytest.importorskip("captum")
    threads = torch.get_num_threads()
    out = tmp_path / "folder" / f"{name}.json"
    assert importlib.import_module(name).main(["--quick", "--out", str(out)]) == 0
    assert torch.get_num_threads() == threads
    report = json.loads(out.read_text())
    assert report["machine"]
    assert report[EXPECTED[name]]
    assert all(math.isfinite(number) for number in numbers(report))
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert str(out) in capsys.readouterr().out


def numbers(report: object) -> list[float]:
    """All numbers in a report."""
    if isinstance(report, dict):
        report = list(report.values())
    if isinstance(report, list):
        return [number for part in report for number in numbers(part)]
    return [report] if isinstance(report, int | float) else []
