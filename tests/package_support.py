"""What the tests of packages share: files on disk, and what is in a registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import t4_ops as t4
from t4_ops.checksums import checksum_of
from t4_ops.settings import load_settings
from t4_ops.storage import Store, open_store
from t4_ops.transfer import object_key
from tests.s3_support import Relay, run_relay

NAME = "team/data"
ROOT = Path(__file__).resolve().parents[1]
"""The repository, for scripts that import the library."""


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder and return the folder."""
    for key, data in files.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)
    return root


def bytes_below(root: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, by relative path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def store_of(registry: str) -> Store:
    return open_store(registry, load_settings())


def scan(root: Path, files: Mapping[str, bytes]) -> t4.Package:
    """Write files below a folder and return a package of them, with metadata."""
    return t4.Package().set_dir("/", write_files(root, files), meta={"n": 1})


def place_of(registry: str, key: str, data: bytes) -> str:
    """Return where the layout wants an object of the package `NAME`, without its version."""
    if store_of(registry).is_versioned:
        return f"{NAME}/{key}"
    return object_key(checksum_of(data))


def objects_of(registry: str) -> dict[str, str]:
    """Return what tells that an object of a registry was written again: its version or time.

    Manifests, pointers and lineage are left out.
    """
    store = store_of(registry)
    own = (".quilt/", ".t4/v1/lineage/")
    return {
        info.key: f"{store.head(info.key).version_id}-{info.mtime_s}"
        for info in store.list()
        if not info.key.startswith(own)
    }


def contents_of(package: t4.Package) -> dict[str, bytes]:
    """Return the verified bytes of every entry."""
    return {key: entry.get_bytes() for key, entry in package.walk()}


@contextmanager
def watched(upstream: str) -> Iterator[tuple[Relay, t4.Settings]]:
    """Run a relay before the server, and give settings that lead through it."""
    with run_relay(upstream) as relay:
        yield relay, load_settings(s3=t4.S3Settings(endpoint_url=relay.url))
