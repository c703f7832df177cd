"""Files of strangers: seeded mutations of valid files are read, and nothing but an answer or a refusal may come of it.

    python benchmarks/fuzz_files.py [--quick] [--count 20000] [--seed 0] [--workers 2] [--minutes 600] [--out FILE.json]

Each mutant is read in a process of its own kind that lives as long as nothing goes wrong. An audit hook watches it:
files opened for writing or made, moved or removed outside of a temporary folder, a file beside that folder that nobody
may read, processes, sockets, pickles, and compiled source that holds a marker which the mutants carry. A mutant fails
if any of that happens, if another error comes than ValueError (UnsupportedOperation is one) or OSError, if the error
does not name the file, or if it takes more than 10 s of processor time or 1 GiB of memory beyond the start.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType
from typing import Any

import psutil
from measuring import machine, parser, write_json
from mutants import MARKER, families, read

SECONDS = 10.0
MEMORY = 1 << 30

# ---------------------------------------------------------------- what is watched


class Watch:
    """What an audit hook saw while it was told to look; a hook can't be taken away again."""

    def __init__(self, folder: Path, forbidden: Path) -> None:
        self.folder, self.forbidden = str(folder), str(forbidden)
        self.active = False
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        self.active = False  # what the hook itself does is not looked at
        try:
            reason = self._reason(event, arguments)
            if reason is not None:
                self.seen.append(f"{event}: {reason}"[:500])
        finally:
            self.active = True

    def _reason(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        if event == "open":
            path, mode, flags = arguments
            writes = any(sign in (mode or "") for sign in "wax+") or (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            name = os.path.abspath(os.fsdecode(path)) if not isinstance(path, int) else ""  # noqa: PTH100
            if os.path.realpath(name) == self.forbidden or (writes and name and not self._allowed(name)):
                return f"{name} with {mode} {flags}"
        elif event in (
            "os.remove",
            "os.rename",
            "os.mkdir",
            "os.rmdir",
            "os.link",
            "os.symlink",
            "os.truncate",
            "os.chmod",
        ):
            paths = [
                os.path.abspath(os.fsdecode(path))  # noqa: PTH100
                for path in arguments
                if isinstance(path, (str, bytes, os.PathLike))
            ]
            if not all(map(self._allowed, paths)):
                return str(paths)
        elif event in ("compile", "exec"):
            source = arguments[0]
            # ast.parse, which numpy's headers go through, compiles nothing; it gives no name to its source.
            if not (event == "compile" and arguments[1] in ("<unknown>", None)) and MARKER in _text_of(source):
                return _text_of(source)[:300]
        elif event in ("import",) and MARKER in str(arguments[0]):
            return str(arguments[0])
        elif event.split(".")[0] in ("socket", "subprocess", "pty", "ftplib", "urllib", "webbrowser") or event in (
            "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile",
            "pickle.find_class", "os.putenv", "os.kill",
        ):  # fmt: skip
            return str(arguments)
        return None

    def _allowed(self, path: str) -> bool:
        return path.startswith(self.folder + os.sep) or path == os.devnull


def _text_of(source: Any) -> str:
    if isinstance(source, CodeType):
        return " ".join(map(_text_of, (*source.co_consts, *source.co_names, *source.co_varnames)))
    return source.decode("utf-8", "replace") if isinstance(source, (bytes, bytearray)) else str(source)


# ---------------------------------------------------------------- a process that reads


def mutant(family: str, seeds: dict[str, bytes], seed: int, number: int) -> bytes:
    """The mutant of this number: equal arguments give equal bytes."""
    chance = random.Random(f"{seed} {family} {number}")
    while True:
        try:
            return families()[family].mutate(chance, seeds[chance.choice(list(seeds))], list(seeds.values()))
        except Exception:  # a mutation that the one before it left nothing for
            continue


def peak() -> int:
    """The most memory that this process held since the last call."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def outcome(path: Path, watch: Watch) -> str:
    """What came of reading a file: "answer", the error's name, or what should not have happened."""
    watch.seen.clear()
    before = psutil.Process().memory_info().rss
    peak()
    watch.active = True
    try:
        read(path)
        result = "answer"
    except (ValueError, OSError) as error:
        result = type(error).__name__ if path.name in str(error) else f"WRONG: no file in {error!r}"[:1000]
    except BaseException as error:
        result = f"WRONG: {type(error).__name__}: {str(error)[:500]}\n{traceback.format_exc()[-2000:]}"
    finally:
        watch.active = False
    taken = peak() - before
    if watch.seen:
        return f"WRONG: {watch.seen[:3]}"
    return result if taken < MEMORY else f"WRONG: {taken / 2**30:.2f} GiB"


def work(connection: Connection, seed: int) -> None:
    """Read the mutants whose family and number are sent, and send back what came of each."""
    import logging
    import warnings

    import torch

    warnings.simplefilter("ignore")
    logging.disable()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as around:
        forbidden = Path(around).resolve() / "canary"
        forbidden.write_bytes(bytes(4096))
        folder = Path(around).resolve() / "folder"
        folder.mkdir()
        (folder / "link").symlink_to(forbidden)
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        seeds = {name: family.seeds() for name, family in families().items()}
        for name, files in seeds.items():
            for content in files.values():  # what is imported late is imported now
                path = folder / f"mutant{families()[name].suffix}"
                path.write_bytes(content)
                read(path)
        watch = Watch(folder, forbidden)
        connection.send("ready")
        while (order := connection.recv()) is not None:
            family, number = order
            path = folder / f"mutant{families()[family].suffix}"
            path.write_bytes(mutant(family, seeds[family], seed, number))
            connection.send(outcome(path, watch))


class Reader:
    """A process that reads, started anew where it was ended or ended itself."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self._seed), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()

    def outcome(self, family: str, number: int) -> str:
        """What came of a mutant."""
        process = psutil.Process(self._process.pid)
        started = sum(process.cpu_times()[:2])
        wall = time.monotonic()
        self._connection.send((family, number))
        try:
            while not self._connection.poll(0.5):
                if sum(process.cpu_times()[:2]) - started > SECONDS or time.monotonic() - wall > 20 * SECONDS:
                    raise TimeoutError
            return str(self._connection.recv())
        except (EOFError, OSError, psutil.Error, TimeoutError) as error:
            self._process.kill()
            self._process.join()
            code = self._process.exitcode
            self._start()
            return "WRONG: more than 10 s" if isinstance(error, TimeoutError) else f"WRONG: the process ended ({code})"

    def close(self) -> None:
        """End the process."""
        self._connection.send(None)
        self._process.join()


# ---------------------------------------------------------------- all of them


def orders(count: int) -> Iterator[tuple[str, int]]:
    """Families in turn, each with its next number."""
    names = list(families())
    return ((names[index % len(names)], index // len(names)) for index in range(count))


def outcomes(count: int, seed: int, share: int = 0, shares: int = 1) -> Iterator[tuple[str, int, str]]:
    """What came of each mutant of a share of them, one after another in one process."""
    reader = Reader(seed)
    try:
        for index, (family, number) in enumerate(orders(count)):
            if index % shares == share:
                yield family, number, reader.outcome(family, number)
    finally:
        reader.close()


def _read_share(
    found: list[tuple[str, int, str]], count: int, seed: int, share: int, shares: int, seconds: float
) -> None:
    """Add what comes of a share of the mutants to a list, with news of it, as far as it comes in that time."""
    end = time.monotonic() + seconds
    for done, result in enumerate(outcomes(count, seed, share, shares), 1):
        found.append(result)
        if result[2].startswith("WRONG") or not done % 100:
            print(f"{done} of {count // shares}: {result[0]} {result[1]} {result[2]}", flush=True)
        if time.monotonic() > end:
            break


def _report(results: list[tuple[str, int, str]], seed: int) -> dict[str, Any]:
    table: dict[str, Counter[str]] = {}
    for family, _, result in results:
        table.setdefault(family, Counter())["wrong" if result.startswith("WRONG") else result] += 1
    wrong = [{"family": f, "number": n, "outcome": r} for f, n, r in results if r.startswith("WRONG")]
    return {"machine": machine(), "seed": seed, "mutants": len(results), "outcomes": table, "wrong": wrong}


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    options = parser(__doc__, "fuzz_files")
    options.add_argument("--count", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--minutes", type=float, default=600, help="end then, with the mutants that were read")
    given = options.parse_args(arguments)
    count = 60 if given.quick else given.count
    results: list[tuple[str, int, str]] = []
    with ThreadPoolExecutor(given.workers) as pool:
        shares = [
            pool.submit(_read_share, results, count, given.seed, share, given.workers, 60 * given.minutes)
            for share in range(given.workers)
        ]
        while wait(shares, timeout=120).not_done:
            write_json(_report(list(results), given.seed), given.out)
        for share in shares:
            share.result()
    report = _report(results, given.seed)
    for family, counter in report["outcomes"].items():
        print(f"{family:6}", "  ".join(f"{name} {number}" for name, number in counter.most_common()))
    write_json(report, given.out)
    return int(bool(report["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
