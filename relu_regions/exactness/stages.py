"""Which stage has proven each line: the bounds of the walk, the judge, or rational arithmetic."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

__all__ = ["STAGES", "UnprovenWarning", "counted", "decided_by"]

STAGES = ("nothing", "bounds", "judge", "rational")


class UnprovenWarning(UserWarning):
    """Some lines of an answer are not proven: ``certain`` is False there, and the text says how many and why."""


def decided_by(certain: Tensor, judged: Tensor, settled: Tensor) -> list[str]:
    """A name from STAGES for each line.

    Args:
        certain, judged, settled: ``(N,)`` bool: proven lines, and those that the judge or rational arithmetic proved.
    """
    stage = torch.where(settled, 3, torch.where(judged, 2, 1))
    return [STAGES[number] for number in torch.where(certain, stage, 0).tolist()]


def counted(stages: list[str]) -> str:
    """How many lines each stage has proven, in words."""
    counts = Counter(stages)
    return ", ".join(f"{counts[name]} by {name}" for name in (*STAGES[1:], STAGES[0]) if counts[name])
