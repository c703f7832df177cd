"""The map of the rooms in docs/architecture.md names every file of the package, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Folders that the map names as a whole.
WHOLE = {"rational", "reproduction", "plot"}


def test_the_map_names_every_file() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\w+\.py\b", page.split("```")[1]))
    files = [path.relative_to(ROOT) for path in (ROOT / "relu_regions").rglob("*.py")]
    assert named <= {path.name for path in files}
    assert {path.name for path in files if not WHOLE & set(path.parts)} - {"__init__.py"} <= named
