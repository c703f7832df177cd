"""The page of the reproduction: its tables are those of the JSON files beside it, its pictures are there."""

import re
from pathlib import Path

import pytest

from relu_regions.apps.reproduction.report import compact, publish, with_tables
from relu_regions.apps.reproduction.reproduce import EXPERIMENTS
from relu_regions.apps.reproduction.results import read_json, write_json
from relu_regions.apps.reproduction.tables import tables

DOCS = Path(__file__).parents[3] / "docs"


def test_the_tables_of_the_page_are_those_of_the_numbers() -> None:
    page = (DOCS / "reproduction.md").read_text(encoding="utf-8")
    assert with_tables(page, tables(DOCS / "results")) == page
    assert page.count("<!-- table: ") == page.count("<!-- end -->") >= 10


def test_the_page_is_of_a_full_run() -> None:
    page = (DOCS / "reproduction.md").read_text(encoding="utf-8")
    names = {path.stem for path in (DOCS / "results").glob("*.json")} & set(EXPERIMENTS)
    assert names >= {name for name in EXPERIMENTS if name.startswith("figure")}
    for name in names:
        result = read_json(DOCS / "results" / f"{name}.json")
        assert not result["quick"] and result["figure"] == name
        assert f"images/{name}.png" in page and f"<!-- table: {name}." in page
        if name.startswith("figure"):
            assert result["seeds"] >= 5


def test_pictures_are_there_and_small() -> None:
    page = (DOCS / "reproduction.md").read_text(encoding="utf-8")
    shown = re.findall(r"\]\((images/[^)]+)\)", page)
    assert len(shown) >= 9
    for name in shown:
        assert 1000 < (DOCS / name).stat().st_size < 150_000, name


def test_a_changed_number_is_seen(tmp_path: Path) -> None:
    result = read_json(DOCS / "results" / "figure7.json")
    result["panels"][0]["random"]["mean"][0] += 0.002
    write_json(tmp_path / "figure7.json", result)
    before, after = tables(DOCS / "results"), tables(tmp_path)
    assert set(after) == {name for name in before if name.startswith("figure7.")}
    assert after["figure7.intervals"] != before["figure7.intervals"]
    assert after["figure7.comparison"] == before["figure7.comparison"]


def test_tables_are_put_between_their_marks() -> None:
    page = "a\n<!-- table: one -->\nold\n<!-- end -->\nb <!-- table: two -->\n<!-- end -->"
    once = with_tables(page, {"one": "1", "two": "2"})
    assert once == "a\n<!-- table: one -->\n\n1\n\n<!-- end -->\nb <!-- table: two -->\n\n2\n\n<!-- end -->"
    assert with_tables(once, {"one": "1", "two": "2"}) == once
    with pytest.raises(KeyError, match="two"):
        with_tables(page, {"one": "1"})


def test_publishing_leaves_out_what_is_drawn(tmp_path: Path) -> None:
    from PIL import Image

    results, docs = tmp_path / "results", tmp_path / "docs"
    write_json(results / "figure2.json", {"figure": "figure2", "curves": [{"t": [1.0]}], "seeds": 5})
    Image.new("RGBA", (40, 30), "red").save(results / "figure2.png")
    docs.mkdir()
    (docs / "reproduction.md").write_text("nothing to fill\n")
    publish(results, docs)
    assert read_json(docs / "results" / "figure2.json") == {"figure": "figure2", "seeds": 5}
    assert Image.open(docs / "images" / "figure2.png").size == (40, 30)
    assert compact({"a": [{"histogram": 1, "b": 2}]}) == {"a": [{"b": 2}]}
