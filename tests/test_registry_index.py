"""Browsing a large package: by its index, in few requests; and what follows where it is no use."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.errors import IntegrityError, NotFoundError
from t4_ops.manifest import Entry
from t4_ops.package import open_registry
from t4_ops.registry.indexes import INDEXES
from t4_ops.settings import load_settings
from tests.index_support import (
    DATA,
    MIB,
    Stored,
    browse,
    has_index,
    large,
    store_large,
)
from tests.package_support import NAME, store_of, watched
from tests.s3_support import Fault, Relay, Request, s3_fault


@pytest.fixture
def stored(registry: str) -> Stored:
    """A published large package."""
    return store_large(registry)


def test_a_large_package_is_browsed_by_its_index(stored: Stored) -> None:
    package = browse(stored)
    assert package.verified == "index"
    assert package.count_files() == len(stored.manifest)
    assert package.size_bytes() == len(stored.manifest) * len(DATA)
    assert package.keys() == [name.rstrip("/") for name in stored.manifest.children()]
    assert len(package) == len(package.keys())
    folder = package["part 007"]
    assert folder.keys()[0] == "deep"
    assert len(folder) == 901
    assert folder.count_files() == 1000
    key = "part 007/é-007003.parquet"
    assert package[key].meta == {"label": "é" * 30, "n": package[key].meta["n"]}
    assert key in package
    assert "part 007/nothing" not in package
    assert package["one file"].get_bytes() == DATA
    assert "part 000" in repr(package)
    assert package.verified == "index"


def test_objects_are_verified_all_the_same(stored: Stored) -> None:
    store_of(stored.registry.url).write("data/1", DATA[::-1])
    package = browse(stored)
    with pytest.raises(IntegrityError):
        package["one file"].get_bytes()
    assert package.verified == "index"


def test_what_needs_all_of_it_reads_and_proves_all_of_it(stored: Stored) -> None:
    package = browse(stored)
    assert sum(1 for _ in package.walk()) == len(stored.manifest)
    assert package.verified == "top_hash"
    assert browse(stored).check().verified == "top_hash"
    assert browse(stored).diff(browse(stored)).modified == []
    assert browse(stored)["part 003"].top_hash == stored_view_hash(stored)


def stored_view_hash(stored: Stored) -> str:
    package = t4.Package()
    for entry in stored.manifest.entries("part 003/"):
        package._contents.set(
            Entry(
                entry.logical_key.removeprefix("part 003/"),
                entry.physical_key,
                entry.size_bytes,
                entry.hash,
                entry.meta,
            )
        )
    return package.top_hash


def test_a_package_under_edit_goes_on_from_the_index(stored: Stored) -> None:
    package = browse(stored)
    package.set_text("part 007/new.txt", "new")
    package.delete("part 005")
    assert package.count_files() == len(stored.manifest) + 1 - 1000
    assert "new.txt" in package["part 007"]
    assert "part 005" not in package
    package = browse(stored).set_meta({"edited": True})
    hash_before = package.top_hash
    assert hash_before != stored.top_hash
    assert package.verified == "top_hash"
    published = package.build(NAME, stored.registry.url, "large")
    again = browse(stored)
    assert again.ref is not None
    assert again.ref.top_hash == published
    assert again.verified == "index"
    assert again.meta == {"edited": True}


def test_a_manifest_of_another_client_gets_its_index_on_first_use(stored: Stored) -> None:
    store_of(stored.registry.url).delete(stored.index_key)
    first = browse(stored)
    assert first.verified == "top_hash"
    assert has_index(stored)
    second = browse(stored)
    assert second.verified == "index"
    assert second.keys() == first.keys()


def test_a_damaged_index_is_made_anew(stored: Stored) -> None:
    store_of(stored.registry.url).write(stored.index_key, b"rubbish")
    assert browse(stored).verified == "top_hash"
    assert browse(stored).verified == "index"


def test_an_index_of_an_older_manifest_is_not_believed(stored: Stored) -> None:
    """A push that brings entries into the registry replaces the manifest of the same top hash."""
    held = store_of(stored.registry.url)
    key = f".quilt/packages/{stored.top_hash}"
    moved = large(stored.registry.url, place="data/elsewhere")
    assert moved.top_hash == stored.top_hash
    opened = browse(stored)
    held.write("data/elsewhere", DATA)
    held.upload(key, moved.chunks(), moved.size_bytes)
    for package in (opened, browse(stored)):
        assert package["one file"].physical_key.endswith("data/elsewhere")
        assert package.verified == "top_hash"
    assert browse(stored).verified == "index"
    assert browse(stored)["one file"].physical_key.endswith("data/elsewhere")


def test_a_manifest_that_is_gone_is_not_found(stored: Stored) -> None:
    package = browse(stored)
    store_of(stored.registry.url).delete(f".quilt/packages/{stored.top_hash}")
    with pytest.raises(NotFoundError, match=stored.top_hash):
        package["part 001/é-001001.parquet"].get()
    with pytest.raises(NotFoundError, match=stored.top_hash):
        package.check()


def test_small_packages_have_no_index(registry: str) -> None:
    top_hash = t4.Package().set_text("a", "text").build(NAME, registry)
    assert t4.Package.browse(NAME, registry).verified == "top_hash"
    assert [info.key for info in store_of(registry).list(INDEXES)] == []
    assert t4.Package().verified is None
    assert t4.Package.browse(NAME, registry, top_hash).check().count_files() == 1


def test_the_full_check_finds_what_an_index_can_not(tmp_path: Path) -> None:
    url = tmp_path.as_uri()
    opened = open_registry(url, load_settings())
    manifest = large(url)
    opened.manifests.put(manifest)
    opened.pointers.publish(NAME, manifest.top_hash, expected=None)
    path = tmp_path / ".quilt" / "packages" / manifest.top_hash
    before = path.stat()
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"n": 11}', b'"n": 12}', 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    package = t4.Package.browse(NAME, url)
    assert package.verified == "index"
    with pytest.raises(IntegrityError, match="changed or damaged"):
        package.check()
    assert package.verified == "index"


# Requests


@contextmanager
def slow_server(server: SeaweedFS) -> Iterator[tuple[Relay, t4.Settings]]:
    """Lead to the server by way of a relay that takes 30 ms for each request."""
    with watched(server.endpoint_url) as (relay, settings):
        relay.rule = lambda request: Fault(delay_s=0.03)
        yield relay, settings


def bytes_asked(requests: list[Request]) -> int:
    """Return how many bytes requests with a range may bring; one without is no range."""
    total = 0
    for request in requests:
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["range"]).groups()  # type: ignore[union-attr]
        total += int(last) - int(first) + 1
    return total


@pytest.mark.parametrize("registry", ["versioned", "unversioned"], indirect=True)
def test_browsing_takes_few_requests_of_few_bytes(stored: Stored, s3_env: SeaweedFS) -> None:
    with slow_server(s3_env) as (relay, settings):
        t4.Package.browse(NAME, stored.registry.url, settings=settings)  # connections
        cases: list[tuple[int, Callable[[t4.Package], object]]] = [
            (0, lambda package: (package.count_files(), package.size_bytes(), package.meta)),
            (1, lambda package: package["part 003/deep/0/é-003010.parquet"].meta),
            (1, lambda package: len(package["part 004"])),
            (1, lambda package: len(package["part 004/deep/3"])),
            (1, lambda package: "part 004/none" not in package),
        ]
        for most, ask in cases:
            relay.requests.clear()
            package = t4.Package.browse(
                NAME, stored.registry.url, stored.top_hash, settings=settings
            )
            assert len(relay.requests) == 1
            assert ask(package)
            assert len(relay.requests) <= 1 + most + 1
            assert bytes_asked(relay.requests) <= MIB
            assert all("if-match" in request.headers for request in relay.requests[1:])
            assert package.verified == "index"
        relay.requests.clear()
        t4.Package.browse(NAME, stored.registry.url, settings=settings)
        assert len(relay.requests) == 2, "the pointer and the index"


@pytest.mark.parametrize("registry", ["unversioned"], indirect=True)
def test_a_registry_that_can_not_be_written_is_read_all_the_same(
    stored: Stored, s3_env: SeaweedFS
) -> None:
    store_of(stored.registry.url).delete(stored.index_key)

    def refuse(request: Request) -> Fault | None:
        return s3_fault(403, "AccessDenied") if request.method in ("PUT", "POST") else None

    with watched(s3_env.endpoint_url) as (relay, settings):
        relay.rule = refuse
        for _ in range(2):
            package = t4.Package.browse(NAME, stored.registry.url, settings=settings)
            assert package.verified == "top_hash"
        assert len(relay.seen("PUT")) == 1, "what was refused is not tried again"
    assert not has_index(stored)


def test_installing_a_part_reads_the_index_and_notes_nothing(
    stored: Stored, tmp_path: Path
) -> None:
    local = load_settings().local_registry
    package = t4.Package.install(NAME, stored.registry.url, dest=tmp_path / "one", path="one file")
    assert (tmp_path / "one" / "one file").read_bytes() == DATA
    assert package.verified == "index"
    if stored.registry.url != open_registry(local, load_settings()).url:
        assert t4.list_packages(local) == []
    with pytest.raises(NotFoundError, match="no 'nothing'"):
        t4.Package.install(NAME, stored.registry.url, dest=tmp_path / "two", path="nothing")
    store_of(stored.registry.url).write("data/1", DATA[::-1])
    with pytest.raises(IntegrityError):
        t4.Package.install(NAME, stored.registry.url, dest=tmp_path / "three", path="one file")
    assert not list((tmp_path / "three").iterdir())


@pytest.mark.parametrize("registry", ["unversioned"], indirect=True)
def test_installing_a_part_takes_few_requests(
    stored: Stored, s3_env: SeaweedFS, tmp_path: Path
) -> None:
    with slow_server(s3_env) as (relay, settings):
        t4.Package.install(
            *(NAME, stored.registry.url, stored.top_hash, tmp_path, "one file"), settings=settings
        )
        # The index, a page of it, the line's block, the object.
        assert len(relay.requests) <= 4
        whole = [request for request in relay.requests if "range" not in request.headers]
        assert not [request for request in whole if "packages" in request.target]


@pytest.mark.parametrize("fault", [s3_fault(403, "AccessDenied"), s3_fault(500, "InternalError")])
def test_who_may_not_read_an_index_browses_all_the_same(
    fault: Fault, unversioned_bucket: str, s3_env: SeaweedFS
) -> None:
    registry = f"s3://{unversioned_bucket}"
    t4.Package().set("a", DATA).push(NAME, registry)
    with watched(s3_env.endpoint_url) as (relay, settings):
        # As Amazon answers who may not list the bucket, whether the object is there or not.
        relay.rule = lambda request: fault if INDEXES in request.target else None
        package = t4.Package.browse(NAME, registry, settings=settings)
        assert package.verified == "top_hash"
        assert package["a"].get_bytes() == DATA
        relay.rule = lambda _: s3_fault(403, "AccessDenied")
        with pytest.raises(t4.StorageError, match="AccessDenied"):
            t4.Package.browse(NAME, registry, settings=settings)


@pytest.mark.parametrize("registry", ["unversioned"], indirect=True)
def test_a_refusal_holds_for_who_was_refused_and_for_a_while(
    stored: Stored, s3_env: SeaweedFS, mocker: MockerFixture
) -> None:
    url, store = stored.registry.url, store_of(stored.registry.url)
    store.delete(stored.index_key)
    with watched(s3_env.endpoint_url) as (relay, settings):
        relay.rule = lambda request: (
            s3_fault(403, "ExpiredToken") if request.method in ("PUT", "POST") else None
        )
        t4.Package.browse(NAME, url, settings=settings)
        assert not has_index(stored)
        # Others may, at once.
        t4.Package.browse(NAME, url)
        assert has_index(stored)
        store.delete(stored.index_key)
        # And so may the first, with new credentials.
        relay.rule = lambda _: None
        t4.Package.browse(NAME, url, settings=settings)
        assert not has_index(stored)
        now_s = time.monotonic() + 301
        mocker.patch("time.monotonic", autospec=True, return_value=now_s)
        t4.Package.browse(NAME, url, settings=settings)
        assert has_index(stored)


def test_a_change_within_a_step_of_a_float_is_seen(tmp_path: Path) -> None:
    url = tmp_path.as_uri()
    opened = open_registry(url, load_settings())
    manifest = large(url)
    opened.manifests.put(manifest)
    opened.pointers.publish(NAME, manifest.top_hash, expected=None)
    assert t4.Package.browse(NAME, url).verified == "index"
    path = tmp_path / ".quilt" / "packages" / manifest.top_hash
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert t4.Package.browse(NAME, url).verified == "top_hash"
