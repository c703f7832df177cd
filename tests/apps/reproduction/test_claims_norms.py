"""The verdicts on the paper's appendix: each with its number, its interval and the number of networks."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from relu_regions.apps.reproduction.claims_norms import STATES, judged_norms
from relu_regions.apps.reproduction.results import read_json
from relu_regions.apps.reproduction.tables_norms import norm_tables

RESULT = read_json(Path(__file__).parents[3] / "docs" / "results" / "norm_bounds.json")
PLAIN, MOMENTUM = RESULT["trainings"]


def claim(training: dict[str, Any], words: str) -> dict[str, Any]:
    (found,) = [found for found in judged_norms(training) if words in found["claim"]]
    return found


@pytest.mark.parametrize("training", [PLAIN, MOMENTUM], ids=lambda training: training["name"])
def test_every_verdict_has_its_number_its_interval_and_n(training: dict[str, Any]) -> None:
    claims = judged_norms(training)
    assert len(claims) == 12
    for found in claims:
        assert found["verdict"] and found["number"] and set(found["values"]) <= set(STATES) and found["values"]
        for state, (mean, low, high, number) in found["values"].items():
            assert low <= mean <= high and number >= 3 and found["n"][state].endswith(f"{number:g}")
    table = norm_tables(RESULT)["norm_bounds.claims"]
    rows = [row for row in table.splitlines() if f"| {training['name']} |" in row]
    assert len(rows) == 12 and all("[" in row and "n\u00a0=\u00a0" in row for row in rows)


def test_intervals_are_students_over_the_networks() -> None:
    values = [record["K"] for record in PLAIN["networks"] if record["state"] == "real labels"]
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert claim(PLAIN, "norm distribution")["values"]["real labels"] == pytest.approx(
        [np.mean(values), low, high, len(values)]
    )


def test_width_is_judged_by_welchs_interval_of_networks_that_learned() -> None:
    own: dict[int, list[float]] = {}
    for record in PLAIN["sweep"]:
        if record["state"] == "random labels" and len(record["hidden"]) == 3 and not record["training_errors"]:
            nearness = [abs(math.log10(source["quantiles"]["0.5"])) for source in record["ratios"]]
            own.setdefault(record["hidden"][0], []).append(float(np.mean(nearness)))
    found = stats.ttest_ind(own[16], own[512], equal_var=False).confidence_interval()
    closer = claim(PLAIN, "the closer")
    assert closer["values"]["random labels"][1:3] == pytest.approx([found.low, found.high])
    assert closer["verdict"] == "shown for random labels only" and found.low > 0
    # Without a fall by the ranks, or with an interval that holds 0, nothing is shown.
    assert claim(MOMENTUM, "the closer")["verdict"] == "not shown"


def test_one_network_that_breaks_a_theorem_is_seen() -> None:
    broken = copy.deepcopy(PLAIN)
    broken["sweep"][3]["largest_by_product"] = 1.01
    broken["networks"][4]["segment_changes"]["bounds"]["product of |W_l|"]["holds"] = 0.998
    broken["small_networks"][2]["radius"]["radii"]["K |W|, assumed"]["broken"] = 0.1
    broken["networks"][7]["segment_changes"]["identity_error"] = 1e-9
    for words in ("Π ‖W_l‖ on every region", "(Σ λ_k ‖W_k‖)", "with K ‖W‖ in place", "f(x) − f(x_i) ="):
        assert claim(PLAIN, words)["verdict"].startswith("holds")
        assert claim(broken, words)["verdict"].startswith("does not hold")


def test_most_segments_are_decided_by_the_interval() -> None:
    wide = copy.deepcopy(PLAIN)
    shares = iter([0.99, 0.85, 0.99, 0.85, 0.99])
    for record in wide["networks"]:
        if record["state"] == "real labels":
            record["segment_changes"]["share_with_at_most_3_regions_above_K"] = next(shares)
    assert claim(PLAIN, "a short segment")["verdict"].startswith("holds")
    assert claim(wide, "a short segment")["verdict"].startswith("not decided")
