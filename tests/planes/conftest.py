"""What tests of planes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from relu_regions import backends


@pytest.fixture(params=["compiled", "reference"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with backends.use(request.param):
        yield request.param
