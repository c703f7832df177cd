"""Which stage has proven each line or plane (bounds, the judge, its digits, rational arithmetic), and what none has."""

from __future__ import annotations

import warnings
from collections import Counter

import torch
from torch import Tensor

from relu_regions.exactness.effort import Effort

__all__ = ["STAGES", "UnprovenWarning", "counted", "decided_by", "warn_of_doubt"]

STAGES = ("nothing", "bounds", "judge", "digits", "rational")


class UnprovenWarning(UserWarning):
    """Some lines or planes are not proven: ``certain`` is False there, and the text says how many and why."""


def decided_by(certain: Tensor, judged: Tensor, digits: Tensor, settled: Tensor) -> list[str]:
    """A name from STAGES for each line.

    Args:
        certain, judged, digits, settled: ``(N,)`` bool: proven lines, and those that the judge proved, that took it
            more digits, or that rational arithmetic proved.
    """
    stage = torch.where(settled, 4, torch.where(digits, 3, torch.where(judged, 2, 1)))
    return [STAGES[number] for number in torch.where(certain, stage, 0).tolist()]


def counted(stages: list[str]) -> str:
    """How many lines each stage has proven, in words."""
    counts = Counter(stages)
    return ", ".join(f"{counts[name]} by {name}" for name in (*STAGES[1:], STAGES[0]) if counts[name])


def warn_of_doubt(count: int, late: int, of: int, effort: Effort, what: str) -> None:
    """Warn of lines or planes that are not proven, once for all, in the name of the caller's caller.

    Args:
        count: how many; late: those for which time was up, among them; of: how many in all.
        effort: that the call could make.
        what: they are, in the plural.
    """
    if not count:
        return
    if effort.short_of not in (None, "rational"):
        late = count  # nobody asked whether the others would take too long
    large = [f"{count - late} would take rational arithmetic too long"] if count > late else []
    left = [f"{late} were left after {effort.limit:g} seconds{effort.of_what} (resolve_seconds)"] if late else []
    warnings.warn(
        f"{count} of {of} {what} are not proven (certain is False): {', '.join([*large, *left])}. "
        'resolve="always" proves them however long it takes, resolve="never" asks for no proof.',
        UnprovenWarning,
        stacklevel=3,
    )
