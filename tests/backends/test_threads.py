"""Threads: how many torch has where, and that they are there when asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

from relu_regions.backends.threads import each_on_one_thread, one_thread


@pytest.mark.usefixtures("two_threads")
def test_one_thread_until_the_end() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), one_thread():
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_each_item_in_its_order_on_one_thread_of_torch() -> None:
    both = threading.Barrier(2, timeout=30)

    def square(number: int) -> tuple[int, int]:
        both.wait()  # two are at work at once, or this would wait in vain
        return number**2, torch.get_num_threads()

    for _ in range(2):
        assert each_on_one_thread(square, range(6), 2) == [(number**2, 1) for number in range(6)]
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_an_error_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        each_on_one_thread(lambda number: 1 / number, [1, 0, 2], 2)
    assert torch.get_num_threads() == 2
    assert each_on_one_thread(lambda number: 1 / number, [1, 2], 2) == [1.0, 0.5]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    program = """
import os
from relu_regions.backends.threads import each_on_one_thread
assert each_on_one_thread(abs, [-1, -2], 2) == [1, 2]
child = os.fork()
if child == 0:
    os._exit(0 if each_on_one_thread(abs, [-3, 4], 2) == [3, 4] else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)
