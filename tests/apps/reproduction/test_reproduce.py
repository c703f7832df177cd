"""The figures: a quick run of all, against answers computed anew; a run that is killed goes on where it was."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import relu_regions as rr
from relu_regions.apps.cli import main
from relu_regions.apps.reproduction.data import load
from relu_regions.apps.reproduction.networks import Setup, main_setup, networks, samples
from relu_regions.apps.reproduction.reproduce import EXPERIMENTS, chosen
from relu_regions.apps.reproduction.results import Run, read_json
from relu_regions.lines.directions import pairs

pytestmark = pytest.mark.long  # trains networks for a minute or two


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a quick run of everything."""
    out = tmp_path_factory.mktemp("quick")
    assert main(["reproduce", "all", "--quick", "--out", str(out)]) == 0
    return out


def test_every_experiment_writes_numbers_and_pictures(quick: Path) -> None:
    for name in EXPERIMENTS:
        result = read_json(quick / f"{name}.json")
        assert result["figure"] == name and result["quick"] and result["seeds"] in (1, 2)
        assert (quick / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (quick / f"{name}.svg").read_text()[:1000]
    assert not list(quick.rglob("*.partial"))


def test_what_is_shown_is_named_as_what_it_is(quick: Path) -> None:
    for name in EXPERIMENTS:
        assert "Demonstration on few samples" in (quick / f"{name}.svg").read_text()
    assert "digits" in read_json(quick / "figure7.json")["title"]
    for name in ("figure4", "figure7"):
        for panel in read_json(quick / f"{name}.json")["panels"]:
            assert panel["samples"] == "digits" and panel["title"].startswith("digits, ")


def test_densities_are_those_of_intervals_computed_anew(quick: Path) -> None:
    """On two moons: one class, all pairs, every network; by walking anew and counting."""
    (panel,) = [panel for panel in read_json(quick / "figure8.json")["panels"] if panel["name"] == "momentum 0.9"]
    run = Run(quick, seeds=2, quick=True)
    lengths = {}
    for labels, members in networks(run, Setup("two_moons", training={"momentum": 0.9})).items():
        of_labels = []
        for member, summary in zip(members, panel[labels]["networks"], strict=True):
            lines = pairs(member.data.x_train, member.data.y_train, classes=[0])
            chosen_lines = np.random.default_rng([member.seed, 7]).choice(len(lines), 200, replace=False)
            lines = lines[torch.from_numpy(np.sort(chosen_lines))]
            found = rr.exact_interval(member.trained.model(), lines.x, lines.d, (-1, 2))
            of_labels.append(found.length.numpy())
            wrong = (member.trained.model()(member.data.x_train).argmax(1) != member.data.y_train).sum()
            assert summary["training_errors"] == int(wrong)
        seeds = panel[labels]["seeds"]
        assert [seed["mean"] for seed in seeds] == pytest.approx([column.mean() for column in of_labels], rel=1e-7)
        assert [seed["never_ends"] for seed in seeds] == pytest.approx([(column == 3).mean() for column in of_labels])
        density = np.array(panel[labels]["histogram"]["density"])
        assert density.sum() * 3 / 60 + panel[labels]["never_ends"][0] == pytest.approx(1)
        lengths[labels] = of_labels
    # Wasserstein-1 of two samples of the same size is the mean distance of their sorted values.
    distances = [np.abs(np.sort(a) - np.sort(b)).mean() for a, b in zip(lengths["real"], lengths["random"])]
    assert panel["real_against_random"]["wasserstein"][0] == pytest.approx(np.mean(distances), rel=1e-6)
    assert panel["unproven"] == 0


def test_random_labels_are_a_permutation_of_the_same_samples(tmp_path: Path) -> None:
    run = Run(tmp_path, seeds=2, quick=True)
    members = networks(run, Setup(training={"max_epochs": 1}))
    for real, random in zip(members["real"], members["random"], strict=True):
        assert torch.equal(real.data.x_train, random.data.x_train)
        assert torch.equal(real.data.y_train.bincount(), random.data.y_train.bincount())
        assert not torch.equal(real.data.y_train, random.data.y_train)
        assert real.seed == random.seed and len(real.data.x_test) == 500
    first, second = members["real"]
    assert not torch.equal(first.data.x_train, second.data.x_train)


def test_a_quick_run_shrinks_images_as_a_full_one(tmp_path: Path) -> None:
    digits = samples(Run(tmp_path, quick=True), Setup(factor=4), 0)
    assert digits.x_train.shape == (100, 4)
    assert digits.x_test.mean() == pytest.approx(float(load("digits").x_test.mean()), rel=1e-5)


def test_figures_1_to_3_against_dense_evaluation(quick: Path) -> None:
    """The exact curves of a picture, evaluated by the network itself at points of the line."""
    figure = read_json(quick / "figure2.json")
    run = Run(quick, seeds=2, quick=True)
    member = networks(run, main_setup(run, "mnist", "momentum 0.9"))["real"][0]
    x = member.data.x_train.double()
    nines = x[member.data.y_train == 9]
    for curve in figure["curves"]:
        assert curve["class"] == 9 and curve["t"] == sorted(curve["t"]) and curve["t"][0] == -2 and curve["t"][-1] == 2
    tangent = figure["curves"][0]
    axis = torch.linalg.svd(nines - nines.mean(0))[2][0]
    length = (x - x.mean(0)).square().sum(1).mean().sqrt()
    axis = axis * axis.abs().max() / axis[axis.abs().argmax()]
    t = torch.linspace(-2, 2, 41, dtype=torch.float64)
    with torch.no_grad():
        dense = member.trained.model().double()(nines.mean(0) + t[:, None] * (length / axis.norm()) * axis)
    for logit, exact in zip(dense.T, tangent["logits"], strict=True):
        np.testing.assert_allclose(np.interp(t, tangent["t"], exact), logit, atol=1e-4)


def test_training_is_followed_from_untrained_to_trained(quick: Path) -> None:
    for panel in read_json(quick / "figure9.json")["panels"]:
        for seed in panel["seeds"]:
            steps = np.diff(seed["epoch"])
            assert seed["epoch"][0] == 0 and (steps == steps[0]).all()
            assert all(len(curve) == len(seed["epoch"]) for curve in seed.values())
            assert all(
                right <= every for right, every in zip(seed["mean_interval_of_right_class"], seed["mean_interval"])
            )
        if panel["labels"] == "real":
            assert seed["training_accuracy"][-1] > seed["training_accuracy"][0]


# ---------------------------------------------------------------- interrupted


# The fourth file of intervals is written, and has not got its name yet: nothing is a worse moment.
KILLED = """
import os, signal, sys
from pathlib import Path
from relu_regions.apps.cli import main
rename, renamed = Path.replace, []
def replace(path, target):
    renamed.extend([target] if "intervals" in Path(target).parts else [])
    if len(renamed) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
Path.replace = replace
main(sys.argv[1:])
"""


def test_a_killed_run_goes_on_and_computes_nothing_twice(quick: Path, tmp_path: Path) -> None:
    """Killed (SIGKILL) amid its intervals; what was finished then is not touched, and the numbers are the same."""
    arguments = ["reproduce", "figure5", "--quick", "--out", str(tmp_path)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "figure5.json").exists()
    cache = tmp_path / "cache"
    finished = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.rglob("*.npz")}
    assert len(finished) == 4 + 3 and len(list(cache.rglob("*.partial"))) == 1
    assert main(arguments) == 0
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in finished} == finished
    assert len(list(cache.glob("intervals/*/*.npz"))) == 6 * 4
    assert (tmp_path / "figure5.json").read_text() == (quick / "figure5.json").read_text()


# ---------------------------------------------------------------- the command


def test_names(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert chosen(["figure2", "figure1", "figure2"]) == ["figure1", "figure2"]
    assert chosen(["all"]) == list(EXPERIMENTS)
    assert main(["reproduce", "figure10", "--quick", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "there is no figure10" in said and "figure9" in said
    assert not (tmp_path / "out").exists()


def test_missing_data_is_said_before_anything_starts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["reproduce", "figure8", "figure4", "--data", str(tmp_path), "--out", str(out)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert f"no mnist in {tmp_path}" in said and said.count("\n") == 1
    assert not out.exists()
    assert main(["reproduce", "figure8", "--quick", "--seeds", "0"]) == 2


def test_json_is_for_every_reader(quick: Path) -> None:
    for name in EXPERIMENTS:
        text = (quick / f"{name}.json").read_text()
        assert "NaN" not in text and "Infinity" not in text
        json.loads(text, parse_constant=lambda name: pytest.fail(name))
