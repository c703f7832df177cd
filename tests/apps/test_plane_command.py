"""`relu-regions plane`: what its files say, against the planes of the library."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import relu_regions as rr
from relu_regions.apps.cli import main
from tests.models import mlp


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model, and three points for it."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(2)
    program = torch.export.export(
        mlp(4, 9, 7, 3).eval(), (torch.randn(3, 4),), dynamic_shapes=({0: torch.export.Dim("N")},)
    )
    torch.export.save(program, folder / "model.pt2")
    np.savez(folder / "three.npz", x=np.random.default_rng(0).standard_normal((3, 4)))
    np.save(folder / "four.npy", np.ones((4, 4)))
    return folder


@pytest.fixture(scope="module")
def truth(folder: Path) -> rr.Planes:
    with np.load(folder / "three.npz") as file:
        a, b, c = file["x"][:, None]
    network = rr.Network.from_exported(str(folder / "model.pt2"))
    return rr.walk_plane(network, *rr.directions.planes_through(a, b, c, margin=2.0))


def run(folder: Path, *arguments: object, x: str = "three.npz") -> int:
    given = ["plane", "--model", folder / "model.pt2", "--x", folder / x, *arguments]
    return main([str(argument) for argument in given])


def test_all_of_a_plane_and_pictures(folder: Path, truth: rr.Planes, tmp_path: Path, capsys) -> None:
    pytest.importorskip("bokeh")
    names = [tmp_path / f"plane{suffix}" for suffix in (".json", ".png", ".svg", ".html")]
    assert run(folder, "--margin", 2, *(part for name in names for part in ("--out", name))) == 0
    count = len(truth.areas)
    assert capsys.readouterr().out == "".join(f"{count} regions in {name}\n" for name in names)
    assert {path.name for path in tmp_path.iterdir()} == {name.name for name in names}
    assert [name.read_bytes()[:4] for name in names[1:]] == [b"\x89PNG", b"<?xm", b"<!DO"]
    found = json.loads(names[0].read_text())
    assert found["regions"] == len(found["faces"]) == count and found["decided_by"] == "bounds"
    assert [face["area"] for face in found["faces"]] == truth.areas.tolist()
    assert found["vertices"] == truth.vertices.tolist()
    for face in found["faces"]:
        for number in face["corners"]:
            s, t = found["vertices"][number]
            outputs = [a + s * b + t * c for a, b, c in zip(face["intercept"], face["slope_s"], face["slope_t"])]
            assert outputs == pytest.approx(truth.outputs[number].tolist(), abs=1e-12)
    assert sum(len(edge["flips"]) for edge in found["edges"]) == len(truth.edges.flips.row)
    shares = {part["class"]: part["share"] for part in found["classes"]}
    assert shares == {
        k: area / float(truth.areas.sum()) for k, area in enumerate(truth.class_areas()[0].tolist()) if area
    }
    assert [cell["class"] for cell in found["cells"]] == truth.cells.label.tolist()
    assert sum(part["pieces"] for part in found["classes"]) == len(truth.components())


def test_a_summary_on_standard_output(folder: Path, truth: rr.Planes, capsys) -> None:
    assert run(folder, "--margin", 2) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["regions"] == len(truth.areas) and found["area"] == pytest.approx(4.5)
    assert sum(part["share"] for part in found["classes"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "x", "saying"),
    [
        (("--out", "plane.csv"), "three.npz", "--out must end in .json, .png, .svg, .html, not .csv"),
        (("--out", "nowhere/plane.png"), "three.npz", "there is no folder"),
        (("--colour", "red"), "three.npz", "--colour must be one of class, norm, region, margin, not red"),
        ((), "four.npy", "--x must hold three points, shape (3, 4), not (4, 4)"),
        (("--margin", "-2"), "three.npz", "margin must be finite and above -1"),
        (("--margin", "1e308"), "three.npz", "areas in the plane are beyond the range of floats"),
        (("--out", "{folder}/sub.json"), "three.npz", "--out must name a file, "),
    ],
)
def test_refusals(folder: Path, arguments: tuple[str, ...], x: str, saying: str, capsys) -> None:
    (folder / "sub.json").mkdir(exist_ok=True)
    assert run(folder, *(argument.format(folder=folder) for argument in arguments), x=x) == 2
    said = capsys.readouterr()
    assert said.err.startswith("relu-regions: ") and said.err.count("\n") == 1 and saying in said.err
    assert said.out == ""
