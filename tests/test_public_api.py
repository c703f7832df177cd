"""The public names and signatures are those of public_api.txt, so that none changes unnoticed."""

from __future__ import annotations

import difflib
import inspect

import pytest

import relu_regions as rr
from tests.public_api import SNAPSHOT, public_api


def test_the_public_api_is_the_one_that_is_kept() -> None:
    kept, now = SNAPSHOT.read_text(encoding="utf-8").splitlines(), public_api().splitlines()
    if changed := list(difflib.unified_diff(kept, now, "kept", "now", lineterm="")):
        text = "\n".join(changed)
        pytest.fail(
            f"The public API changed:\n{text}\n\nIf it should: python -m tests.public_api, and a line in CHANGELOG.md.",
            pytrace=False,
        )


def test_the_snapshot_holds_no_address_of_memory_and_every_public_name() -> None:
    text = public_api()
    assert " at 0x" not in text
    assert all(f" {name}" in text for name in rr.__all__)


def test_a_changed_default_shows_as_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    before = public_api().splitlines()
    monkeypatch.setitem(inspect.unwrap(rr.walk).__kwdefaults__, "resolve", "otherwise")
    changed = [line for line in difflib.ndiff(before, public_api().splitlines()) if line[0] in "+-"]
    assert len(changed) == 2 and "otherwise" in changed[1]
