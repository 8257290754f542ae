"""Transfers against quilt3 and s5cmd, side by side: `python -m benchmarks.transfer`.

Every contender works in a process of its own, on one SeaweedFS that this script starts. Rounds are
interleaved and each round turns the order, so that what else the machine does hits all alike; the
tables show medians, and medians of the ratios within each round. Wall and processor seconds of the
Python contenders begin after their imports; s5cmd's are those of its whole process. Processor
seconds of the server, and the requests it got, are in columns of their own.

    python -m benchmarks.transfer --files 1000 --size 4096 --rounds 1 --cases build push install

`make bench` (`benchmarks/bench.py`) runs all of these, and what is not about transfers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import transfer_cases as cases
from benchmarks.bench_report import detail
from benchmarks.contenders import Bench, Limits
from benchmarks.machine import describe
from benchmarks.s5cmd import find_s5cmd
from benchmarks.small_files import MIB, make_files, make_large
from benchmarks.warm_memory import WARM_MIB
from demo.seaweedfs import seaweedfs

CASES: Final = ("build", "hash", "push", "again", "changed", "install", "large", "list", "copy")


def main() -> int:
    """Run the cases and print the report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transfer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--files", type=int, default=10_000, help="small files")
    parser.add_argument("--size", type=int, default=4096, help="bytes of each small file")
    parser.add_argument("--large-mib", type=int, default=2048, help="MiB of the one large file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--s5cmd", help="the program; empty: leave it out")
    parser.add_argument("--folder", type=Path, help="where to put files; default: temporary")
    parser.add_argument("--output", type=Path, help="a file for the report")
    given = parser.parse_args()
    peer = None if given.s5cmd == "" else find_s5cmd(given.s5cmd)
    with (
        TemporaryDirectory(prefix="t4-bench-", dir=given.folder) as folder,
        seaweedfs(Path(folder) / "server") as server,
    ):
        limits = Limits(given.rounds, given.rounds, float("inf"), WARM_MIB)
        bench = Bench(server, Path(folder), peer, limits)
        measure(bench, given)
    machine = ", ".join(f"{name} {value}" for name, value in describe(peer).items())
    text = f"{machine}\n\n{detail(bench.found)}"
    print(text)
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    return 0


def measure(bench: Bench, given: argparse.Namespace) -> None:
    """Run the cases that were asked for."""
    asked = set(given.cases)
    cases.make_buckets(bench)
    if asked - {"hash", "large"}:
        folder = make_files(bench.folder / "small", given.files, given.size)
        _measure_small(bench, cases.Small(folder, given.files, given.size), asked)
    if asked & {"hash", "large"}:
        path = bench.folder / "large" / "one.bin"
        make_large(path, given.large_mib * MIB)
        if "hash" in asked:
            cases.hash_large(bench, path)
        if "large" in asked:
            cases.large(bench, path)


def _measure_small(bench: Bench, small: cases.Small, asked: set[str]) -> None:
    if "build" in asked:
        cases.build(bench, small)
    if not asked & {"push", "again", "changed", "install", "list", "copy"}:
        return
    # quilt3 takes minutes: it pushes only where that is what is measured.
    ours, theirs = cases.push(bench, small, with_quilt3="push" in asked)
    if "install" in asked:
        cases.install(bench, small, ours[0])
    last = theirs[-1] if theirs else None
    if "again" in asked:
        cases.again(bench, small, ours[-1], last)
    if "changed" in asked:
        cases.changed(bench, small, ours[-1], last)
    if "list" in asked:
        cases.list_objects(bench, small, ours[0])
    if "copy" in asked:
        cases.copy(bench, small, ours[0])


if __name__ == "__main__":
    sys.exit(main())
