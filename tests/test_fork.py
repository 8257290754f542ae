"""A process that is forked after S3 was used installs and pushes through the library."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import t4_ops as t4
from t4_ops import operations
from tests.package_support import bytes_below, contents_of, write_files

NAME = "team/data"
FILES = {
    "a": b"one",
    "d/b": b"two",
    # Large enough for several parts, and for a download that was a stream in the parent.
    "large": b"l" * (9 * 1024 * 1024),
    "with space/é": b"odd",
}
TIMEOUT_S = 60.0


def child_work(registry: str, work: Path, package: t4.Package) -> None:
    """Do all that a task may do: read what the parent opened, install, build, push."""
    assert contents_of(package) == FILES
    t4.Package.install(NAME, registry, dest=work / "installed")
    assert bytes_below(work / "installed") == FILES
    changed = t4.Package.browse(NAME, registry).set_text("new.txt", "from the child")
    changed.push(NAME, registry, message="child")
    built = operations.build("team/child", work / "installed", registry=registry)
    result = operations.push(built, registry=registry)
    (work / "result.json").write_text(json.dumps(result))


def in_fork(work: Callable[[], None]) -> int:
    """Run in a child made by `os.fork` and return its exit status; -1 if it hung."""
    sys.stdout.flush()
    sys.stderr.flush()
    process_id = os.fork()
    if process_id == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
            traceback.print_exc()
        finally:
            os._exit(status)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(process_id, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(process_id, signal.SIGKILL)
    os.waitpid(process_id, 0)
    return -1


def in_process(work: Callable[[], None]) -> int:
    """Run in a child of `multiprocessing`, forked, and return its exit status; -1 if it hung."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(TIMEOUT_S)
    if child.exitcode is None:
        child.kill()
        child.join()
        return -1
    return child.exitcode


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("forked", [in_fork, in_process])
def test_a_forked_child_installs_and_pushes(
    bucket_registry: str, tmp_path: Path, forked: Callable[[Callable[[], None]], int]
) -> None:
    package = t4.Package().set_dir("/", write_files(tmp_path / "files", FILES))
    pushed = package.push(NAME, bucket_registry)
    # The parent has read, listed and written: connections and threads of every kind are there.
    assert contents_of(pushed) == FILES
    work = tmp_path / "child"
    work.mkdir()
    assert forked(lambda: child_work(bucket_registry, work, pushed)) == 0

    result = json.loads((work / "result.json").read_text())
    assert contents_of(t4.Package.browse("team/child", bucket_registry)) == FILES
    assert t4.Package.browse("team/child", bucket_registry).top_hash == result["top_hash"]
    latest = t4.Package.browse(NAME, bucket_registry)
    assert latest["new.txt"]() == "from the child"
    # The parent goes on, and sees that somebody was faster.
    with pytest.raises(t4.ConflictError):
        pushed.set_text("mine.txt", "parent").push(NAME, bucket_registry)
    latest.set_text("mine.txt", "parent").push(NAME, bucket_registry)
