"""That annotations are checked while tests run, and that the check can fail."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError, install_import_hook
from torch import nn

import relu_regions as rr
from tests.type_checks import CHECKED, CHECKER

NETWORK = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)).double().eval()
X, D = torch.zeros(3, 2).double(), torch.ones(3, 2).double()


def functions_of(module: ModuleType) -> Iterator[Callable[..., Any]]:
    own = [thing for thing in vars(module).values() if getattr(thing, "__module__", None) == module.__name__]
    yield from filter(inspect.isfunction, own)
    for cls in filter(inspect.isclass, own):
        for thing in vars(cls).values():
            function = getattr(thing, "__func__", None) or getattr(thing, "fget", None) or getattr(thing, "func", thing)
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                yield function


@pytest.mark.parametrize("name", CHECKED)
def test_every_function_of_a_checked_module_is_checked(name: str) -> None:
    """What the checker cannot resolve, as a name that only mypy imports, it takes for Any without a word."""
    module = importlib.import_module(name)
    functions = list(functions_of(module))
    assert functions
    for function in functions:
        get_type_hints(function, include_extras=True)
        source = inspect.unwrap(function)
        written = source.__code__.co_filename == module.__file__  # not by dataclass, as __eq__
        assert source is not function or not written, f"{function.__qualname__} is not checked"


MISANNOTATED = """
from dataclasses import dataclass
from jaxtyping import Float, Int64
from torch import Tensor

def sums(x: Float[Tensor, " N k"]) -> Float[Tensor, " k"]:
    return x.sum(1)

def places(x: Float[Tensor, " N k"]) -> Int64[Tensor, " N"]:
    return x.amax(1)

def refused(x: Float[Tensor, " N k"]) -> Float[Tensor, " N"]:
    raise ValueError("in its own words")

@dataclass
class Pair:
    low: Float[Tensor, " N"]
    high: Float[Tensor, " N"]
"""


@pytest.fixture
def misannotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "misannotated.py").write_text(MISANNOTATED, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with install_import_hook("misannotated", CHECKER):
        return importlib.import_module("misannotated")


def test_a_wrong_shape_and_a_wrong_dtype_are_caught(misannotated: ModuleType) -> None:
    assert misannotated.sums(torch.zeros(3, 3)).shape == (3,)
    with pytest.raises(TypeCheckError, match="return value"):
        misannotated.sums(torch.zeros(2, 3))
    with pytest.raises(TypeCheckError, match="return value"):
        misannotated.places(torch.zeros(2, 3))
    misannotated.Pair(torch.zeros(2), torch.zeros(2))
    with pytest.raises(TypeCheckError):
        misannotated.Pair(torch.zeros(2), torch.zeros(3))


def test_what_is_refused_is_refused_in_its_own_words(misannotated: ModuleType) -> None:
    with pytest.raises(ValueError, match="in its own words"):
        misannotated.refused("no tensor")
    with pytest.raises(TypeError, match="x must be a torch tensor or a numpy array, not list"):
        rr.walk(NETWORK, [[0.0, 0.0]], D)
    with pytest.raises(TypeError, match=r"x has dtype torch\.int64"):
        rr.exact_interval(NETWORK, X.long(), D)


def test_what_the_library_answers_is_checked() -> None:
    found = rr.exact_interval(NETWORK, X, D)
    for wrong in ({"hi": found.hi[:2]}, {"label": found.label.int()}, {"certain": found.lo}):
        with pytest.raises(TypeCheckError):
            replace(found, **wrong)
    paths = rr.walk(NETWORK, X, D)
    for wrong in ({"offsets": paths.offsets[1:]}, {"values": paths.values[1:]}, {"settled": paths.certain.long()}):
        with pytest.raises(TypeCheckError):
            replace(paths, **wrong)


def test_arrays_and_numbers_that_are_accepted_pass() -> None:
    rr.exact_interval(NETWORK, X.float(), D[0], (-np.ones(3), 1))
    rr.walk(NETWORK, X.numpy(), D[:1].numpy().astype(np.float32), (-1, 2))
    rr.sampled_interval(NETWORK, X, D, (-1, 2), dtype=torch.float32)
    assert rr.Polytope.at(NETWORK, X[0]).chebyshev(2)[1] > 0
    assert rr.affine_map(NETWORK, X)[0].shape == (3, 3, 2)
