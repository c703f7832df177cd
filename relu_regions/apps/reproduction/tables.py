"""Tables of the documentation, from the JSON files of experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from relu_regions.apps.reproduction.reproduce import EXPERIMENTS
from relu_regions.apps.reproduction.results import read_json
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["tables"]


def tables(folder: Path) -> dict[str, str]:
    """All tables that the JSON files of a folder give, by name, as Markdown."""
    found: dict[str, str] = {}
    for name in EXPERIMENTS:
        path = folder / f"{name}.json"
        if path.exists():
            result = read_json(path)
            for part, make in _TABLES.items():
                if part in result:
                    found |= {f"{name}.{key}": table for key, table in make(result[part]).items()}
    return found


# ---------------------------------------------------------------- cells


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _estimate(given: Sequence[float | None], digits: int = 3) -> str:
    mean, low, high = given
    if low is None:
        return _number(mean, digits)
    return f"{_number(mean, digits)} [{_number(low, digits)}, {_number(high, digits)}]"


def _percent(given: Sequence[float | None]) -> str:
    mean, low, high = given
    if mean is None:
        return "–"
    return (
        f"{100 * mean:.1f} %"
        if low is None or high is None
        else f"{100 * mean:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    )


def _span(values: Iterable[float]) -> str:
    ordered = sorted(values)
    return f"{ordered[0]:,g}" if ordered[0] == ordered[-1] else f"{ordered[0]:,g}–{ordered[-1]:,g}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


# ---------------------------------------------------------------- tables of each part of a result


def _of_panels(panels: Sequence[Numbers]) -> dict[str, str]:
    if "real" not in panels[0]:
        return _of_training(panels)
    trained = [
        (f"{panel['title']}, {labels} labels", panel[labels]) for panel in panels for labels in ("real", "random")
    ]
    proven = ("lines_of_each_network", "lines", "settled_in_rational_arithmetic", "unproven")
    return {
        "networks": _of_networks(trained),
        "intervals": _of_intervals(trained),
        "comparison": _table(
            ["random against real", *_COMPARED],
            [[panel["title"], *_compared(panel["real_against_random"])] for panel in panels],
        ),
        "proofs": _table(
            ["lines", "of each network", "in all", "settled in rational arithmetic", "not proven"],
            [[panel["title"], *(f"{panel[key]:,}" for key in proven)] for panel in panels],
        ),
    }


def _of_networks(trained: Sequence[tuple[str, Numbers]]) -> str:
    return _table(
        ["networks", "epochs", "training errors", "validation accuracy"],
        [
            [
                name,
                _span(network["epochs"] for network in found["networks"]),
                _span(network["training_errors"] for network in found["networks"]),
                _span(round(network["validation_accuracy"], 3) for network in found["networks"]),
            ]
            for name, found in trained
        ],
    )


def _of_intervals(trained: Sequence[tuple[str, Numbers]]) -> str:
    header = ["lines", "mean length", "never ends", "reaches t = 1", "length < 1", "length 1.1 to 1.6"]
    shares = ("never_ends", "reaches_1", "below_1", "bump", "bump_between")
    return _table(
        [*header, "of these, changed before t = 1", "peaks (density there)"],
        [
            [name, _estimate(found["mean"]), *(_percent(found[key]) for key in shares), _peaks(found)]
            for name, found in trained
        ],
    )


def _peaks(found: Numbers) -> str:
    """Where the density is highest; the kernel density is of the lengths that end, so their share is a factor."""
    ending = 1 - found["never_ends"][0]
    return ", ".join(f"{peak['at']:.2f} ({ending * peak['density']:.2f})" for peak in found["peaks"][:3]) or "–"


_COMPARED = (
    "difference of means",
    "p, paired t-test",
    "Wasserstein-1",
    "between seeds",
    "Kolmogorov–Smirnov",
    "between seeds",
)


def _compared(found: Numbers) -> list[str]:
    return [
        _estimate(found["mean_difference"]),
        f"{found['p_of_means']:.1g}" if found.get("p_of_means") is not None else "–",
        _estimate(found["wasserstein"]),
        _number(found["wasserstein_between_seeds"]),
        _estimate(found["kolmogorov_smirnov"]),
        _number(found["kolmogorov_smirnov_between_seeds"]),
    ]


def _of_choices(choices: Sequence[Numbers]) -> dict[str, str]:
    rows = []
    for choice in choices:
        for labels in ("real", "random"):
            found = choice[labels]
            rows.append(
                [
                    f"{choice['choice']}; {labels} labels",
                    _span(found["epochs"]),
                    _span(found["training_errors"]),
                    _percent(found["validation_accuracy"]),
                    _estimate(found["mean"]),
                    _percent(found["never_ends"]),
                    _estimate(choice["real_against_random"]["kolmogorov_smirnov"]) if labels == "random" else "",
                ]
            )
    header = [
        "choice",
        "epochs",
        "errors",
        "validation accuracy",
        "mean length",
        "never ends",
        "Kolmogorov–Smirnov, real against random",
    ]
    return {"choices": _table(header, rows)}


def _of_samplings(samplings: Sequence[Numbers]) -> dict[str, str]:
    header = [
        "method, labels",
        "mean length less exact",
        "exits not seen",
        "Wasserstein-1 to exact",
        "different lengths",
        "Kolmogorov–Smirnov, real against random",
    ]
    rows = []
    for sampling in samplings:
        for labels in ("real", "random"):
            found = sampling[labels]
            rows.append(
                [
                    f"{sampling['samples_of_each_line']} samples, {labels}",
                    _estimate(found["mean_error"], 4),
                    _percent(found["missed_exits"]),
                    _estimate(found["wasserstein_to_exact"], 4),
                    f"{found['distinct_lengths']:,} of {found['distinct_lengths_exact']:,}",
                    _estimate(sampling["real_against_random"]["kolmogorov_smirnov"]) if labels == "random" else "",
                ]
            )
    return {"sampled": _table(header, rows)}


def _of_architectures(of_labels: Mapping[str, Sequence[Numbers]]) -> dict[str, str]:
    rows = [
        [
            " and ".join(real["architectures"]),
            *(_number(found[key]) for key in ("wasserstein", "kolmogorov_smirnov") for found in (real, random)),
        ]
        for real, random in zip(of_labels["real"], of_labels["random"])
    ]
    header = ["architectures", "Wasserstein-1, real", "random", "Kolmogorov–Smirnov, real", "random"]
    return {"architectures": _table(header, rows)}


def _of_families(families: Sequence[Numbers]) -> dict[str, str]:
    change = [
        [
            f"{family['family']}, {family['labels']} labels",
            str(family["lines"]),
            *(_estimate(family[key], 2) for key in ("variation", "variation_ratio")),
            *(_estimate(family[key], 1) for key in ("range", "breakpoints")),
            _percent(family["interval"]),
        ]
        for family in families
    ]
    parts = [
        [
            f"{family['family']}, {family['labels']} labels",
            *(_estimate(family[key], 2) for key in ("same_region", "weight_change")),
            _percent(family["right_at_0"]),
        ]
        for family in families
    ]
    return {
        "variation": _table(
            [
                "direction",
                "lines",
                "variation per distance",
                "against the first",
                "range",
                "breakpoints",
                "interval, share of range",
            ],
            change,
        ),
        "equation10": _table(
            ["direction", "along the direction", "by change of weights", "right class at t = 0"], parts
        ),
    }


def _of_training(panels: Sequence[Numbers]) -> dict[str, str]:
    rows = [
        [
            f"{panel['data']}, {panel['labels']} labels",
            _WORDS[found["with"]],
            _WORDS[found["of"]],
            f"{found['from_epoch']} to {panel['epochs'][-1]}",
            _estimate(found["pearson"], 2),
            _estimate(found["spearman"], 2),
        ]
        for panel in panels
        for found in panel["correlations"]
        if found["from_epoch"] == 0
    ]
    header = ["networks", "correlation with", "of", "epochs", "Pearson", "Spearman"]
    return {"correlations": _table(header, rows)}


def _of_random(rows: Sequence[Numbers]) -> dict[str, str]:
    header = [
        "hidden layers",
        "units",
        "breakpoints",
        "by length",
        "by units",
        "theory, θ / π",
        "measured over theory",
    ]
    return {
        "random": _table(
            header,
            [
                [
                    row["hidden"],
                    str(row["units"]),
                    _estimate(row["breakpoints"], 1),
                    _estimate(row["per_length"], 2),
                    *(_estimate(row[key]) for key in ("per_unit", "theory_per_unit", "against_theory")),
                ]
                for row in rows
            ],
        )
    }


def _of_trained(rows: Sequence[Numbers]) -> dict[str, str]:
    header = [
        "hidden layers",
        "by units, first weights",
        "real labels",
        "random labels",
        "by length, first weights",
        "real labels",
        "random labels",
        "real over first",
        "random over first",
    ]
    stages = ("first weights", "real labels", "random labels")
    return {
        "trained": _table(
            header,
            [
                [
                    row["hidden"],
                    *(_estimate(row[stage]["per_unit"]) for stage in stages),
                    *(_estimate(row[stage]["per_length"], 2) for stage in stages),
                    *(_estimate(row[key], 2) for key in ("change_real", "change_random")),
                ]
                for row in rows
            ],
        )
    }


def _of_ranks(groups: Sequence[Numbers]) -> dict[str, str]:
    names = {
        "mean_interval": "mean interval of training pairs",
        "never_ends": "share of pairs whose interval never ends",
        "margin": "margin, 10th percentile",
        "spectral_margin": "margin over the product of spectral norms",
        "spectral_norm": "product of spectral norms (small)",
        "frobenius_norm": "product of Frobenius norms (small)",
        "path_norm": "path norm (small)",
    }
    header = ["predictor", *(f"{group['networks']} ({group['number']} networks)" for group in groups)]
    return {
        "ranks": _table(
            header, [[words, *(_estimate(group[name], 2) for group in groups)] for name, words in names.items()]
        )
    }


def _of_regularisation(rows: Sequence[Numbers]) -> dict[str, str]:
    header = [
        "setting",
        "epochs",
        "training errors",
        "validation accuracy",
        "mean length",
        "never ends",
        "reaches t = 1",
    ]
    return {
        "regularisation": _table(
            header,
            [
                [
                    row["setting"],
                    _span(row["epochs"]),
                    _span(row["training_errors"]),
                    _percent(row["validation_accuracy"]),
                    _estimate(row["mean"]),
                    _percent(row["never_ends"]),
                    _percent(row["reaches_1"]),
                ]
                for row in rows
            ],
        )
    }


_WORDS = {
    "training_accuracy": "training accuracy",
    "validation_accuracy": "validation accuracy",
    "mean_interval": "mean length",
    "mean_interval_of_right_class": "mean length, 0 where the class is wrong",
}

_TABLES: dict[str, Callable[[Any], dict[str, str]]] = {
    "panels": _of_panels,
    "choices": _of_choices,
    "sampled": _of_samplings,
    "between_architectures": _of_architectures,
    "families": _of_families,
    "training": _of_training,
    "regularisation": _of_regularisation,
    "random": _of_random,
    "trained": _of_trained,
    "rank_correlations": _of_ranks,
}
