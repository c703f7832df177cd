"""Files that are whole or not there, whoever writes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from relu_regions.plot.files import replacing


def interrupted(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_a_file_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("whole")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_threads_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    path, together = tmp_path / "file.txt", Barrier(2)

    def write(text: str) -> None:
        with replacing(path) as temporary:
            together.wait(60)
            temporary.write_text(text)
            together.wait(60)
            assert temporary.read_text() == text

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["one" * 1000, "two" * 1000]))
    assert path.read_text() in {"one" * 1000, "two" * 1000}
    assert list(tmp_path.iterdir()) == [path]
