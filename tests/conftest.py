"""What every test runs with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module

import pytest
import torch

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
    """Put the chosen backend in the place of the one that the library would choose."""
    backend = config.getoption("--backend")
    if backend is None:
        return
    if backend == "cuda":
        if torch.cuda.is_available():
            torch.set_default_device("cuda")
        else:
            os.environ["TRITON_INTERPRET"] = "1"
    place = {"reference": "reference", "compiled": "cpu.compiled", "cuda": "cuda.compiled"}[backend]
    chosen = import_module(f"relu_regions.backends.{place}")
    for name, module in list(sys.modules.items()):
        if name.startswith("relu_regions") and hasattr(module, "kernel_for"):
            module.kernel_for = lambda device: chosen


@pytest.fixture
def two_threads() -> Iterator[None]:
    """torch on two threads during a test."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
