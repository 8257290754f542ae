"""Manifests: canonical form, order, bytes, and every hostile record that must be refused."""

from __future__ import annotations

import copy
import pickle
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.checksums import Checksum, checksum_of
from t4_ops.errors import FormatError, IntegrityError, InvalidInputError
from t4_ops.keys import Limits
from t4_ops.manifest import (
    MAX_META_DEPTH,
    NO_META,
    Directory,
    Entry,
    Manifest,
    plain_meta,
    top_hash_of,
)
from t4_ops.manifest.lines import Lines, Spool
from tests.manifest_support import (
    BAD_LINES,
    HEADER,
    entry,
    independent_top_hash,
    line,
    manifest_of,
)
from tests.strategies import file_trees, metadata


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


def test_metadata_that_is_none_can_not_become_everybodys() -> None:
    one, other = entry("a"), Manifest.of(HEADER, [entry("b")]).get("b")
    read = Entry("c", "s3://b/k", meta=NO_META)
    pickled = pickle.loads(pickle.dumps(read))  # noqa: S301 - our own
    for held in (read, pickled, copy.deepcopy(read)):
        meta: Any = held.meta
        for change in (
            lambda meta=meta: meta.__setitem__("user_meta", {}),
            lambda meta=meta: meta.update(user_meta={}),
            lambda meta=meta: meta.setdefault("user_meta", {}),
            lambda meta=meta: meta.__ior__({"user_meta": {}}),
        ):
            with pytest.raises(TypeError, match="use set_meta"):
                change()
        assert held == read
        assert dict(meta) == {}
    assert other is not None
    assert dict(one.meta) == dict(other.meta) == dict(NO_META) == {}
