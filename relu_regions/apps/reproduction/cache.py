"""Arrays kept on disk, so that what was computed once is not computed again."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relu_regions.plot.files import replacing

__all__ = ["Arrays", "read_npz", "save_npz"]

Arrays = dict[str, NDArray[Any]]


def save_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes arrays; a half-written file is never read."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


@contextmanager
def read_npz(path: Path, again: str) -> Iterator[Arrays]:
    """What `save_npz` wrote, for as long as it is read.

    Args:
        path: of the file.
        again: what is done anew once the file is deleted, as in "train this network".

    Raises:
        ValueError: the file is damaged, or what is read from it inside of the context does not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        yield arrays
    except (EOFError, KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to {again} again") from error
