"""Tables of the documentation, from the JSON files of experiments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from relu_regions.apps.reproduction.cells import estimated, number, p_value, share, span, table
from relu_regions.apps.reproduction.claims import judged
from relu_regions.apps.reproduction.claims_beyond import BEYOND_CLAIMS
from relu_regions.apps.reproduction.networks import TITLES, TRAININGS
from relu_regions.apps.reproduction.reproduce import EXPERIMENTS
from relu_regions.apps.reproduction.results import read_json
from relu_regions.apps.reproduction.statistics import Numbers
from relu_regions.apps.reproduction.tables_beyond import BEYOND

__all__ = ["results_of", "tables"]


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
    results = results_of(folder)
    found["claims.beyond"] = _of_tests(judged(results, BEYOND_CLAIMS))
    return found | _of_claims(judged(results))


def results_of(folder: Path) -> dict[str, Any]:
    """The JSON of every experiment of a folder, by its name."""
    paths = [folder / f"{name}.json" for name in EXPERIMENTS]
    return {path.stem: read_json(path) for path in paths if path.exists()}


def _of_claims(claims: Sequence[Numbers]) -> dict[str, str]:
    """The first screen's table, and all that the verdicts rest on."""
    short = [
        [
            row["name"],
            _verdicts(row),
            *(row[key] for key in ("paper", "measure")),
            *(_value(row, training) for training in TRAININGS),
            row["figure"],
        ]
        for row in claims
        if row["first_screen"]
    ]
    header = ["claim", "verdict", "the paper", "our number", *TRAININGS, "fig."]
    return {"claims": table(header, short, words=True), "claims.tests": _of_tests(claims)}


def _of_tests(claims: Sequence[Numbers]) -> str:
    """A row for each claim and way of training that was judged."""
    rows = [
        [
            f"{row['name']}, {training}",
            estimated(row[training]["value"]),
            row[training]["n"],
            number(row[training]["effect"], 1),
            _times(row, training) or "–",
            *(p_value(row[training][key]) for key in ("p", "p_holm")),
            row[training]["verdict"],
        ]
        for row in claims
        for training in TRAININGS
        if training in row
    ]
    return table(["claim", "number", "n", "its size", "how many times", "p", "p, corrected", "verdict"], rows)


def _value(row: Numbers, training: str) -> str:
    if training not in row:
        return "not run"
    found = row[training]
    value = estimated(found["value"], 2 if abs(found["value"][0]) >= 0.3 else 3)
    ratio = f"{number(found['ratio'], 1)}\u00a0×" if math.isfinite(found["ratio"]) else ""
    return "; ".join(filter(None, [f"{value}, n\u00a0=\u00a0{found['n']}", ratio]))


def _times(row: Numbers, training: str) -> str:
    """How many times as far apart as what they are compared with, if with anything."""
    ratio = row[training]["ratio"]
    return f"{number(ratio, 1)} times {row['times']}" if math.isfinite(ratio) else ""


def _verdicts(row: Numbers) -> str:
    """One verdict if both ways of training agree."""
    found: dict[str, str] = {training: row[training]["verdict"] for training in TRAININGS if training in row}
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return "; ".join(f"{training}: {verdict}" for training, verdict in found.items())


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
        "comparison": table(
            ["random against real", *_COMPARED],
            [
                [panel["title"], *_compared(panel["real_against_random"])]
                for panel in panels
                if "real_against_random" in panel
            ],
        ),
        "midpoints": table(
            ["lines", "n", "labelled class at t = 0", "mean length there"],
            [
                [name, _networks(found), share(found["right_at_0"]), estimated(found["mean_where_right"])]
                for name, found in trained
                if "right_at_0" in found
            ],
        ),
        "proofs": table(
            ["lines", "of each network", "in all", "settled in rational arithmetic", "not proven"],
            [[panel["title"], *(f"{panel[key]:,}" for key in proven)] for panel in panels],
        ),
    }


def _of_networks(trained: Sequence[tuple[str, Numbers]]) -> str:
    return table(
        ["networks", "n", "epochs", "training errors", "validation accuracy"],
        [
            [
                name,
                str(len(found["networks"])),
                span(network["epochs"] for network in found["networks"]),
                span(network["training_errors"] for network in found["networks"]),
                span(round(network["validation_accuracy"], 3) for network in found["networks"]),
            ]
            for name, found in trained
        ],
    )


def _of_intervals(trained: Sequence[tuple[str, Numbers]]) -> str:
    header = ["lines", "n", "mean length", "never ends", "reaches t = 1", "length < 1", "length 1.1 to 1.6"]
    shares = ("never_ends", "reaches_1", "below_1", "bump", "bump_between")
    return table(
        [*header, "of these, changed before t = 1", "peaks (density there)"],
        [
            [name, _networks(found), estimated(found["mean"]), *(share(found[key]) for key in shares), _peaks(found)]
            for name, found in trained
        ],
    )


def _networks(found: Numbers) -> str:
    return str(len(found["seeds"]))


def _peaks(found: Numbers) -> str:
    """Where the density is highest; the kernel density is of the lengths that end, so their share is a factor."""
    ending = 1 - found["never_ends"][0]
    return ", ".join(f"{peak['at']:.2f} ({ending * peak['density']:.2f})" for peak in found["peaks"][:3]) or "–"


_COMPARED = (
    "n",
    "Wasserstein-1",
    "between seeds",
    "ratio",
    "excess, share of range",
    "its size, its p",
    "difference of means",
    "its size, its p",
    "Kolmogorov–Smirnov",
    "between seeds",
)


def _compared(found: Numbers) -> list[str]:
    """Two conditions by the one yardstick of all claims, and by their means."""
    return [
        f"{found['excess'][3]}",
        estimated(found["wasserstein"]),
        number(found["wasserstein_between_seeds"]),
        number(found["ratio"], 1),
        estimated(found["excess"]),
        f"{number(found['effect_of_excess'], 1)}, {p_value(found['p_of_excess'])}",
        estimated(found["mean_difference"]),
        f"{number(found['effect_of_means'], 1)}, {p_value(found['p_of_means'])}",
        estimated(found["kolmogorov_smirnov"]),
        number(found["kolmogorov_smirnov_between_seeds"]),
    ]


def _of_choices(choices: Sequence[Numbers]) -> dict[str, str]:
    rows = []
    for choice in choices:
        for labels in ("real", "random"):
            found = choice[labels]
            rows.append(
                [
                    f"{choice['choice']}; {labels} labels",
                    str(len(found["epochs"])),
                    span(found["epochs"]),
                    span(found["training_errors"]),
                    share(found["validation_accuracy"]),
                    estimated(found["mean"]),
                    share(found["never_ends"]),
                    *(
                        estimated(choice["real_against_random"][key]) if labels == "random" else ""
                        for key in ("mean_difference", "kolmogorov_smirnov")
                    ),
                ]
            )
    header = [
        "choice",
        "n",
        "epochs",
        "errors",
        "validation accuracy",
        "mean length",
        "never ends",
        "difference of means",
        "Kolmogorov–Smirnov, real against random",
    ]
    return {"choices": table(header, rows)}


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
                    estimated(found["mean_error"], 4),
                    share(found["missed_exits"]),
                    estimated(found["wasserstein_to_exact"], 4),
                    f"{found['distinct_lengths']:,} of {found['distinct_lengths_exact']:,}",
                    estimated(sampling["real_against_random"]["kolmogorov_smirnov"]) if labels == "random" else "",
                ]
            )
    return {"sampled": table(header, rows)}


def _of_architectures(compared: Sequence[Numbers]) -> dict[str, str]:
    rows = [
        [f"{found['training']}, {found['labels']} labels: {' and '.join(found['architectures'])}", *_compared(found)]
        for found in compared
    ]
    return {"architectures": table(["architectures", *_COMPARED], rows)}


def _of_whole_lines(trainings: Sequence[Numbers]) -> dict[str, str]:
    rows = []
    for found in trainings:
        for labels in ("real", "random"):
            own = found[labels]
            rows.append(
                [
                    f"{found['name']}, {labels} labels",
                    f"{own['reaches_1'][3]}",
                    share(own["reaches_1"]),
                    share(own["share_between"]),
                    estimated(own["median_before"], 2),
                    estimated(own["median_beyond"], 2),
                    share(own["never_ends_within_range"]),
                    share(own["open_on_one_side"]),
                    share(own["never_ends"]),
                ]
            )
    header = [
        "networks",
        "n",
        "reaches t = 1",
        "of the way from 0 to 1",
        "reach before 0, median",
        "reach beyond 1, median",
        "holds on all of [−1, 2]",
        "endless on one side",
        "endless on both",
    ]
    return {"whole_line": table(header, rows)}


def _of_families(families: Sequence[Numbers]) -> dict[str, str]:
    change = [
        [
            _family(family),
            f"{family['variation'][3]}",
            str(family["lines"]),
            *(estimated(family[key], 2) for key in ("variation", "variation_ratio")),
            *(estimated(family[key], 1) for key in ("range", "breakpoints")),
            share(family["interval"]),
        ]
        for family in families
    ]
    parts = [
        [
            _family(family),
            f"{family['same_region'][3]}",
            *(estimated(family[key], 2) for key in ("same_region", "weight_change")),
            share(family["right_at_0"]),
        ]
        for family in families
    ]
    return {
        "variation": table(
            [
                "direction",
                "n",
                "lines",
                "variation per distance",
                "against the first",
                "range",
                "breakpoints",
                "interval, share of range",
            ],
            change,
        ),
        "equation10": table(
            ["direction", "n", "along the direction", "by change of weights", "right class at t = 0"], parts
        ),
    }


def _family(family: Numbers) -> str:
    return f"{family['family']}, {family['labels']} labels, {family['training']}"


def _of_training(panels: Sequence[Numbers]) -> dict[str, str]:
    header = ["networks", "n", "untrained network", "of"]
    header += [f"{kind}, {of}" for kind in ("Pearson", "Spearman") for of in ("training", "validation")]
    rows = []
    for panel in panels:
        found = {(each["of"], each["from"], each["with"]): each for each in panel["correlations"]}
        for measure, without in dict.fromkeys((of, without) for of, without, _ in found):
            own = [found[measure, without, accuracy] for accuracy in ("training_accuracy", "validation_accuracy")]
            cells = [estimated(each[kind], 2, largest=1) for kind in ("pearson", "spearman") for each in own]
            about = [_trained(panel), f"{own[0]['pearson'][3]:g}", without.rsplit(" ", 1)[1], _WORDS[measure]]
            rows.append([*about, *cells])
    course = [
        [_trained(panel), f"{panel['course']['least'][3]:g}", _spacing(panel)]
        + [estimated(panel["course"][key], 2) for key in ("untrained", "least", "last")]
        for panel in panels
    ]
    names = ["networks", "n", "epochs", "untrained", "least", "last"]
    return {"correlations": table(header, rows), "course": table(names, course)}


def _trained(panel: Numbers) -> str:
    title = TITLES.get(panel["data"], panel["data"])
    return ", ".join(filter(None, [title, panel.get("training"), f"{panel['labels']} labels"]))


def _spacing(panel: Numbers) -> str:
    return f"0 to {span(seed['epoch'][-1] for seed in panel['seeds'])}"


_WORDS = {
    "mean_interval": "mean length",
    "mean_interval_of_right_class": "mean length, 0 where the class is wrong",
    "epoch": "number of the epoch",
}

_TABLES: dict[str, Callable[[Any], dict[str, str]]] = {
    "panels": _of_panels,
    "choices": _of_choices,
    "sampled": _of_samplings,
    "between_architectures": _of_architectures,
    "families": _of_families,
    "training": _of_training,
    "whole_line": _of_whole_lines,
    **BEYOND,
}
