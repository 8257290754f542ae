"""Values in records that are refused: nesting, size, numbers, text, hashes.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 31 | deep nesting of metadata | `test_row_31_...` |
| 32 | huge records | `test_row_32_...` |
| 33 | NaN and infinity | `test_row_33_...`, `test_rows_33_34_35_...` |
| 34 | lone surrogates | `test_row_34_...`, `test_rows_33_34_35_...` |
| 35 | integer metadata keys | `test_row_35_...`, `test_rows_33_34_35_...` |
| 36 | hash of an unknown type, no hash, no size | `test_row_36_...` |
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from t4_ops import operations
from tests.doors_support import (
    GOOD,
    NAME,
    PLAIN,
    World,
    assert_refused_everywhere,
    chunked,
    files_below,
    hostile,
    point,
    record,
    refused,
)


def meta_line(text: str, key: str = "bad") -> bytes:
    """Return an entry's line with this text as its metadata."""
    line = json.dumps(record(key, "s3://nowhere/x", b"", meta="META"))
    return line.replace('"META"', text).encode()


@pytest.mark.parametrize("where", ["entry", "directory", "header"])
@pytest.mark.parametrize("levels", [450, 990, 5_000, 200_000])
def test_row_31_metadata_nested_too_deeply_is_refused(
    local: World, where: str, levels: int
) -> None:
    deep = '{"a": ' + "[" * levels + "]" * levels + "}"
    options: dict[str, Any] = {"top_hash": "5" * 64}
    bad = meta_line(deep)
    if where == "directory":
        bad = b'{"logical_key": "d/", "meta": ' + deep.encode() + b"}"
    if where == "header":
        options["header"] = b'{"version": "v0", "message": null, "user_meta": %b}' % deep.encode()
        bad = json.dumps(record("bad", "s3://nowhere/x", b"")).encode()
    planted = hostile(local.outside, bad, **options)
    assert_refused_everywhere(local, planted, t4.FormatError)


@PLAIN
def test_row_31_what_is_set_is_never_nested_too_deeply_to_be_read_back(world: World) -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for _ in range(levels):
            value = {"a": value}
        return value

    file = world.root / "file"
    file.write_bytes(b"x")
    before = world.state()
    for action in (
        lambda: t4.Package().set_meta(nested(100_000)),
        lambda: t4.Package().set("a", file, meta=nested(300)),
        lambda: t4.Package().set_text("a", "x", meta=nested(300)),
        lambda: t4.Package().set_dir("", world.dest, meta=nested(300)),
        lambda: t4.Package().set("a", file)["a"].set_meta(nested(300)),
        lambda: t4.Package().set("d/a", file)["d"].set_meta(nested(300)),
        lambda: operations.build(NAME, world.dest, meta=nested(300), registry=world.outside.url),
    ):
        refused(action, t4.InvalidInputError)
    assert world.state() == before
    package = t4.Package().set("d/a", file, meta=nested(190)).set_meta(nested(190))
    package["d"].set_meta(nested(190))
    package.build(NAME, world.outside.url)
    browsed = t4.Package.browse(NAME, world.outside.url)
    assert browsed.meta == browsed["d"].meta == browsed["d/a"].meta == nested(190)


@PLAIN
def test_row_32_a_huge_record_is_read_up_to_a_bound(world: World) -> None:
    large = {"user_meta": {"text": "x" * 5_000_000}}
    url = world.outside.put("objects/large", b"large")
    planted = hostile(world.outside, record("large", url, b"large", meta=large))
    package = t4.Package.browse(NAME, planted.url)
    assert package["large"].meta == large["user_meta"]
    installed = t4.Package.install(NAME, planted.url, dest=world.dest)
    assert installed["large"].get_bytes() == b"large"
    assert files_below(world.dest)["large"] == b"large"
    # It is too large to be written anew, which is said before anything is moved.
    before = world.state()
    third = (world.root / "third").as_uri()
    for action in (
        lambda: package.push(NAME, third),
        lambda: package.build(NAME, third),
        lambda: operations.push(
            {"registry": planted.url, "name": NAME, "top_hash": planted.top_hash}, registry=third
        ),
    ):
        error = refused(action, t4.InvalidInputError)
        assert "large" in str(error)
    assert world.state() == before


def test_row_32_a_record_beyond_the_bound_is_refused(local: World) -> None:
    huge = {"user_meta": {"text": "x" * 17_000_000}}
    planted = hostile(local.outside, record("huge", "s3://nowhere/x", b"", meta=huge))
    assert_refused_everywhere(local, planted, t4.FormatError)
    refused(planted.load, t4.FormatError)


@PLAIN
def test_row_32_a_record_too_large_is_not_written(world: World) -> None:
    large = {"text": "x" * 1_000_000}
    file = world.root / "file"
    file.write_bytes(b"x")
    before = world.state()
    for package, message in (
        (t4.Package().set("a.bin", b"x", meta=large), None),
        (t4.Package().set("a", file, meta=large), None),
        (t4.Package().set("d/a.bin", b"x").set_meta(large), None),
        (t4.Package().set("d/a.bin", b"x"), "x" * 1_000_000),
    ):
        for action in (
            lambda p=package, m=message: p.build(NAME, world.outside.url, m),
            lambda p=package, m=message: p.push(NAME, world.outside.url, message=m),
        ):
            refused(action, t4.InvalidInputError)
    described = t4.Package().set("d/a.bin", b"x")
    described["d"].set_meta(large)
    refused(lambda: described.push(NAME, world.outside.url), t4.InvalidInputError)
    assert world.state() == before


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_row_33_a_number_that_is_none_is_refused_on_read(local: World, text: str) -> None:
    inner = '{"user_meta": {"a": [1.5, ' + text + "]}}"
    header = b'{"version": "v0", "message": null, "user_meta": {"a": %b}}' % text.encode()
    last = json.dumps(record("last", "s3://nowhere/x", b"")).encode()
    for planted in (
        hostile(local.outside, meta_line(inner), top_hash="5" * 64),
        hostile(local.outside, last, header=header, top_hash="6" * 64),
        hostile(
            local.outside,
            b'{"logical_key": "d/", "meta": {"a": %b}}' % text.encode(),
            last,
            top_hash="7" * 64,
        ),
    ):
        point(local.outside, planted.top_hash)
        assert_refused_everywhere(local, planted, t4.FormatError)


BAD_VALUES: dict[str, Any] = {
    "NaN": math.nan,
    "infinity": -math.inf,
    "a lone surrogate": "a\ud800",
    "an integer key": {9: "a", 10: "b"},
    "a key of None": {None: 1},
    "a surrogate as key": {"\udfff": 1},
    "bytes": b"x",
    "a set": {1, 2},
    "an object": object(),
    "an integer nobody reads": 10**5000,
    "a path": Path("x"),
}


META_DOORS: dict[str, Callable[[World, Any], Any]] = {
    "set path": lambda w, m: t4.Package().set("a", w.root / "file", meta=m),
    "set object": lambda w, m: t4.Package().set("a.bin", b"x", meta=m),
    "set_text": lambda w, m: t4.Package().set_text("a", "x", meta=m),
    "set entry": lambda w, m: t4.Package().set(
        "b", t4.Package().set("a", w.root / "file")["a"], meta=m
    ),
    "set_dir": lambda w, m: t4.Package().set_dir("d", w.dest, meta=m),
    "set_dir of the root": lambda w, m: t4.Package().set_dir("", w.dest, meta=m),
    "set_meta": lambda w, m: t4.Package().set_meta(m),
    "set_meta of an entry": lambda w, m: t4.Package().set_text("a", "x")["a"].set_meta(m),
    "set_meta of a directory": lambda w, m: t4.Package().set_text("d/a", "x")["d"].set_meta(m),
    "operations.build": lambda w, m: operations.build(NAME, w.dest, meta=m, registry=w.outside.url),
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_rows_33_34_35_metadata_that_would_not_be_read_back_is_refused(
    local: World, what: str
) -> None:
    (local.root / "file").write_bytes(b"x")
    before = local.state()
    for door in META_DOORS.values():
        for meta in ({"a": BAD_VALUES[what]}, {"a": [{"b": BAD_VALUES[what]}]}):
            refused(lambda d=door, m=meta: d(local, m), t4.InvalidInputError)
    assert local.state() == before


def test_rows_33_34_35_a_buckets_object_takes_the_same_metadata(
    remote: World,
) -> None:
    bucket = t4.Bucket(remote.outside.url)
    bucket.put("a.json", {"x": 1}, meta={"kept": True})
    before = remote.state()
    for value in BAD_VALUES.values():
        refused(lambda v=value: bucket.put("b.json", {}, meta={"a": v}), t4.InvalidInputError)
        refused(lambda v=value: bucket.put("a.json", {}, meta={"a": v}), t4.InvalidInputError)
        refused(lambda v=value: bucket.set_meta("a.json", {"a": v}), t4.InvalidInputError)
    for value in (math.nan, {1: 2}, object()):
        refused(lambda v=value: bucket.put("a.json", {"a": v}), t4.InvalidInputError)
    assert remote.state() == before
    assert bucket.get_meta("a.json") == {"kept": True}


def test_row_35_metadata_keeps_its_hash_when_it_is_read_back(world: World) -> None:
    url = world.outside.url
    meta = {"9": 1, "10": {"b": 1.0, "a": -0.0, "é": 1e16}, "z": [1e-7, 2**70, None, True, ""]}
    package = t4.Package().set_text("d/a", "x", meta=meta).set_meta(meta)
    package["d"].set_meta(meta)
    top_hash = package.build(NAME, url)
    browsed = t4.Package.browse(NAME, url)
    assert browsed.top_hash == top_hash
    assert browsed.meta == browsed["d"].meta == browsed["d/a"].meta == meta
    data = io.BytesIO()
    browsed.dump(data)
    assert t4.Package.load(io.BytesIO(data.getvalue())).top_hash == top_hash
    # Setting what is there already is no change.
    browsed.set_meta(browsed.meta)["d/a"].set_meta(meta)
    assert browsed.push(NAME, url).top_hash == top_hash


@PLAIN
def test_row_34_a_message_that_is_no_text_is_refused_before_anything_moves(world: World) -> None:
    package, url = t4.Package().set_text("a", "x"), world.outside.url
    before = world.state()
    for message in ("\ud800", 5, b"x", ["x"]):
        bad: Any = message
        for action in (
            lambda m=bad: package.build(NAME, url, m),
            lambda m=bad: package.push(NAME, url, message=m),
            lambda m=bad: operations.build(NAME, world.dest, registry=url, message=m),
        ):
            refused(action, t4.InvalidInputError)
    assert world.state() == before


def test_row_34_a_stored_message_that_is_no_text_is_refused(local: World) -> None:
    for text in (b"5", b'["x"]', b"{}", b'"\\ud800"', b"NaN", b"true"):
        planted = hostile(
            local.outside,
            header=b'{"version": "v0", "message": %b}' % text,
            top_hash="5" * 64,
        )
        assert_refused_everywhere(local, planted, t4.FormatError)


@PLAIN
def test_row_36_a_hash_of_an_unknown_type_lets_nothing_through(world: World) -> None:
    url = world.outside.put("objects/new", b"new")
    unknown = {"type": "blake3", "value": "ab" * 32}
    planted = hostile(world.outside, record("new", url, b"new", hash=unknown))
    package = t4.Package.browse(NAME, planted.url)
    (world.dest / "new").write_bytes(b"new")
    (world.root / "good").mkdir()
    (world.root / "good" / "file.txt").write_bytes(b"good")
    entry = package["new"]
    third = (world.root / "third").as_uri()
    before = world.state()
    for action in (
        lambda: t4.Package.install(NAME, planted.url, dest=world.dest),
        lambda: operations.install(NAME, registry=planted.url, dest=world.dest),
        lambda: t4.Package.install(NAME, planted.url, dest=world.dest, path="new"),
        lambda: package.fetch(world.dest),
        lambda: package.verify(world.dest),
        lambda: entry.fetch(world.dest),
        entry.get_bytes,
        entry.get_as_string,
        entry.get_as_json,
        lambda: entry.deserialize(bytes),
        lambda: package.push(NAME, third),
        lambda: operations.push(
            {"registry": planted.url, "name": NAME, "top_hash": planted.top_hash}, registry=third
        ),
    ):
        error = refused(action, t4.FormatError)
        assert "blake3" in str(error)
    assert world.state() == before
    # What can be verified is not lost with it.
    t4.Package.install(NAME, planted.url, dest=world.dest, path=GOOD)
    assert (world.dest / "file.txt").read_bytes() == b"good"


@PLAIN
def test_row_36_a_hash_that_is_none_is_never_matched(world: World) -> None:
    url = world.other.put("objects/new", b"new")
    right = chunked(b"new")["value"]
    # An object of these bytes is there already, so that nothing has to be read.
    t4.Package().set("new.bin", b"new").push("team/first", world.outside.url)
    before = world.outside.all_keys()
    for value in ("", "no base64!", "AAAA", "zz", f" {right}", f"{right}\n", "../../x", "A" * 44):
        bad = record("new", url, b"new", hash={"type": "sha2-256-chunked", "value": value})
        package = t4.Package.browse(NAME, hostile(world.other, bad).url)
        for action in (
            package["new"].get_bytes,
            lambda p=package: p.fetch(world.dest),
            lambda p=package: p.push(NAME, world.outside.url),
        ):
            refused(action, t4.IntegrityError, t4.FormatError)
        assert not (world.dest / "new").exists()
    # The good entry's object may be there by now; nothing refers to it.
    assert [key for key in world.outside.all_keys() if not key.startswith((".t4/", NAME))] == [
        key for key in before if not key.startswith((".t4/", NAME))
    ]


@PLAIN
def test_row_36_an_entry_without_hash_or_size_is_refused(world: World) -> None:
    url = world.outside.put("objects/new", b"new")
    for missing in (("hash",), ("size",), ("hash", "size")):
        planted = hostile(world.outside, record("new", url, b"new", **dict.fromkeys(missing)))
        assert_refused_everywhere(world, planted, t4.FormatError)


@pytest.mark.parametrize("size", [-1, 2**63, 10**400, 1.5, "4", True])
def test_row_36_a_size_that_is_none_is_refused(local: World, size: Any) -> None:
    url = local.outside.put("objects/new", b"new")
    planted = hostile(local.outside, record("new", url, b"new", size=size))
    assert_refused_everywhere(local, planted, t4.FormatError)
