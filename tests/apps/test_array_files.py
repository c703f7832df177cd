"""Arrays from files: those of numpy, and none that lies about its size."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from relu_regions.apps.array_files import array_named
from relu_regions.network.reading.limits import Limits

X, D = np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))


def header(text: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + content


def test_what_numpy_writes(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "both.npz", x=X, d=D)
    np.savez(tmp_path / "one.npz", points=D)
    np.save(tmp_path / "one.npy", D)
    for path, name, expected in [("both.npz", "x", X), ("both.npz", "d", D), ("one.npz", "x", D), ("one.npy", "x", D)]:
        found = array_named(tmp_path / path, name)
        assert found.dtype == expected.dtype and np.array_equal(found, expected)
    np.save(tmp_path / "swapped.npy", X.astype(X.dtype.newbyteorder()))
    found = array_named(tmp_path / "swapped.npy", "x")
    assert found.dtype == X.dtype and np.array_equal(found, X)
    for path in ("one.npz", "one.npy"):
        with pytest.raises(ValueError, match=rf"{path}.*no array 'd'"):
            array_named(tmp_path / path, "d", alone=False)
    with pytest.raises(ValueError, match=r"both\.npz.*only 'x', 'd'"):
        array_named(tmp_path / "both.npz", "points")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x93NUMPY", header("{}"), header("__import__('os').mkdir('made')"), header("(" * 5000),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}", bytes(8)),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}", bytes(8)),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", bytes(8)),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        header("{'descr': '|V0', 'fortran_order': False, 'shape': (1099511627776,)}"),
        header("{'descr': '|S8', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        header("{'descr': [('x', '<f8', (1099511627776,))], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        header("{'descr': '<f16', 'fortran_order': False, 'shape': (1,)}", bytes(16)),
    ],
)  # fmt: skip
def test_arrays_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.npy"):
        array_named(tmp_path / "x.npy", "x")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(ValueError, match=r"x\.npz"):
        array_named(tmp_path / "x.npz", "x")


def test_only_the_array_asked_for_is_unpacked(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(16 << 20))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", buffer.getvalue())
        buffer = io.BytesIO()
        np.save(buffer, X)
        archive.writestr("x.npy", buffer.getvalue())
    assert np.array_equal(array_named(tmp_path / "bomb.npz", "x"), X)
    with pytest.raises(ValueError, match=r"bomb\.npz.*unpacked_ratio"):
        array_named(tmp_path / "bomb.npz", "bomb")
    assert array_named(tmp_path / "bomb.npz", "bomb", limits=Limits(unpacked_ratio=10_000)).shape == (16 << 20,)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        array_named(tmp_path / "none.npz", "x")
    with pytest.raises(ValueError, match="no ordinary file"):
        array_named(tmp_path, "x")
