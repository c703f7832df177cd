"""The command: answers in every format, errors as one line with exit code 2, and the demo."""

import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import relu_regions as rr
from relu_regions.apps.cli import main
from tests.models import mlp

NUMBER = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model, and points and directions for it."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    program = torch.export.export(
        mlp(4, 8, 3).eval(), (torch.randn(3, 4),), dynamic_shapes=({0: torch.export.Dim("N")},)
    )
    torch.export.save(program, folder / "model.pt2")
    generator = np.random.default_rng(0)
    x, d = generator.standard_normal((2, NUMBER, 4))
    np.savez(folder / "both.npz", x=x, d=d)
    np.savez(folder / "only.npz", points=x)
    np.save(folder / "x.npy", x)
    np.save(folder / "d.npy", d)
    np.save(folder / "one.npy", d[:1])
    return folder


@pytest.fixture(scope="module")
def truth(folder: Path) -> rr.Interval:
    with np.load(folder / "both.npz") as file:
        network = rr.Network.from_exported(str(folder / "model.pt2"))
        return rr.exact_interval(network, file["x"], file["d"])


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def assert_refused(capsys: pytest.CaptureFixture[str], *arguments: object, saying: str) -> None:
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("relu-regions: ") and said.err.count("\n") == 1, said.err
    assert saying in said.err
    assert said.out == ""


# ---------------------------------------------------------------- interval and describe


def test_csv_on_standard_output(folder: Path, truth: rr.Interval, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run("interval", "--model", folder / "model.pt2", "--x", folder / "both.npz") == 0
    rows = list(csv.DictReader(io.StringIO(capfdbinary.readouterr().out.decode())))
    assert [int(row["line"]) for row in rows] == list(range(NUMBER))
    assert [float(row["lo"]) for row in rows] == truth.lo.tolist()
    assert [float(row["hi"]) for row in rows] == truth.hi.tolist()
    assert [int(row["label_hi"]) for row in rows] == truth.label_hi.tolist()
    assert math.inf in truth.length


@pytest.mark.parametrize("name", ["out.csv", "out.json", "out.npz"])
def test_files(folder: Path, truth: rr.Interval, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / name
    out.write_text("an old result")
    given = ("--x", folder / "x.npy", "--d", folder / "d.npy", "--out", out)
    assert run("interval", "--model", folder / "model.pt2", *given) == 0
    assert capsys.readouterr().out == f"{NUMBER} intervals in {out}\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name.endswith(".npz"):
        with np.load(out, allow_pickle=False) as file:
            found = dict(file)
    else:
        text = out.read_text()
        rows = json.loads(text) if name.endswith(".json") else list(csv.DictReader(io.StringIO(text)))
        found = {key: np.array([float(row[key]) for row in rows]) for key in ("lo", "hi", "label", "label_lo")}
        assert "Infinity" not in text and "NaN" not in text
    for key in ("lo", "hi", "label", "label_lo"):
        assert np.array_equal(found[key], getattr(truth, key).numpy()), key


def test_one_direction_for_all_and_a_range(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    given = ("--x", folder / "only.npz", "--d", folder / "one.npy", "--range", "-1", "2")
    assert run("interval", "--model", folder / "model.pt2", *given) == 0
    rows = list(csv.DictReader(io.StringIO(capfdbinary.readouterr().out.decode())))
    assert len(rows) == NUMBER
    assert all(-1 <= float(row["lo"]) <= 0 <= float(row["hi"]) <= 2 for row in rows)


def test_more_lines_than_a_batch(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relu_regions.apps.commands._LINES_AT_ONCE", 3)
    for number in (NUMBER, 6):
        with np.load(folder / "both.npz") as file:
            np.savez(tmp_path / "both.npz", x=file["x"][:number], d=file["d"][:number])
        given = ("--x", tmp_path / "both.npz", "--out", tmp_path / "out.npz")
        assert run("interval", "--model", folder / "model.pt2", *given) == 0
        with np.load(tmp_path / "out.npz") as file:
            assert len(file["lo"]) == number


def test_describe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("describe", "--model", folder / "model.pt2") == 0
    assert capsys.readouterr().out.startswith("4 -> 3, 8 units")


def test_refusals(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, both = folder / "model.pt2", folder / "both.npz"
    interval = ("interval", "--model", model)
    np.savez(tmp_path / "nan.npz", x=np.full((2, 4), np.nan), d=np.ones((2, 4)))
    np.savez(tmp_path / "integers.npz", x=np.ones((2, 4), int), d=np.ones((2, 4)))
    np.savez(tmp_path / "shape.npz", x=np.ones((2, 5)), d=np.ones((2, 5)))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "junk.npz").write_bytes(b"PK junk")
    (tmp_path / "junk.pt2").write_bytes(b"junk")
    (tmp_path / "model.pkl").write_bytes(b"junk")
    refused = {
        "one without a name": (*interval, "--x", folder / "x.npy"),
        "x is not finite in rows 0, 1": (*interval, "--x", tmp_path / "nan.npz"),
        "floating-point": (*interval, "--x", tmp_path / "integers.npz"),
        "read for (4,)": (*interval, "--x", tmp_path / "shape.npz"),
        "without pickle": (*interval, "--x", tmp_path / "objects.npy", "--d", both),
        "no arrays that numpy reads": (*interval, "--x", tmp_path / "junk.npz", "--d", both),
        "No such file": (*interval, "--x", tmp_path / "none.npz"),
        "leaves out t = 0": (*interval, "--x", both, "--range", "1", "2"),
        "--out must end in": (*interval, "--x", both, "--out", tmp_path / "out.txt"),
        "there is no folder": (*interval, "--x", both, "--out", tmp_path / "none" / "out.csv"),
        "--range": (*interval, "--x", both, "--range", "a", "2"),
        "--x": interval,
        "neither .pt2 nor .onnx": ("describe", "--model", tmp_path / "model.pkl"),
        "not a .pt2 file": ("describe", "--model", tmp_path / "junk.pt2"),
        "there is no file": ("describe", "--model", tmp_path / "none.pt2"),
        "No such command": ("bogus",),
    }
    for saying, arguments in refused.items():
        assert_refused(capsys, *arguments, saying=saying)
    assert not list(tmp_path.glob("*.csv")) + list(tmp_path.glob(".*"))


@pytest.mark.parametrize("missing", ["typer", "sklearn"])
def test_what_is_not_installed_is_named_with_its_extra(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == missing or name in (
            "relu_regions.apps.commands", "relu_regions.apps.demo", "relu_regions.apps.reproduction.data",
            "relu_regions.apps.reproduction.training",
        ):  # fmt: skip
            monkeypatch.delitem(sys.modules, name)
    # None in this table makes an import fail as if there were no such module.
    monkeypatch.setitem(sys.modules, missing, None)
    assert_refused(capsys, "demo", "--out", tmp_path / "out", saying='pip install "relu-regions[demo]"')


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "interval" in capsys.readouterr().out
    assert run() == 2


# ---------------------------------------------------------------- the demo


@pytest.mark.long
def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from relu_regions.apps.demo import run_demo

    out = tmp_path / "new" / "demo"
    comparisons = run_demo(out, per_class=3, resolutions=(8, 200))
    said = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["interval_densities.png", "logits_along_paths.png"]
    for path in out.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG") and f"Picture: {path}" in said
    assert max(len(line.rstrip()) for line in said.splitlines() if "Picture" not in line) <= 80
    real, random, moons = comparisons
    assert (len(real.lines), len(random.lines), len(moons.lines)) == (60, 60, 12)
    assert real.trained.errors == random.trained.errors == moons.trained.errors == 0
    assert real.exact.length.mean() > random.exact.length.mean()
    for comparison in comparisons:
        coarse, fine = comparison.samplings
        assert coarse.mean_error > fine.mean_error > 0
        assert coarse.max_error >= 0.9 * 3 / 7 / 2
        # Computed anew, not read from the table.
        again = rr.exact_interval(comparison.trained.model(), comparison.lines.x, comparison.lines.d, (-1.0, 2.0))
        torch.testing.assert_close(again.length, comparison.exact.length, rtol=0, atol=1e-12)
        labels = comparison.trained.model()(comparison.lines.x.float()).argmax(1)
        assert torch.equal(comparison.exact.label, labels)


def test_demo_refuses_a_file_as_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert_refused(capsys, "demo", "--out", tmp_path / "taken", saying="taken")
    assert_refused(capsys, "demo", "--out", tmp_path, "--seed", "-1", saying="--seed")


def test_the_installed_command_exits_with_2_and_no_traceback(tmp_path: Path) -> None:
    code = "import sys; from relu_regions.apps.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "describe", "--model", str(tmp_path / "none.pt2")],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
