"""What the door tests share: registries seen from outside, and hostile ones written by hand.

Nothing here goes through the library, so that it can neither refuse to write what a test needs nor
hide what it did.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest

import t4_ops as t4
from t4_ops import operations

NAME = "team/data"
LATEST = f".quilt/named_packages/{NAME}/latest"
GOOD = "good/file.txt"
"""An entry that every hostile package has beside its bad one."""
MIB = 1024 * 1024
# For cases that an object's version has no part in.
PLAIN = pytest.mark.parametrize("registry", ["folder", "unversioned"], indirect=True)
SECOND = 1_700_000_000
"""Pointer of planted revisions."""


def tree(root: Path) -> dict[str, tuple[Any, ...]]:
    """Return all there is below a folder: kinds, bytes, inodes of files, targets of links."""
    found: dict[str, tuple[Any, ...]] = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            if stat.S_ISLNK(facts.st_mode):
                what: tuple[Any, ...] = ("link", os.readlink(path))
            elif stat.S_ISREG(facts.st_mode):
                what = (
                    "file",
                    facts.st_ino,
                    facts.st_mtime_ns,
                    Path(os.fsdecode(path)).read_bytes(),
                )
            else:
                what = (stat.S_IFMT(facts.st_mode),)
            found[os.fsdecode(path)] = what
    return found


def files_below(root: Path) -> dict[str, bytes]:
    """Return the files of a folder by relative path."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@cache
def _client(endpoint_url: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=endpoint_url)


class Outside:
    """A registry without the library: a folder, or a bucket through a client of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.root = None if url.startswith("s3://") else Path(unquote(urlsplit(url).path))

    @property
    def is_folder(self) -> bool:
        return self.root is not None

    @property
    def _s3(self) -> Any:
        return _client(os.environ["AWS_ENDPOINT_URL"])

    @property
    def _bucket(self) -> str:
        return self.url.removeprefix("s3://")

    def put(self, key: str, data: bytes) -> str:
        """Write an object as it is and return its URL, pinned where the bucket keeps versions."""
        if self.root is not None:
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return path.as_uri()
        reply = self._s3.put_object(Bucket=self._bucket, Key=key, Body=data)
        version = f"?versionId={reply['VersionId']}" if reply.get("VersionId") else ""
        return f"{self.url}/{quote(key)}{version}"

    def get(self, key: str) -> bytes:
        if self.root is not None:
            return (self.root / key).read_bytes()
        body: bytes = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return body

    def remove(self, url: str) -> None:
        """Remove the object at a URL, that very version where one is named."""
        parts = urlsplit(url)
        if self.root is not None:
            Path(unquote(parts.path)).unlink()
            return
        version = parts.query.removeprefix("versionId=")
        named = {"VersionId": unquote(version)} if version else {}
        self._s3.delete_object(Bucket=self._bucket, Key=unquote(parts.path[1:]), **named)

    def replace(self, url: str, data: bytes) -> str:
        """Put other bytes where a URL points and return their URL, another if versions are kept."""
        parts = urlsplit(url)
        if self.root is not None:
            Path(unquote(parts.path)).write_bytes(data)
            return url
        return self.put(unquote(parts.path[1:]), data)

    def state(self) -> dict[str, Any]:
        """Return all there is: objects, versions, delete markers and unfinished uploads."""
        if self.root is not None:
            return tree(self.root)
        found: dict[str, Any] = {}
        for page in self._s3.get_paginator("list_object_versions").paginate(Bucket=self._bucket):
            for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                found[f"{item['Key']} {item['VersionId']}"] = (item.get("ETag"), item["IsLatest"])
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket):
            for item in page.get("Contents", ()):
                found[item["Key"]] = (item["ETag"], item["Size"])
        found["uploads"] = self._s3.list_multipart_uploads(Bucket=self._bucket).get("Uploads", [])
        return found

    def all_keys(self) -> list[str]:
        """Return the keys of all objects."""
        if self.root is not None:
            return sorted(files_below(self.root))
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))


def sha256(data: bytes) -> dict[str, str]:
    """Return the older hash of some bytes, as a record has it."""
    return {"type": "SHA256", "value": hashlib.sha256(data).hexdigest()}


def chunked(data: bytes) -> dict[str, str]:
    """Return the newer hash of some bytes of at most 8 MiB, as a record has it."""
    digest = hashlib.sha256(hashlib.sha256(data).digest()).digest()
    return {"type": "sha2-256-chunked", "value": b64encode(digest).decode()}


def record(key: Any, url: str, data: bytes, **changes: Any) -> dict[str, Any]:
    """Return an entry's record; a change to `...` leaves the field out."""
    fields = {
        "logical_key": key,
        "physical_keys": [url],
        "size": len(data),
        "hash": sha256(data),
        "meta": {},
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def top_hash_of(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the top hash of a header and its records, by the plainest means."""
    header, *entries = records
    entries = [entry for entry in entries if entry.get("physical_keys")]
    parts = [{k: v for k, v in header.items() if k != "top_hash"}]
    for entry in sorted(entries, key=lambda item: str(item["logical_key"]).split("/")):
        names = ("hash", "logical_key", "meta", "size")
        parts.append({name: entry.get(name) for name in names})
    texts = [json.dumps(part, sort_keys=True, separators=(",", ":")) for part in parts]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


@dataclass(frozen=True)
class Planted:
    """A manifest written by hand, named by `latest`.

    Attributes:
        outside: The registry.
        top_hash: The name it is stored under.
        data: Its bytes.
    """

    outside: Outside
    top_hash: str
    data: bytes = field(repr=False)

    @property
    def url(self) -> str:
        return self.outside.url

    def load(self) -> t4.Package:
        return t4.Package.load(io.BytesIO(self.data))


def point(outside: Outside, top_hash: str, name: str = NAME) -> None:
    """Let a package's pointers hold a top hash."""
    for pointer in ("latest", str(SECOND)):
        outside.put(f".quilt/named_packages/{name}/{pointer}", top_hash.encode())


def plant(
    outside: Outside,
    *records: Mapping[str, Any] | bytes,
    header: Mapping[str, Any] | bytes | None = None,
    top_hash: str | None = None,
    name: str = NAME,
) -> Planted:
    """Write a manifest with these records and make it `latest`.

    Args:
        outside: Where.
        *records: Records, or whole lines as bytes, which need a top hash given.
        header: Header; None is the usual one.
        top_hash: What to store it as; None is its own.
        name: Package name.
    """
    everything = [header or {"version": "v0", "message": None}, *records]
    lines = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in everything]
    data = b"".join(line + b"\n" for line in lines)
    if top_hash is None:
        top_hash = top_hash_of([line for line in everything if not isinstance(line, bytes)])
    outside.put(f".quilt/packages/{top_hash}", data)
    point(outside, top_hash, name)
    return Planted(outside, top_hash, data)


def hostile(outside: Outside, *bad: Mapping[str, Any] | bytes, **options: Any) -> Planted:
    """Plant a package with a good entry, whose object is there, and bad records."""
    url = outside.put("objects/good", b"good")
    return plant(outside, record(GOOD, url, b"good"), *bad, **options)


@dataclass(frozen=True)
class World:
    """Where a test takes place: nothing outside of `root` and the registry can be written.

    Attributes:
        root: Folder of the test, with home, local registry and destination.
        outside: The registry.
    """

    root: Path
    outside: Outside

    @property
    def dest(self) -> Path:
        """Destination; it has a file of somebody else."""
        return self.root / "below" / "dest"

    @property
    def other(self) -> Outside:
        """A second registry, a folder."""
        return Outside((self.root / "other").as_uri())

    def state(self) -> dict[str, Any]:
        return {**tree(self.root), "registry": self.outside.state()}


Door = Callable[[World, Planted], Any]

READ_DOORS: dict[str, Door] = {
    "browse": lambda w, p: t4.Package.browse(NAME, p.url),
    "browse hash": lambda w, p: t4.Package.browse(NAME, p.url, p.top_hash),
    "install": lambda w, p: t4.Package.install(NAME, p.url, dest=w.dest),
    "install hash": lambda w, p: t4.Package.install(NAME, p.url, p.top_hash, dest=w.dest),
    "install path": lambda w, p: t4.Package.install(NAME, p.url, dest=w.dest, path=GOOD),
    "operations.browse": lambda w, p: operations.browse(f"{NAME}@{p.top_hash}", registry=p.url),
    "operations.install": lambda w, p: operations.install(NAME, registry=p.url, dest=w.dest),
    "operations.push": lambda w, p: operations.push(
        {"registry": p.url, "name": NAME, "top_hash": p.top_hash}, registry=w.other.url
    ),
}
"""Every way by which a manifest of a registry is read."""

USE_DOORS: dict[str, Callable[[World, t4.Package], Any]] = {
    "fetch": lambda w, p: p.fetch(w.dest),
    "fetch view": lambda w, p: p["good"].fetch(w.dest),
    "push": lambda w, p: p.push("team/copy", w.other.url),
    "build": lambda w, p: p.build("team/copy", w.other.url),
    "verify": lambda w, p: p.verify(w.dest),
}
"""What can be done with a package that is in memory already."""


def world_of(root: Path, url: str) -> World:
    """Return a world whose destination holds a file of somebody else."""
    made = World(root, Outside(url))
    made.dest.mkdir(parents=True)
    (root / "other").mkdir()
    (made.dest / "theirs.txt").write_text("somebody else's")
    return made


def refused(action: Callable[[], Any], *kinds: type[t4.T4Error]) -> t4.T4Error:
    """Return the error of an action that must fail as we say, and with a message."""
    with pytest.raises(kinds) as caught:
        action()
    assert len(str(caught.value)) > 20
    return caught.value


def assert_refused_everywhere(
    world: World, planted: Planted, *kinds: type[t4.T4Error]
) -> t4.T4Error:
    """Try every way to read a stored manifest; nothing may change, anywhere."""
    before = world.state()
    errors = []
    for name, door in READ_DOORS.items():
        errors.append(refused(lambda door=door: door(world, planted), *kinds))  # type: ignore[misc]
        if world.outside.is_folder:
            assert world.state() == before, name
    assert world.state() == before
    return errors[0]
