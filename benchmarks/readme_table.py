"""The README's table of what a user gets and what it costs, from the newest run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import floors
from benchmarks.bench_run import Run
from benchmarks.figures import OURS, Figures, median

BEGIN: Final = "<!-- written by `make bench ARGS=--readme` -->"
END: Final = "<!-- until here -->"


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        does: What the user does; `{count}` and `{size}` are those of the case.
        gets: What that gives.
        work: The case's work.
        wanted: Its size in a whole run.
    """

    does: str
    gets: str
    work: str
    wanted: str


ROWS: Final = (
    Row(
        "build {count} files of {size}",
        "every byte hashed; quilt3's top hash",
        "build",
        floors.SMALL,
    ),
    Row(
        "push them to S3",
        "hashes, stored checksums, a manifest, nobody's revision overwritten",
        "push",
        floors.SMALL,
    ),
    Row("push again, nothing changed", "no request per file", "again", floors.SMALL),
    Row("push again, 1 % changed", "only that moves", "changed", floors.SMALL),
    Row("install {count} files of {size}", "every byte verified", "install", floors.SMALL),
    Row("push one file of {count} MiB", "parts in parallel, hashed", "large-push", floors.LARGE),
    Row("install it", "every byte verified", "large-install", floors.LARGE),
    Row("copy {count} objects of {size} to another bucket", "verified", "copy", floors.OBJECTS),
    Row("open a manifest of {count} entries", "keys checked", "manifest-open", floors.MILLION),
    Row("prove it", "every record, the top hash", "manifest-prove", floors.MILLION),
    Row("compare two of them", "opening included", "manifest-diff", floors.MILLION),
    Row(
        "open a package of {count} entries on S3 at 30 ms a request",
        "files and bytes in all",
        "browse-open",
        floors.TEN_MILLION,
    ),
    Row("look up a key in it", "its hash and metadata", "browse-key", floors.TEN_MILLION),
)


def write_table(run: Run, path: Path) -> None:
    """Replace what stands between the marks in a file.

    Raises:
        SystemExit: The marks are not there.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path} has no place for the table: {BEGIN} ... {END}")
    path.write_text(f"{before}{BEGIN}\n{table(run)}{END}{after}", encoding="utf-8")


def table(run: Run) -> str:
    """Return the table as Markdown."""
    machine = run.machine
    load = max((part.load for part in run.parts.values()), default=0.0)
    lines = [
        f"Medians of the run of {run.started} in [benchmarks/RESULTS.md](benchmarks/RESULTS.md):"
        f" {machine.get('processors')} processors ({machine.get('model')}, SHA-NI:"
        f" {machine.get('SHA-NI')}) shared with one SeaweedFS, and a load average of {load:.0f}"
        " at most when a part began. CPU seconds are those of client and server.",
        "",
        "| you | get | at the cost of | the others take |",
        "|---|---|---|---|",
        *(row for one in ROWS if (row := _row(run, one)) is not None),
        *_rest(run),
        "",
    ]
    return "\n".join(lines)


def _row(run: Run, row: Row) -> str | None:
    if (found := run.case(row.work, row.wanted)) is None:
        return None
    case, at = found
    count, _, size = at.removesuffix("MiB").partition("x")
    does = row.does.format(count=f"{int(count):,}", size=_size(size))
    return f"| {does} | {row.gets} | {_cost(case[OURS])} | {_others(case)} |"


def _rest(run: Run) -> list[str]:
    """Return the rows of what is no case of its own: memory, rivals, the import."""
    memory = "memory above the manifest's bytes, interpreter included"
    rows = [("any of these transfers", memory, floors.memory(run))]
    rows.append(("`import t4_ops`", "names that load when used", floors.import_alone(run)))
    rows.append(
        ("let rivals push one package", "moves of `latest` that were lost", floors.lost(run))
    )
    return [f"| {does} | {gets} | {one.measured} | |" for does, gets, one in rows]


def _others(case: Mapping[str, Figures]) -> str:
    told = {"quilt3": "quilt3", "s5cmd": "s5cmd, which neither hashes nor packages:"}
    return "; ".join(f"{told[who]} {_cost(case[who])}" for who in told if who in case)


def _cost(figures: Figures) -> str:
    words = [f"{median(figures, 'wall_s') or 0:.3g} s"]
    if cpu_s := median(figures, "total_cpu_s"):
        words.append(f"{cpu_s:.3g} CPU s")
    if requests := median(figures, "requests"):
        words.append(f"{requests:,.0f} request{'' if requests == 1 else 's'}")
    return ", ".join(words)


def _size(text: str) -> str:
    if not text:
        return ""
    size_bytes = int(text)
    return f"{size_bytes // 1024} KiB" if size_bytes % 1024 == 0 else f"{size_bytes} B"
