"""Every benchmark runs in its quick form and writes its figures."""

import importlib
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import relu_regions as rr

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# What each writes for every network, setting or method that it measures.
EXPECTED = {
    "agreement": "networks",
    "architectures": "networks",
    "certified": "certificates",
    "changed_models": "changed",
    "deployed": "networks",
    "ends": "networks",
    "exact_vs_sampled": "networks",
    "floor": "networks",
    "fused_maxima": "networks",
    "integrated_gradients": "networks",
    "judged": "networks",
    "norms": "methods",
    "onnx_node_tests": "counts",
    "peers": "networks",
    "planes": "networks",
    "proofs": "networks",
    "tied_planes": "cases",
    "same_results": "networks",
    "scaling": "tables",
}


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_every_benchmark_is_expected_here() -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == {
        *EXPECTED,
        "changes",
        "fuzz_certificates",
        "fuzz_files",
        "gpu",
        "measuring",
        "mutants",
        "onnx_mutants",
        "public_models",
        "verify_norm_bounds",
    }


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many threads torch was last told to take, from 2 on: it says that it does, and stays on one."""
    told = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: told[-1])
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    return told


@pytest.mark.long
@pytest.mark.parametrize("name", EXPECTED)
def test_quick(name: str, threads: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "integrated_gradients":
        pytest.importorskip("captum")
    if name == "onnx_node_tests":
        pytest.importorskip("onnx2fx")  # needs Python 3.11
    out = tmp_path / "folder" / f"{name}.json"
    assert importlib.import_module(name).main(["--quick", "--out", str(out)]) == 0
    assert threads[-1] == 2
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.import_module("gpu").main(["--quick", "--out", str(tmp_path / "gpu.json")]) == 0
    assert "No CUDA device" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_what_the_gpu_script_measures_is_measured_on_a_processor() -> None:
    measure = importlib.import_module("gpu").measured
    row = measure("cpu", torch.float64, 3, "never", 1, {"flops": 1e12, "copied": 1e12})
    assert row["breakpoints"] > 0
    assert 0 < row["share_of_products"] < 1
    assert 0 < row["share_of_copying"] < 1


@pytest.mark.parametrize(
    ("found", "missed", "invented", "error"),
    [
        ([0.1, 0.5, 0.9], 0, 0, 0.0),
        ([0.1, 0.9], 1, 0, 0.0),
        ([0.1, 0.5, 0.5, 0.9], 0, 1, 0.0),
        ([0.1 + 1e-7, 0.5 - 1e-5, 0.9], 1, 1, 1e-7),
        ([], 3, 0, 0.0),
    ],
)
def test_breakpoints_are_compared_one_for_one(found: list[float], missed: int, invented: int, error: float) -> None:
    compare = importlib.import_module("peers").compare
    assert compare(found, [0.1, 0.5, 0.9], 1e-6) == pytest.approx((missed, invented, error), abs=1e-12)


def test_the_products_of_a_walk_are_counted() -> None:
    measuring = importlib.import_module("measuring")
    torch.manual_seed(0)
    paths = rr.walk(measuring.mlp(3, 5, 4, 2).double(), *measuring.between_uniform_points(6, 3), progress=False)
    points = [number for _, number in measuring.points_of_products(paths)]
    # Two for each segment, then its ends and x, and at last these and every breakpoint.
    first = sum(int((path.flips.gate == 0).sum()) for path in paths)
    assert points == [12, 18 + first, 18 + int(paths.breakpoint_counts.sum())]
    products = measuring.points_of_products(paths)
    assert measuring.operations(products) == 2 * (points[0] * 15 + points[1] * 20 + points[2] * 8)


def test_parts_of_the_walk_are_put_back() -> None:
    floor = importlib.import_module("floor")
    before = [vars(owner)[name] for functions in floor.parts().values() for owner, name in functions]
    chain = floor.mlp(3, 5, 2).double()
    pooled = (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 1), nn.ReLU()).double().eval()
    )

    def walk() -> None:
        for model, shape in ((chain, (3,)), (pooled, (1, 4, 4))):
            x, d = torch.randn(2, 4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            rr.walk(model, x, d, progress=False)

    shares = floor.shares(walk)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share > 0 for part, share in shares.items() if part != "settling")
    after = [vars(owner)[name] for functions in floor.parts().values() for owner, name in functions]
    assert all(one is other for one, other in zip(before, after))


def test_what_samples_of_a_plane_miss_is_counted() -> None:
    shapely = pytest.importorskip("shapely")
    script = importlib.import_module("planes")
    (first, second), side = script.cases(quick=True), 8
    for case in (first, second):
        restricted, points = case.restricted(), 2 * torch.rand(50, 2, dtype=torch.float64) - 1
        there = case.x + points[:, :1] * case.u + points[:, 1:] * case.v
        assert torch.allclose(restricted(points), case.model(there), atol=1e-12)
        planes = rr.walk_plane(case.model, case.x, case.u, case.v, script.SQUARE)
        errors = script.errors_of(restricted, side, len(planes.areas))
        samples = script.grid(side)
        tree = shapely.STRtree(planes.to_shapely())
        seen = set(tree.query(shapely.points(samples.numpy()), predicate="within")[1].tolist())
        assert errors["regions_missed"] == pytest.approx(1 - len(seen) / len(planes.areas))
        # The part of each sample's square where another class wins.
        labels, cells = script.labels_on_grid(restricted, side).numpy(), planes.to_shapely("cell")
        squares = shapely.box(*(samples - 1 / side).numpy().T, *(samples + 1 / side).numpy().T)
        square, cell = shapely.STRtree(cells).query(squares, predicate="intersects")
        wrong = planes.cells.label.numpy()[cell] != labels[square]
        area = shapely.intersection(squares[square[wrong]], cells[cell[wrong]])
        assert errors["area_misjudged"] == pytest.approx(shapely.area(area).sum() / 4, abs=2e-3)
