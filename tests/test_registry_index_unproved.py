"""What an index says is proved before it goes into a revision."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import t4_ops as t4
from t4_ops import operations
from t4_ops.checksums import checksum_of
from t4_ops.errors import IntegrityError
from t4_ops.package import open_registry
from t4_ops.settings import load_settings
from tests.index_support import (
    DATA,
    Stored,
    browse,
    large,
    store_large,
)
from tests.package_support import NAME, store_of


@pytest.fixture
def stored(registry: str) -> Stored:
    """A published large package."""
    return store_large(registry)


def forged(tmp_path: Path) -> str:
    """Publish a large package of which one line was changed behind its index; return its URL."""
    url = (tmp_path / "registry").as_uri()
    opened = open_registry(url, load_settings())
    manifest = large(url)
    store_of(url).write("data/1", DATA)
    opened.manifests.put(manifest)
    opened.pointers.publish(NAME, manifest.top_hash, expected=None)
    path = tmp_path / "registry" / ".quilt" / "packages" / manifest.top_hash
    before, lines = path.stat(), path.read_bytes().split(b"\n")
    number = next(n for n, line in enumerate(lines) if b'"one file"' in line)
    value = checksum_of(DATA).value.encode()
    assert value in lines[number]
    lines[number] = lines[number].replace(value, checksum_of(DATA[::-1]).value.encode())
    path.write_bytes(b"\n".join(lines))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    store_of(url).write("data/1", DATA[::-1])
    return url


def _taken(package: t4.Package, tmp_path: Path) -> t4.Package:
    return t4.Package().set("x", package["one file"])


def _fetched(package: t4.Package, tmp_path: Path) -> t4.Package:
    return t4.Package().set("x", package["one file"].fetch(tmp_path / "fetched"))


def _taken_twice(package: t4.Package, tmp_path: Path) -> t4.Package:
    return t4.Package().set("y", _taken(package, tmp_path)["x"])


def _edited(package: t4.Package, tmp_path: Path) -> t4.Package:
    package["one file"].set_meta({"mine": True})
    return package


@pytest.mark.parametrize("take", [_taken, _fetched, _taken_twice, _edited])
def test_what_an_index_says_is_proved_before_it_goes_into_a_revision(
    take: Callable[[t4.Package, Path], t4.Package], tmp_path: Path
) -> None:
    url = forged(tmp_path)
    package = t4.Package.browse(NAME, url)
    assert package.verified == "index"
    assert package["one file"].get_bytes() == DATA[::-1]
    taken = take(package, tmp_path)
    for publish in (taken.push, taken.build):
        with pytest.raises(IntegrityError):
            publish("team/other", url)
    assert t4.list_packages(url) == [NAME]


def test_what_an_index_says_and_is_right_is_pushed(stored: Stored) -> None:
    package = browse(stored)
    t4.Package().set("x", package["one file"]).push("team/other", stored.registry.url)
    pushed = t4.Package.browse("team/other", stored.registry.url)
    assert pushed["x"].get_bytes() == DATA
    assert package.verified == "top_hash"


def test_what_an_index_says_is_proved_before_it_is_planned(tmp_path: Path) -> None:
    """A build in shards takes entries from a package to another process, where nobody knows it."""
    one = f"{t4.resolve(NAME, forged(tmp_path)).uri}&path=one%20file"
    with pytest.raises(IntegrityError):
        operations.plan_shards({"taken": one}, registry=tmp_path / "other")
    assert not (tmp_path / "other").exists()
