"""Make the golden manifests and the golden registry with quilt3.

Run as `python tests/golden/make.py OUT`, with quilt3 installed; the files in this folder came from
quilt3 8.0.0. The same quilt3 makes the same bytes again: times are fixed, and the folder it works
in is replaced by `file:///golden` (places are not hashed).
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

PLACE = "file:///golden"
MIB = 1024 * 1024
CHUNK = 8 * MIB

KEYS = [
    *("a-b", "a.b", "a/b", "a/b-c", "a/c/d", "a b/c d.txt", " lead", "trail ", "é.txt"),
    *("e\u0301.txt", "😀.txt", "\uffff", "名/前.csv", "+.txt", "#.txt", "?.txt", "%41.txt"),
    *("A.txt", "&=;~.txt", ".hidden/x", "ab:c", "'\"", "[x]*"),
]
MIXED_META: dict[str, Any] = {
    "é": 1.0,
    "名前": '😀\x7f/\u2028\\"',
    "floats": [1e16, 1e-7, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 100.0],
    "integers": [0, -1, 2**53 + 1, 2**64, -(2**70)],
    "nested": {"b": {"a": [None, True, False, [], {}]}, "a": "", "": "empty key", "10": 1, "9": 2},
    "\U0001f600": "astral key",
    "\uffff": "before it by code point, after it in UTF-16",
}
SHA256_ONE = {
    "type": "SHA256",
    "value": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
}
CHUNKED_ONE = {
    "type": "sha2-256-chunked",
    "value": "nC5Nj+l9iBQw3k51S0IFucJ86WcVIxz/xDNzQMsRAoA=",
}
CRC_ONE = {"type": "CRC64NVME", "value": "I5Whw0YbvtI="}
WORKFLOW = {
    "id": "alpha",
    "config": "s3://bkt/.quilt/workflows/config.yml?versionId=v.1",
    "schemas": {"meta": "s3://bkt/schemas/m%C3%A9ta.json?versionId=null"},
}


class Maker:
    """Runs quilt3 in `work` and gathers in `out` what it wrote.

    Attributes:
        index: What `index.json` will say.
    """

    def __init__(self, quilt3: Any, work: Path, out: Path) -> None:
        self.quilt3 = quilt3
        self.work = work
        self.out = out
        self.index: dict[str, Any] = {"quilt3": quilt3.__version__, "manifests": {}}
        self._files = 0

    def file(self, data: bytes) -> Path:
        """Write a file of the work folder."""
        self._files += 1
        path = self.work / "data" / f"{self._files:03}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    def placed(self, data: bytes) -> bytes:
        """Replace the work folder in physical keys."""
        return data.replace(self.work.as_uri().encode(), PLACE.encode())

    def keep(self, case: str, data: bytes, package: Any, *, verbatim: bool) -> None:
        """Write a manifest, and what quilt3 says of it, into the index."""
        path = self.out / "manifests" / f"{case}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.placed(data))
        self.index["manifests"][case] = {
            "top_hash": package.top_hash,
            "verbatim": verbatim,
            "keys": [key for key, _ in package.walk()],
        }

    def dump(self, case: str, package: Any) -> None:
        """Keep a package as quilt3 writes it."""
        buffer = io.BytesIO()
        package.dump(buffer)
        self.keep(case, buffer.getvalue(), package, verbatim=True)

    def build(self, case: str, package: Any, message: str | None = None) -> None:
        """Build a package into a scratch registry, and keep it."""
        package.build("golden/case", registry=str(self.work / "scratch"), message=message)
        self.dump(case, package)

    def load(self, case: str, lines: list[dict[str, Any]], *, dump: bool) -> None:
        """Let quilt3 load a manifest written by hand; keep its own dump of it, or the original."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self.load_text(case, text, dump=dump)

    def load_text(self, case: str, text: str, *, dump: bool = False) -> None:
        """Let quilt3 load a manifest's text; keep its own dump of it, or the original."""
        package = self.quilt3.Package.load(io.BytesIO(text.encode()))
        if dump:
            self.dump(case, package)
        else:
            self.keep(case, text.encode(), package, verbatim=False)


def entry(key: str, checksum: dict[str, str], **fields: Any) -> dict[str, Any]:
    """Return the record of a file that holds `1`."""
    record = {
        "logical_key": key,
        "physical_keys": [f"{PLACE}/data/one.bin"],
        "size": 1,
        "hash": checksum,
        "meta": {},
    }
    return {**record, **fields}


def headers(make: Maker) -> None:
    """Packages that differ in their header only."""
    package = make.quilt3.Package
    make.dump("header_version_only", package())
    make.build("header_message_null", package())
    make.build("header_message_empty", package(), message="")
    make.build("header_message_text", package(), message='Été 😀: "one"\n\ttwo\x7f\\')
    empty = make.work / "empty"
    empty.mkdir()
    make.build("header_user_meta_null", package().set_dir(".", empty))
    make.build("header_user_meta_empty", package().set_dir(".", empty, meta={}))
    make.build("header_user_meta_mixed", package().set_dir(".", empty, meta=MIXED_META), "m")
    extra = {"version": "v0", "message": "m", "workflow": WORKFLOW, "user_meta": {"a": 1}}
    make.load("header_workflow", [extra, entry("one", CHUNKED_ONE)], dump=True)
    unknown = {"x-é": {"b": [1, None], "a": 2.0}, "version": "v0", "author": "名"}
    make.load("header_unknown_keys", [unknown, entry("one", CHUNKED_ONE)], dump=True)
    old = {"version": "v0", "message": "old", "top_hash": "0" * 64, "user_meta": {"k": "v"}}
    make.load("header_with_top_hash", [old, entry("one", SHA256_ONE)], dump=False)


def entries(make: Maker) -> None:
    """Keys, metadata, sizes and what serialised objects remember."""
    package = make.quilt3.Package()
    for key in KEYS:
        package.set(key, make.file(key.encode()))
    package.set("empty", make.file(b""))
    make.build("keys", package, message="every awkward key")

    package = make.quilt3.Package()
    package.set_meta({"package": MIXED_META})
    package.set("mixed", make.file(b"1"), meta=MIXED_META)
    package.set("empty", make.file(b"2"), meta={})
    package.set("none", make.file(b"3"))
    make.build("metadata", package)

    folder = make.work / "data" / "folder"
    (folder / "sub" / "deep").mkdir(parents=True)
    for name in ("x", "sub/y", "sub/deep/z"):
        (folder / name).write_bytes(name.encode())
    package = make.quilt3.Package().set_dir("dir", folder, meta={"é": "名", "n": 1e16})
    package["dir/sub/deep"].set_meta({"deep": [1, {}]})
    package.set("dir-b", make.file(b"b")).set("dir/a", make.file(b"a"), meta={"k": None})
    make.build("directory_metadata", package, message="")

    package = make.quilt3.Package()
    for name, size in (("minus", CHUNK - 1), ("exact", CHUNK), ("plus", CHUNK + 1)):
        package.set(f"8MiB/{name}", make.file(bytes(size)))
    make.build("sizes", package)


def objects(make: Maker) -> None:
    """Packages with serialised objects, whose format is kept in the metadata."""
    import pandas as pd

    frame = pd.DataFrame({"día": ["lun", "mar"], "t": [1.5, -2.0]})
    package = make.quilt3.Package()
    for key, value, options in (
        ("a.json", {"b": [1, 2.5, None], "a": "é"}, {}),
        ("b.csv", frame, {"fieldsep": ";"}),
        ("c.bin", b"\x00\x01", {}),
    ):
        place = make.work / "data" / f"object-{key}"
        package.set(key, value, {"k": key}, place, options)
    make.build("objects", package)


def hashes_and_places(make: Maker) -> None:
    """Hash types, S3 places, and records that quilt3 reads but writes differently."""
    header = {"version": "v0", "message": None}
    make.load("hash_sha256", [header, entry("one", SHA256_ONE)], dump=True)
    make.load("hash_crc64nvme", [header, entry("one", CRC_ONE)], dump=True)
    mixed = [entry("c", CRC_ONE), entry("s", SHA256_ONE), entry("x", CHUNKED_ONE)]
    unknown = entry("u", {"type": "blake3", "value": "é"})
    make.load("hash_mixed", [header, *mixed, unknown], dump=True)
    places = [
        "s3://b/a%20b/%C3%A9%2B%3F%23%25%26%3D~.txt?versionId=x%2Fy%3D",
        "s3://b/k?versionId=null",
        "s3://b/k",
        "s3://b.with.dots/%F0%9F%98%80//double",
    ]
    records = [
        entry(f"p{number}", CHUNKED_ONE, physical_keys=[url]) for number, url in enumerate(places)
    ]
    make.load("s3_places", [header, *records], dump=True)
    several = entry("one", CHUNKED_ONE, physical_keys=["s3://b/first", "s3://b/second"])
    make.load("several_places", [header, several], dump=False)
    make.load("meta_null", [header, entry("one", CHUNKED_ONE, meta=None)], dump=False)
    escaped = [
        {"version": "v0", "message": "é😀"},
        entry("é/😀", CHUNKED_ONE, meta={"user_meta": {"ü": "\x7f"}}),
    ]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in escaped)
    make.load_text("escaped_and_compact", text)
    for case in ("directory_metadata", "keys"):
        data = (make.out / "manifests" / f"{case}.jsonl").read_text("utf-8")
        first, *rest = data.split("\n")[:-1]
        lines = [first, *rest[9:], *rest[8::-1]]
        make.load_text(f"out_of_order_{case}", "\n".join(lines) + "\n")


def registry(make: Maker) -> None:
    """A complete local registry: two packages, five revisions, one rolled back."""
    quilt3, root = make.quilt3, make.work / "registry"
    clock = SimpleNamespace(seconds=1_700_000_000)
    files = make.work / "files"
    files.mkdir()

    def build(name: str, package: Any, message: str | None) -> str:
        clock.seconds += 100
        return str(package.build(name, registry=str(root), message=message))

    def add(package: Any, key: str, data: bytes, meta: dict[str, Any] | None = None) -> Any:
        path = files / f"{len(list(files.iterdir())):02}.dat"
        path.write_bytes(data)
        return package.set(key, path, meta=meta)

    with patch("quilt3.backends.base.time", SimpleNamespace(time=lambda: clock.seconds)):
        weather = add(quilt3.Package(), "README.md", b"# Weather\n")
        add(weather, "2012/01.csv", b"date,rain\n2012-01-01,0.0\n", {"station": "SEA", "n": 1})
        first = build("golden/weather", weather, "first")
        add(weather, "2012/02.csv", b"date,rain\n2012-02-01,13.5\n")
        add(weather, "empty", b"")
        weather.set_meta({"source": "été"})
        second = build("golden/weather", weather, "second")
        weather.delete("empty")
        add(weather, "2012/01.csv", b"date,rain\n2012-01-01,0.1\n")
        weather["2012"].set_meta({"year": 2012})
        third = build("golden/weather", weather, None)
        quilt3.Package.rollback("golden/weather", str(root), second)
        other = quilt3.Package()
        for key in ("a-b", "a/b", "a.b", "a b/é+#?%41😀.txt"):
            add(other, key, key.encode())
        awkward = build("golden/awkward_keys", other, "")
        again = build("golden/awkward_keys", other, "")
    assert again == awkward
    make.index["registry"] = {
        "golden/weather": {"revisions": [first, second, third], "latest": second},
        "golden/awkward_keys": {"revisions": [awkward, awkward], "latest": awkward},
    }
    for folder in (root, files):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = make.out / path.relative_to(make.work)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(make.placed(path.read_bytes()))


def main(out: Path) -> None:
    """Write `manifests/`, `registry/`, `files/` and `index.json` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in ("manifests", "registry", "files"):
        shutil.rmtree(out / stale, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch).resolve()
        # quilt3 reads these when it is imported: it must neither see nor touch the user's files.
        for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            os.environ[name] = str(work / "home")
        os.environ["QUILT_DISABLE_USAGE_METRICS"] = "true"
        os.environ["QUILT_MINIMIZE_STDOUT"] = "true"
        import quilt3

        make = Maker(quilt3, work, out)
        for step in (headers, entries, objects, hashes_and_places, registry):
            step(make)
    text = json.dumps(make.index, ensure_ascii=False, indent=1)
    (out / "index.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
