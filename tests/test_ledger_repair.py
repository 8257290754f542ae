"""Writers that die, and `repair`: no event is half there, and nothing that counts is lost."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from demo.seaweedfs import SeaweedFS
from t4_ops import lineage
from t4_ops.errors import InvalidInputError
from t4_ops.ledger import Input, Output, RecordedEvent, RunInfo, record, repair
from t4_ops.settings import Settings
from t4_ops.storage import ObjectInfo, Store, open_store
from tests.ledger_support import check_schema, events_for, note, revision, stored_events

ROOT = Path(__file__).parents[1]
LEDGER = ".t4/v1/lineage/"
RUN = RunInfo(run_id="0192aaaa-bbbb-7ccc-8ddd-eeeeffff0000", job_namespace="test", job_name="job")

# Publishes one revision after the other, each made from so many others, until it is killed.
WRITER = """
import sys
from tests.ledger_support import note, revision
registry, count = sys.argv[1], int(sys.argv[2])
sources = [revision(registry, f"in/p{number}") for number in range(count)]
note([], [revision(registry, "out/first")])
print("ready", flush=True)
number = 0
while True:
    note(list(sources), [revision(registry, "out/p", str(number))])
    number += 1
"""


def markers(store: Store) -> dict[str, set[str]]:
    """Return the markers in a ledger, by event."""
    found: dict[str, set[str]] = {}
    for info in store.list(LEDGER):
        if "/events/" not in info.key:
            found.setdefault(info.key.rpartition("/")[2], set()).add(info.key)
    return found


def markers_of(event: Any) -> int:
    return len(event["inputs"]) + len(event["outputs"])


def check_ledger(registry: str) -> set[str]:
    """Fail unless every event is whole and has all its markers; return the markers of none."""
    store = open_store(registry, Settings())
    events, found = stored_events(registry), markers(store)
    for event_id, event in events.items():
        check_schema(event, event["schemaURL"])
        assert len(found[event_id]) == markers_of(event)
    return {key for event_id in found.keys() - events for key in found[event_id]}


def kill_a_writer(registry: str, count: int, may_die: Callable[[], bool]) -> None:
    """Start a writer and kill it, by SIGKILL, as soon as it may die."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, registry, str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            deadline_s = time.monotonic() + 60
            while not may_die():
                assert process.poll() is None
                assert time.monotonic() < deadline_s
        finally:
            process.kill()
    assert process.returncode == -9


def test_a_writer_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    registry = str(tmp_path / "r")
    store = open_store(registry, Settings())
    # Whatever the writer does next: after one more marker, after some more, after an event.
    folder = tmp_path / "r" / LEDGER / "inputs"
    for more in (1, 40, 200, 300, 320):
        before = sum(map(len, markers(store).values()))

        def has_enough(wanted: int = before + more) -> bool:
            return count_files(folder) >= wanted

        kill_a_writer(registry, 300, has_enough)
        check_ledger(registry)

    orphans = check_ledger(registry)
    assert orphans
    before_repair = stored_events(registry)
    for key in itertools.islice(orphans, 3):
        role, version = key.split("/")[3], key.split("/")[5]
        (item,) = (i for i in all_items(registry, 300) if i.version == version)
        found = events_for(store, role, item.dataset, version)  # type: ignore[arg-type]
        assert {event.event_id for event in found} <= set(before_repair)

    young = lineage.repair(registry)
    assert (young.removed, young.waiting) == (0, len(orphans))
    done = lineage.repair(registry, grace_s=0)
    assert (done.removed, done.waiting) == (len(orphans), 0)
    assert done.events == len(before_repair)
    assert done.markers == sum(map(markers_of, before_repair.values()))

    assert check_ledger(registry) == set()
    assert stored_events(registry) == before_repair
    again = lineage.repair(registry, grace_s=0)
    assert (again.events, again.markers, again.removed) == (done.events, done.markers, 0)


def all_items(registry: str, count: int) -> Iterator[Input]:
    for number in range(count):
        yield Input.of_ref(revision(registry, f"in/p{number}"))
    for number in range(1000):
        yield Input.of_ref(revision(registry, "out/p", str(number)))


def count_files(folder: Path) -> int:
    """Count markers, fast: each lies in a folder of its version in one of its dataset."""
    try:
        return sum(
            len(os.listdir(version.path))
            for dataset in os.scandir(folder)
            for version in os.scandir(dataset.path)
        )
    except FileNotFoundError:
        return 0


def test_a_writer_to_a_bucket_may_be_killed(s3_env: SeaweedFS, unversioned_bucket: str) -> None:
    registry = f"s3://{unversioned_bucket}"
    store = open_store(registry, Settings())

    orphans: set[str] = set()
    for _ in range(10):  # a kill may hit the moment between an event and the next one's markers
        before = sum(1 for _ in store.list(f"{LEDGER}inputs/"))

        def has_some(wanted: int = before + 5) -> bool:
            return sum(1 for _ in store.list(f"{LEDGER}inputs/")) >= wanted

        kill_a_writer(registry, 200, has_some)
        orphans = check_ledger(registry)
        if orphans:
            break
    events = stored_events(registry)
    assert orphans
    assert lineage.repair(registry, grace_s=0).removed == len(orphans)
    assert check_ledger(registry) == set()
    assert stored_events(registry) == events
    assert lineage.repair(registry, grace_s=0).removed == 0


def test_markers_are_on_the_disk_before_the_event_has_its_name(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    steps: list[tuple[str, int]] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(fd: int) -> None:
        real_fsync(fd)
        steps.append(("fsync", os.fstat(fd).st_ino))

    def link(*args: Any, **options: Any) -> None:
        steps.append(("link", 0))
        real_link(*args, **options)

    mocker.patch("os.fsync", autospec=True, side_effect=fsync)
    mocker.patch("os.link", autospec=True, side_effect=link)
    note([revision(tmp_path, f"in/p{number}") for number in range(5)], [revision(tmp_path, "o/p")])

    # Only the event needs a link: a marker is whole from the beginning.
    assert [what for what, _ in steps].count("link") == 1
    flushed = {inode for what, inode in steps[: steps.index(("link", 0))] if what == "fsync"}
    ledger = tmp_path / LEDGER
    folders = [path for role in ("inputs", "outputs") for path in (ledger / role).rglob("*")]
    assert {p.stat().st_ino for p in folders if p.is_dir()} <= flushed
    assert {(ledger / role).stat().st_ino for role in ("inputs", "outputs")} <= flushed


class Interrupted:
    """A real store, with something that happens just after or before a call."""

    def __init__(self, store: Store, name: str, *, after: Any = None, before: Any = None) -> None:
        self._store = store
        self._name = name
        self._after = after
        self._before = before

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name != self._name:
            return real

        def call(*args: Any, **options: Any) -> Any:
            before, self._before = self._before, None
            if before:
                before()
            result = real(*args, **options)
            after, self._after = self._after, None
            if after:
                after()
            return result

        return call


def record_in(store: Any, registry: Path) -> RecordedEvent:
    return record(
        RUN,
        [Input.of_ref(revision(registry, f"in/p{number}")) for number in range(3)],
        [Output(revision(registry, "out/p"))],
        settings=Settings(),
        open_store=lambda _registry, _settings: store,
    )


@pytest.fixture
def orphaned(tmp_path: Path) -> Store:
    """A ledger in which the writer of `RUN` died between markers and event, long ago."""
    store = open_store(str(tmp_path), Settings())
    done = record_in(store, tmp_path)
    store.delete(f"{LEDGER}events/{done.event_id}.json")
    for path in (tmp_path / LEDGER).rglob(done.event_id):
        os.utime(path, (1, 1))
    return store


def test_a_repeat_beside_a_repair_keeps_its_markers(tmp_path: Path, orphaned: Store) -> None:
    """The repeat finds the old markers, then the repair removes them, then the event comes."""
    removed: list[int] = []
    rival = Interrupted(
        orphaned, "create_empty", after=lambda: removed.append(repair(orphaned).removed)
    )

    record_in(rival, tmp_path)

    assert removed == [4]
    assert check_ledger(str(tmp_path)) == set()
    assert len(stored_events(tmp_path)) == 1


def test_a_repair_beside_a_repeat_gives_markers_back(tmp_path: Path, orphaned: Store) -> None:
    """The repair sees no event, then the whole repeat happens, then the repair removes."""
    rival = Interrupted(orphaned, "delete", before=lambda: record_in(orphaned, tmp_path))

    done = repair(rival)

    assert done.removed == 0
    assert check_ledger(str(tmp_path)) == set()
    assert len(stored_events(tmp_path)) == 1


def test_a_very_slow_writer_makes_its_markers_again(tmp_path: Path, mocker: MockerFixture) -> None:
    store = open_store(str(tmp_path), Settings())
    clock = itertools.count(0, 1000)
    mocker.patch(
        "t4_ops.ledger.writing.time.monotonic", autospec=True, side_effect=lambda: next(clock)
    )
    slow = Interrupted(store, "create_empty", after=lambda: repair(store, grace_s=0))

    record_in(slow, tmp_path)

    assert check_ledger(str(tmp_path)) == set()
    assert len(markers(store)) == 1


def test_a_machine_that_sleeps_makes_a_writer_slow(tmp_path: Path, mocker: MockerFixture) -> None:
    """The monotonic clock stands still meanwhile; that of the wall does not."""
    store = open_store(str(tmp_path), Settings())
    clock = itertools.count(0, 1000)
    mocker.patch("time.time", autospec=True, side_effect=lambda: next(clock))
    slow = Interrupted(store, "create_empty", after=lambda: repair(store, grace_s=0))

    record_in(slow, tmp_path)

    assert check_ledger(str(tmp_path)) == set()


def lose(folder: Path, event_id: str, count: int | None = None) -> None:
    for path in list((folder / LEDGER).rglob(event_id))[:count]:
        path.unlink()


def test_a_repeat_makes_lost_markers_again(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), Settings())
    lose(tmp_path, record_in(store, tmp_path).event_id)

    record_in(store, tmp_path)

    assert check_ledger(str(tmp_path)) == set()


def test_a_repair_makes_lost_markers_again(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), Settings())
    event_id = record_in(store, tmp_path).event_id
    lose(tmp_path, event_id)
    done = lineage.repair(str(tmp_path))
    assert (done.markers, done.restored) == (4, 4)
    assert check_ledger(str(tmp_path)) == set()

    lose(tmp_path, event_id, 1)
    assert lineage.repair(str(tmp_path)).restored == 0
    assert lineage.repair(str(tmp_path), is_thorough=True).restored == 1
    assert check_ledger(str(tmp_path)) == set()
    assert lineage.repair(str(tmp_path), is_thorough=True).restored == 0


def test_a_damaged_event_stops_no_repair(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(str(tmp_path), Settings())
    event_id = record_in(store, tmp_path).event_id
    (tmp_path / LEDGER / "events" / f"{event_id}.json").write_text("{")

    assert lineage.repair(str(tmp_path), is_thorough=True).restored == 0
    assert event_id in caplog.text


def test_stray_objects_are_left_alone(tmp_path: Path, orphaned: Store) -> None:
    stray = f"{LEDGER}outputs/README"
    orphaned.write(stray, b"hello")

    assert repair(orphaned).removed == 4
    assert [info.key for info in orphaned.list(LEDGER)] == [stray]


def test_an_empty_registry_needs_no_repair(tmp_path: Path) -> None:
    done = lineage.repair(str(tmp_path / "none"))

    assert (done.events, done.markers, done.removed, done.waiting) == (0, 0, 0, 0)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("grace_s", [-1, float("nan")])
def test_a_grace_is_a_time(tmp_path: Path, grace_s: float) -> None:
    with pytest.raises(InvalidInputError, match="grace_s"):
        lineage.repair(str(tmp_path), grace_s=grace_s)


def test_a_store_that_tells_no_time_loses_nothing(tmp_path: Path, orphaned: Store) -> None:
    class Timeless:
        def __getattr__(self, name: str) -> Any:
            return getattr(orphaned, name)

        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            for info in orphaned.list(prefix):
                yield ObjectInfo(info.key, info.size_bytes)

    done = repair(Timeless())  # type: ignore[arg-type]

    assert (done.removed, done.waiting) == (0, 4)
