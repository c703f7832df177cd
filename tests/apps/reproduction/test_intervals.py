"""Chunks on disk: the same intervals as at once, each computed once, damage named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import relu_regions as rr
from relu_regions.apps.reproduction import intervals as module
from relu_regions.apps.reproduction.intervals import intervals, lengths, subset
from relu_regions.apps.reproduction.results import Run, read_json, write_json
from relu_regions.lines.directions import Lines, pairs
from relu_regions.plot.files import replacing
from tests.models import mlp


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(module, "_CHUNK", 16)
    return Run(tmp_path)


def family(number: int = 9) -> Lines:
    generator = torch.Generator().manual_seed(0)
    return pairs(torch.randn(number, 4, generator=generator), torch.zeros(number, dtype=torch.int64))


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return mlp(4, 16, 3).eval()


def test_chunks_are_the_whole(run: Run) -> None:
    lines = family()
    found, sampled = intervals(run, [model()], [lines], "")[0], intervals(run, [model()], [lines], "", num=31)[0]
    exact = rr.exact_interval(model(), lines.x, lines.d, lines.t_range)
    assert len(list(run.cache.rglob("*.npz"))) == 2 * 5 and len(lines) == 72
    for name in ("lo", "hi", "label", "certain"):
        assert np.array_equal(found[name], getattr(exact, name).numpy()), name
    assert np.array_equal(lengths(found), exact.length.numpy())
    beside = rr.sampled_interval(model(), lines.x, lines.d, lines.t_range, num=31)
    assert np.array_equal(lengths(sampled), beside.length.numpy())


def test_an_interrupted_family_is_finished_without_computing_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    exact = module.exact_interval

    def counting(network, x, *rest, **options):
        if len(computed) == 3:
            computed.append(0)
            raise KeyboardInterrupt
        computed.append(len(x))
        return exact(network, x, *rest, **options)

    monkeypatch.setattr(module, "exact_interval", counting)
    with pytest.raises(KeyboardInterrupt):
        intervals(run, [model()], [family()], "")
    again = intervals(run, [model()], [family()], "")[0]
    assert sorted(computed) == [0, 8, 16, 16, 16, 16]
    assert len(again["lo"]) == 72
    intervals(run, [model()], [family()], "")
    assert len(computed) == 6


def test_workers_share_the_chunks(run: Run) -> None:
    alone = intervals(run, [model()], [family()], "")[0]
    shared = intervals(replace(run, out=run.out / "shared", workers=3), [model()], [family()], "")[0]
    assert all(np.array_equal(alone[name], shared[name]) for name in alone)


def test_another_question_has_another_answer(run: Run) -> None:
    other = model()
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1e-3
    first = intervals(run, [model(), other], [family(), family()], "")
    assert not np.array_equal(first[0]["hi"], first[1]["hi"])
    fewer = intervals(run, [model()], [family()[3:40]], "")[0]
    assert np.allclose(fewer["hi"], first[0]["hi"][3:40], rtol=0, atol=1e-12)


def test_a_damaged_file_is_named(run: Run) -> None:
    intervals(run, [model()], [family()], "")
    damaged = min(run.cache.rglob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:50])
    with pytest.raises(ValueError, match=f"{damaged.name} is damaged.*delete it"):
        intervals(run, [model()], [family()], "")


def test_subsets() -> None:
    lines = family()
    some = subset(lines, 20, 1)
    assert len({tuple(row) for row in some.index.tolist()}) == 20
    assert torch.equal(some.index, subset(lines, 20, 1).index)
    assert not torch.equal(some.index, subset(lines, 20, 2).index)
    assert subset(lines, None, 0) is lines and subset(lines, 73, 0) is lines


def test_a_file_is_whole_or_as_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "numbers.json"
    write_json(path, {"a": [1.0, float("nan"), np.float32(0.5)], "b": {"c": [[1, 2], [3]], "d": "x"}, "e": []})
    assert read_json(path) == {"a": [1.0, None, 0.5], "b": {"c": [[1, 2], [3]], "d": "x"}, "e": []}
    with pytest.raises(TypeError, match="data must be str"), replacing(path) as temporary:
        temporary.write_text(b"no text")
    assert read_json(path)["a"][0] == 1 and len(list(path.parent.iterdir())) == 1
