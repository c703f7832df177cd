"""What proofs may cost in a call: the time that they have, and bars that show how far they are."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType

from relu_regions.exactness.resolving import Resolve
from relu_regions.lines.progress import Progress

__all__ = ["Effort", "Heard", "Stage", "without_limit"]

# Told how many are done; says whether there is time for more.
Heard = Callable[[int], bool]

# All lines or planes of a call together may take so many seconds of rational arithmetic by default.
_AUTO_SECONDS = 60.0


def without_limit(done: int) -> bool:
    """There is time for more, however many are done."""
    return True


class Effort:
    """The time that the proofs of one call may take, stage by stage, and whether a person watches.

    Args:
        resolve: as given by the caller.
        seconds: that all stages may take together, from the beginning of the first; None for what is usual: 60 for
            rational arithmetic with "auto", and no other limit.
        progress: whether to show bars; None where a person is looking and it takes long.

    Attributes:
        seconds: the limit, for the person who is told that it was met.
        left: how many of these there are when the first stage under the limit begins.
        of_what: the stage that the limit is of, as words; empty where it is of all.
        short_of: the first stage that was not done when time was up; None if all were.

    Raises:
        TypeError, ValueError: the seconds are not a number, or negative.
    """

    def __init__(self, resolve: Resolve, seconds: float | None = None, progress: bool | None = False) -> None:
        if isinstance(seconds, bool) or not (seconds is None or isinstance(seconds, (int, float))):
            raise TypeError(f"resolve_seconds must be a number of seconds or None, not {seconds!r}.")
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"resolve_seconds must not be negative, but is {seconds!r}.")
        usual = _AUTO_SECONDS if resolve == "auto" else math.inf
        self.seconds = self.left = usual if seconds is None else float(seconds)
        self.progress = progress
        self.short_of: str | None = None
        self._limited_stage = "rational" if seconds is None else None
        self.of_what = " of rational arithmetic" if seconds is None else ""
        self._until: float | None = None

    def stage(self, name: str, total: int, unit: str = "line") -> Stage:
        """A part of the work: so many lines or planes."""
        limited = self._limited_stage in (None, name)
        if limited and self._until is None:
            self._until = time.monotonic() + self.left
        until = self._until if limited and self._until is not None else math.inf
        return Stage(self, name, total, until, Progress(total, name, self.progress, unit))


class Stage:
    """A stage under way: a context, in which ``reach`` is told what is done."""

    def __init__(self, effort: Effort, name: str, total: int, until: float, bar: Progress) -> None:
        self._effort, self._name, self._total, self._until, self._bar = effort, name, total, until, bar
        self._ended = False

    def reach(self, done: int) -> bool:
        """Say how many are done, in front of the next; False where time is up."""
        self._bar.reach(done)
        if time.monotonic() < self._until:
            return True
        self._effort.short_of, self._ended = self._effort.short_of or self._name, True
        return False

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and not self._ended:
            self._bar.reach(self._total)
        self._bar.__exit__(kind, error, trace)
