"""What an experiment is run with, and how its results are written: files that are whole or not there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relu_regions.plot.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Run", "read_json", "write_figure", "write_json"]


@dataclass(frozen=True)
class Run:
    """What every experiment is told.

    Attributes:
        out: folder of the results; ``out/cache`` keeps networks and intervals, so that an interrupted run goes on.
        data: folder or file of MNIST and CIFAR-10, see `relu_regions.apps.reproduction.data.load`.
        seeds: how many networks for each setting; seed s has its own samples, first weights and order.
        quick: scikit-learn's digits in place of images, and little of everything: to see that all works.
        workers: how many chunks of lines are computed at a time, each by one thread.
        progress: show progress bars; by default only in a terminal.
    """

    out: Path
    data: Path | None = None
    seeds: int = 5
    quick: bool = False
    workers: int = 1
    progress: bool | None = None

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.workers < 1:
            raise ValueError(f"seeds and workers must be at least 1, got {self.seeds} and {self.workers}")

    @property
    def cache(self) -> Path:
        """Folder of what was computed so far."""
        return self.out / "cache"

    def title(self, text: str) -> str:
        """Of a picture: a quick run shows that all works, and nothing of the paper."""
        return f"Demonstration on few samples, not a result. {text}" if self.quick else text

    def pick(self, full: int, quick: int) -> int:
        """A number that differs in a quick run."""
        return quick if self.quick else full


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Numbers as JSON; what is no number there, NaN or infinite, becomes null."""
    text = json.dumps(_plain(content), indent=1, allow_nan=False, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(_rows_on_one_line(text) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_figure(figure: Figure, stem: Path) -> None:
    """The picture as ``stem.png`` and ``stem.svg``."""
    import matplotlib

    # The same picture gives the same file: no date in it, and names of parts that are not drawn by lot.
    with matplotlib.rc_context({"svg.hashsalt": stem.name}):
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            with replacing(stem.with_name(stem.name + suffix)) as temporary:
                figure.savefig(temporary, format=suffix[1:], dpi=100, metadata=metadata)


def _plain(value: Any) -> Any:
    """Containers of JSON, with floats of eight digits."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    return value


def _rows_on_one_line(text: str) -> str:
    """Lists of numbers on one line each, for people and for small files."""
    lines: list[str] = []
    row: list[str] | None = None
    for line in text.split("\n"):
        stripped = line.strip()
        if row is None:
            if stripped.endswith("["):
                row = [line]
            else:
                lines.append(line)
        elif stripped.rstrip(",").lstrip("-")[:1].isdigit() or stripped.rstrip(",") == "null":
            row.append(stripped)
        elif stripped.startswith("]") and len(row) > 1:
            lines.append(row[0] + " ".join(row[1:]) + stripped)
            row = None
        else:
            lines += [row[0], *row[1:]]
            row = [line] if stripped.endswith("[") else None
            if row is None:
                lines.append(line)
    return "\n".join(lines)
