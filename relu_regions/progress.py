"""Progress bars, where a person is looking."""

from __future__ import annotations

from types import TracebackType

from tqdm.auto import tqdm

__all__ = ["Progress"]


class Progress:
    """A bar over a batch of segments; it stays away from short work and from output that no person reads.

    Args:
        total: how many segments.
        description: what is being done.
        shown: True or False to decide; None for: where standard error is a terminal, after a second.
    """

    def __init__(self, total: int, description: str, shown: bool | None = None) -> None:
        disable = None if shown is None else not shown
        delay = 1.0 if shown is None else 0.0
        self._bar = tqdm(total=total, desc=description, unit="segment", disable=disable, delay=delay, leave=bool(shown))

    def reach(self, done: int) -> None:
        """Say how many are done."""
        self._bar.update(max(0, done - self._bar.n))

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
