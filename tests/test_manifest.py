"""Manifests: canonical form, order, bytes, and every hostile record that must be refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
from array import array
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.checksums import Checksum, checksum_of
from t4_ops.errors import FormatError, IntegrityError, InvalidInputError, StorageError
from t4_ops.keys import Limits
from t4_ops.manifest import (
    MAX_META_DEPTH,
    Diff,
    Directory,
    Entry,
    Manifest,
    diff_entries,
    diff_manifests,
    plain_meta,
    top_hash_of,
)
from t4_ops.manifest.entry import encode_entries, encode_entry
from t4_ops.manifest.lines import Lines, Spool
from tests.strategies import file_trees, metadata

HEADER = {"version": "v0", "message": None}
HASH = {"type": "SHA256", "value": "0" * 64}
HASHED = json.dumps(HASH).encode()


def entry(key: str, data: bytes = b"", **changes: Any) -> Entry:
    values = {"meta": {}, "physical_key": f"s3://bucket/{len(key)}", **changes}
    return Entry(key, values["physical_key"], len(data), checksum_of(data), values["meta"])


def line(**fields: Any) -> bytes:
    record = {"physical_keys": ["s3://b/k"], "size": 0, "hash": HASH, "meta": {}, **fields}
    return json.dumps({k: v for k, v in record.items() if v is not ...}).encode() + b"\n"


def raw_line(key: bytes = b"a", meta: bytes = b"{}") -> bytes:
    """Return a record that `json` itself would not write."""
    rest = b'"physical_keys": ["s3://b/k"], "size": 0, "hash": null, "meta": '
    return b'{"logical_key": "' + key + b'", ' + rest + meta + b"}\n"


def manifest_of(*lines: bytes, header: bytes = b'{"version": "v0"}\n') -> Manifest:
    return Manifest.from_bytes(header + b"".join(lines))


@pytest.mark.parametrize(
    ("header", "top_hash"),
    [
        ({}, "7a67ff45a4a4c4814ea89d82bb9fb6fbf06caebc79d6507121b549213c747537"),
        ({"message": None}, "2a5a67156ca9238c14d12042db51c5b52260fdd5511b61ea89b58929d6e1769b"),
        ({"message": ""}, "770459d4230273fd44b272c552d1204458175e7d7cb26fcd601c662cf5f72d05"),
        (
            {"message": None, "user_meta": None},
            "fb53faf10edc3c9cc234f362c1a57d702213e869a20b887d9f6ed5439c936513",
        ),
        (
            {"message": None, "user_meta": {}},
            "1a4cae60caad99aaf073c4292adfa510897c31c1d6adb44662925b9b143edbbf",
        ),
    ],
)
def test_top_hash_of_headers_is_the_one_quilt3_gives(header: dict[str, Any], top_hash: str) -> None:
    assert Manifest.of({"version": "v0", **header}, []).top_hash == top_hash


def test_top_hash_of_a_package_with_every_trap_is_the_one_quilt3_gives() -> None:
    user_meta = {"é": 1.0, "x": [1e16, -0.0, None, True]}
    entries = [
        entry("a.b", b"2"),
        entry("a-b", meta={"user_meta": user_meta}),
        entry("a/b", b"1"),
    ]
    header = {"version": "v0", "message": "m", "user_meta": {"k": "\U0001f600\x7f/"}}
    manifest = Manifest.of(header, entries)
    assert manifest.top_hash == "30d439491c23cf228f4d6455f1f25bd5284285b77486c7b9c0c6ebf2cb3b186e"
    assert [e.logical_key for e in manifest.entries()] == ["a/b", "a-b", "a.b"]


def independent_top_hash(header: dict[str, Any], entries: list[Entry]) -> str:
    """The recipe once more, by the plainest means."""
    digest = hashlib.sha256()
    ordered = sorted(entries, key=lambda e: e.logical_key.split("/"))
    parts: list[dict[str, Any]] = [header]
    for e in ordered:
        assert e.hash is not None
        hashed = {"type": e.hash.type, "value": e.hash.value}
        parts.append(
            {"hash": hashed, "logical_key": e.logical_key, "meta": e.meta, "size": e.size_bytes}
        )
    for part in parts:
        digest.update(json.dumps(part, sort_keys=True, separators=(",", ":")).encode())
    return digest.hexdigest()


@given(file_trees(), metadata(), metadata(), st.randoms())
def test_bytes_and_order_do_not_matter_and_round_trips_are_exact(
    files: dict[str, bytes], meta: dict[str, Any], user_meta: dict[str, Any], rnd: random.Random
) -> None:
    header = {**HEADER, "user_meta": user_meta}
    entries = [entry(key, data, meta={"user_meta": meta}) for key, data in files.items()]
    expected = independent_top_hash(header, entries)
    rnd.shuffle(entries)
    manifest = Manifest.of(header, entries)
    assert manifest.top_hash == expected
    again = Manifest.from_bytes(manifest.to_bytes())
    assert again.top_hash == expected
    assert again.to_bytes() == manifest.to_bytes()
    assert again.header == header
    by_key = {e.logical_key: e for e in entries}
    assert list(again.entries()) == [by_key[k] for k in sorted(by_key, key=lambda k: k.split("/"))]
    for key, e in by_key.items():
        assert again.get(key) == e
    elsewhere = [Entry(e.logical_key, "s3://x/y", e.size_bytes, e.hash, e.meta) for e in entries]
    assert Manifest.of(header, elsewhere).top_hash == expected


@pytest.mark.parametrize(
    "change",
    [
        {"logical_key": "other"},
        {"size_bytes": 5},
        {"hash": Checksum("SHA256", "1" * 64)},
        {"hash": Checksum("CRC64NVME", checksum_of(b"1").value)},
        {"meta": {"user_meta": {"a": 1}}},
    ],
)
def test_what_is_hashed_changes_the_top_hash(change: dict[str, Any]) -> None:
    original = entry("a", b"1")
    assert (
        Manifest.of(HEADER, [original.but(**change)]).top_hash
        != Manifest.of(HEADER, [original]).top_hash
    )


def test_directories_are_stored_but_not_hashed() -> None:
    plain = Manifest.of(HEADER, [entry("a/b")])
    described = Manifest.of(HEADER, [entry("a/b")], [Directory("a/", {"k": 1})])
    assert described.top_hash == plain.top_hash
    assert list(Manifest.from_bytes(described.to_bytes()).directories()) == [
        Directory("a/", {"k": 1})
    ]
    assert len(described) == 1


@given(file_trees())
def test_folders_list_like_a_tree(files: dict[str, bytes]) -> None:
    manifest = Manifest.of(HEADER, [entry(key, data) for key, data in files.items()])

    def walk(prefix: str) -> list[str]:
        found: list[str] = []
        for name in manifest.children(prefix):
            found += walk(prefix + name) if name.endswith("/") else [prefix + name]
        return found

    assert walk("") == [e.logical_key for e in manifest.entries()]
    for key in files:
        folder = key.rpartition("/")[0]
        if folder:
            assert manifest.has_directory(f"{folder}/")
            below = [e.logical_key for e in manifest.entries(f"{folder}/")]
            assert below == [
                e.logical_key for e in manifest.entries() if e.logical_key.startswith(f"{folder}/")
            ]
        assert not manifest.has_directory(f"{key}/")
    assert manifest.get("no such key") is None


def test_lines_in_any_order_load_and_hash_in_tree_order() -> None:
    lines = [line(logical_key=key) for key in ("b", "a/z", "a-", "a/b", "c/")[:4]]
    shuffled = manifest_of(
        lines[0], line(logical_key="a/", meta={"k": 1}, physical_keys=...), *lines[1:]
    )
    assert [e.logical_key for e in shuffled.entries()] == ["a/b", "a/z", "a-", "b"]
    in_order = manifest_of(*(lines[i] for i in (3, 1, 2, 0)))
    assert shuffled.top_hash == in_order.top_hash
    assert shuffled.get("a/z") is not None
    assert [d.key for d in shuffled.directories()] == ["a/"]


def test_unknown_header_keys_stay_and_a_stored_top_hash_is_dropped() -> None:
    manifest = manifest_of(header=b'{"version": "v0", "new": {"x": 1}, "top_hash": "ab"}\n')
    assert manifest.header == {"version": "v0", "new": {"x": 1}}
    assert manifest.top_hash == independent_top_hash({"version": "v0", "new": {"x": 1}}, [])


BAD_LINES = {
    "no JSON": b"{\n",
    "no mapping": b"[]\n",
    "no key": line(logical_key=...),
    "number as key": line(logical_key=5),
    "empty key": line(logical_key=""),
    "absolute": line(logical_key="/etc/passwd"),
    "parent": line(logical_key="../../x"),
    "inner parent": line(logical_key="a/../b"),
    "dot": line(logical_key="a/./b"),
    "double slash": line(logical_key="a//b"),
    "backslash": line(logical_key="a\\b"),
    "NUL": line(logical_key="a\0b"),
    "newline": line(logical_key="a\nb"),
    "drive": line(logical_key="C:/x"),
    "lone surrogate": raw_line(key=rb"a\ud800"),
    "not UTF-8": raw_line(key=b"a\xff"),
    "too long": line(logical_key="k" * 1025),
    "too deep": line(logical_key="/".join("x" * 201)),
    "no physical key": line(logical_key="a", physical_keys=...),
    "empty physical keys": line(logical_key="a", physical_keys=[]),
    "other scheme": line(logical_key="a", physical_keys=["http://x/y"]),
    "relative file": line(logical_key="a", physical_keys=["file://host/y"]),
    "negative size": line(logical_key="a", size=-1),
    "fractional size": line(logical_key="a", size=1.5),
    "no meta": line(logical_key="a", meta=...),
    "list as meta": line(logical_key="a", meta=[]),
    "NaN in meta": raw_line(meta=b'{"x": NaN}'),
    "surrogate in meta": raw_line(meta=rb'{"x": "\udfff"}'),
    "deep meta": raw_line(meta=b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "unknown field in hash": line(logical_key="a", hash={**HASH, "more": 1}),
    "text as hash": line(logical_key="a", hash="abc"),
    "directory with physical key": line(logical_key="a/"),
    "root directory": line(logical_key="/", physical_keys=...),
    "no hash": line(logical_key="a", hash=None),
    "no size": line(logical_key="a", size=None),
}


@pytest.mark.parametrize("bad", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_hostile_and_damaged_records_are_refused(bad: bytes) -> None:
    def read() -> None:
        manifest = manifest_of(line(logical_key="before"), bad)
        manifest.verify(manifest.top_hash, allow_files=True)

    with pytest.raises(FormatError):
        read()


@pytest.mark.parametrize(
    "keys", [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "x", "a/b"), ("x/y", "x", "x/z")]
)
def test_duplicates_and_file_directory_conflicts_are_refused_in_any_order(
    keys: tuple[str, ...],
) -> None:
    with pytest.raises(FormatError) as caught:
        manifest_of(*(line(logical_key=key) for key in keys))
    assert caught.value.key in keys


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}\n",
        b'{"version": "v1"}\n',
        b"[]\n",
        b'{"version": "v0"}',
        b'{"version": "v0", "user_meta": []}\n',
        b'{"version": "v0", "message": NaN}\n',
        b'{"version": "v0"}\n\n',
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        Manifest.from_bytes(data)


def test_a_cut_off_manifest_is_refused_at_every_byte() -> None:
    data = Manifest.of(HEADER, [entry("a"), entry("b/c")]).to_bytes()
    whole = Manifest.from_bytes(data).top_hash
    for end in range(len(data)):
        try:
            shorter = Manifest.from_bytes(data[:end])
        except FormatError:
            continue
        with pytest.raises(IntegrityError):
            shorter.verify(whole, allow_files=True)


def test_a_changed_manifest_is_noticed() -> None:
    manifest = Manifest.of(HEADER, [entry("a", b"1")])
    changed = Manifest.from_bytes(manifest.to_bytes().replace(b'"size": 1', b'"size": 2'))
    with pytest.raises(IntegrityError) as caught:
        changed.verify(manifest.top_hash, allow_files=True)
    assert caught.value.expected == manifest.top_hash
    assert caught.value.actual == changed.top_hash


def test_a_remote_manifest_must_not_name_local_files() -> None:
    manifest = Manifest.of(HEADER, [entry("a"), entry("b", physical_key="file:///etc/passwd")])
    manifest.verify(manifest.top_hash, allow_files=True)
    assert manifest.local_key == "b"
    with pytest.raises(FormatError) as caught:
        manifest.verify(manifest.top_hash, allow_files=False)
    assert caught.value.key == "b"


def test_record_sizes_are_bounded_on_write_and_on_read() -> None:
    limits = Limits(record_write_bytes=300, record_read_bytes=400)
    with pytest.raises(InvalidInputError):
        Manifest.of(HEADER, [entry("a", meta={"user_meta": {"x": "y" * 300}})], limits=limits)
    with pytest.raises(InvalidInputError):
        Manifest.of({**HEADER, "user_meta": {"x": "y" * 300}}, [], limits=limits)
    larger = Manifest.of(HEADER, [entry("a", meta={"user_meta": {"x": "y" * 400}})])
    with pytest.raises(FormatError) as caught:
        Manifest.from_bytes(larger.to_bytes(), limits)
    assert caught.value.line == 2


def test_nesting_of_900_levels_in_keys_is_refused_and_200_works() -> None:
    with pytest.raises(FormatError):
        Manifest.of(HEADER, [entry("/".join("d" * 900))])
    assert len(Manifest.of(HEADER, [entry("/".join("d" * 200))])) == 1


def test_a_large_manifest_lives_in_an_unlinked_file_and_reads_the_same() -> None:
    data = Manifest.of(HEADER, [entry(f"d{i % 7}/{i}") for i in range(500)]).to_bytes()
    with Spool(memory_bytes=1000) as spool:
        for start in range(0, len(data), 700):
            spool.write(data[start : start + 700])
        lines = spool.lines()
    assert b"".join(lines.chunks()) == data
    manifest, in_memory = Manifest(lines), Manifest(Lines.read((data,)))
    assert manifest.top_hash == in_memory.top_hash
    assert list(manifest.entries("d3/")) == list(in_memory.entries("d3/"))


@pytest.mark.parametrize(
    "bad",
    [
        {1: "a"},
        {"a": float("nan")},
        {"a": [float("inf")]},
        {"a": "\ud800"},
        {"\udfff": 1},
        {"a": object()},
        {"a": b"bytes"},
        {"a": {2: 3}},
        ["no mapping"],
    ],
)
def test_metadata_that_json_would_change_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInputError):
        plain_meta(bad, "x")


def test_metadata_is_copied_plain_and_bounded_in_depth() -> None:
    given_meta = {"t": (1, [2]), "big": 2**70}
    plain = plain_meta(given_meta, "x")
    assert plain == {"t": [1, [2]], "big": 2**70}
    plain["t"].append(3)
    assert given_meta["t"] == (1, [2])
    deep: Any = 1
    for _ in range(MAX_META_DEPTH + 1):
        deep = [deep]
    with pytest.raises(InvalidInputError):
        plain_meta({"x": deep}, "x")


@given(metadata())
def test_integer_keys_are_the_only_way_a_hash_could_change_on_reload(meta: dict[str, Any]) -> None:
    e = entry("a", meta={"user_meta": plain_meta(meta, "a")})
    reloaded = next(Manifest.from_bytes(Manifest.of(HEADER, [e]).to_bytes()).entries())
    assert top_hash_of(HEADER, [reloaded]) == top_hash_of(HEADER, [e])


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
    fd = lines._data._file.fileno()  # type: ignore[union-attr]
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


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # What a disk without space for the file does, as far as a caller sees.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with Spool(memory_bytes=10) as spool, pytest.raises(StorageError, match="set TMPDIR"):
        spool.write(b"more than ten bytes\n")
