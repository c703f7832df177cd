"""Docstrings as the reference page shows them: in Markdown, which knows no roles of Sphinx."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROLE = re.compile(r":[a-z]+(?::[a-z]+)?:`")

EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.glob("relu_regions/**/*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_say_what_comes_out(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted and not found.failed


def test_no_role_is_left_that_would_show_as_raw_text() -> None:
    files = [*ROOT.glob("relu_regions/**/*.py"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md"]
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if ROLE.search(line)
    ]
    assert not found, "write names as ``code``:\n" + "\n".join(found)
