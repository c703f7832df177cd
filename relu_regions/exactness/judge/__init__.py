"""The judge: claims of a walk about breakpoints, flips and patterns are proven, or left open, by a fresh evaluation.

It imports the network and what ties by construction, and nothing of the walk, of its bounds or of rational
arithmetic, so that no fault of theirs can be one of its own. It hands on ``Claims``, ``Verdict`` and ``judge``.
"""

from relu_regions.exactness.judge.claims import Claims
from relu_regions.exactness.judge.verdict import Verdict, judge

__all__ = ["Claims", "Verdict", "judge"]
