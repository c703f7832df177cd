"""What is handed out: the source distribution, the wheel that comes of it, and their metadata."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import relu_regions as rr

pytest.importorskip("hatchling")

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "relu_regions"


def built(kind: str, source: Path, folder: Path) -> Path:
    """Build with the back end that pyproject.toml names, without fetching anything."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as file:
        (name,) = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(file.read(name))


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    kept = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    kept = {name for name in kept if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    assert held == kept
    assert "relu_regions/py.typed" in held


def test_the_source_distribution_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    again = built("wheel", source, tmp_path / "dist")
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_the_source_distribution_brings_the_tests_and_what_they_read(sdist: Path) -> None:
    with tarfile.open(sdist) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    for folder in ("tests", "docs", "examples", "benchmarks"):
        named = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}
        assert named <= held
    assert {"LICENSE", "CITATION.cff", "constraints.txt", "README.md", "relu_regions/py.typed"} <= held


def test_the_version_has_one_place(wheel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from relu_regions.apps.cli import main

    assert metadata(wheel)["Version"] == rr.__version__
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"relu-regions {rr.__version__}\n"
    written = [path for path in (ROOT / "pyproject.toml", ROOT / "CITATION.cff") if rr.__version__ in path.read_text()]
    assert not written


def test_metadata_names_the_licence_and_the_addresses(wheel: Path) -> None:
    found = metadata(wheel)
    assert found["License-Expression"] == "MIT"
    assert found.get_all("Project-URL") == ["Paper, https://arxiv.org/abs/1910.08581"]
    assert found["Description-Content-Type"] == "text/markdown"


def test_the_citation_names_the_paper_that_readme_names() -> None:
    citation, readme = (ROOT / "CITATION.cff").read_text(), (ROOT / "README.md").read_text()
    (address,) = re.findall(r"^    url: (\S+)$", citation, re.MULTILINE)
    assert address in readme
    (title,) = re.findall(r"^    title: (.+)$", citation, re.MULTILINE)
    assert title in " ".join(readme.split())
