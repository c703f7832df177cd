"""The backends besides the reference that can run here, each with its device."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import pytest
import torch

from relu_regions.backends import Name

__all__ = ["BACKENDS", "Backend"]


class Backend(NamedTuple):
    """A backend and its module, the device to run it on, and how many random stacks it can take in a second or two."""

    name: Name
    module: ModuleType
    device: str
    seeds: int


def _compiled() -> object:
    if find_spec("numba") is None:
        return pytest.param(None, id="compiled", marks=pytest.mark.skip("numba is not installed"))
    return pytest.param(
        Backend("compiled", import_module("relu_regions.backends.cpu.compiled"), "cpu", 20), id="compiled"
    )


def _cuda() -> object:
    if find_spec("triton") is None:
        return pytest.param(None, id="cuda", marks=pytest.mark.skip("Triton is not installed"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":  # Triton's interpreter runs the same programs, slowly.
        os.environ["TRITON_INTERPRET"] = "1"
    module = import_module("relu_regions.backends.cuda.compiled")
    return pytest.param(Backend("cuda", module, device, 20 if device == "cuda" else 2), id="cuda")


BACKENDS = [_compiled(), _cuda()]
