"""A sample of what benchmarks/agreement.py compares: the default walk and interval against the rational ones."""

import importlib
from pathlib import Path

import pytest

from tests.quick import some_quick

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@some_quick("seed", range(28, 1000, 31), one_in=3)
def test_the_default_walk_is_the_rational_walk(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    about, wrong, *_ = importlib.import_module("agreement").differences(seed)
    assert not wrong, about
