"""A run of `make bench` whose figures are made up, for tests of how it is judged and told."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import pointers
from benchmarks.bench_run import Part, Run
from benchmarks.figures import Figure

PAIRS = {
    # Work and size: what ours takes, the peers' times as many.
    "build 10000x4096": (0.5, {"quilt3": 6.0}),
    "build 100000x1024": (2.0, {"quilt3": 9.0}),
    "push 10000x4096": (8.0, {"quilt3": 5.0, "s5cmd": 1.1}),
    "push 100000x1024": (70.0, {"s5cmd": 1.1}),
    "again 10000x4096": (0.8, {"quilt3": 50.0}),
    "changed 10000x4096": (1.0, {"quilt3": 40.0}),
    "changed-alone 10000x4096": (0.4, {"s5cmd": 0.5}),
    "install 10000x4096": (7.0, {"quilt3": 6.0, "s5cmd": 1.2}),
    "install 100000x1024": (60.0, {"s5cmd": 1.2}),
    "middle-push 300x1048576": (3.0, {"s5cmd": 1.1}),
    "middle-push 60x8388608": (4.0, {"s5cmd": 1.1}),
    "middle-install 300x1048576": (1.0, {"s5cmd": 0.8}),
    "middle-install 60x8388608": (1.0, {"s5cmd": 0.8}),
    "hash 2048MiB": (5.0, {"quilt3": 1.0, "limit": 0.8}),
    "large-push 2048MiB": (20.0, {"s5cmd": 1.3}),
    "large-install 2048MiB": (9.0, {"s5cmd": 0.7}),
    "list 3000x4096": (0.3, {"s5cmd": 1.0}),
    "copy 3000x4096": (4.0, {"s5cmd": 0.5}),
    "manifest-open 1000000": (0.5, {"quilt3": 30.0}),
    "manifest-prove 1000000": (2.5, {"quilt3": 9.0}),
    "manifest-dump 1000000": (0.7, {"quilt3": 14.0}),
    "manifest-diff 1000000": (2.0, {"quilt3": 12.0}),
    "browse-open 1000000": (0.04, {}),
    "browse-open 10000000": (0.04, {}),
    "browse-open-by-name 1000000": (0.07, {}),
    "browse-open-by-name 10000000": (0.07, {}),
    "browse-folder 1000000": (0.10, {}),
    "browse-folder 10000000": (0.12, {}),
    "browse-key 1000000": (0.12, {}),
    "browse-key 10000000": (0.13, {}),
    "import 1": (0.06, {"bare": 0.25}),
    "import-in-airflow 1": (0.013, {}),
}
REQUESTS = {"browse-open-by-name": 2, "browse-folder": 2, "browse-key": 3}


def rounds(seconds: float, requests: int = 1) -> list[Figure]:
    """Return three rounds, the last on a slow machine."""
    return [
        Figure(
            seconds * slow,
            seconds * slow / 2,
            seconds * slow / 2,
            peak_mb=90,
            grown_mb=40,
            round=number,
            requests=requests,
            sent_bytes=100_000,
            manifest_bytes=2_000_000,
        )
        for number, slow in enumerate((1.0, 1.1, 3.0))
    ]


def whole_run(started: str = "2026-11-22 10:00 UTC") -> Run:
    """Return a run that measured everything and met every floor."""
    rate = pointers.Figure(moves=1024, lost=0, rate=1500, median_ms=5, p99_ms=90, cpu_ms=1)
    lossy = replace(rate, lost=800)
    run = Run(
        started,
        {"processors": "2", "model": "Some CPU", "SHA-NI": "no"},
        {"rivals": 32, "files": [[1000, 4096]]},
        parts={"build": Part(61.0, 0.5)},
        pointers={
            **{f"{kind}: latest alone": [rate] for kind in pointers.FLOORS},
            **{f"{kind}: check, then put": [lossy] for kind in pointers.FLOORS},
        },
    )
    for case, (seconds, peers) in PAIRS.items():
        requests = REQUESTS.get(case.partition(" ")[0], 1)
        run.cases[case] = {
            "t4_ops": rounds(seconds, requests),
            **{who: rounds(seconds * times) for who, times in peers.items()},
        }
    return run
