"""Turns of rivals on one machine: one at a time, but nobody is kept out."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from pytest_mock import MockerFixture

from demo.seaweedfs import SeaweedFS
from t4_ops.registry import turns
from t4_ops.registry.turns import turn
from tests.package_support import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux's semaphores can wait")

HOLDER = (
    "import sys, time\n"
    "from t4_ops.registry import turns\n"
    "turns._NAME = sys.argv[1]\n"
    "with turns.turn('s3://bucket/a/b'):\n"
    "    print('in', flush=True)\n"
    "    time.sleep(60)\n"
)
# Source: Linux's uapi header ipc.h.
REMOVE = 0


@pytest.fixture(autouse=True)
def own_turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Turns of this test alone."""
    name = f"t4_ops tests {uuid.uuid4()}"
    monkeypatch.setattr(turns, "_NAME", name)
    yield name
    found = turns._semaphores()
    assert found is not None
    assert turns._libc().semctl(found, 0, REMOVE) == 0


def test_one_at_a_time() -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with turn("s3://bucket/a/b"):
                with lock:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.002)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1


def test_pointers_do_not_wait_for_each_other() -> None:
    with turn("s3://bucket/a/b"):
        started_s = time.monotonic()
        with turn("s3://bucket/a/other"):
            assert time.monotonic() - started_s < turns.LONGEST_WAIT_S / 2


def test_one_that_hangs_keeps_nobody_out(mocker: MockerFixture) -> None:
    mocker.patch.object(turns, "LONGEST_WAIT_S", 0.3)
    with turn("s3://bucket/a/b"):
        started_s = time.monotonic()
        with turn("s3://bucket/a/b"):
            assert 0.3 <= time.monotonic() - started_s < 10


def test_one_that_is_killed_keeps_nobody_out(own_turns: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, own_turns], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        waiting = threading.Event()

        def wait() -> None:
            with turn("s3://bucket/a/b"):
                waiting.set()

        thread = threading.Thread(target=wait)
        thread.start()
        assert not waiting.wait(0.2)
        holder.send_signal(signal.SIGKILL)
        assert waiting.wait(4)
        thread.join(10)
    finally:
        holder.kill()
        holder.communicate()


def test_who_came_first_is_served_first() -> None:
    served: list[int] = []

    def wait(number: int) -> None:
        with turn("s3://bucket/a/b"):
            served.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(8)]
    with turn("s3://bucket/a/b"):
        for thread in threads:
            thread.start()
            time.sleep(0.05)
    # Whoever comes back at once is no newcomer with luck.
    with turn("s3://bucket/a/b"):
        served.append(8)
    for thread in threads:
        thread.join(10)
    assert served == list(range(9))


def test_a_turn_goes_on_within_moments() -> None:
    came_s: list[float] = []

    def wait() -> None:
        with turn("s3://bucket/a/b"):
            came_s.append(time.monotonic())

    threads = [threading.Thread(target=wait) for _ in range(20)]
    with turn("s3://bucket/a/b"):
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        left_s = time.monotonic()
    for thread in threads:
        thread.join(10)
    assert len(came_s) == 20
    assert max(came_s) - left_s < 1


def test_a_child_forked_meanwhile_neither_holds_nor_gives_the_turn() -> None:
    def has_turn() -> bool:
        waited = threading.Event()

        def wait() -> None:
            with turn("s3://bucket/a/b"):
                waited.set()

        threading.Thread(target=wait, daemon=True).start()
        return not waited.wait(0.3)

    status = -1
    with turn("s3://bucket/a/b"):
        pid = os.fork()
        if pid:
            _, status = os.waitpid(pid, 0)
            assert has_turn(), "the child gave its parent's turn away"
    if not pid:
        os._exit(0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not has_turn()


def test_a_signal_does_not_end_the_wait(mocker: MockerFixture) -> None:
    mocker.patch.object(turns, "LONGEST_WAIT_S", 0.6)
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    try:
        with turn("s3://bucket/a/b"):
            signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
            started_s = time.monotonic()
            with turn("s3://bucket/a/b"):
                assert time.monotonic() - started_s >= 0.6
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(heard) > 1


def test_semaphores_of_another_user_are_not_used(mocker: MockerFixture) -> None:
    ours = os.getuid()
    mocker.patch.object(os, "getuid", autospec=True, return_value=ours + 1)
    assert turns._semaphores() is None
    with turn("s3://bucket/a/b"), turn("s3://bucket/a/b"):
        pass
    # What was made in his name is ours to remove.
    _remove(f"{turns._NAME} {ours + 1}")
    mocker.stopall()


def test_none_can_be_had(own_turns: str) -> None:
    # A set of that key, but with too few of them.
    too_few = turns._libc().semget(_key(f"{own_turns} {os.getuid()}"), 1, 0o1600)
    assert too_few >= 0
    try:
        started_s = time.monotonic()
        with turn("s3://bucket/a/b"), turn("s3://bucket/a/b"):
            assert time.monotonic() - started_s < turns.LONGEST_WAIT_S
    finally:
        turns._libc().semctl(too_few, 0, REMOVE)


def test_a_turn_that_a_signal_made_us_forget_is_given_back(mocker: MockerFixture) -> None:
    take = turns._take

    def interrupted(semaphores: int, slot: int) -> bool:
        assert take(semaphores, slot)
        raise KeyboardInterrupt  # as a signal's handler, before anything is noted

    mocker.patch.object(turns, "_take", autospec=True, side_effect=interrupted)
    with pytest.raises(KeyboardInterrupt), turn("s3://bucket/a/b"):
        pytest.fail("it never came to its turn")
    mocker.stopall()
    assert value_of("s3://bucket/a/b") == 0


def test_a_turn_that_was_not_given_back_is_given_by_the_next_block(mocker: MockerFixture) -> None:
    mocker.patch.object(turns, "_give", autospec=True, side_effect=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt), turn("s3://bucket/a/b"):
        pass
    mocker.stopall()
    assert value_of("s3://bucket/a/b") == 1
    started_s = time.monotonic()
    with turn("s3://bucket/a/b"):
        assert time.monotonic() - started_s < turns.LONGEST_WAIT_S / 2
    assert value_of("s3://bucket/a/b") == 0


def value_of(pointer: str) -> int:
    """Return how many have the turn of a pointer."""
    slot = hashlib.sha256(pointer.encode()).digest()[0] % turns._SLOTS
    value: int = turns._libc().semctl(turns._semaphores(), slot, turns._GETVAL)
    return value


def test_a_python_without_ctypes_publishes(s3_env: SeaweedFS, unversioned_bucket: str) -> None:
    code = (
        "import sys\n"
        "sys.modules['_ctypes'] = None\n"
        "import t4_ops as t4\n"
        "package = t4.Package()\n"
        "package.set('x', {'a': 1})\n"
        f"pushed = package.push('a/b', 's3://{unversioned_bucket}')\n"
        "print(len(pushed.top_hash), 'ctypes' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("64 False\n", "")


def _key(text: str) -> int:
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], sys.byteorder, signed=True)


def _remove(text: str) -> None:
    assert turns._libc().semctl(turns._libc().semget(_key(text), 0, 0), 0, REMOVE) == 0
