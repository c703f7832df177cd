"""Appendix A of the paper, claim by claim: norms of regions, the chain of regions, and guaranteed radii.

    python benchmarks/verify_norm_bounds.py [--data mnist.npz] [--seeds 5] [--training NAME] [--no-sweep] [--quick]

Networks are trained on 1000 samples, 100 of each class, of scikit-learn's digits, or of MNIST where --data names its
file or folder (see relu_regions.apps.reproduction.data.load); on real labels and on random ones, by plain SGD and with
momentum, and so are networks of other widths and depths. What is trained is kept in the folder, so that an interrupted
run goes on; a run of the reproduction into the same folder shares its main networks. Prints tables, and writes
norm_bounds.json and pictures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from norm_bounds.networks import State, states
from norm_bounds.pictures import draw_along_a_segment, draw_ratios, draw_sweep
from norm_bounds.radii import along_lines, of_small_networks
from norm_bounds.ratios import Ratios, ratios
from norm_bounds.segment_changes import segment_changes

from relu_regions.apps.reproduction.cells import estimated
from relu_regions.apps.reproduction.claims_norms import STATES, judged_norms
from relu_regions.apps.reproduction.networks import TITLES, TRAININGS, Setup, main_setup
from relu_regions.apps.reproduction.results import Run, write_json
from relu_regions.lines.directions import pairs
from relu_regions.paths.paths import Path as Segment
from relu_regions.regions.lipschitz_bounds import layer_norms
from relu_regions.walking.walker import walk

WIDTHS = (16, 32, 64, 128, 256, 512)
DEPTHS = (1, 2, 3, 4, 6, 8)
# How many points of each kind, and segments; fewer of each in the sweep, whose K is another estimate for that.
Sizes = dict[str, int]
OWN: Sizes = {"points": 10_000, "segments": 100}
SWEPT: Sizes = {"points": 1000, "segments": 10}
QUICK_WIDTHS, QUICK_DEPTHS = (8, 16, 32), (1, 3)
# A narrow or deep network may never learn random labels. Plain SGD takes ten times the epochs of momentum elsewhere.
SWEPT_EPOCHS = {"plain SGD": 1000, "momentum 0.9": 300}


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="mnist.npz, or a folder with MNIST's files; digits by default")
    parser.add_argument("--seeds", type=int, default=5, help="networks of each kind")
    parser.add_argument("--sweep-seeds", type=int, default=5, help="networks of each width and depth")
    parser.add_argument("--training", choices=TRAININGS, nargs="+", default=list(TRAININGS), help="both by default")
    parser.add_argument("--no-sweep", action="store_true", help="no other widths and depths")
    parser.add_argument("--quick", action="store_true", help="digits, small networks, few points: to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results", "norm_bounds"), help="folder of what is written")
    arguments = parser.parse_args(given)
    run = Run(arguments.out, arguments.data, arguments.seeds, arguments.quick)
    sweep_run = replace(run, seeds=min(arguments.sweep_seeds, run.seeds))
    name = "digits" if arguments.data is None or run.quick else "mnist"
    started = time.process_time()
    report = {"data": name, "seeds": run.seeds, "quick": run.quick, "trainings": []}
    for training in arguments.training:
        report["trainings"].append(verified(run, sweep_run, name, training, None if arguments.no_sweep else SWEPT))
        # What is finished is there, should the rest be broken off.
        write_json(run.out / "norm_bounds.json", report)
    print(f"\n{time.process_time() - started:.0f} s of processor time; written to {run.out}")
    return 0


def verified(run: Run, sweep_run: Run, name: str, training: str, swept: Sizes | None) -> dict[str, Any]:
    """All that is measured of networks trained in one way."""
    setup = main_setup(run, name, training)
    if run.quick:
        setup = setup.with_training(max_epochs=30, checkpoints=(0,))
    print(f"\n======== {training}")
    main_records = own_architecture(run, setup, training)
    print_ratios(f"{TITLES[name]}, {setup.hidden}", main_records)
    print_segment_changes(main_records)
    small_records = small_networks(run, name, setup)
    print_radii(main_records, small_records)
    sweep_setup = setup.with_training(checkpoints=(), max_epochs=run.pick(SWEPT_EPOCHS[training], 10))
    sweep_records = widths_and_depths(sweep_run, sweep_setup, training, swept) if swept else []
    if sweep_records:
        print_sweep(sweep_records)
    found = {
        "name": training,
        "sizes": OWN,
        "sweep_sizes": swept,
        "sweep_seeds": sweep_run.seeds,
        "sweep_epochs": sweep_setup.training["max_epochs"],
        "networks": main_records,
        "small_networks": small_records,
        "sweep": sweep_records,
    }
    print_claims(judged_norms(found))
    return found


# ---------------------------------------------------------------- measuring


def own_architecture(run: Run, setup: Setup, training: str) -> list[dict[str, Any]]:
    """Everything about the paper's own architecture, and its pictures."""
    records, found, shown = [], {state: [] for state in STATES}, {}
    for state in states(run, setup):
        own = ratios(state, run.pick(OWN["points"], 200), run.pick(OWN["segments"], 5))
        found[state.name] += own
        record = described(state, own)
        factor = record["K"]
        record["segment_changes"] = segment_changes(state, run.pick(500, 20), factor)
        record["radius"] = along_lines(state, run.pick(100, 5), factor)
        records.append(record)
        if state.seed == 0:
            shown[state.name] = a_segment(state)
    about = f"{TITLES[setup.data]}, {'-'.join(map(str, records[0]['hidden']))} hidden units, {training}"
    stem = training.split()[0]
    title = run.title(f"Norms of regions: {about}, networks of {run.seeds} seeds")
    draw_ratios(found, title, run.out / f"norm_ratios_{stem}")
    title = run.title(f"Norms along a line between two samples of a class: {about}")
    draw_along_a_segment(shown, title, run.out / f"norms_along_{stem}")
    return records


def small_networks(run: Run, name: str, main: Setup) -> list[dict[str, Any]]:
    """Trained networks of 12 and 12 units on samples of few pixels, with a MILP around each sample."""
    factor = {"digits": 2, "mnist": 7}[name]
    setup = replace(main.with_training(checkpoints=(), max_epochs=run.pick(300, 30)), factor=factor, hidden=(12, 12))
    records = []
    for state in states(run, setup):
        if state.name == STATES[0]:
            continue  # it has learned no class that could hold
        record = described(state, ratios(state, run.pick(1000, 100), run.pick(20, 5)))
        record["radius"] = of_small_networks(state, run.pick(10, 2), record["K"])
        records.append(record)
    return records


def widths_and_depths(run: Run, setup: Setup, training: str, sizes: Sizes) -> list[dict[str, Any]]:
    """Ratios by width at three hidden layers, and by depth at the width of the setting."""
    widths, depths = (QUICK_WIDTHS, QUICK_DEPTHS) if run.quick else (WIDTHS, DEPTHS)
    width = min(setup.hidden[0], run.pick(setup.hidden[0], 32))
    shapes = {(w,) * 3 for w in widths} | {(width,) * depth for depth in depths}
    records = []
    for hidden in sorted(shapes, key=lambda shape: (len(shape), shape)):
        for state in states(run, replace(setup, hidden=hidden)):
            own = ratios(state, run.pick(sizes["points"], 100), run.pick(sizes["segments"], 2))
            records.append(described(state, own))
    title = run.title(f"{TITLES[setup.data]}, {training}: norms by width and depth")
    draw_sweep(records, title, run.out / f"widths_and_depths_{training.split()[0]}")
    return records


def described(state: State, own: Sequence[Ratios]) -> dict[str, Any]:
    """What is known of a network by its norms."""
    summaries = [one.summary() for one in own]
    norms = layer_norms(state.network)
    return {
        "hidden": [layer.out_features for layer in state.model if isinstance(layer, torch.nn.Linear)][:-1],
        "state": state.name,
        "seed": state.seed,
        "training_errors": state.errors,
        "layer_norms": norms.tolist(),
        "product": state.product,
        "largest_row_sum": float(state.row_sums.max()),
        "linear": state.linear,
        "largest_by_product": max(float(one.values.max()) for one in own) * state.linear / state.product,
        # What the norm distribution assumption needs, over all kinds of input.
        "K": max(summary["K_of_99_percent"] for summary in summaries),
        "ratios": summaries,
    }


def a_segment(state: State) -> Segment:
    """A line between two training samples of one class."""
    line = pairs(state.data.x_train, state.data.y_train, number=1, seed=1)
    return walk(state.network, line.x, line.d, line.t_range, progress=False)[0]


# ---------------------------------------------------------------- tables


def print_ratios(title: str, records: Sequence[dict[str, Any]]) -> None:
    """A row for each state, seed and source."""
    print(f"\n{title}: ‖W_x‖∞ / ‖W‖∞\n")
    print("state          seed  source                 1 %    50 %   99 % (K)  largest  above 1  by product")
    for record in records:
        for own in record["ratios"]:
            quantiles = own["quantiles"]
            by_product = quantiles["0.5"] * record["linear"] / record["product"]
            print(
                f"{record['state']:13}  {record['seed']:4}  {own['source']:20}  {quantiles['0.01']:5.2f}  "
                f"{quantiles['0.5']:6.2f}  {own['K_of_99_percent']:9.2f}  {own['largest']:7.2f}  "
                f"{own['share_above_1']:7.1%}  {by_product:10.2g}"
            )


def print_segment_changes(records: Sequence[dict[str, Any]]) -> None:
    """A row for each state, seed and bound."""
    print("\nfrom the nearest training sample of its class to a validation sample: bound / change, medians\n")
    print("state          seed  identity  same label  bound                             by change  holds  keeps label")
    for record in records:
        own = record["segment_changes"]
        for name, bound in own["bounds"].items():
            print(
                f"{record['state']:13}  {record['seed']:4}  {own['identity_error']:8.1e}  {own['same_label']:10.0%}  "
                f"{name:32}  {bound['median_by_change']:9.3g}  {bound['holds']:5.0%}  "
                f"{bound['guarantees_the_label']:11.1%}"
            )


def print_radii(main_records: Sequence[dict[str, Any]], small: Sequence[dict[str, Any]]) -> None:
    """A row for each network and radius."""
    print("\nguaranteed radius / distance to another class (∞-norm), medians\n")
    print("network        state          seed  against       distance  radius                       quotient  broken")
    for records, against in ((main_records, "exact lines"), (small, "MILP")):
        for record in records:
            for name, own in record["radius"]["radii"].items():
                print(
                    f"{'-'.join(map(str, record['hidden'])):13}  {record['state']:13}  {record['seed']:4}  "
                    f"{against:12}  {record['radius']['median_distance']:8.3g}  {name:27}  "
                    f"{own['median_of_distance']:8.2g}  {own['broken']:6.1%}"
                )


def print_sweep(records: Sequence[dict[str, Any]]) -> None:
    """A row for each network: validation data, and the K of all sources."""
    print("\n‖W_x‖∞ / ‖W‖∞ on validation data by width and depth\n")
    print("hidden            state          seed  errors    5 %   50 %   95 %      K  by product")
    for record in records:
        own = next(summary for summary in record["ratios"] if summary["source"] == "validation data")
        quantiles = own["quantiles"]
        shape = f"{len(record['hidden'])} x {record['hidden'][0]}"
        by_product = quantiles["0.5"] * record["linear"] / record["product"]
        print(
            f"{shape:16}  {record['state']:13}  {record['seed']:4}  {record['training_errors']:6}  "
            f"{quantiles['0.05']:5.2f}  {quantiles['0.5']:5.2f}  {quantiles['0.95']:5.2f}  {record['K']:5.2f}  "
            f"{by_product:10.2g}"
        )


def print_claims(claims: Sequence[dict[str, Any]]) -> None:
    """Each claim, what was measured, and the verdict."""
    print("\nclaims of appendix A")
    for claim in claims:
        print(f"\n{claim['claim']}\n    {claim['measured']}\n    -> {claim['verdict']}")
        carried = [f"{state} {estimated(value)}" for state, value in claim["values"].items()]
        print(f"    {claim['number']}: {', '.join(carried)}")


if __name__ == "__main__":
    sys.exit(main())
