"""Ranges of large objects: how they are cut, and how another try goes on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from demo.seaweedfs import SeaweedFS
from t4_ops.checksums import CHUNK_BYTES, MAX_CHUNKS, combine_digests
from t4_ops.errors import IntegrityError, StorageError
from t4_ops.manifest import Entry
from t4_ops.settings import Settings
from t4_ops.storage import Tree, is_temporary
from t4_ops.transfer.opening import Opener
from t4_ops.transfer.ranges import LargeFile, Range
from tests.s3_support import (
    MIB,
    Fault,
    Relay,
    Request,
    client_of,
    run_relay,
    settings_for,
)

GIB = 1024 * MIB
ANY = combine_digests(())
# No divisor of a piece, so that pieces hold ends of chunks.
STEP_BYTES = 300_007
DATA = os.urandom(5 * STEP_BYTES + 123)
DIGESTS = [
    hashlib.sha256(DATA[start : start + STEP_BYTES]).digest()
    for start in range(0, len(DATA), STEP_BYTES)
]


class Counted:
    """Progress that only counts."""

    done_bytes = 0

    def advance(self, size_bytes: int) -> None:
        """Count."""
        self.done_bytes += size_bytes

    def grow(self, size_bytes: int) -> None:
        """Count nothing."""


@pytest.fixture
def relay(s3_server: SeaweedFS) -> Iterator[Relay]:
    with run_relay(s3_server.endpoint_url) as running:
        yield running


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with Tree(str(tmp_path)) as opened:
        yield opened


def cuts(url: str, size_bytes: int, workers: int, tree: Tree) -> list[tuple[int, int]]:
    """Return where the ranges of an object begin and end."""
    file = LargeFile.open(Entry("x", url, size_bytes, ANY), "x", tree)
    try:
        return [(part.start, part.end) for part in file.ranges(workers)]
    finally:
        file.close()


def temporary_files(tree: Tree) -> list[Path]:
    """Return the files below a folder that have no name of their own yet."""
    return [path for path in Path(tree.root).iterdir() if is_temporary(path.name)]


@pytest.mark.parametrize(
    ("size_bytes", "workers", "most_bytes"),
    [
        (16 * MIB, 16, CHUNK_BYTES),
        (GIB + 1, 16, 2 * CHUNK_BYTES),
        (2 * GIB, 16, 2 * CHUNK_BYTES),
        (2 * GIB, 1, 2 * CHUNK_BYTES),
        (2 * GIB, 64, CHUNK_BYTES),
        (64 * GIB, 4, 2 * CHUNK_BYTES),
        (CHUNK_BYTES * MAX_CHUNKS + 1, 16, 2 * CHUNK_BYTES),  # chunks of 16 MiB
        (16 * CHUNK_BYTES * MAX_CHUNKS, 16, 16 * CHUNK_BYTES),  # one of 128 MiB
    ],
)
def test_a_request_takes_several_chunks_while_each_thread_has_enough(
    size_bytes: int, workers: int, most_bytes: int, tree: Tree
) -> None:
    found = cuts("s3://b/x", size_bytes, workers, tree)
    assert found[0][0] == 0
    assert found[-1][1] == size_bytes
    assert all(end == start for (_, end), (start, _) in pairwise(found))
    assert max(end - start for start, end in found) == most_bytes
    assert len(found) >= min(4 * workers, -(-size_bytes // CHUNK_BYTES))


def test_files_of_this_machine_are_cut_at_each_chunk(tree: Tree) -> None:
    found = cuts("file:///x", GIB, 1, tree)
    assert {end - start for start, end in found} == {CHUNK_BYTES}


def test_another_try_goes_on_after_the_last_whole_chunk(
    s3_server: SeaweedFS, relay: Relay, unversioned_bucket: str, tree: Tree
) -> None:
    client_of(s3_server).put_object(Bucket=unversioned_bucket, Key="x", Body=DATA)
    settings = Settings(s3=settings_for(s3_server, endpoint_url=relay.url, max_attempts=1))
    entry = Entry("x", f"s3://{unversioned_bucket}/x", len(DATA), combine_digests(DIGESTS))
    cut = [Fault(truncate_bytes=2 * STEP_BYTES + MIB // 4)]

    def once(request: Request) -> Fault | None:
        return cut.pop() if cut and request.method == "GET" else None

    relay.rule, bar, opener = once, Counted(), Opener(settings)
    file = LargeFile.open(entry, "x", tree)
    try:
        part = Range(file, 0, len(DATA), STEP_BYTES)
        with pytest.raises(StorageError) as caught:
            part.fetch(opener, bar)
        assert caught.value.retryable
        # What came is counted once, however often the rest is asked for.
        assert bar.done_bytes == 2 * STEP_BYTES
        assert part.fetch(opener, bar) == DIGESTS
        assert [r.headers["range"] for r in relay.seen("GET", "/x")] == [
            f"bytes=0-{len(DATA) - 1}",
            f"bytes={2 * STEP_BYTES}-{len(DATA) - 1}",
        ]
        # Once more, as after a connection that broke at the very end: nothing is left to ask for.
        assert part.fetch(opener, bar) == DIGESTS
        assert bar.done_bytes == len(DATA)
        assert file.add(part.digests, part.end)
    finally:
        file.close()
    assert Path(tree.path("x")).read_bytes() == DATA


def test_more_bytes_than_were_asked_for_do_not_reach_the_next_range(
    s3_server: SeaweedFS, relay: Relay, unversioned_bucket: str, tree: Tree
) -> None:
    client_of(s3_server).put_object(Bucket=unversioned_bucket, Key="x", Body=DATA)
    settings = Settings(s3=settings_for(s3_server, endpoint_url=relay.url, max_attempts=1))
    entry = Entry("x", f"s3://{unversioned_bucket}/x", len(DATA), combine_digests(DIGESTS))
    headers = {
        "Content-Range": f"bytes 0-{STEP_BYTES - 1}/{len(DATA)}",
        "Last-Modified": "Sun, 01 Mar 2026 06:00:00 GMT",
        "ETag": '"x"',
    }
    relay.rule = lambda _: Fault(206, DATA[:STEP_BYTES] + b"more", headers)
    file = LargeFile.open(entry, "x", tree)
    try:
        with pytest.raises(IntegrityError, match=f"holds {STEP_BYTES + 4} bytes"):
            Range(file, 0, STEP_BYTES, STEP_BYTES).fetch(Opener(settings), Counted())
        (temporary,) = temporary_files(tree)
        assert temporary.stat().st_size <= STEP_BYTES
    finally:
        file.close()
    assert not temporary_files(tree)
