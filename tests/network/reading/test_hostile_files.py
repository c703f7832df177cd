"""Two hundred mutants of valid files, read in a process that an audit hook watches."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory at its peak is asked of Linux")
def test_mutants_end_in_an_answer_or_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    outcomes = list(importlib.import_module("fuzz_files").outcomes(200, seed=1))
    assert len(outcomes) == 200
    assert [outcome for outcome in outcomes if outcome[2].startswith("WRONG")] == []
    assert {"answer", "ValueError", "UnsupportedOperation"} <= {outcome for _, _, outcome in outcomes}


def test_the_watch_sees_what_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    fuzz_files = importlib.import_module("fuzz_files")
    (tmp_path / "folder").mkdir()
    (tmp_path / "canary").write_text("secret")
    watch = fuzz_files.Watch(tmp_path / "folder", tmp_path / "canary")
    harmful = {
        "open": lambda: (tmp_path / "made").write_text("x"),
        "os.mkdir": lambda: (tmp_path / "made too").mkdir(),
        "os.remove": lambda: (tmp_path / "made").unlink(),
        "compile": lambda: eval(f"'{fuzz_files.MARKER}'"),
        "socket": lambda: __import__("socket").socket().close(),
        "subprocess": lambda: __import__("subprocess").run(["true"], check=True),
        "pickle": lambda: __import__("pickle").loads(b"cos\nmkdir\n."),
    }
    for event, harm in harmful.items():
        watch.seen.clear()
        watch.active = True
        harm()
        watch.active = False
        assert any(seen.startswith(event) for seen in watch.seen), event
    watch.seen.clear()
    watch.active = True
    (tmp_path / "folder" / "made").write_text("x")
    watch.active = False
    assert watch.seen == []
