"""docs/operations.md is what the registry says, and names every operation once as read or as refused."""

from __future__ import annotations

import pytest

import relu_regions as rr
from relu_regions.network.reading.operations import OPERATIONS, REFUSED
from relu_regions.network.steps import Step
from tests import operations_page
from tests.operations_page import PAGE


def test_the_page_is_that_of_the_registry() -> None:
    if PAGE.read_text(encoding="utf-8") != operations_page.operations_page():
        pytest.fail("docs/operations.md is not what the registry says: python -m tests.operations_page", pytrace=False)


def test_every_operation_is_on_the_page() -> None:
    read, refused = PAGE.read_text(encoding="utf-8").split("## Refused")
    assert all(f"`{name}`" in read for name in rr.supported_operations())
    assert all(f"`{name}`" in refused.split("## Operators")[0] for name in REFUSED.keys() - OPERATIONS.keys())


def test_a_new_operation_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(call: object) -> list[Step]:
        return []

    handler.__module__ = OPERATIONS["relu"].__module__
    monkeypatch.setitem(OPERATIONS, "brand_new", handler)
    assert PAGE.read_text(encoding="utf-8") != operations_page.operations_page()
