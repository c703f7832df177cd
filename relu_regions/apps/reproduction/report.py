"""From the JSON files of a run to the tables, numbers and pictures of the pages that show them.

``python -m relu_regions.apps.reproduction.report results docs`` copies compact JSON files and small pictures, and
writes the pages from their templates, ``docs/templates/*.md``. No number stands in a template: see
`relu_regions.apps.reproduction.prose`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from relu_regions.apps.reproduction.claims import judged
from relu_regions.apps.reproduction.claims_beyond import BEYOND_CLAIMS
from relu_regions.apps.reproduction.prose import filled
from relu_regions.apps.reproduction.reproduce import EXPERIMENTS
from relu_regions.apps.reproduction.results import read_json, write_json
from relu_regions.apps.reproduction.tables import results_of, tables
from relu_regions.apps.reproduction.tables_norms import norm_tables
from relu_regions.plot.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["compact", "pages", "publish", "reduced", "with_tables"]

# What is drawn, point by point: too much for a page.
_BULKY = ("curves", "histogram", "edges")
_MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
# Written by benchmarks/verify_norm_bounds.py, and by hand after a run from nothing.
_OTHERS = ("norm_bounds", "reproduction_times")
_PICTURES = ("norm_ratios", "norms_along", "widths_and_depths")


def publish(results: Path, docs: Path) -> None:
    """Copies what the pages show of a run, and writes them.

    Args:
        results: folder of the run.
        docs: folder of ``templates/*.md``; gets a page for each, ``results/*.json`` and ``images/*.png``.
    """
    for name in (*EXPERIMENTS, *_OTHERS):
        if (results / f"{name}.json").exists():
            write_json(docs / "results" / f"{name}.json", compact(read_json(results / f"{name}.json")))
    for stem in (*EXPERIMENTS, *_PICTURES):
        for picture in results.glob(f"{stem}*.png"):
            _small_picture(picture, docs / "images" / picture.name)
    for page, text in pages(docs).items():
        with replacing(docs / page) as temporary:
            temporary.write_text(text, encoding="utf-8")


def pages(docs: Path) -> dict[str, str]:
    """Every page that has a template, as the JSON files beside it say, by the name of its file.

    Raises:
        LookupError: a template asks for a table or a number that there is not.
    """
    results = results_of(docs / "results")
    results |= {"claims": judged(results), "claims_beyond": judged(results, BEYOND_CLAIMS)}
    for name in _OTHERS:
        if (docs / "results" / f"{name}.json").exists():
            results[name] = read_json(docs / "results" / f"{name}.json")
    found = tables(docs / "results") | (norm_tables(results["norm_bounds"]) if "norm_bounds" in results else {})
    return {
        path.name: filled(with_tables(path.read_text(encoding="utf-8"), found), results)
        for path in sorted((docs / "templates").glob("*.md"))
    }


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
    """A PNG of 256 colours."""
    from PIL import Image

    with replacing(copy) as temporary, Image.open(path) as picture:
        reduced(picture.convert("RGB")).save(temporary, format="PNG", optimize=True)


def reduced(picture: Image) -> Image:
    """A picture in 256 colours: its most frequent ones as they are, and the rest by what comes near.

    Colours that stand for classes keep apart, however thin the lines: a palette of averages alone would merge them.
    """
    from PIL import Image

    counted = sorted(picture.getcolors(picture.width * picture.height) or [], reverse=True)
    exact = [cast("tuple[int, int, int]", colour) for _, colour in counted[:192]]
    near = picture.quantize(64, dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in exact for value in colour] + near[: 3 * 64])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m relu_regions.apps.reproduction.report RESULTS DOCS")
    publish(Path(sys.argv[1]), Path(sys.argv[2]))
