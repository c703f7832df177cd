"""A watchdog: numbers near the ends of the floats, on every backend, under a time limit, against the truth.

In a process of its own, because a loop that does not end would take the tests with it.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import relu_regions as rr
from relu_regions import rational
from tests.extremes import extreme_case
from tests.networks import network_of

SECONDS = 20
ROOT = Path(__file__).parents[1]


def asked(backend: str, first: int, last: int) -> str:
    """What is wrong with the answers about some cases; also that one took longer than the limit."""
    command = [sys.executable, "-m", "tests.extremes", backend, str(first), str(last), str(SECONDS)]
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)
    return done.stdout + (done.stderr if done.returncode else "")


@pytest.mark.parametrize(
    ("backend", "module", "count"),
    [
        ("compiled", "numba", 40),
        ("cuda", "triton", 5),
        pytest.param("reference", "torch", 80, marks=pytest.mark.long),
        pytest.param("compiled", "numba", 120, marks=pytest.mark.long),
    ],
)
def test_extreme_numbers_end_in_an_answer(backend: str, module: str, count: int) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module.title()} is not installed")
    assert asked(backend, 0, count) == ""


def test_a_place_is_right_where_a_rise_overflows() -> None:
    """Without settling too: the shares of an interval are those of halves and quarters."""
    for number, place in enumerate([-0.899 / 1.79, 0.9 / 1.7]):
        case = extreme_case(number)
        x, d = (torch.tensor([part], dtype=torch.float64) for part in (case.x, case.d))
        paths = rr.walk(network_of(case.layers, 1), x, d, (case.lo, case.hi), resolve="never")
        assert paths.t[1:-1].tolist() == pytest.approx([place], rel=1e-15)
        assert not paths.certain.any()


def test_coefficients_beyond_float32_are_refused() -> None:
    network = network_of([("affine", [[1e300], [1.0]], None)], 1)
    x = torch.ones(1, 1)
    with pytest.raises(ValueError, match="largest float32"):
        rr.exact_interval(network, x, x, dtype=torch.float32)
    assert rr.exact_interval(network, x, x).label.tolist() == [0]


def test_an_end_beyond_all_floats_is_infinite_with_a_class_beyond() -> None:
    network = network_of([("affine", [[5e-324], [0.0]], [0.0, 1e300])], 1)
    x, d = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 5e-324, dtype=torch.float64)
    interval = rr.exact_interval(network, x, d, certify=True)
    assert (interval.hi.item(), interval.label_hi.item(), interval.hi_error.item()) == (math.inf, 0, math.inf)
    assert interval.hi_below.item() == sys.float_info.max
    certificate = rational.certify(network, x, d, interval)
    assert certificate.hi.given is None and certificate.hi.above == math.inf
    rational.check(certificate, network)
