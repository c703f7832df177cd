"""Numbers in sentences and cells: found by their path, written as asked for, and missed by name."""

import pytest

from relu_regions.apps.reproduction.cells import estimated, p_value, share, span, table
from relu_regions.apps.reproduction.prose import filled, looked_up

RESULTS = {
    "figure4": {
        "panels": [
            {"name": "784, momentum 0.9", "mean": [2.6049, 2.5, 2.7, 5], "share": [0.986, 0.9, 1.02, 5], "lines": 99000}
        ],
        "p": 3e-7,
        "rows": [1.5, -2.25],
    }
}


def test_numbers_are_put_in_their_places() -> None:
    path = "figure4/panels/784, momentum 0.9"
    assert filled(f"a {{{{{path}/mean | 2}}}} b", RESULTS) == "a 2.60 b"
    assert filled(f"{{{{{path}/mean|est 3}}}}", RESULTS) == "2.605 [2.500, 2.700], n = 5"
    assert filled(f"{{{{ {path}/share | share 1 }}}}", RESULTS) == "98.6 % [90.0, 100.0], n = 5"
    assert filled(f"{{{{{path}/share | % 0}}}} of {{{{{path}/lines | count}}}}", RESULTS) == "99 % of 99,000"
    assert filled("{{figure4/p | p}}, {{figure4/rows/1 | 1}}", RESULTS) == "< 1e-4, −2.2"
    assert filled(f"{{{{{path}/mean | n}}}} {{{{{path}/name | text}}}}", RESULTS) == "5 784, momentum 0.9"
    assert filled("nothing here: { } | {{ }}", RESULTS) == "nothing here: { } | {{ }}"


@pytest.mark.parametrize("path", ["figure5/p", "figure4/panels/196/mean", "figure4/rows/2", "figure4/p/x"])
def test_a_path_that_leads_nowhere_is_named(path: str) -> None:
    with pytest.raises(LookupError, match=path):
        looked_up(RESULTS, path)


def test_a_way_of_writing_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"'roman'.*choose from"):
        filled("{{figure4/p | roman}}", RESULTS)


def test_cells() -> None:
    assert estimated([1.0, None, None, 1]) == "1.000" and estimated([None, None, None, 3]) == "–"
    assert estimated([1.0, 0.5, 1.5]) == "1.000"  # an interval that is not one by Student's t
    assert share([0.5, None, None, 1]) == "50.0 %" and share([None, None, None, 2]) == "–"
    assert share([0.001, -0.01, 0.012, 5]) == "0.1 % [0.0, 1.2]"
    assert (p_value(None), p_value(0.0312), p_value(1e-9)) == ("–", "0.03", "< 1e-4")
    assert (span([3, 1, 2]), span([4, 4])) == ("1–3", "4")
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
