"""Rival processes, as a script: `python -m tests.rivals JSON` prints what became of each.

They are forked from one process that has loaded the library and used none of it yet, which costs a
fraction of starting each anew.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

# Before the fork: what each rival would load by itself. Not obstore, whose runtime a fork breaks.
import boto3  # noqa: F401

import t4_ops as t4

TIMEOUT_S: Final = 100.0
_FORK: Final = multiprocessing.get_context("fork")


def run_rivals(what: str, count: int, *, processes: int, **arguments: Any) -> list[Any]:
    """Run so many rivals at once and return the answer of each, in the order of their numbers.

    Args:
        what: `push` or `browse`.
        count: How many.
        processes: In how many processes; a connection to a bucket costs each half a second.
        **arguments: `registry`, `name` and what else it takes.
    """
    given = json.dumps({"what": what, "processes": processes, "count": count, **arguments})
    done = subprocess.run(
        [sys.executable, "-m", "tests.rivals", given],
        cwd=Path(__file__).resolve().parents[1],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S + 15,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"the rivals failed:\n{done.stderr[-6000:]}")
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def push(number: int, gate: Any, count: int, registry: str, name: str) -> dict[str, Any]:
    """Push a key of its own with all others at once; then again, with as many retries as rivals."""
    package = t4.Package.browse(name, registry).set(f"{number}.bin", b"%d" % number)
    gate.wait(TIMEOUT_S)
    answer: dict[str, Any] = {}
    try:
        answer["won"] = package.push(name, registry, message=f"first {number}").top_hash
    except t4.ConflictError as exc:
        answer["conflict"] = str(exc)
    gate.wait(TIMEOUT_S)
    if "won" in answer:
        package = t4.Package.browse(name, registry).set("again.bin", b"again")
    # Each loses only to one who lands, and each lands once.
    landed = package.push(name, registry, message=f"{number}", retry_conflicts=count - 1)
    return {**answer, "landed": landed.top_hash}


def browse(number: int, gate: Any, count: int, registry: str, name: str) -> dict[str, Any]:
    """Browse a package and read an entry."""
    gate.wait(TIMEOUT_S)
    package = t4.Package.browse(name, registry)
    return {"top_hash": package.top_hash, "bytes": len(package["0.bin"].get_bytes())}


WHAT: Final[dict[str, Callable[..., dict[str, Any]]]] = {"push": push, "browse": browse}


def _process(what: str, numbers: list[int], gate: Any, answers: Any, given: dict[str, Any]) -> None:
    """Run the rivals of one process, a thread each."""
    with ThreadPoolExecutor(len(numbers)) as pool:
        found = pool.map(lambda number: WHAT[what](number, gate, **given), numbers)
        answers.put(list(zip(numbers, found, strict=True)))


def main() -> None:
    given = json.loads(sys.argv[1])
    what, processes, count = given.pop("what"), given.pop("processes"), given["count"]
    gate, answers = _FORK.Barrier(count), _FORK.SimpleQueue()
    running = [
        _FORK.Process(
            target=_process,
            args=(what, list(range(first, count, processes)), gate, answers, given),
            daemon=True,
        )
        for first in range(processes)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(TIMEOUT_S)
    if any(process.exitcode != 0 for process in running):
        raise SystemExit(f"ended with {[process.exitcode for process in running]}")
    found = dict(pair for _ in running for pair in answers.get())
    print(json.dumps([found[number] for number in range(count)]))


if __name__ == "__main__":
    main()
