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
