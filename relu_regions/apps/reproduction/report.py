"""From the JSON files of a run to the tables, numbers and pictures of docs/reproduction.md.

``python -m relu_regions.apps.reproduction.report results docs`` copies compact JSON files and small pictures, and
writes the tables between the page's markers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relu_regions.apps.files import replacing
from relu_regions.apps.reproduction.reproduce import EXPERIMENTS
from relu_regions.apps.reproduction.results import read_json, write_json
from relu_regions.apps.reproduction.tables import tables

__all__ = ["compact", "publish", "with_tables"]

# What is drawn, point by point: too much for a page.
_BULKY = ("curves", "histogram", "edges")
_MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def publish(results: Path, docs: Path) -> None:
    """Copies what the page shows of a run, and writes its tables.

    Args:
        results: folder of the run.
        docs: folder of ``reproduction.md``; gets ``results/*.json`` and ``images/*.png``.
    """
    for name in EXPERIMENTS:
        if (results / f"{name}.json").exists():
            write_json(docs / "results" / f"{name}.json", compact(read_json(results / f"{name}.json")))
            for picture in results.glob(f"{name}*.png"):
                _small_picture(picture, docs / "images" / picture.name)
    page = docs / "reproduction.md"
    text = with_tables(page.read_text(encoding="utf-8"), tables(docs / "results"))
    with replacing(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def compact(content: Any) -> Any:
    """The same numbers without those of single points and lines."""
    if isinstance(content, Mapping):
        return {key: compact(value) for key, value in content.items() if key not in _BULKY}
    return [compact(value) for value in content] if isinstance(content, list) else content


def with_tables(text: str, found: Mapping[str, str]) -> str:
    """The page with a table between each ``<!-- table: name -->`` and the next ``<!-- end -->``.

    Raises:
        KeyError: the page asks for a table that there is not.
    """
    return _MARKED.sub(lambda match: f"{match[1]}\n{found[match[2]]}\n\n{match[3]}", text)


def _small_picture(path: Path, copy: Path) -> None:
    """A PNG of few colours: half the size, to the eye the same."""
    from PIL import Image

    with replacing(copy) as temporary, Image.open(path) as picture:
        picture.convert("RGB").quantize(96, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m relu_regions.apps.reproduction.report RESULTS DOCS")
    publish(Path(sys.argv[1]), Path(sys.argv[2]))
