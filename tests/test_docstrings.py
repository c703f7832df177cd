"""Docstrings as the reference page shows them: in Markdown, which knows no roles of Sphinx."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROLE = re.compile(r":[a-z]+(?::[a-z]+)?:`")


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
