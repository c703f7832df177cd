"""What every test runs with."""

from collections.abc import Iterator

import pytest
import torch

# The tensors here are small: on several threads, which then wait for each other, the tests take several times as long.
# What several threads may change has tests of its own, which ask for two_threads.
torch.set_num_threads(1)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """torch on two threads during a test."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
