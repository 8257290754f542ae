"""Turns of rivals on one machine: one at a time, but nobody is kept out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from t4_ops.registry import turns
from t4_ops.registry.turns import turn
from tests.package_support import ROOT

HOLDER = (
    "import sys, time\n"
    "from t4_ops.registry.turns import turn\n"
    "with turn('s3://bucket/a/b'):\n"
    "    print('in', flush=True)\n"
    "    time.sleep(60)\n"
)


@pytest.fixture(autouse=True)
def own_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / f"t4_ops-turns-{os.getuid()}"


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


def test_one_that_is_killed_keeps_nobody_out() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=ROOT, stdout=subprocess.PIPE, text=True
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


def test_a_child_forked_meanwhile_does_not_hold_the_turn() -> None:
    with turn("s3://bucket/a/b"):
        pid = os.fork()
        if not pid:
            time.sleep(60)
            os._exit(0)
    try:
        started_s = time.monotonic()
        with turn("s3://bucket/a/b"):
            assert time.monotonic() - started_s < turns.LONGEST_WAIT_S / 2
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_folder_that_others_may_write_is_not_used(own_turns: Path) -> None:
    own_turns.mkdir()
    own_turns.chmod(0o777)
    with turn("s3://bucket/a/b"):
        pass
    assert not list(own_turns.iterdir())


def test_no_folder_at_all(own_turns: Path) -> None:
    own_turns.write_bytes(b"in the way")
    with turn("s3://bucket/a/b"):
        pass
    assert own_turns.read_bytes() == b"in the way"
