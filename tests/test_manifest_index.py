"""The index of a manifest: whatever is asked, it says what the manifest says, from few bytes."""

from __future__ import annotations

import io
import json
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from t4_ops.checksums import checksum_of
from t4_ops.errors import FormatError, IntegrityError
from t4_ops.keys import DEFAULT_LIMITS, Limits
from t4_ops.manifest import (
    INDEX_MAGIC_BYTES,
    Directory,
    Entry,
    IndexedManifest,
    Manifest,
    UnusableIndexError,
    parse_index_root,
    root_size_bytes,
    write_index,
)
from t4_ops.manifest.index_format import Block, Leaf, PageAt, deflated, parse_leaf, parse_names
from t4_ops.manifest.indexing import SHAPE, Shape
from tests.strategies import file_trees

HEADER = {"version": "v0", "message": None}
TINY = Shape(rows=3, top_pages=2, flat_bytes=0)


class Bytes:
    """Two byte strings to read ranges of; counts what is read."""

    def __init__(self, manifest: bytes, index: bytes) -> None:
        self.base = INDEX_MAGIC_BYTES + root_size_bytes(index)
        self.root = parse_index_root(index[INDEX_MAGIC_BYTES : self.base])
        self.pages = index[self.base :]
        self.stored = manifest
        self.reads: list[tuple[str, int]] = []

    def index(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.pages)
        self.reads.append(("index", end - start))
        return self.pages[start:end]

    def manifest(self, start: int, end: int) -> bytes:
        assert 0 <= start <= end <= len(self.stored)
        self.reads.append(("manifest", end - start))
        return self.stored[start:end]


def entry(key: str, size_bytes: int | None = 1, meta: Any = None) -> Entry:
    return Entry(key, f"s3://b/{len(key)}", size_bytes, checksum_of(key.encode()), meta or {})


def manifest_of(keys: list[str], *directories: Directory, meta: Any = None) -> Manifest:
    ordered = sorted(keys, key=lambda key: key.split("/"))
    entries = [entry(key, n % 7, meta) for n, key in enumerate(ordered)]
    return Manifest.of(HEADER, entries, directories)


def never() -> Manifest:
    raise AssertionError("the manifest was read whole")


def index_of(manifest: Manifest, shape: Shape = SHAPE) -> bytes:
    file = io.BytesIO()
    size_bytes = write_index(manifest, '"etag"', None, file, shape)
    assert len(file.getvalue()) == size_bytes
    return file.getvalue()


def browsed(
    manifest: Manifest, index: bytes, load: Any = never, limits: Limits = DEFAULT_LIMITS
) -> tuple[IndexedManifest, Bytes]:
    ranges = Bytes(manifest.to_bytes(), index)
    return (
        IndexedManifest(ranges.root, ranges, load, limits, allow_files=False),
        ranges,
    )


def folders_of(keys: list[str]) -> list[str]:
    return ["", *sorted({key[: i + 1] for key in keys for i, c in enumerate(key) if c == "/"})]


def assert_alike(indexed: IndexedManifest, manifest: Manifest, keys: list[str]) -> None:
    assert indexed.header == manifest.header
    assert list(indexed.directories()) == list(manifest.directories())
    for prefix in folders_of(keys):
        assert indexed.count(prefix) == manifest.count(prefix)
        assert indexed.files_size_bytes(prefix) == manifest.files_size_bytes(prefix)
        assert indexed.has_directory(prefix) or not prefix
        assert list(indexed.children(prefix)) == list(manifest.children(prefix))
        if prefix:
            assert list(indexed.entries(prefix)) == list(manifest.entries(prefix))
        assert indexed.get(prefix.rstrip("/")) is None
    for key in keys:
        assert indexed.get(key) == manifest.get(key)
        for other in (f"{key}/x", f"{key}\x01", f"{key}x", key[:-1] or "q", f"a{key}"):
            assert indexed.get(other) == manifest.get(other)
            assert indexed.has_directory(f"{other}/") == manifest.has_directory(f"{other}/")


@pytest.mark.parametrize("shape", [SHAPE, TINY], ids=["usual", "tiny pages"])
@given(files=file_trees(max_size=12))
def test_an_index_says_what_its_manifest_says(shape: Shape, files: dict[str, bytes]) -> None:
    manifest = manifest_of(list(files), Directory("z/", {"k": 1}))
    indexed, _ = browsed(manifest, index_of(manifest, shape))
    assert_alike(indexed, manifest, list(files))
    assert not indexed.is_whole


def mixed_keys(count: int) -> list[str]:
    """Files and folders side by side at every depth, also such that sort around a slash."""
    rnd = random.Random(3)
    keys = {"README.md", "a-b", "a.b"}
    for n in range(count):
        depth = rnd.randrange(5)
        folder = "".join(f"{rnd.choice('abc')}{rnd.randrange(4)}/" for _ in range(depth))
        keys.add(f"{folder}file {n:05}.é")
    return sorted(keys)


@pytest.mark.parametrize("shape", [SHAPE, TINY, Shape(rows=20, top_pages=3, flat_bytes=2000)])
def test_folders_that_mix_files_and_folders_at_every_depth(shape: Shape) -> None:
    keys = mixed_keys(3000)
    manifest = manifest_of(keys, meta={"user_meta": {"label": "é" * 40}})
    indexed, ranges = browsed(manifest, index_of(manifest, shape))
    assert manifest.size_bytes > 4 * 128 * 1024, "several blocks"
    for prefix in folders_of(keys):
        assert list(indexed.children(prefix)) == list(manifest.children(prefix))
        assert indexed.count(prefix) == manifest.count(prefix)
        assert indexed.files_size_bytes(prefix) == manifest.files_size_bytes(prefix)
    for key in random.Random(1).sample(keys, 200):
        assert indexed.get(key) == manifest.get(key)
    assert max(size for what, size in ranges.reads if what == "manifest") <= 512 * 1024


def test_a_key_costs_one_page_and_one_block_and_a_folder_one_page_and_its_names() -> None:
    keys = [f"part-{n // 100:03}/images/{n:06}.png" for n in range(20_000)]
    keys += [f"part-{n:03}/notes-{n}.txt" for n in range(200)]
    manifest = manifest_of(keys)
    indexed, ranges = browsed(manifest, index_of(manifest, Shape(rows=50)))
    assert indexed.count() == 20_200
    assert indexed.count("part-000/") == 0 or ranges.reads
    ranges.reads.clear()
    assert indexed.get("part-150/images/015007.png") is not None
    assert [what for what, _ in ranges.reads] == ["index", "manifest"]
    ranges.reads.clear()
    assert list(indexed.children("part-180/")) == ["images/", "notes-180.txt"]
    assert [what for what, _ in ranges.reads] == ["index"]
    ranges.reads.clear()
    assert len(list(indexed.children())) == 200
    assert [what for what, _ in ranges.reads] == ["index"]
    assert sum(size for _, size in ranges.reads) < 10_000


def test_a_long_folder_is_listed_from_the_index() -> None:
    keys = [f"all/{n:07}" for n in range(10_000)]
    manifest = manifest_of(keys)
    indexed, ranges = browsed(manifest, index_of(manifest))
    assert list(indexed.children("all/")) == [f"{n:07}" for n in range(10_000)]
    assert {what for what, _ in ranges.reads} == {"index"}
    assert sum(size for _, size in ranges.reads) < 100_000


def test_long_headers_and_directories_stay_in_the_manifest() -> None:
    header = {**HEADER, "user_meta": {"text": "é" * 20_000}}
    directories = [Directory(f"d{n:05}/", {"n": n}) for n in range(1000)]
    manifest = Manifest.of(header, [entry("a"), entry("b/c")], directories)
    index = index_of(manifest)
    assert len(index) < 2000
    indexed, ranges = browsed(manifest, index)
    assert_alike(indexed, manifest, ["a", "b/c"])
    assert ("manifest", len(json.dumps(header, ensure_ascii=False).encode()) + 1) in ranges.reads


def test_an_empty_package_has_an_index_too() -> None:
    manifest = manifest_of([])
    indexed, _ = browsed(manifest, index_of(manifest))
    assert indexed.count() == 0
    assert list(indexed.children()) == []
    assert indexed.get("a") is None
    assert not indexed.has_directory("a/")


KEYS = [f"d{n % 5}/{n:04}" for n in range(3000)]


@pytest.mark.parametrize("what", ["index", "manifest"])
def test_a_replaced_object_leads_to_the_whole_manifest(what: str) -> None:
    manifest = manifest_of(KEYS)

    class Replaced(Bytes):
        def index(self, start: int, end: int) -> bytes:
            if what == "index":
                raise UnusableIndexError
            return super().index(start, end)

        def manifest(self, start: int, end: int) -> bytes:
            raise UnusableIndexError

    ranges = Replaced(manifest.to_bytes(), index_of(manifest))
    for ask in (
        lambda m: m.get("d1/0001"),
        lambda m: list(m.entries("d1/")),
        lambda m: list(m.children("d1/")),
    ):
        indexed = IndexedManifest(
            ranges.root, ranges, lambda: manifest, DEFAULT_LIMITS, allow_files=False
        )
        assert ask(indexed) == ask(manifest)
        assert indexed.is_whole


def test_damaged_pages_are_never_believed() -> None:
    manifest = manifest_of(KEYS)
    index = index_of(manifest, Shape(rows=5, top_pages=3, flat_bytes=100))
    base = INDEX_MAGIC_BYTES + root_size_bytes(index)
    rnd = random.Random(5)
    for _ in range(60):
        damaged = bytearray(index)
        for _ in range(8):
            damaged[rnd.randrange(base, len(damaged))] ^= rnd.randrange(1, 256)
        indexed, _ = browsed(manifest, bytes(damaged), lambda: manifest)
        for key in ("d0/0000", "d3/0013", "d4/2999", "d9/1"):
            assert indexed.get(key) == manifest.get(key)
        for prefix in ("", "d0/", "d4/"):
            assert list(indexed.children(prefix)) == list(manifest.children(prefix))


HOSTILE: dict[str, Callable[[Leaf], Leaf]] = {
    "lines that end before they begin": lambda leaf: Leaf(
        [Block(b.order, b.end, b.start) for b in leaf.blocks], leaf.folders
    ),
    "no lines": lambda leaf: Leaf(
        [Block(b.order, b.start, b.start) for b in leaf.blocks], leaf.folders
    ),
    "lines without end": lambda leaf: Leaf(
        [Block(b.order, b.start, 2**60) for b in leaf.blocks], leaf.folders
    ),
    "lines before the first": lambda leaf: Leaf(
        [Block(b.order, -9, b.end) for b in leaf.blocks], leaf.folders
    ),
    "names without end": lambda leaf: Leaf(
        leaf.blocks,
        [structs.replace(f, names=None, names_at=(0, 2**60)) for f in leaf.folders],
    ),
    "folders that end before they begin": lambda leaf: Leaf(
        leaf.blocks, [structs.replace(f, start=f.end, end=f.start) for f in leaf.folders]
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_page_costs_no_more_than_the_manifest(what: str) -> None:
    manifest = manifest_of(KEYS)
    ranges = Bytes(manifest.to_bytes(), index_of(manifest, Shape(flat_bytes=0)))
    (at,) = ranges.root.pages
    leaf = parse_leaf(ranges.pages[at.offset : at.offset + at.size_bytes])
    page = deflated(HOSTILE[what](leaf))
    ranges.pages = ranges.pages[: at.offset] + page
    root = structs.replace(ranges.root, pages=[PageAt(at.order, at.offset, len(page))])
    indexed = IndexedManifest(root, ranges, lambda: manifest, DEFAULT_LIMITS, allow_files=False)
    assert list(indexed.children("d3/")) == list(manifest.children("d3/"))
    assert list(indexed.entries("d3/")) == list(manifest.entries("d3/"))
    assert indexed.get("d3/0013") == manifest.get("d3/0013")
    # `Bytes` refuses ranges that are not there, as no server would: none was asked for.


@pytest.mark.parametrize(
    "change", [{"size_bytes": 2**60}, {"size_bytes": 0}, {"offset": -1}, {"size_bytes": -5}]
)
def test_a_root_that_leads_astray_costs_no_more_than_the_manifest(change: dict[str, int]) -> None:
    manifest = manifest_of(KEYS)
    ranges = Bytes(manifest.to_bytes(), index_of(manifest))
    astray = [structs.replace(at, **change) for at in ranges.root.pages]
    data = deflated(structs.replace(ranges.root, pages=astray))
    try:
        root = parse_index_root(data)
    except FormatError:
        return
    indexed = IndexedManifest(root, ranges, lambda: manifest, DEFAULT_LIMITS, allow_files=False)
    assert indexed.get("d3/0013") == manifest.get("d3/0013")


def test_a_root_or_page_that_grows_without_end_is_refused() -> None:
    with pytest.raises(FormatError, match="claims a root"):
        root_size_bytes(b"t4-index-1 %010d\n" % (10**10 - 1))
    with pytest.raises(FormatError, match="damaged"):
        parse_index_root(zlib.compress(bytes(65 * 1024 * 1024), 1))
    with pytest.raises(FormatError, match="damaged"):
        parse_names(zlib.compress(bytes(5000)), 4000)


def test_an_index_of_another_manifest_leads_to_the_whole_one() -> None:
    manifest, other = manifest_of(KEYS), manifest_of(["a", *KEYS])
    ranges = Bytes(other.to_bytes(), index_of(manifest))
    indexed = IndexedManifest(
        ranges.root, ranges, lambda: manifest, DEFAULT_LIMITS, allow_files=False
    )
    assert indexed.get("d1/2001") == manifest.get("d1/2001")
    assert indexed.is_whole


def test_local_files_in_a_remote_manifest_are_refused_as_ever() -> None:
    entries = [Entry("a", "file:///etc/passwd", 1, checksum_of(b"1"))]
    manifest = Manifest.of(HEADER, entries)

    def load() -> Manifest:
        manifest.verify(manifest.top_hash, allow_files=False)
        return manifest

    indexed, _ = browsed(manifest, index_of(manifest), load)
    with pytest.raises(Exception, match="names a local file"):
        indexed.get("a")


def test_the_proof_is_the_manifest_s_own() -> None:
    manifest = manifest_of(KEYS)

    def load() -> Manifest:
        raise IntegrityError("changed")

    indexed, _ = browsed(manifest, index_of(manifest), load)
    assert indexed.get("d1/0001") is not None
    with pytest.raises(IntegrityError):
        indexed.whole()


def test_entries_of_the_whole_package_are_read_and_proved() -> None:
    keys = [f"d{n % 5}/{n:06}" for n in range(60_000)]
    manifest = manifest_of(keys)
    indexed, _ = browsed(manifest, index_of(manifest), lambda: manifest)
    assert len(list(indexed.entries("d3/"))) == 12_000
    assert not indexed.is_whole
    assert len(list(indexed.entries())) == 60_000


@given(st.binary(max_size=200))
def test_other_bytes_are_no_index(data: bytes) -> None:
    with pytest.raises(FormatError, match="no index"):
        root_size_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        parse_index_root(data)
