"""What proofs may cost in a call: the time and memory that they have, and bars that show how far they are."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from relu_regions.exactness.resolving import Resolve
from relu_regions.lines.progress import Progress

__all__ = ["Effort", "Stage"]

# All lines or planes of a call together may take so many seconds by default, in each of the stages that can take long.
_AUTO_SECONDS = 60.0
# More digits may take so many times as long as the walk itself, where that is longer.
_WALKS = 12.0
_LONG = {"digits": "more digits", "rational": "rational arithmetic"}


class Effort:
    """The time that the proofs of one call may take, stage by stage, and whether a person watches.

    Args:
        resolve: as given by the caller.
        seconds: that all stages may take together, from the beginning of the first; None for what is usual: with
            "auto" 60 for more digits, or 12 times what the walk has taken, and 60 for rational arithmetic.
        progress: whether to show bars; None where a person is looking and it takes long.
        memory_budget: bytes that a stage may take; a quarter of the free memory if None.

    Attributes:
        seconds: the limit, but for more digits behind a long walk.
        left: how many of these there are when the first stage under the limit begins.
        short_of: the first stage that was not done when time was up; None if all were.

    Raises:
        TypeError, ValueError: the seconds are not a number, or negative.
    """

    def __init__(
        self,
        resolve: Resolve,
        seconds: float | None = None,
        progress: bool | None = False,
        memory_budget: int | None = None,
    ) -> None:
        if isinstance(seconds, bool) or not (seconds is None or isinstance(seconds, (int, float))):
            raise TypeError(f"resolve_seconds must be a number of seconds or None, not {seconds!r}.")
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"resolve_seconds must not be negative, but is {seconds!r}.")
        usual = _AUTO_SECONDS if resolve == "auto" else math.inf
        self.seconds = self.left = usual if seconds is None else float(seconds)
        self.progress, self.memory_budget = progress, memory_budget
        self.short_of: str | None = None
        self._for_all = seconds is not None
        self._until: dict[str, float] = {}
        self._walk = 0.0

    @property
    def of_what(self) -> str:
        """What the limit that was met is of, in words; empty where it is of all stages."""
        return "" if self._for_all else f" of {_LONG.get(self.short_of or 'rational', 'work')}"

    @property
    def limit(self) -> float:
        """The limit that was met, in seconds."""
        of_walk = not self._for_all and self.short_of == "digits" and _WALKS * self._walk > self.seconds
        return math.ceil(_WALKS * self._walk) if of_walk else self.seconds

    @contextmanager
    def walk(self) -> Iterator[None]:
        """The walk itself, in whose time more digits are measured."""
        began = time.monotonic()
        yield
        self._walk += time.monotonic() - began

    def stage(self, name: str, total: int, unit: str = "line") -> Stage:
        """A part of the work: so many lines or planes."""
        until = math.inf
        if self._for_all or name in _LONG:
            # Stages of one name share a limit, or all do.
            key = "" if self._for_all else name
            left = max(self.left, _WALKS * self._walk) if key == "digits" else self.left
            until = self._until.setdefault(key, time.monotonic() + left)
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
