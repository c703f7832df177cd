"""The verdicts on the paper's claims, on results made up so that the answer is known."""

from typing import Any

import pytest

from relu_regions.apps.reproduction.claims import CLAIMS, judged
from relu_regions.apps.reproduction.claims_beyond import BEYOND_CLAIMS
from relu_regions.apps.reproduction.networks import TRAININGS


def panel(name: str, excess: list[float], ratio: float = 3.0) -> dict[str, Any]:
    return {"name": name, "real_against_random": {"by_network": {"excess": excess}, "ratio": ratio}}


def results(excess: list[float], ratio: float = 3.0, growth: float = 0.1) -> dict[str, Any]:
    """Of figure 4, for both ways of training; farther apart at 196 inputs than at 784 by the growth."""
    farther = [value + growth + 0.001 * place for place, value in enumerate(excess)]
    panels = [panel(f"784, {training}", excess, ratio) for training in TRAININGS]
    panels += [panel(f"196, {training}", farther) for training in TRAININGS]
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


def test_very_well_asks_for_more_than_a_correlation() -> None:
    accuracy = [0.1, 0.5, 0.7, 0.9, 0.95]
    curves = [[3.0, 0.5, 0.9, 0.6, 0.95], [3.0, 0.5, 0.9, 0.65, 0.96], [3.0, 0.5, 0.9, 0.62, 0.93]]
    seeds = [
        {"mean_interval": curve, "validation_accuracy": accuracy, "training_accuracy": accuracy} for curve in curves
    ]
    panels = [{"name": f"mnist, {training}, real", "seeds": seeds} for training in TRAININGS]
    (row,) = [row for row in judged({"figure9": {"panels": panels}}) if row["name"] == "(e) MNIST"]
    assert 0 < row["plain SGD"]["value"][1] < 0.7 and row["plain SGD"]["verdict"] == "positive, not above 0.7"


def test_data_sets_are_compared_without_pairs() -> None:
    """The verdict does not hang on the order of networks that share nothing; there may be more of one kind."""
    accuracy = [0.1, 0.5, 0.7, 0.9, 0.95]

    def panels(number: int) -> list[dict[str, Any]]:
        mnist = [[3.0, 0.5, 0.7, 0.9, 0.95 - 0.01 * k] for k in range(6)]
        cifar = [[3.0, 0.5, 0.9, 0.4, 0.95 - 0.1 * k] for k in range(number)]
        return [
            {"name": f"{data}, {training}, real", "seeds": [
                {"mean_interval": curve, "validation_accuracy": accuracy, "training_accuracy": accuracy}
                for curve in curves
            ]}
            for data, curves in (("mnist", mnist), ("cifar10", cifar))
            for training in TRAININGS
        ]  # fmt: skip

    def above(given: list[dict[str, Any]]) -> dict[str, Any]:
        rows = judged({"figure9": {"panels": given}})
        found: dict[str, Any] = next(row for row in rows if row["name"] == "(e) MNIST above CIFAR-10")["plain SGD"]
        return found

    one, other = panels(4), panels(4)
    for panel_of in other:
        if panel_of["name"].startswith("cifar"):
            panel_of["seeds"] = panel_of["seeds"][::-1]
    assert above(one)["n"] == "6 and 4" and above(one)["value"] == pytest.approx(above(other)["value"])
    assert above(one)["p"] == pytest.approx(above(other)["p"])


def test_likeness_of_single_numbers_is_beyond_that_of_two_seeds() -> None:
    def of(shares: list[float]) -> dict[str, Any]:
        return {"seeds": [{"share_between": share} for share in shares]}

    lines = [{"name": training, "real": of([1.0, 1.0, 1.0]), "random": of([0.9, 0.91, 0.89])} for training in TRAININGS]
    (row,) = [
        row for row in judged({"figure4": {"whole_line": lines}}) if row["name"] == "(a) MNIST, between the samples"
    ]
    found = row["plain SGD"]
    # 0.1, 0.09, 0.11 less 0.01, 0.015, 0.015.
    assert found["value"][0] == pytest.approx((0.09 + 0.075 + 0.095) / 3)
    assert found["ratio"] == pytest.approx(0.1 / (0.04 / 3))


def test_beyond_the_paper_tests_are_corrected_among_themselves_and_have_momentum_alone() -> None:
    near, far = [0.001, -0.001, 0.002, -0.001], [0.1, 0.11, 0.1, 0.09]
    panels = [panel("cnn_mnist", far), panel("maxout_mnist", near)]
    given = {"beyond_pooling": {"panels": panels}, **results(far)}
    mnist, cifar, maxout = judged(given, BEYOND_CLAIMS)
    assert [row["momentum 0.9"]["verdict"] for row in (mnist, maxout)] == ["does not hold", "holds"]
    assert "momentum 0.9" not in cifar and not any("plain SGD" in row for row in (mnist, cifar, maxout))
    assert mnist["momentum 0.9"]["p_holm"] == pytest.approx(2 * mnist["momentum 0.9"]["p"])
    paper = judged(given)
    assert [row["name"] for row in paper] == [claim.name for claim in CLAIMS]


def test_one_yardstick_for_midlines_too() -> None:
    """By how much the distributions of midlines are farther apart than those of pairs, beyond two seeds."""
    panels = [panel(f"midlines of class 5, {t}", [0.3, 0.31, 0.29]) for t in TRAININGS]
    panels += [panel(f"pairs of class 5, {t}", [0.1, 0.1, 0.1]) for t in TRAININGS]
    (row,) = [row for row in judged({"figure5": {"panels": panels}}) if row["name"] == "(c) class 5, by distance"]
    assert row["plain SGD"]["value"][0] == pytest.approx(0.2) and row["plain SGD"]["verdict"] == "holds"
