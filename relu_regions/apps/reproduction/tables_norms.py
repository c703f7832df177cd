"""Tables of docs/norm_bounds.md, from the JSON file that benchmarks/verify_norm_bounds.py writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from relu_regions.apps.reproduction.cells import estimated, number, percent, share, span, table
from relu_regions.apps.reproduction.claims_norms import STATES, judged_norms
from relu_regions.apps.reproduction.statistics import Numbers, estimate

__all__ = ["norm_tables"]


def norm_tables(result: Numbers) -> dict[str, str]:
    """All of them by name."""
    trainings = result["trainings"]
    judged = {training["name"]: judged_norms(training) for training in trainings}
    tables = {
        "claims": _claims(judged),
        "measured": _measured(judged),
        "ratios": _ratios(trainings),
        "chain": _chain(trainings),
        "radii": _radii(trainings),
        "appendix": _appendix(trainings),
    }
    swept = [training for training in trainings if training["sweep"]]
    if swept:
        width = max(record["hidden"][0] for record in swept[0]["sweep"] if len(record["hidden"]) != 3)
        tables["widths"] = _sweep("width of 3 layers", swept, lambda hidden: len(hidden) == 3, lambda h: h[0])
        tables["unlearnt"] = _unlearnt(swept)
        tables["depths"] = _sweep(f"layers of {width}", swept, lambda hidden: hidden[0] == width, len)
    return {f"norm_bounds.{name}": found for name, found in tables.items()}


def _claims(judged: Mapping[str, Sequence[Numbers]]) -> str:
    """Each claim under each training: its verdict, and the number of each state of the networks that carries it."""
    rows = [
        [
            _plain(claim["claim"]),
            training,
            _plain(claim["verdict"]),
            _plain(claim["number"]),
            *(_carried(claim, state) for state in STATES),
        ]
        for claim, training in _by_claim(judged)
    ]
    return table(["claim of the paper", "training", "verdict", "number", *STATES], rows, words=True)


def _carried(claim: Numbers, state: str) -> str:
    """A mean over networks, its interval and their number, or that there are none such."""
    if state not in claim["values"]:
        return "–"
    value, digits = claim["values"][state], claim["digits"]
    text = share(value) if digits is None else estimated(value, digits)
    return f"{text}, n\u00a0=\u00a0{claim['n'][state]}"


def _measured(judged: Mapping[str, Sequence[Numbers]]) -> str:
    """What was measured for each claim, in words."""
    lines: list[str] = []
    for claim, training in _by_claim(judged):
        heading = f"- **{claim['claim']}**"
        lines += [*([] if heading in lines else [heading]), f"    - {training}: {_plain(claim['measured'])}"]
    return "\n".join(lines)


def _by_claim(judged: Mapping[str, Sequence[Numbers]]) -> Iterator[tuple[Numbers, str]]:
    """Each claim under each training where it was judged, and the training."""
    for words in dict.fromkeys(claim["claim"] for claims in judged.values() for claim in claims):
        yield from ((claim, name) for name, claims in judged.items() for claim in claims if claim["claim"] == words)


def _plain(text: str) -> str:
    """Without what a cell of a table cannot hold."""
    return text.replace("|", "\\|").replace("-", "−") if "|" in text else text


def _of_state(records: Iterable[Numbers], state: str) -> list[Numbers]:
    return [record for record in records if record["state"] == state]


def _states(trainings: Sequence[Numbers]) -> Iterator[tuple[str, list[Numbers]]]:
    """First weights once: no training has changed them."""
    for place, training in enumerate(trainings):
        for state in STATES[1 if place else 0 :]:
            name = state if state == STATES[0] else f"{state}, {training['name']}"
            yield name, _of_state(training["networks"], state)


def _over(records: Sequence[Numbers], value: Callable[[Numbers], float], digits: int = 2) -> str:
    return estimated(estimate([value(record) for record in records]), digits)


def _ratios(trainings: Sequence[Numbers]) -> str:
    rows = []
    for name, records in _states(trainings):
        for place, summary in enumerate(records[0]["ratios"]):
            rows.append(
                [
                    name,
                    summary["source"],
                    str(len(records)),
                    *(_over(records, _quantile(place, quantile)) for quantile in ("0.01", "0.5")),
                    _over(records, lambda record, place=place: record["ratios"][place]["K_of_99_percent"]),  # type: ignore[misc]
                ]
            )
    return table(["network", "inputs", "n", "1 %", "median", "99 %: K"], rows)


def _quantile(place: int, quantile: str) -> Callable[[Numbers], float]:
    return lambda record: float(record["ratios"][place]["quantiles"][quantile])


def _sweep(
    title: str, trainings: Sequence[Numbers], wanted: Callable[[list[int]], bool], size: Callable[[list[int]], Any]
) -> str:
    """Validation data: median and K, a row for each way of training, of networks that learned all their labels."""
    rows = []
    sizes = {size(r["hidden"]) for training in trainings for r in training["sweep"] if wanted(r["hidden"])}
    for key, training in product(sorted(sizes), trainings):
        found = [r for r in training["sweep"] if wanted(r["hidden"]) and size(r["hidden"]) == key]
        if not found:
            continue
        row = [str(key), training["name"]]
        for state in STATES:
            own = [r for r in _of_state(found, state) if state == STATES[0] or not r["training_errors"]]
            place = [s["source"] for s in found[0]["ratios"]].index("validation data")
            values = [_over(own, _quantile(place, "0.5")), _over(own, lambda r: float(r["K"]))] if own else ["–", "–"]
            row += [str(len(own)), *values]
        rows.append(row)
    return table([title, "training", *(name for state in STATES for name in ("n", state, "K"))], rows)


def _unlearnt(trainings: Sequence[Numbers]) -> str:
    """Networks that did not learn all their labels, and how many they did not."""
    found: dict[tuple[str, str], list[int]] = {}
    for training in trainings:
        for record in training["sweep"]:
            if record["state"] != STATES[0] and record["training_errors"]:
                shape = f"{len(record['hidden'])}×{record['hidden'][0]}, {training['name']}"
                found.setdefault((shape, record["state"]), []).append(record["training_errors"])
    rows = [[shape, state, str(len(errors)), span(errors)] for (shape, state), errors in found.items()]
    return table(["network", "trained on", "networks", "misclassified"], rows)


def _chain(trainings: Sequence[Numbers]) -> str:
    rows = []
    for name, records in _states(trainings):
        for bound in records[0]["segment_changes"]["bounds"]:
            own = [record["segment_changes"]["bounds"][bound] for record in records]
            rows.append(
                [
                    name,
                    _plain(bound),
                    str(len(own)),
                    _over(own, lambda each: float(each["median_by_change"]), 0),
                    percent(min(each["holds"] for each in own), 0),
                    percent(max(each["guarantees_the_label"] for each in own), 0),
                ]
            )
    return table(["network", "bound", "n", "median by true change", "holds on, at least", "shows the label of"], rows)


def _radii(trainings: Sequence[Numbers]) -> str:
    rows = []
    for training in trainings:
        for key, size in (("networks", "3×128"), ("small_networks", "12-12")):
            for state in STATES[1:]:
                records = _of_state(training[key], state)
                for radius in records[0]["radius"]["radii"]:
                    own = [record["radius"]["radii"][radius] for record in records]
                    rows.append(
                        [
                            f"{size}, {state}, {training['name']}",
                            _plain(radius),
                            str(len(own)),
                            _over(own, lambda each: float(each["median_of_distance"]), 4 if size == "3×128" else 3),
                            number(max(each["largest_of_distance"] for each in own), 2),
                            percent(max(each["broken"] for each in own), 0),
                        ]
                    )
    return table(["network", "radius from", "n", "by distance, median", "largest", "too large"], rows)


def _appendix(trainings: Sequence[Numbers]) -> str:
    """ε = r / (2 K ‖W‖) beside the distance of the nearest training sample."""
    rows = []
    for name, records in _states(trainings):
        if name == STATES[0]:
            continue
        own = [record["segment_changes"] for record in records]
        rows.append(
            [
                name,
                str(len(own)),
                _over(own, lambda each: float(each["training_range"])),
                estimated(estimate([record["K"] * record["linear"] for record in records]), 0),
                _over(own, lambda each: float(each["appendix_radius"]), 4),
                _over(own, lambda each: float(each["median_distance"])),
                number(min(each["least_distance"] for each in own), 2),
                percent(float(np.mean([each["within_appendix_radius"] for each in own])), 0),
            ]
        )
    header = [
        "network",
        "n",
        "training range r",
        "K ‖W‖",
        "ε = r / (2 K ‖W‖)",
        "nearest sample, median",
        "least of all",
        "within ε",
    ]
    return table(header, rows)
