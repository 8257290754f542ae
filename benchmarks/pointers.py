"""How fast 32 rivals move one pointer, and how many moves are lost.

`python -m benchmarks.pointers` runs it.

Each rival is a process that moves `latest` of one package again and again, each time to a revision
of its own, from whatever it holds. A move is lost if another one started from the same revision:
then one of the two did not see the other. Beside ours stands a model of how quilt3 does it, which
checks `latest` and then writes it without a condition.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from demo.seaweedfs import SeaweedFS, seaweedfs
from t4_ops.keys import DEFAULT_LIMITS
from t4_ops.registry import ANYTHING, Registry
from t4_ops.registry.latest import Latest, Swap
from t4_ops.settings import load_settings
from t4_ops.storage import Store, open_store

RESULTS: Final = Path(__file__).with_name("RESULTS_pointers.md")
NAME: Final = "bench/pointers"
KEY: Final = f".quilt/named_packages/{NAME}/latest"
# Source: the table. None: no floor is set.
FLOORS: Final = {
    "folder": 1000,
    "folder in memory": 1000,
    "unversioned bucket": 100,
    "versioned bucket": 60,
}
# Longest wait for all rivals to be there, and for one to finish.
_START_TIMEOUT_S: Final = 120
_TIMEOUT_S: Final = 600

# Linux's own file system in memory, where fsync costs nothing.
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - folders with names of their own are made in it

# A move: the revision it started from, the one it led to, and how long it took.
Moved = tuple[str | None, str, float]


@dataclass(frozen=True)
class Figure:
    """What the rivals did in one round.

    Attributes:
        moves: Moves that were said to have succeeded.
        lost: Those of them that another one did not see.
        rate: Moves a second.
        median_ms: Milliseconds of a move.
        p99_ms: 99 % took no longer.
        cpu_ms: Processor time of the rivals for each move; not the server's.
    """

    moves: int
    lost: int
    rate: float
    median_ms: float
    p99_ms: float
    cpu_ms: float


def swap(store: Store, top_hash: str) -> str | None:
    """Move `latest` as the library does, and nothing else."""
    return Latest(store).swap(Swap(store.url, NAME, top_hash, ANYTHING)).previous


def publish(store: Store, top_hash: str) -> str | None:
    """Move `latest` and list the revision, as every build and push does at its end."""
    registry = Registry(store, DEFAULT_LIMITS)
    return registry.pointers.publish(NAME, top_hash, expected=ANYTHING).previous


def disk_alone(store: Store, top_hash: str) -> str | None:
    """Do what the disk must do for a move that outlives a power cut, and nothing else."""
    folder = Path(store.url.removeprefix("file://"))
    temporary = folder / top_hash
    with temporary.open("xb") as file:
        file.write(top_hash.encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / "latest")
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    return None


def check_then_put(store: Store, top_hash: str) -> str | None:
    """Move `latest` as quilt3 8.0.0 does: look, look again, write."""
    pointers = Registry(store, DEFAULT_LIMITS).pointers
    while True:
        seen, again = pointers.latest(NAME), pointers.latest(NAME)
        before = None if seen is None else seen.top_hash
        if (None if again is None else again.top_hash) == before:
            store.write(KEY, top_hash.encode())
            return before


WAYS: Final[dict[str, Callable[[Store, str], str | None]]] = {
    "latest alone": swap,
    "whole publication": publish,
    "check, then put": check_then_put,
    "the disk alone": disk_alone,
}


def rival(url: str, way: str, number: int, moves: int, start: Any, answers: Any) -> None:
    """Move the pointer so many times; runs in a process of its own."""
    store = open_store(url, load_settings())
    # Libraries are loaded and connections open before the race begins.
    Latest(store).read(NAME)
    store.list_folder("no/such/")
    hashes = [hashlib.sha256(f"{number} {i}".encode()).hexdigest() for i in range(moves)]
    done: list[Moved] = []
    start.wait(_START_TIMEOUT_S)
    started_s, cpu_s = time.monotonic(), time.process_time()
    for top_hash in hashes:
        move_s = time.monotonic()
        before = WAYS[way](store, top_hash)
        done.append((before, top_hash, time.monotonic() - move_s))
    answers.put((started_s, time.monotonic(), time.process_time() - cpu_s, done))


def race(context: BaseContext, url: str, way: str, rivals: int, moves: int) -> Figure:
    """Let the rivals run and count what they did.

    Raises:
        RuntimeError: A rival failed.
    """
    start, answers = context.Barrier(rivals), context.Queue()
    processes = [
        context.Process(target=rival, args=(url, way, number, moves, start, answers))  # type: ignore[attr-defined]
        for number in range(rivals)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=_TIMEOUT_S) for _ in processes]
    for process in processes:
        process.join(_TIMEOUT_S)
        if process.exitcode != 0:
            raise RuntimeError(f"a rival ended with {process.exitcode}")
    done: list[Moved] = [move for answer in found for move in answer[3]]
    wall_s = max(answer[1] for answer in found) - min(answer[0] for answer in found)
    times_ms = sorted(seconds * 1000 for _, _, seconds in done)
    return Figure(
        moves=len(done),
        lost=len(done) - len({before for before, _, _ in done}),
        rate=len(done) / wall_s,
        median_ms=statistics.median(times_ms),
        p99_ms=times_ms[int(len(times_ms) * 0.99)],
        cpu_ms=sum(answer[2] for answer in found) * 1000 / len(done),
    )


@contextmanager
def registries(server: SeaweedFS, round_number: int, way: str) -> Iterator[dict[str, str]]:
    """Give an empty registry of each kind."""
    tag = f"r{round_number}-{list(WAYS).index(way)}"
    with ExitStack() as stack:
        disk = stack.enter_context(TemporaryDirectory(prefix="t4-bench-"))
        urls = {"folder": Path(disk).as_uri()}
        if _MEMORY.is_dir():
            memory = TemporaryDirectory(prefix="t4-bench-", dir=_MEMORY)
            urls["folder in memory"] = Path(stack.enter_context(memory)).as_uri()
        for versioned in (False, True):
            server.create_bucket(f"{tag}-{versioned}".lower(), versioned)
        yield {
            **urls,
            "unversioned bucket": f"s3://{tag}-false",
            "versioned bucket": f"s3://{tag}-true",
        }


def measure(
    server: SeaweedFS, ways: list[str], kinds: list[str], rivals: int, moves: int, rounds: int
) -> dict[str, list[Figure]]:
    """Run every way on every kind of registry in turn, so many times."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["boto3", "t4_ops.registry"])
    found: dict[str, list[Figure]] = {}
    for number in range(rounds):
        for way in ways:
            with registries(server, number, way) as urls:
                for kind, url in urls.items():
                    if kind not in kinds or (WAYS[way] is disk_alone and "bucket" in kind):
                        continue
                    figure = race(context, url, way, rivals, moves)
                    found.setdefault(f"{kind}: {way}", []).append(figure)
                    print(number, kind, way, figure, flush=True)
    return found


def report(
    found: dict[str, list[Figure]], load: float, rivals: int, moves: int, rounds: int
) -> str:
    """Return the table, medians of the rounds."""
    lines = [
        "# Rivals at one pointer",
        "",
        f"{rivals} processes, {moves} moves each, {rounds} round(s), medians. {os.cpu_count()}"
        f" cores, shared by clients and SeaweedFS; Python {platform.python_version()}. Moves in a"
        " folder on a disk outlive a power cut when they return (two fsyncs). `the disk alone`"
        " compares nothing and locks nothing: the file, the rename and the fsyncs of a move only,"
        " the limit of this disk at that load. Made by `make bench-pointers`.",
        "",
        f"Load average when it began, of what else ran on the machine: {load:.0f}.",
        "",
        "| registry: way | moves/s | floor | lost | median ms | p99 ms | client CPU ms a move |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, figures in found.items():
        kind, way = label.rsplit(": ", 1)
        floor = FLOORS[kind] if way == "latest alone" else ""
        lost, total = sum(f.lost for f in figures), sum(f.moves for f in figures)
        seen = "" if WAYS[way] is disk_alone else f"{lost} of {total}"
        cells = [
            f"{statistics.median(getattr(f, field) for f in figures):.{digits}f}"
            for field, digits in (("rate", 0), ("median_ms", 1), ("p99_ms", 0), ("cpu_ms", 2))
        ]
        lines.append(f"| {label} | {cells[0]} | {floor} | {seen} | {' | '.join(cells[1:])} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the race, print the table and write it beside this file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pointers", description=__doc__)
    parser.add_argument("--rivals", type=int, default=32)
    parser.add_argument("--moves", type=int, default=32)
    parser.add_argument("--kinds", nargs="+", choices=list(FLOORS), default=list(FLOORS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with TemporaryDirectory(prefix="t4-bench-") as folder, seaweedfs(Path(folder)) as server:
        os.environ.update(server.environ())
        found = measure(server, given.ways, given.kinds, given.rivals, given.moves, given.rounds)
    text = report(found, load, given.rivals, given.moves, given.rounds)
    print(text)
    given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
