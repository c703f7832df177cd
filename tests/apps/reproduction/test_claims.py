"""The verdicts on the paper's claims, on results made up so that the answer is known."""

from typing import Any

import pytest

from relu_regions.apps.reproduction.claims import CLAIMS, judged
from relu_regions.apps.reproduction.networks import TRAININGS


def panel(name: str, excess: list[float], share: list[float], ratio: float = 3.0) -> dict[str, Any]:
    against = {"by_network": {"excess": excess, "wasserstein_share": share}, "ratio": ratio}
    return {"name": name, "real_against_random": against}


def results(excess: list[float], ratio: float = 3.0, growth: float = 0.1) -> dict[str, Any]:
    """Of figures 4 and 7, for both ways of training."""
    share = [0.1, 0.11, 0.12, 0.1]
    farther = [value + growth + 0.001 * place for place, value in enumerate(share)]
    panels = [panel(f"784, {training}", excess, share, ratio) for training in TRAININGS]
    panels += [panel(f"196, {training}", excess, farther) for training in TRAININGS]
    return {"figure4": {"panels": panels}}


def verdict(given: dict[str, Any], name: str) -> str:
    (row,) = [row for row in judged(given) if row["name"] == name]
    found: str = row["plain SGD"]["verdict"]
    return found


def test_a_likeness_falls_if_the_distance_is_systematic_and_large() -> None:
    systematic = [0.1, 0.101, 0.1, 0.099]
    assert verdict(results(systematic), "(a) MNIST") == "does not hold"
    assert verdict(results(systematic, ratio=1.5), "(a) MNIST") == "a small difference"
    assert verdict(results([0.1, -0.1, 0.2, -0.15]), "(a) MNIST") == "not decided"
    assert verdict(results([0.001, -0.001, 0.002, -0.001]), "(a) MNIST") == "holds"


def test_a_claim_of_more_needs_more() -> None:
    noise = [0.1, -0.1, 0.2, -0.15]
    assert verdict(results(noise, growth=0.1), "(b) 784 to 196") == "holds"
    assert verdict(results(noise, growth=-0.1), "(b) 784 to 196") == "the other way round"
    assert verdict(results(noise, growth=-0.0015), "(b) 784 to 196") == "not decided"


def test_the_more_tests_the_larger_the_p_value() -> None:
    (row,) = [row for row in judged(results([0.1, 0.11, 0.1, 0.09])) if row["name"] == "(a) MNIST"]
    entry = row["plain SGD"]
    assert entry["value"][3] == 4 and 0 < entry["p"] < entry["p_holm"] <= 4 * entry["p"] * 1.001


def test_what_was_not_run_has_no_verdict() -> None:
    rows = judged({})
    assert [row["name"] for row in rows] == [claim.name for claim in CLAIMS]
    assert not any(training in row for row in rows for training in TRAININGS)
    one = results([0.1, 0.11, 0.1, 0.09])
    one["figure4"]["panels"] = [p for p in one["figure4"]["panels"] if p["name"].endswith("plain SGD")]
    (row,) = [row for row in judged(one) if row["name"] == "(a) MNIST"]
    assert "plain SGD" in row and "momentum 0.9" not in row


@pytest.mark.parametrize(("labels", "expected"), [("real", 1.0), ("random", -1.0)])
def test_training_is_judged_without_the_untrained_network(labels: str, expected: float) -> None:
    accuracy = [0.1, 0.5, 0.7, 0.9]
    curve = [3.0, *(expected * value for value in accuracy[1:])]
    seeds = [{"mean_interval": curve, "validation_accuracy": accuracy, "training_accuracy": accuracy}] * 3
    panels = [{"name": f"mnist, {training}, {labels}", "seeds": seeds} for training in TRAININGS]
    name = {"real": "(e) MNIST", "random": "(e) control: random labels, MNIST"}[labels]
    (row,) = [row for row in judged({"figure9": {"panels": panels}}) if row["name"] == name]
    assert row["plain SGD"]["value"][0] == pytest.approx(expected)
