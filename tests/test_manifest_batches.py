"""Manifests: differences, and records read and written by the hundred."""

from __future__ import annotations

import os
import random
from array import array
from collections.abc import Callable
from copy import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.keys import Limits
from t4_ops.manifest import (
    Diff,
    Entry,
    Manifest,
    diff_entries,
    diff_manifests,
    top_hash_of,
)
from t4_ops.manifest.entry import encode_entries, encode_entry
from t4_ops.manifest.lines import Spool
from tests.manifest_support import (
    HASHED,
    HEADER,
    entry,
    independent_top_hash,
    line,
    manifest_of,
    raw_line,
)
from tests.strategies import file_trees, metadata


def test_diff_tells_added_modified_and_deleted_in_tree_order() -> None:
    old = [entry("a/b", b"1"), entry("a-b", b"1"), entry("gone"), entry("same", b"s")]
    new = [
        entry("a/b", b"2"),
        entry("a-b", b"1", physical_key="s3://elsewhere/x"),
        entry("new/x"),
        entry("new-y"),
        entry("same", b"s", meta={"user_meta": {"changed": True}}),
    ]
    result = diff_entries(Manifest.of(HEADER, old).entries(), Manifest.of(HEADER, new).entries())
    assert result == Diff(["new/x", "new-y"], ["a/b", "same"], ["gone"])
    added, modified, deleted = result
    assert (added, modified, deleted) == (["new/x", "new-y"], ["a/b", "same"], ["gone"])
    assert not diff_entries(iter(old[:1]), iter(old[:1]))


def told(act: Callable[[], object]) -> object:
    """Return what a call gives, or the error it ends with."""
    try:
        return act()
    except FormatError as exc:
        return type(exc), str(exc)


def one_by_one(manifest: Manifest) -> Manifest:
    """Make a manifest go through its lines singly: what it does in batches must come out alike."""
    lines = manifest._lines
    slow = copy(manifest)
    slow._proof = None
    slow._entries = array("Q", manifest._entries)
    assert slow._lines is lines
    return slow


NUMBERS = [
    *("0", "-0", "-0.0", "1.0", "1e16", "1E-7", "1e400", "-1e999", "123456789.123456789", "5e-324"),
    *(str(2**63), str(2**64), str(-(2**63) - 1), "1" * 400, "1" * 4000),
]
TEXTS = [
    *(r'"\u00e9"', r'"\ud83d\ude00"', r'"\u0000\b\f\n\r\t\u001f\/\\\""', r'"\\\\é"'),
    *('"\x7f"', '"é\\\\"', '"雪\\n"', '"\U0001f600\\""', '"\ufffe\ufeff"', '"a\\u007fb"'),
]


@pytest.mark.parametrize("value", [*NUMBERS, *TEXTS, "[" * 399 + "]" * 399, "[" * 401 + "]" * 401])
def test_batches_say_what_single_lines_say(value: str) -> None:
    meta = f'{{"user_meta": {{"v": {value}, "é": [{value}], "a": null}}}}'.encode()
    lines = [raw_line(key=b"%04d" % n) for n in range(5)]
    lines[2] = raw_line(key=b"0002", meta=meta)
    manifest = manifest_of(*(item.replace(b'"hash": null', b'"hash": ' + HASHED) for item in lines))
    slow = one_by_one(manifest)
    assert told(lambda: manifest.top_hash) == told(lambda: slow.top_hash)
    assert told(lambda: list(manifest.entries())) == told(lambda: list(slow.entries()))
    if not isinstance(told(lambda: manifest.top_hash), tuple):
        entries = list(slow.entries())
        assert manifest.top_hash == independent_top_hash({"version": "v0"}, entries)


@given(st.lists(metadata(), min_size=1, max_size=5))
def test_batches_hash_any_metadata_as_the_plain_encoder_does(metas: list[dict[str, Any]]) -> None:
    entries = [entry(f"{n:03}", meta={"user_meta": meta}) for n, meta in enumerate(metas)]
    manifest = Manifest.of(HEADER, entries)
    expected = independent_top_hash(HEADER, entries)
    assert manifest.top_hash == expected
    assert top_hash_of(HEADER, entries) == expected
    assert one_by_one(manifest).top_hash == expected
    assert list(manifest.entries()) == entries


SPREAD_LINES = {
    "one record on two lines, two on the next": b'{"logical_key":\n"a"} {"logical_key": "b"}\n',
    "two records on a line": line(logical_key="a").rstrip() + line(logical_key="b"),
    "an empty line": b"\n" + line(logical_key="a"),
}


@pytest.mark.parametrize("lines", SPREAD_LINES.values(), ids=SPREAD_LINES)
def test_a_record_is_a_line_and_a_line_a_record(lines: bytes) -> None:
    with pytest.raises(FormatError, match="line 2"):
        manifest_of(lines)


def test_totals_are_those_of_the_entries() -> None:
    entries = [entry(f"d{n % 3}/e{n % 2}/{n}", b"x" * n) for n in range(60)]
    entries.append(Entry("z", "s3://b/z"))
    entries.sort(key=lambda e: e.logical_key.split("/"))
    manifest = Manifest.of(HEADER, entries)
    for prefix in ("", "d0/", "d1/e1/", "d", "none/"):
        below = [e for e in manifest.entries() if e.logical_key.startswith(prefix)]
        if prefix.endswith("/") or not prefix:
            assert manifest.count(prefix) == len(below)
            assert manifest.files_size_bytes(prefix) == sum(e.size_bytes or 0 for e in below)


@given(file_trees(), file_trees(), st.randoms())
def test_manifests_differ_as_their_entries_do(
    one: dict[str, bytes], other: dict[str, bytes], rnd: random.Random
) -> None:
    mixed = {key: data for key, data in one.items() if rnd.random() < 0.7}
    conflict = {key for key in other for own in mixed if f"{key}/".startswith(f"{own}/")}
    conflict |= {key for key in other for own in mixed if f"{own}/".startswith(f"{key}/")}
    mixed |= {key: data for key, data in other.items() if key not in conflict}
    old = [entry(key, data) for key, data in one.items()]
    new = [entry(key, data, physical_key="s3://moved/x") for key, data in mixed.items()]
    expected = diff_entries(
        *(sorted(e, key=lambda item: item.logical_key.split("/")) for e in (old, new))
    )
    rnd.shuffle(old)
    assert diff_manifests(Manifest.of(HEADER, old), Manifest.of(HEADER, new)) == expected


def test_a_manifest_in_a_file_is_small_in_memory_and_closes_it() -> None:
    with Spool(memory_bytes=100) as spool:
        spool.write(b'{"version": "v0"}\n')
        for n in range(1000):
            spool.write(line(logical_key=f"{n:05}"))
        lines = spool.lines()
    fd = lines._data._fd  # type: ignore[union-attr]
    assert os.fstat(fd).st_nlink == 0
    manifest = Manifest(lines)
    assert manifest.count() == 1000
    del lines, manifest
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@given(st.lists(metadata(), max_size=5))
def test_many_records_are_written_as_single_ones(metas: list[dict[str, Any]]) -> None:
    entries = [entry(f"{n:03}", meta=meta) for n, meta in enumerate(metas)]
    singly = b"".join(encode_entry(e, Limits()) for e in entries)
    assert encode_entries(entries, Limits()) == singly


def test_a_wrong_record_among_many_is_told_by_its_key() -> None:
    good = [entry(f"{n:03}") for n in range(20)]
    long = entry("long", meta={"user_meta": "é" * 600_000})
    with pytest.raises(InvalidInputError, match=r"'long'.*put large metadata into a file"):
        Manifest.of(HEADER, [*good, long])
    spoiled = Entry("spoiled", "s3://b/k", meta={"user_meta": "\ud800"})
    with pytest.raises(InvalidInputError, match=r"'spoiled'.*not valid Unicode"):
        Manifest.of(HEADER, [*good, spoiled])
