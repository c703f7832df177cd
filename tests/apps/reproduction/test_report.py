"""The pages of the reproduction and the norm bounds are what their templates and the JSON files beside them say."""

import re
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from relu_regions.apps.reproduction.report import compact, pages, publish, reduced, with_tables
from relu_regions.apps.reproduction.reproduce import EXPERIMENTS
from relu_regions.apps.reproduction.results import read_json, write_json
from relu_regions.apps.reproduction.tables import tables

DOCS = Path(__file__).parents[3] / "docs"
TEMPLATES = sorted((DOCS / "templates").glob("*.md"))

# Decimals and percentages that say how something is set or defined, not what came out.
SETTINGS = {
    "0.01", "0.9", "0.1", "0.05", "1.1", "1.6", "1.3", "0.001", "95 %", "99 %", "5 %", "1 %", "0 %", "90 %", "10 %",
    "25 %", "50 %", "0.2", "0.5", "0.7", "0.8",
}  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_the_page_is_what_the_numbers_say(template: Path) -> None:
    page = (DOCS / template.name).read_text(encoding="utf-8")
    if pages(DOCS)[template.name] != page:
        pytest.fail(
            f"docs/{template.name} is not what docs/results says: run "
            "python -m relu_regions.apps.reproduction.report docs/results docs",
            pytrace=False,
        )
    assert page.count("<!-- table: ") == page.count("<!-- end -->") >= 1
    assert "{{" not in page and "@@" not in page


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_result_is_typed(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    for left_out in (r"```.*?```", r"`[^`]*`", r"\{\{.*?\}\}", r"\]\([^)]*\)", r"arXiv:\S+"):
        text = re.sub(left_out, "", text, flags=re.DOTALL)
    typed = re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)? %|(?<![\w.,])\d+\.\d+(?![\w.])", text)
    assert not set(typed) - SETTINGS, f"these numbers belong to docs/results: {set(typed) - SETTINGS}"


def test_every_number_of_a_figure_is_in_reach() -> None:
    appendix = (DOCS / "reproduction_appendix.md").read_text(encoding="utf-8")
    names = {path.stem for path in (DOCS / "results").glob("*.json")} & set(EXPERIMENTS)
    assert names >= {name for name in EXPERIMENTS if name.startswith("figure")}
    for name in names:
        result = read_json(DOCS / "results" / f"{name}.json")
        assert not result["quick"] and result["figure"] == name
        assert f"images/{name}.png" in appendix and f"<!-- table: {name}." in appendix
        if name.startswith("figure"):
            assert result["seeds"] >= 5


def test_pictures_are_there_and_small() -> None:
    for template in TEMPLATES:
        shown = re.findall(r"\]\((images/[^)]+)\)", template.read_text(encoding="utf-8"))
        assert shown
        for name in shown:
            assert 1000 < (DOCS / name).stat().st_size < 200_000, name


def test_a_changed_number_is_seen(tmp_path: Path) -> None:
    result = read_json(DOCS / "results" / "figure7.json")
    result["panels"][0]["random"]["mean"][0] += 0.002
    write_json(tmp_path / "figure7.json", result)
    before, after = tables(DOCS / "results"), tables(tmp_path)
    assert {name for name in after if "figure7" in name} == {name for name in before if "figure7" in name}
    assert after["figure7.intervals"] != before["figure7.intervals"]
    assert after["figure7.comparison"] == before["figure7.comparison"]


def test_tables_are_put_between_their_marks() -> None:
    page = "a\n<!-- table: one -->\nold\n<!-- end -->\nb <!-- table: two -->\n<!-- end -->"
    once = with_tables(page, {"one": "1", "two": "2"})
    assert once == "a\n<!-- table: one -->\n\n1\n\n<!-- end -->\nb <!-- table: two -->\n\n2\n\n<!-- end -->"
    assert with_tables(once, {"one": "1", "two": "2"}) == once
    with pytest.raises(KeyError, match="two"):
        with_tables(page, {"one": "1"})


def test_publishing_leaves_out_what_is_drawn_and_fills_the_page(tmp_path: Path) -> None:
    results, docs = tmp_path / "results", tmp_path / "docs"
    write_json(results / "figure2.json", {"figure": "figure2", "curves": [{"t": [1.0]}], "seeds": 5})
    Image.new("RGBA", (40, 30), "red").save(results / "figure2.png")
    (docs / "templates").mkdir(parents=True)
    (docs / "templates" / "page.md").write_text("of {{figure2/seeds | 0}} seeds\n")
    publish(results, docs)
    assert read_json(docs / "results" / "figure2.json") == {"figure": "figure2", "seeds": 5}
    assert Image.open(docs / "images" / "figure2.png").size == (40, 30)
    assert (docs / "page.md").read_text() == "of 5 seeds\n"
    assert compact({"a": [{"histogram": 1, "b": 2}]}) == {"a": [{"b": 2}]}


def test_colours_of_classes_stay_apart() -> None:
    """Ten thin lines on a ground of more shades than a palette holds: each keeps its very colour."""
    ground = Image.linear_gradient("L").resize((400, 300))
    picture = Image.merge("RGB", (ground, ground.rotate(90, expand=False), ground.rotate(180)))
    colours = [(31 + 20 * k, (119 + 37 * k) % 256, (180 + 53 * k) % 256) for k in range(10)]
    draw = ImageDraw.Draw(picture)
    for k, colour in enumerate(colours):
        draw.line([(0, 20 + 25 * k), (399, 20 + 25 * k)], fill=colour, width=1)
    found = reduced(picture)
    assert found.mode == "P" and len(found.getcolors()) <= 256
    for k, colour in enumerate(colours):
        assert found.convert("RGB").getpixel((200, 20 + 25 * k)) == colour
