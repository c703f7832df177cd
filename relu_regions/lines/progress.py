"""Progress bars, where a person is looking."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from tqdm.auto import tqdm

__all__ = ["Progress"]


class Progress:
    """A bar over a batch of segments or planes; it stays away from short work and from output that no person reads.

    It is made when part of the batch is done and part is left, or at once where it is asked for.

    Args:
        total: how many.
        description: what is being done.
        shown: whether to show it; None shows it on a terminal, after a second.
        unit: what is counted.
    """

    def __init__(self, total: int, description: str, shown: bool | None = None, unit: str = "segment") -> None:
        self._total, self._description, self._shown, self._unit = total, description, shown, unit
        self._bar: tqdm[Any] | None = self._made(0) if shown else None

    def _made(self, done: int) -> tqdm[Any]:
        told = {"total": self._total, "desc": self._description, "unit": self._unit, "initial": done}
        return tqdm(**told) if self._shown else tqdm(**told, disable=None, delay=1.0, leave=False)

    def reach(self, done: int) -> None:
        """Say how many are done."""
        if self._bar is None and 0 < done < self._total and self._shown is not False:
            self._bar = self._made(done)
        if self._bar is not None:
            self._bar.update(max(0, done - self._bar.n))

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
