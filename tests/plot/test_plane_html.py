"""Interactive pictures of planes: opened in a browser, used, and compared with the plane."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from relu_regions.planes.planes import Planes
from relu_regions.plot import plane_html
from relu_regions.plot.plane_parts import Shown
from tests.planes.exact_planes import exact_planes, of_mlp

pytest.importorskip("bokeh")
shapely = pytest.importorskip("shapely")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# What a person does, and what the page then shows, as JSON in an element of its own.
READ = """
<script>
const wanted = %s;
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const use = async () => {
    while (!(window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle)) await pause(20);
    const page = Bokeh.documents[0], named = (name) => page.get_model_by_name(name);
    const read = async () => {
        await pause(100);
        const ends = named("ends").data, strip = named("strip").data;
        return {said: named("said").text, ends: [Array.from(ends.x), Array.from(ends.y)],
                lines: named("path").data.y.map((line) => Array.from(line)), t: Array.from(named("path").data.x[0]),
                faces: Array.from(named("crossing").data.face), bends: named("bends").data.x.length,
                won: strip.left.map((left, k) => [left, strip.right[k], strip.label[k]])};
    };
    const parts = named("parts").data;
    const found = {title: document.title, first: await read(), names: parts.name, share: Array.from(parts.share),
                   corners: parts.xs.map((x) => x.length), norm: parts.norm && Array.from(parts.norm), segments: []};
    for (const [x, y] of wanted.segments) {
        named("ends").data = {x, y};
        found.segments.push(await read());
    }
    found.logits = wanted.points.map(([face, x, y]) => named("logits").format(face, "", {x, y}));
    const view = Bokeh.index.find_one(named("plane"));
    const canvas = view.canvas_view.events_el, box = canvas.getBoundingClientRect();
    const at = ([right, down]) => ({clientX: box.left + right * box.width, clientY: box.top + down * box.height,
        bubbles: true, cancelable: true, pointerId: 1, isPrimary: true, button: 0, pointerType: "mouse"});
    const tips = (root) => Array.from(root.querySelectorAll("*")).flatMap((part) => [
        ...(String(part.className).includes("bk-Tooltip") ? [part.shadowRoot] : []),
        ...(part.shadowRoot ? tips(part.shadowRoot) : [])]);
    found.hovered = [];
    for (const where of wanted.hovers) {
        const place = at(where);
        canvas.dispatchEvent(new PointerEvent("pointerenter", place));
        canvas.dispatchEvent(new PointerEvent("pointermove", place));
        await pause(300);
        const told = tips(document).map((tip) => Array.from(tip.children).filter((part) => part.tagName === "DIV")
            .map((part) => part.textContent).join(" "));
        found.hovered.push({x: view.frame.x_scale.invert(place.clientX - box.left),
                            y: view.frame.y_scale.invert(place.clientY - box.top), told});
    }
    for (const where of wanted.taps) {
        const place = at(where);
        canvas.dispatchEvent(new PointerEvent("pointerdown", {...place, buttons: 1}));
        canvas.dispatchEvent(new PointerEvent("pointerup", place));
        await pause(1000);
    }
    found.tapped = await read();
    found.told = window.told === undefined ? null : window.told;
    return found;
};
use().catch((error) => ({error: String(error)})).then((found) => {
    const told = document.createElement("pre");
    told.id = "told";
    told.textContent = JSON.stringify(found);
    document.body.appendChild(told);
});
</script>
"""


def used(page: Path, **wanted: Any) -> dict[str, Any]:
    """What a browser shows of a page, before and after it is used.

    Args:
        segments, points: with a face, in the picture's axes.
        hovers, taps: shares of the figure's width and height.
    """
    if BROWSER is None:
        pytest.skip("there is no Chromium here to open the page in")
    before, end, after = page.read_text(encoding="utf-8").rpartition("</body>")
    asked = json.dumps({"segments": [], "points": [], "hovers": [], "taps": []} | wanted)
    opened = page.with_name("opened.html")
    opened.write_text(before + READ % asked + end + after, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1350,800"]
    command += [
        "--virtual-time-budget=20000",
        f"--user-data-dir={page.parent / 'profile'}",
        "--dump-dom",
        opened.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    told = re.search(r'<pre id="told">(.*?)</pre>', shown, re.DOTALL)
    assert told, "the page did not come to its end"
    found = json.loads(unescape(told[1]))
    assert "error" not in found, found
    return found


def drawn_at(planes: Planes, points: Any) -> np.ndarray:
    """Where points (s, t) lie in the picture."""
    return np.array(points, dtype=np.float64) @ Shown(planes).axes


def assert_path(planes: Planes, seen: dict[str, Any]) -> None:
    """What is shown beside the plane is the path along the segment between the marks."""
    a, b = np.array(seen["ends"]).T @ np.linalg.inv(Shown(planes).axes)
    segment = planes.segment(a, b)
    assert seen["faces"] == segment.faces.tolist()
    assert seen["t"] == pytest.approx(segment.t.tolist(), abs=1e-12)
    assert np.array(seen["lines"]) == pytest.approx(segment.outputs.flatten(1).numpy().T, abs=1e-12)
    assert seen["bends"] == (len(seen["t"]) - 2) * len(seen["lines"])
    assert f"crosses {len(segment.faces)} region" in seen["said"]
    if planes.network.output_shape == (1,):
        segment = segment._replace(outputs=torch.cat([torch.zeros_like(segment.outputs), segment.outputs], 1))
    lows, highs, labels = zip(*seen["won"])
    assert (lows[0], highs[-1]) == pytest.approx((segment.t[0].item(), segment.t[-1].item()))
    assert highs[:-1] == pytest.approx(lows[1:]) and all(one != other for one, other in pairwise(labels))
    times = len(labels) - 1
    assert (
        ["stays in", "changes its class once"][times]
        if times < 2
        else f"changes its class {times} times" in seen["said"]
    )
    for low, high, label in seen["won"]:
        middle = np.interp((low + high) / 2, segment.t, np.arange(len(segment.t)))
        below, share = int(middle), middle % 1
        outputs = (1 - share) * segment.outputs[below] + share * segment.outputs[min(below + 1, len(segment.t) - 1)]
        assert int(outputs.argmax()) == label


def test_the_page_shows_the_plane_and_the_path_along_a_segment_that_is_drawn(tmp_path: Path) -> None:
    _, planes, _ = of_mlp(1, 4, 12, 9, 3, seed=1)
    page = plane_html(planes, tmp_path / "plane.html", samples=[(0, 0), (1, 0)], class_names=["a", "b", "<c> & d"])
    cells = planes.cells
    inside = planes.tiles.centroids
    ends = [drawn_at(planes, pair).T.tolist() for pair in ([(-1, -0.5), (0.9, 1)], [(0, 0), (1, 1)], [(2, 2), (3, 3)])]
    seen = used(
        page,
        segments=ends,
        points=[(face, *place) for face, place in enumerate(drawn_at(planes, inside).tolist())],
        hovers=[(0.42, 0.47), (0.40, 0.42), (0.45, 0.52)],
        taps=[(0.40, 0.42), (0.45, 0.52)],
    )
    assert seen["title"] == f"{len(inside)} regions"
    assert seen["corners"] == (cells.offsets.diff() + 2).tolist()  # and a part of one point
    assert seen["share"] == pytest.approx((cells.areas / 4).tolist(), rel=1e-9)
    assert seen["names"] == [["a", "b", "<c> & d"][label] for label in cells.label.tolist()]
    assert seen["norm"] == pytest.approx(planes.norms(2)[cells.face].tolist())
    for drawn in (seen["first"], *seen["segments"][:2], seen["tapped"]):
        assert_path(planes, drawn)
    assert seen["segments"][2]["said"] == "The segment lies outside of the plane's polygon."
    assert not np.isin(seen["tapped"]["ends"], ends).any()  # both ends are where a person tapped
    # What a person is told under the cursor.
    shapes, back = planes.to_shapely("cell"), np.linalg.inv(Shown(planes).axes)
    for seen_there in seen["hovered"]:
        place = np.array([seen_there["x"], seen_there["y"]]) @ back
        (cell,) = (number for number, shape in enumerate(shapes) if shape.contains(shapely.Point(place)))
        (told,) = seen_there["told"]
        face, label = int(cells.face[cell]), int(cells.label[cell])
        assert f"class: {['a', 'b', '<c> & d'][label]} region: {face} area: " in told
        assert f"norm of W (p = 2): {planes.norms(2)[face]:.4f}" in told
        top = float(planes._outputs_at(np.array([face]), place[None])[0, label])
        assert float(told.split("logits: ")[1].split(": ")[1].split(",")[0]) == pytest.approx(top, rel=1e-3)
    # The logits under the cursor, the largest first.
    logits = planes._outputs_at(np.arange(len(inside)), inside)
    for text, row in zip(seen["logits"], logits.tolist()):
        order = sorted(range(3), key=lambda k: -row[k])
        told = [part.rsplit(": ", 1) for part in text.split(", ")]
        assert [name for name, _ in told] == [["a", "b", "<c> & d"][k] for k in order]
        assert [float(number) for _, number in told] == pytest.approx([row[k] for k in order], rel=1e-3)


@pytest.mark.parametrize(
    "case", ["one logit", *(pytest.param(name, marks=pytest.mark.long) for name in ("no logits", "no network"))]
)
def test_pages_of_other_planes(tmp_path: Path, case: str) -> None:
    _, planes, (exact,) = of_mlp(1, 2, 6, 1, seed=3)
    if case == "no logits":
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Unflatten(1, (2, 3))).double().eval()
        x, u, v = torch.tensor([[[0.0, 0]], [[1, 0]], [[0, 1]]], dtype=torch.float64)
        planes, _ = exact_planes(model, x, u, v)
    colour: Any = {"one logit": "margin", "no logits": "norm", "no network": "region"}[case]
    page = plane_html(exact if case == "no network" else planes, tmp_path / "plane.html", colour=colour)
    seen = used(page)
    assert ("norm" not in seen) == (case == "no network")
    if case == "no logits":
        assert seen["first"]["won"] == [] and len(seen["first"]["lines"]) == 6
    else:
        assert_path(planes, seen["first"])


def test_the_file_needs_nothing_else(tmp_path: Path) -> None:
    _, planes, _ = of_mlp(1, 2, 3, 2)
    text = plane_html(planes, str(tmp_path / "plane.html"), title="A & B").read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|link)[^>]*(?:src|href)=", text)
    assert "<title>A &amp; B</title>" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"colour": "label"}, "colour must be"),
        ({"samples": [(0, math.inf)]}, "samples must be finite points"),
        ({"class_names": ["cat"]}, "class_names must name 2 classes"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    _, planes, (exact,) = of_mlp(1, 2, 3, 2)
    with pytest.raises(ValueError, match=message):
        plane_html(planes, tmp_path / "plane.html", **arguments)
    with pytest.raises(ValueError, match="A RationalPlane keeps no network"):
        plane_html(exact, tmp_path / "plane.html", colour="norm")
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    _, planes, _ = of_mlp(1, 2, 3, 2)
    page = plane_html(planes, tmp_path / "new" / "plane.html")
    whole = page.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        plane_html(planes, page, title="half a pair: \ud800")
    assert page.read_bytes() == whole and list(page.parent.iterdir()) == [page]


def test_names_are_text_and_no_markup(tmp_path: Path) -> None:
    _, planes, _ = of_mlp(1, 2, 8, 3, seed=3)
    names = [
        "</script><script>window.told = 1</script>",
        "<img src=x onerror='window.told = 1'>`${window.told = 1}`",
        "\u2028$x @face @{norm}",
    ]
    page = plane_html(planes, tmp_path / "plane.html", class_names=names, title=names[0])
    ends = drawn_at(planes, [(-1, -0.5), (0.9, 1)]).T.tolist()
    seen = used(page, segments=[ends], points=[(0, 0.1, 0.1)], hovers=[(0.42, 0.47)])
    assert seen["title"] == names[0] and seen["told"] is None
    assert set(seen["names"]) <= set(names)
    assert all(name in seen["logits"][0] for name in names)
