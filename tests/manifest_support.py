"""Entries and lines of manifests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from t4_ops.checksums import checksum_of
from t4_ops.manifest import Entry, Manifest

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


def manifest_of(*lines: bytes, header: bytes = b'{"version": "v0"}\n') -> Manifest:
    return Manifest.from_bytes(header + b"".join(lines))


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
