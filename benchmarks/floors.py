"""The floors that `make bench` holds its figures against, each with its judgement.

Source: the table of targets that the project set itself for the transfer engine and the registry;
RESULTS.md names each. A floor is judged at its own size only: figures of other sizes are shown, and
count as not measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from benchmarks import pointers
from benchmarks.bench_run import Run
from benchmarks.figures import OURS, Figure, Figures, median, ratio, total_cpu_s, wall_s

SMALL: Final = "10000x4096"
MANY: Final = "100000x1024"
LARGE: Final = "2048MiB"
OBJECTS: Final = "3000x4096"
MIDDLE: Final = ("300x1048576", "60x8388608")
MILLION: Final = "1000000"
TEN_MILLION: Final = "10000000"
# "Not slower" than a peer: this much is what two equal programs differ by from run to run.
TIE: Final = 1.05
# Flat: ten times the entries may cost so many times the time.
_FLAT: Final = 1.5
MEMORY_MB: Final = 150.0
# Starting an interpreter varies by more than a millisecond: what is less can't be told.
_TELLABLE_MS: Final = 1
# "No request per file": less than one for so many files, and the 1 % may cost two each (an object
# and, where it is asked for, a look at it) beside what an unchanged push costs.
_FILES_A_REQUEST: Final = 100
# Works that move or hash files; the memory floor holds for each, at any size.
_TRANSFERS: Final = (
    *("build", "push", "again", "changed", "install", "list", "copy"),
    *("hash", "large-push", "large-install", "middle-push", "middle-install"),
)


@dataclass(frozen=True)
class Verdict:
    """What a run says of a floor.

    Attributes:
        measured: The figure in words.
        met: Whether the floor is met; None: not measured at the floor's size.
        margin: How many times better than the floor; below 1 it is missed. None: no number.
    """

    measured: str
    met: bool | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Floor:
    """A target.

    Attributes:
        work: What is done.
        target: The floor in words.
        judge: Says what a run shows.
    """

    work: str
    target: str
    judge: Callable[[Run], Verdict]


NOTHING: Final = Verdict("not measured")
Judge = Callable[[Run], Verdict]


def verdict(measured: str, margin: float, size: str, wanted: str) -> Verdict:
    """Judge a margin, if the size is the floor's."""
    if size != wanted:
        return Verdict(f"not measured at this size; at {size}: {measured}")
    return Verdict(measured, margin >= 1, margin)


def faster(
    work: str, size: str, peer: str, floor: float, of: Callable[[Figure], float] = wall_s
) -> Judge:
    """At least `floor` times as fast as a peer."""

    def judge(run: Run) -> Verdict:
        if (found := run.case(work, size)) is None:
            return NOTHING
        case, at = found
        times = ratio(case.get(peer, ()), case[OURS], of)
        if times is None:
            return Verdict(f"{peer} was left out")
        return verdict(f"{times:.2f}x ({_both(case[OURS], case[peer])})", times / floor, at, size)

    return judge


def at_most(
    work: str, size: str, peer: str, limit: float, of: Callable[[Figure], float] = wall_s
) -> Judge:
    """At most `limit` times what a peer takes."""

    def judge(run: Run) -> Verdict:
        if (found := run.case(work, size)) is None:
            return NOTHING
        case, at = found
        times = ratio(case[OURS], case.get(peer, ()), of)
        if times is None:
            return Verdict(f"{peer} was left out")
        both = _both(case[OURS], case[peer], "total_cpu_s" if of is total_cpu_s else "wall_s")
        return verdict(f"{times:.2f}x ({both})", limit / times, at, size)

    return judge


def verified_install(run: Run) -> Verdict:
    """Judge the install of a large object, and say what this machine's processors allow.

    No verified install on the machine of the server can take less than the peer's processor seconds
    and those of SHA-256 alone (both sides', measured in the same run) on all processors.
    """
    found = at_most("large-install", LARGE, "s5cmd", 1.75)(run)
    peer = run.cases.get(f"large-install {LARGE}", {}).get("s5cmd", ())
    hashing = run.cases.get(f"hash {LARGE}", {}).get("limit", ())
    moved_s, hashed_s = median(peer, "total_cpu_s"), median(hashing, "total_cpu_s")
    wall = median(peer, "wall_s")
    processors = int(run.machine.get("processors", "0"))
    if moved_s is None or hashed_s is None or not wall or not processors:
        return found
    least = (moved_s + hashed_s) / processors / wall
    words = f"{found.measured}; s5cmd and SHA-256 alone make {least:.2f}x here"
    return replace(found, measured=words)


def within(
    work: str, size: str, limits: dict[str, float], *, scale: float = 1, unit: str = "s"
) -> Judge:
    """Medians of attributes within limits; seconds are told times `scale` in `unit`."""

    def judge(run: Run) -> Verdict:
        if (found := run.case(work, size)) is None:
            return NOTHING
        case, at = found
        margins, words = [], []
        for name, limit in limits.items():
            value = median(case[OURS], name)
            if value is None:
                return NOTHING
            margins.append(limit / value if value else float("inf"))
            words.append(_told(name, value, scale, unit))
        return verdict(", ".join(words), min(margins), at, size)

    return judge


def all_of(*judges: Judge) -> Judge:
    """Hold several judgements: met if each is."""

    def judge(run: Run) -> Verdict:
        found = [each(run) for each in judges]
        measured = "; ".join(one.measured for one in found)
        if any(one.met is None for one in found):
            return NOTHING if all(one == NOTHING for one in found) else Verdict(measured)
        margins = [one.margin for one in found if one.margin is not None]
        return Verdict(measured, all(one.met for one in found), min(margins, default=None))

    return judge


def no_request_per_file(run: Run) -> Verdict:
    """Judge the requests of a push of unchanged files."""
    if (found := run.case("again", SMALL)) is None:
        return NOTHING
    case, at = found
    files = int(at.partition("x")[0])
    requests = median(case[OURS], "requests") or 0
    limit = files / _FILES_A_REQUEST
    measured = f"{requests:.0f} requests for {files:,} files"
    return verdict(measured, limit / requests if requests else float("inf"), at, SMALL)


def cost_of_changes(run: Run) -> Verdict:
    """Judge a push of 1 % changed files by one of none, and one of those files alone."""
    cases = [run.case(work, SMALL) for work in ("changed", "again", "changed-alone")]
    found = [case for case in cases if case is not None]
    if len(found) < len(cases):
        return NOTHING
    at = found[0][1]
    taken = [median(case[OURS], "wall_s") or 0.0 for case, _ in found]
    asked = [median(case[OURS], "requests") or 0.0 for case, _ in found]
    words = (
        f"{taken[0]:.2f} s, {asked[0]:.0f} requests; unchanged {taken[1]:.2f} s, {asked[1]:.0f};"
        f" the 1 % pushed alone {taken[2]:.2f} s, {asked[2]:.0f}"
    )
    return verdict(words, (taken[1] + taken[2]) / taken[0], at, SMALL)


def memory(run: Run) -> Verdict:
    """Judge the most memory that any of our transfers took, of any size."""
    worst = [
        (figure.above_manifest_mb, case)
        for case, contenders in run.cases.items()
        if case.partition(" ")[0] in _TRANSFERS
        for figure in contenders.get(OURS, ())
    ]
    if not worst:
        return NOTHING
    peak_mb, case = max(worst)
    measured = f"{peak_mb:.0f} MB at most ({case})"
    whole = {f"push {MANY}", f"install {MANY}", f"large-push {LARGE}", f"large-install {LARGE}"}
    whole |= {f"middle-{work} {at}" for work in ("push", "install") for at in MIDDLE}
    if not whole <= set(run.cases):
        return Verdict(f"not measured at every size; {measured}")
    return Verdict(measured, peak_mb <= MEMORY_MB, MEMORY_MB / peak_mb)


def flat(run: Run) -> Verdict:
    """Judge how the slowest of the questions grows with the entries."""
    ratios = []
    for work in ("browse-open", "browse-folder", "browse-key"):
        pair = [run.cases.get(f"{work} {size}") for size in (MILLION, TEN_MILLION)]
        if pair[0] is None or pair[1] is None:
            return NOTHING
        small, large = (median(case[OURS], "wall_s") or 0.0 for case in (pair[0], pair[1]))
        ratios.append(large / small)
    return Verdict(f"{max(ratios):.2f}x at most", max(ratios) <= _FLAT, _FLAT / max(ratios))


def moves(kind: str) -> Judge:
    """Judge the rate of pointer moves on a kind of registry."""

    def judge(run: Run) -> Verdict:
        found = run.pointers.get(f"{kind}: latest alone")
        if not found:
            return NOTHING
        rate = statistics.median([figure.rate for figure in found])
        floor = pointers.FLOORS[kind]
        words = f"{rate:,.0f}/s"
        if run.options.get("rivals") != 32:
            return Verdict(f"not measured with 32 rivals; with fewer: {words}")
        return Verdict(words, rate >= floor, rate / floor)

    return judge


def lost(run: Run) -> Verdict:
    """Judge what our rivals lost; what quilt3's way loses is said beside it."""
    sums = {}
    for way in ("latest alone", "check, then put"):
        figures = [f for name, fs in run.pointers.items() if name.endswith(way) for f in fs]
        sums[way] = sum(f.lost for f in figures), sum(f.moves for f in figures)
    ours, theirs = sums["latest alone"], sums["check, then put"]
    if not ours[1]:
        return NOTHING
    words = f"{ours[0]} of {ours[1]:,} (quilt3's way: {theirs[0]:,} of {theirs[1]:,})"
    if run.options.get("rivals") != 32:
        return Verdict(f"not measured with 32 rivals; with fewer: {words}")
    return Verdict(words, ours[0] == 0)


def import_alone(run: Run) -> Verdict:
    """Judge a process with `import t4_ops` by a bare one."""
    if (found := run.cases.get("import 1")) is None:
        return NOTHING
    ours, bare = ({f.round: f for f in found[who]} for who in (OURS, "bare"))
    pairs = [(ours[number], bare[number]) for number in ours if number in bare]
    above_ms = statistics.median((with_us.wall_s - alone.wall_s) * 1000 for with_us, alone in pairs)
    cpu_ms = statistics.median((with_us.cpu_s - alone.cpu_s) * 1000 for with_us, alone in pairs)
    margin = 50 / max(above_ms, _TELLABLE_MS)
    return Verdict(f"{_above(above_ms)} ({_above(cpu_ms)} CPU)", above_ms < 50, margin)


def _above(ms: float) -> str:
    return f"{ms:.0f} ms" if ms >= _TELLABLE_MS else f"under {_TELLABLE_MS} ms"


def _both(ours: Figures, theirs: Figures, name: str = "wall_s") -> str:
    what = " CPU" if name == "total_cpu_s" else ""
    values = [f"{median(figures, name) or 0:.3g}" for figures in (ours, theirs)]
    return f"{values[0]} against {values[1]} s{what}"


def _told(name: str, value: float, scale: float, unit: str) -> str:
    if name == "requests":
        return f"{value:.0f} request{'' if value == 1 else 's'}"
    if name == "sent_bytes":
        return f"{value / 1000:,.0f} KB"
    if name.endswith("_mb"):
        return f"{value:.0f} MB"
    return f"{value * scale:.3g} {unit}"
