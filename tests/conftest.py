"""What every test runs with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from jaxtyping import install_import_hook

from tests.type_checks import CHECKED, CHECKER

# Before anything of the library is imported: annotations are checked in modules that are imported from here on.
install_import_hook(CHECKED, CHECKER)

from relu_regions import backends  # noqa: E402
from relu_regions.lines import progress  # noqa: E402
from tests import compiled_loops  # noqa: E402

# The tensors here are small: on several threads, which then wait for each other, the tests take several times as long.
# What several threads may change has tests of its own, which ask for two_threads.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option to run tests of the whole library on one backend of the inner loops."""
    parser.addoption(
        "--backend",
        choices=["reference", "compiled", "cuda"],
        help="walk with this backend instead of the fastest one for a CPU; cuda without a CUDA device is interpreted",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the backend for all tests."""
    backend = config.getoption("--backend")
    if backend is None:
        return
    if backend == "cuda":
        if torch.cuda.is_available():
            torch.set_default_device("cuda")
        else:
            os.environ["TRITON_INTERPRET"] = "1"
    backends.use(backend)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Share out what numba compiles, where the run is long enough to need all of it."""
    if len(session.items) > 1000 and session.config.getoption("--backend") is None:
        compiled_loops.share_out()


@pytest.fixture
def two_threads() -> Iterator[None]:
    """torch on two threads during a test."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every progress bar that is made."""
    made: list[Any] = []
    tqdm = progress.tqdm

    def noted(**told: Any) -> Any:
        made.append(tqdm(**told))
        return made[-1]

    monkeypatch.setattr(progress, "tqdm", noted)
    return made
