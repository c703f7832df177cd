"""What is loaded when: nothing with the package itself, and no walk with the checker of certificates."""

from __future__ import annotations

import subprocess
import sys

import pytest

import relu_regions as rr


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_itself_loads_nothing() -> None:
    loaded = loaded_by("import relu_regions")
    assert {name for name in loaded if name.startswith("relu_regions")} == {"relu_regions"}
    assert not loaded & {"torch", "numpy", "networkx", "scipy"}


def test_the_checker_of_certificates_loads_no_walk() -> None:
    loaded = loaded_by("from relu_regions.intervals.certificates.check import check")
    rooms = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("relu_regions.")}
    allowed = {"network", "backends", "lines", "exactness", "intervals"}
    assert rooms == {f"relu_regions.{room}" for room in allowed}
    assert "relu_regions.exactness.rational.walk" not in loaded
    assert "relu_regions.intervals.interval" not in loaded
    # torch loads networkx itself where some of its features are asked for, so it is looked for as our own import too.
    assert not {name.partition(".")[0] for name in loaded} & {"networkx", "scipy", "highspy", "cvxpy", "matplotlib"}


@pytest.mark.parametrize("name", [*rr.__all__, "backends", "bounds", "directions", "plot"])
def test_every_name_is_there(name: str) -> None:
    assert getattr(rr, name) is getattr(rr, name)
    assert name in dir(rr)
    exec(f"from relu_regions import {name}")


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rr.nothing  # noqa: B018
