"""The pool: order, bounds, retries, and an end at the first failure or when told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import chain
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from t4_ops.checksums import checksum_of
from t4_ops.errors import InvalidInputError, StorageError
from t4_ops.manifest import Entry
from t4_ops.settings import Settings
from t4_ops.transfer import (
    Cancelled,
    Opener,
    hash_entries,
    hash_object,
    progress,
    run_all,
    with_retries,
)
from t4_ops.transfer.pool import MAX_TRIES
from tests.package_support import write_files

_mark: ContextVar[str] = ContextVar("mark", default="none")


@pytest.fixture
def no_pauses(mocker: MockerFixture) -> None:
    mocker.patch("random.uniform", autospec=True, return_value=0.0)


def test_results_come_in_the_order_of_the_items_and_work_is_shared() -> None:
    running, most, lock = 0, 0, threading.Lock()
    barrier = threading.Barrier(3, timeout=10)

    def work(item: int) -> tuple[int, str]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if item < 3:
            barrier.wait()  # passes only if three are worked on at once
        time.sleep(0.002 * (item % 3))
        with lock:
            running -= 1
        return item * 10, _mark.get()

    _mark.set("caller's")
    results = list(run_all(range(20), work, workers=3))
    assert results == [(i * 10, "caller's") for i in range(20)]
    assert most == 3
    assert list(run_all([], work, workers=3)) == []


def test_items_are_read_only_a_little_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    results = run_all(items(), lambda item: item, workers=2)
    assert next(results) == 0
    assert len(taken) < 20
    # Who stops listening stops the work; no thread is left behind.
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 20
    assert not [t for t in threading.enumerate() if t.name.startswith("t4-transfer")]


def test_the_first_failure_ends_all_and_running_work_is_waited_for() -> None:
    started: list[int] = []
    finished: list[int] = []
    failing = threading.Event()

    def work(item: int) -> int:
        started.append(item)
        if item == 0:
            failing.wait(10)
            time.sleep(0.05)
            finished.append(item)
        if item == 1:
            failing.set()
            raise InvalidInputError("told to fail")
        return item

    begun = time.monotonic()
    with pytest.raises(InvalidInputError, match="told to fail"):
        list(run_all(range(100), work, workers=2))
    assert finished == [0]
    assert len(started) < 5
    assert time.monotonic() - begun < 5

    def broken() -> Iterator[int]:
        yield 1
        raise InvalidInputError("no more items")

    with pytest.raises(InvalidInputError, match="no more items"):
        list(run_all(broken(), lambda item: item, workers=2))


@pytest.mark.usefixtures("no_pauses")
def test_what_may_succeed_later_is_tried_again() -> None:
    tries: dict[int, int] = {}

    def work(item: int) -> int:
        tries[item] = tries.get(item, 0) + 1
        if item == 7 and tries[item] < MAX_TRIES:
            raise StorageError("throttled", retryable=True)
        return item

    assert list(run_all(range(10), work, workers=4)) == list(range(10))
    assert tries == {**dict.fromkeys(range(10), 1), 7: MAX_TRIES}


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(("is_retryable", "expected"), [(True, MAX_TRIES), (False, 1)])
def test_the_last_failure_is_raised(is_retryable: bool, expected: int) -> None:
    calls: list[int] = []

    def hopeless() -> None:
        calls.append(1)
        raise StorageError("always", retryable=is_retryable)

    with pytest.raises(StorageError):
        with_retries(hopeless)
    assert len(calls) == expected


def test_a_pause_before_a_retry_ends_when_nobody_wants_the_result() -> None:
    stop = threading.Event()

    def throttled() -> None:
        stop.set()
        raise StorageError("throttled", retryable=True)

    begun = time.monotonic()
    with pytest.raises(Cancelled):
        with_retries(throttled, stop)
    assert time.monotonic() - begun < 1


def test_stop_from_outside_starts_nothing_more() -> None:
    stop, started = threading.Event(), []

    def work(item: int) -> None:
        started.append(item)
        if item == 5:
            stop.set()

    with pytest.raises(Cancelled):
        list(run_all(range(1000), work, workers=2, stop=stop))
    assert len(started) < 10


def test_one_large_object_stops_in_the_middle(tmp_path: Path) -> None:
    write_files(tmp_path, {"large": bytes(32 * 1024 * 1024)})
    stop = threading.Event()
    opener = Opener(Settings(), stop=stop)
    url = (tmp_path / "large").as_uri()
    with opener.open(url) as opened:
        assert opened.size_bytes == 32 * 1024 * 1024
        pieces = iter(opened)
        assert next(pieces)
        stop.set()
        with pytest.raises(Cancelled):
            next(pieces)
    with pytest.raises(Cancelled):
        hash_object(url, opener)


def test_hashing_gives_what_is_missing(tmp_path: Path) -> None:
    files = {f"{i:04}": bytes([i % 256]) * (i % 50) for i in range(600)}
    files["0300"] = b"l" * (9 * 1024 * 1024)
    write_files(tmp_path, files)
    entries = [Entry(key, (tmp_path / key).as_uri(), len(data)) for key, data in files.items()]
    known = Entry("known", "s3://nowhere/x", 1, checksum_of(b"x"))
    entries.insert(100, known)
    # A size that was noted before the file grew is noted anew.
    entries[0] = Entry("0000", (tmp_path / "0001").as_uri(), 0)
    with progress("hashing", shown=False) as bar:
        batches = hash_entries(iter(entries), Opener(Settings()), bar, workers=4)
        hashed = list(chain.from_iterable(batches))
    assert sorted(entry.logical_key for entry in hashed) == sorted([*files, "known"])
    assert known in hashed
    files["0000"] = files["0001"]
    assert {e.logical_key: (e.size_bytes, e.hash) for e in hashed if e != known} == {
        key: (len(data), checksum_of(data)) for key, data in files.items()
    }
