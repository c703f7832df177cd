"""Arrays from .npy and .npz files: no pickles, and sizes compared with the file before memory is taken for them."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from relu_regions.network.reading.foreign import at_the_door, shown
from relu_regions.network.reading.limits import Budget, Limits
from relu_regions.network.reading.zipped import unzipped

__all__ = ["array_named"]


def array_named(
    path: str | os.PathLike[str], name: str, alone: bool = True, limits: Limits | None = None
) -> NDArray[Any]:
    """The array of this name in a file; also the only one, or one of a ``.npy``, which has no name, if ``alone``.

    Args:
        path: of a ``.npy`` or ``.npz`` file.
        name: of the array.
        alone: whether an array of another name or none will do where it is the only one.
        limits: how much the file may ask for.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no such array of numbers, is damaged, or asks for more than the limits allow.
    """
    limits = limits or Limits()
    with at_the_door(path):
        if Path(path).exists() and not Path(path).is_file():
            raise ValueError("it is no ordinary file")
        if not zipfile.is_zipfile(path):
            limits.check_file(Path(path).stat().st_size)
            found = _array("the array", bytearray(Path(path).read_bytes()), Budget(limits, Path(path).stat().st_size))
            if alone:
                return found
            raise ValueError(f"it holds no array {name!r}, only one without a name; --{name} takes the file of another")
        try:
            with unzipped(path, limits) as entries:
                names = [entry.removesuffix(".npy") for entry in entries if entry.endswith(".npy")]
                chosen = name if name in names else names[0] if alone and len(names) == 1 else None
                if chosen is not None:
                    return _array(f"the array {shown(chosen)!r}", entries.read(f"{chosen}.npy"), entries.budget)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"it is damaged: {error}") from None
        given = ", ".join(repr(shown(one)) for one in names[:20]) or "none at all"
        raise ValueError(f"it holds no array {name!r}, only {given}; --{name} takes the file of another")


def _array(what: str, content: bytearray, budget: Budget) -> NDArray[Any]:
    source = io.BytesIO(content)
    try:
        version = npy.read_magic(source)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, by_columns, dtype = read(source)
    except (ValueError, KeyError) as error:
        raise ValueError(f"it holds no arrays that numpy reads without pickle: {error}") from None
    # long double has no counterpart in torch
    if dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8) or min(shape, default=0) < 0:
        raise ValueError(f"{what} of {dtype} and shape {shape} holds no numbers that are read without pickle")
    budget.take_tensor(what, prod(shape), 0)
    start = source.tell()
    if prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError(
            f"{what} of {dtype} and shape {shape} does not take the {len(content) - start} bytes that it has"
        )
    found = np.frombuffer(content, dtype, offset=start).astype(dtype.newbyteorder("="), copy=False)
    return found.reshape(shape, order="F" if by_columns else "C")
