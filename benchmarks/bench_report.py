"""`benchmarks/RESULTS.md`: the floors of the newest two runs side by side, and all figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from benchmarks.bench_run import Run
from benchmarks.figures import (
    OURS,
    Case,
    Figures,
    median,
    ratio,
    rounds_of,
    total_cpu_s,
    wall_s,
)
from benchmarks.floor_table import FLOORS
from benchmarks.floors import TIE, Verdict

CHART: Final = "RESULTS.svg"
_COLUMNS: Final[tuple[tuple[str, Callable[[float], str]], ...]] = (
    ("wall_s", lambda value: f"{value:.3f}" if value < 1 else f"{value:.2f}"),
    ("cpu_s", lambda value: f"{value:.2f}"),
    ("server_cpu_s", lambda value: f"{value:.2f}"),
    ("peak_mb", lambda value: f"{value:.0f}"),
    ("grown_mb", lambda value: f"{value:.0f}"),
    ("requests", lambda value: f"{value:,.0f}"),
    ("sent_bytes", lambda value: f"{value / 1e6:,.2f}"),
)
_HEAD: Final = (
    "| work | who | n | wall s | client CPU s | server CPU s | peak MB | grown MB | requests"
    " | received MB | wall ratio | total CPU ratio |"
)
_GROWING: Final = (
    ("files", ("build", "push", "install")),
    (
        "entries",
        ("manifest-open", "manifest-prove", "manifest-dump", "manifest-diff", "manifest-index"),
    ),
    ("entries on S3, 30 ms a request", ("browse-open", "browse-folder", "browse-key")),
)
_SHOWN: Final = (OURS, "quilt3", "s5cmd")
_NOTES: Final = (
    "Each contender works in a process of its own; wall and CPU seconds of the Python ones"
    " begin after their imports, those of the libraries they use included (`import quilt3` loads"
    " boto3, we load boto3 and obstore only when they are needed: here before the clock starts),"
    " s5cmd's are those of its whole process. Contenders take turns"
    " within a round, and each round begins with another one. Figures are medians of the rounds"
    " (`n`), ratios medians of the ratios within a round. The server runs on the same"
    " processors; it is started anew for each part, and all contenders of a part use the same"
    " one. Where a run's options say `warm_mib`, so much free memory (at most a quarter of it) is"
    " touched before contenders that move files or read manifests, since a hypervisor that took it"
    " back would make whoever comes first pay for it. Requests are those that the server itself"
    " counted in the timed runs. Peak memory is"
    " the whole process with its interpreter and libraries; grown: above what it held when the"
    " clock started. For manifests and browsing both are what was added to the imports. Answers"
    " are compared too: top hashes of builds and manifests, bytes of dumps, numbers of"
    " differences."
)
_MANY_QUILT3: Final = (
    "quilt3's push and install of 100,000 files are left out unless `--quilt3-many` is given: they"
    " take about ten times as long as its 10,000, each."
)


def judge_all(run: Run) -> list[Verdict]:
    """Return a run's verdict for each floor."""
    return [floor.judge(run) for floor in FLOORS]


def says(verdicts: Sequence[Verdict]) -> str:
    """Say plainly what runs show of one floor: met only if each of them met it."""
    met = [verdict.met for verdict in verdicts]
    if all(met):
        return "met"
    if all(one is None for one in met):
        return "not measured"
    if False in met:
        missed = [number for number, one in enumerate(met, 1) if one is False]
        if len(met) == 1 or len(missed) == len(met):
            return "**missed**"
        return f"**missed** in run {missed[0]}"
    return f"met in run {met.index(True) + 1}, not measured in the other"


def render(runs: Sequence[Run]) -> str:
    """Return the report of one run or two, oldest first."""
    return "\n".join(
        [
            "# What transfers, manifests and pointers cost",
            "",
            f"Made by `make bench`; {_dates(runs)}. {_NOTES}",
            "",
            f"![Floors and growth]({CHART})",
            "",
            "## Floors",
            "",
            *_floor_table(runs),
            "",
            f'"Not slower" allows {(TIE - 1) * 100:.0f} %, which two equal programs differ by.'
            " The margin of the newest run says how many times better than its floor a figure is:"
            " below 1 it is missed.",
            "",
            "## Growth",
            "",
            f"Medians of the newest run. {_MANY_QUILT3}",
            "",
            *_growth_tables(runs[-1]),
            *_pointer_table(runs),
            *_run_sections(runs),
        ]
    )


def detail(cases: Mapping[str, Case]) -> str:
    """Return the table of all cases of a run."""
    lines = [_HEAD, "|---|---|" + "---:|" * 10]
    for name, contenders in cases.items():
        ours = contenders.get(OURS, ())
        for who, figures in contenders.items():
            lines.append(
                f"| {name} | {who} | {rounds_of(figures)} | {_cells(ours, who, figures)} |"
            )
    lines += ["", "Ratios say how many times ours the other one takes: above 1 ours is less."]
    return "\n".join(lines) + "\n"


def _cells(ours: Figures, who: str, figures: Figures) -> str:
    cells = []
    for name, told in _COLUMNS:
        value = median(figures, name)
        cells.append("" if value is None else told(value))
    for of in (wall_s, total_cpu_s):
        times = None if who == OURS else ratio(figures, ours, of)
        cells.append("" if times is None else f"{times:.2f}")
    return " | ".join(cells)


def _dates(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return f"one run, of {runs[0].started}"
    return f"two separate runs: run 1 of {runs[0].started}, run 2 of {runs[1].started}"


def _floor_table(runs: Sequence[Run]) -> Iterator[str]:
    judged = [judge_all(run) for run in runs]
    measured = ["measured"] if len(runs) == 1 else [f"run {n + 1}" for n in range(len(runs))]
    yield f"| floor | target | {' | '.join(measured)} | | margin |"
    yield "|---|---|" + "---|" * len(runs) + "---|---:|"
    for number, floor in enumerate(FLOORS):
        verdicts = [of_run[number] for of_run in judged]
        margin = verdicts[-1].margin
        words = " | ".join(verdict.measured for verdict in verdicts)
        told = "" if margin is None else f"{margin:.2f}"
        yield f"| {floor.work} | {floor.target} | {words} | {says(verdicts)} | {told} |"


def growth(run: Run, work: str) -> dict[int, dict[str, float]]:
    """Return seconds by number of files or entries and contender."""
    found: dict[int, dict[str, float]] = {}
    for name, contenders in run.cases.items():
        kind, _, size = name.partition(" ")
        if kind == work:
            count = int(size.partition("x")[0])
            found[count] = {
                who: seconds
                for who, figures in contenders.items()
                if (seconds := median(figures, "wall_s")) is not None
            }
    return dict(sorted(found.items()))


def _growth_tables(run: Run) -> Iterator[str]:
    for what, works in _GROWING:
        rows = [row for work in works for row in _growth_rows(run, work)]
        if rows:
            yield f"| work | {what} | t4_ops | quilt3 | s5cmd |"
            yield "|---|---:|---:|---:|---:|"
            yield from rows
            yield ""


def _growth_rows(run: Run, work: str) -> Iterator[str]:
    for count, seconds in growth(run, work).items():
        cells = [f"{seconds[who]:.3g} s" if who in seconds else "" for who in _SHOWN]
        yield f"| {work} | {count:,} | {' | '.join(cells)} |"


def _pointer_table(runs: Sequence[Run]) -> Iterator[str]:
    for number, run in enumerate(runs, 1):
        if run.pointers:
            yield f"## {run.options.get('rivals')} rivals at one pointer, run {number}"
            yield ""
            yield "| registry: way | n | moves/s | lost | median ms | p99 ms | CPU ms a move |"
            yield "|---|---:|---:|---:|---:|---:|---:|"
            for name, figures in run.pointers.items():
                lost, moves = sum(f.lost for f in figures), sum(f.moves for f in figures)
                middle = sorted(figures, key=lambda figure: figure.rate)[len(figures) // 2]
                yield (
                    f"| {name} | {len(figures)} | {middle.rate:,.0f} | {lost:,} of {moves:,}"
                    f" | {middle.median_ms:.1f} | {middle.p99_ms:.0f} | {middle.cpu_ms:.2f} |"
                )
            yield ""


def _run_sections(runs: Sequence[Run]) -> Iterator[str]:
    for number, run in enumerate(runs, 1):
        yield f"## Run {number}, {run.started}"
        yield ""
        yield ", ".join(f"{name} {value}" for name, value in run.machine.items()) + "."
        yield ""
        options = ", ".join(f"{name} {_option(value)}" for name, value in run.options.items())
        yield f"Options: {options}."
        yield ""
        took = ", ".join(
            f"{name} {part.took_s:.0f} s (load {part.load:.1f})" for name, part in run.parts.items()
        )
        total_min = sum(part.took_s for part in run.parts.values()) / 60
        yield f"Parts, and the load average when each began: {took}; {total_min:.0f} min in all."
        yield ""
        yield detail(run.cases)


def _option(value: object) -> str:
    if isinstance(value, list):
        return " ".join(f"{item:,}" if isinstance(item, int) else str(item) for item in value)
    return str(value)
