"""A package that is large enough for an index, for tests of browsing by it."""

from __future__ import annotations

from dataclasses import dataclass

import t4_ops as t4
from t4_ops.checksums import checksum_of
from t4_ops.errors import NotFoundError
from t4_ops.keys import PhysicalKey
from t4_ops.manifest import Entry, Manifest
from t4_ops.package import open_registry
from t4_ops.registry import Registry
from t4_ops.registry.indexes import INDEX_FROM_BYTES, INDEXES
from t4_ops.settings import load_settings
from tests.package_support import NAME, store_of

MIB = 1024 * 1024
DATA = b"what is in the one file that is there"
ENTRIES = 30_000


def keys_of() -> list[str]:
    """Return keys at mixed depths: folders hold files beside folders."""
    keys = ["README.md", "one file"]
    for n in range(ENTRIES):
        folder = f"part {n // 1000:03}/" if n % 10 else f"part {n // 1000:03}/deep/{n % 7}/"
        keys.append(f"{folder}é-{n:06}.parquet")
    return sorted(keys, key=lambda key: key.split("/"))


def large(url: str, place: str = "data/1") -> Manifest:
    """Return a manifest above the threshold; of its files only `one file` exists."""
    root = PhysicalKey.parse(f"{url}/")
    entries = [
        Entry(
            key,
            str(root.join(place if key == "one file" else f"data/{n}")),
            len(DATA),
            checksum_of(DATA),
            {"user_meta": {"label": "é" * 30, "n": n}},
        )
        for n, key in enumerate(keys_of())
    ]
    manifest = Manifest.of({"version": "v0", "message": "large"}, entries)
    assert manifest.size_bytes > INDEX_FROM_BYTES
    return manifest


@dataclass
class Stored:
    registry: Registry
    manifest: Manifest

    @property
    def top_hash(self) -> str:
        return self.manifest.top_hash

    @property
    def index_key(self) -> str:
        return INDEXES + self.top_hash


def store_large(registry: str) -> Stored:
    """Publish a large package."""
    opened = open_registry(registry, load_settings())
    manifest = large(opened.url)
    store_of(registry).write("data/1", DATA)
    opened.manifests.put(manifest)
    opened.pointers.publish(NAME, manifest.top_hash, expected=None)
    return Stored(opened, manifest)


def browse(stored: Stored, settings: t4.Settings | None = None) -> t4.Package:
    return t4.Package.browse(NAME, stored.registry.url, settings=settings)


def has_index(stored: Stored) -> bool:
    try:
        store_of(stored.registry.url).head(stored.index_key)
    except NotFoundError:
        return False
    return True
