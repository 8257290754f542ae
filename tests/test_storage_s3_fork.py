"""A process that was forked after its parent used the store."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from demo.seaweedfs import SeaweedFS
from t4_ops.storage._rooms import ROOMS
from t4_ops.storage.base import ObjectInfo
from t4_ops.storage.s3 import S3Store
from tests.s3_support import (
    MIB,
    numbered_pages,
    pieces,
    run_relay,
    settings_for,
    wait_for_pages_ahead,
)


@pytest.fixture
def unversioned(s3_server: SeaweedFS, unversioned_bucket: str) -> S3Store:
    return S3Store(f"s3://{unversioned_bucket}", settings_for(s3_server))


@pytest.fixture
def versioned(s3_server: SeaweedFS, versioned_bucket: str) -> S3Store:
    return S3Store(f"s3://{versioned_bucket}", settings_for(s3_server))


@pytest.fixture(params=["unversioned", "versioned"])
def store(request: pytest.FixtureRequest) -> S3Store:
    found: S3Store = request.getfixturevalue(request.param)
    return found


def use_everything(store: S3Store) -> list[bytes | str | ObjectInfo | None]:
    """Read, write, list: what a forked child must be able to do."""
    store.write("child", b"small")
    store.upload("child-big", pieces(bytes(9 * MIB)), 9 * MIB)
    with store.open("child-big", start=9 * MIB - 1) as reader:
        tail = b"".join(reader)
    keys = [info.key for info in store.list()]
    return [store.read("parent").data, store.read("child").data, tail, *keys]


EXPECTED_IN_CHILD = [b"1", b"small", b"\0", "child", "child-big", "parent"]


# Python 3.12 and later warn of the fork that this test is about.
@pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning")
def test_a_forked_child_uses_the_store(store: S3Store) -> None:
    store.write("parent", b"1")
    store.read("parent")
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(theirs, pickle.dumps(use_everything(store)))
            status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    killer = threading.Timer(30, os.kill, (child, 9))
    killer.start()
    with os.fdopen(ours, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    killer.cancel()

    assert status == 0, "the child failed or had to be killed"
    assert pickle.loads(answer) == EXPECTED_IN_CHILD  # noqa: S301 - our own
    assert store.read("child").data == b"small"


LISTS_AND_FORKS = """
import os, sys, threading
from t4_ops.settings import load_settings
from t4_ops.storage import open_store

def read():
    found = []
    add = lambda: found.append(store.read('k').data)
    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [b'1'] * 8, found

store = open_store(sys.argv[1], load_settings())
assert [info.key for info in store.list()] == ['k']
assert 'obstore' not in sys.modules
child = os.fork()
read()  # both, each with an obstore of its own
print('obstore' in sys.modules, flush=True)
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_fork_between_the_first_list_and_the_first_object(
    unversioned: S3Store, s3_env: SeaweedFS
) -> None:
    unversioned.write("k", b"1")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            LISTS_AND_FORKS,
            unversioned.url,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")


@pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning")
def test_a_forked_pool_uses_the_store(unversioned: S3Store) -> None:
    unversioned.write("parent", b"1")
    # Libraries that were tested before may handle SIGTERM, which is how a pool ends its workers.
    default = (signal.SIGTERM, signal.SIG_DFL)
    with multiprocessing.get_context("fork").Pool(1, signal.signal, default) as pool:
        answer = pool.apply_async(use_everything, (unversioned,)).get(timeout=30)
    assert answer == EXPECTED_IN_CHILD


@pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning")
@pytest.mark.parametrize("has_come", [True, False])
def test_a_listing_that_was_begun_before_a_fork_goes_on_in_both(
    s3_server: SeaweedFS, has_come: bool
) -> None:
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda request: replace(numbered_pages(request), delay_s=0.5)
        store = S3Store("s3://bucket", settings_for(s3_server, endpoint_url=relay.url))
        listing = store._leaves().api.list_objects("", "")
        assert next(listing).size_bytes == 0
        # The thread that waits for the next page is not in the child, or has left a connection.
        if has_come:
            wait_for_pages_ahead()
        child = os.fork()
        if not child:
            status = 1
            try:
                status = 0 if [info.size_bytes for info in listing] == [1, 2, 3] else 2
            finally:
                os._exit(status)
        killer = threading.Timer(30, os.kill, (child, 9))
        killer.start()
        assert [info.size_bytes for info in listing] == [1, 2, 3]
        _, status = os.waitpid(child, 0)
        killer.cancel()
    assert status == 0, "the child failed or had to be killed"


@pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning")
def test_a_child_does_not_wait_for_memory_that_its_parents_threads_hold() -> None:
    held = [ROOMS.take() for _ in range(6)]
    try:
        child = os.fork()
        if not child:
            signal.alarm(10)
            with ROOMS.buffer():
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        for room in held:
            ROOMS.give_back(room)
