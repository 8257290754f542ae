"""Manifests and a registry that quilt3 wrote: same entries, order, top hash and bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from t4_ops.checksums import Checksum, checksum_of
from t4_ops.errors import FormatError
from t4_ops.keys import PhysicalKey
from t4_ops.manifest import Manifest
from tests.golden.place import FOLDER, INDEX, golden_manifest, place_registry

CASES = sorted(INDEX["manifests"])
VERBATIM = [case for case in CASES if golden_manifest(case).verbatim]


def _records(data: bytes) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return header, directory records and entry records by key, read without the library."""
    header, *records = map(json.loads, data.decode().split("\n")[:-1])
    by_key = {record["logical_key"]: record for record in records}
    directories = {key: record for key, record in by_key.items() if key.endswith("/")}
    return header, directories, {key: by_key[key] for key in by_key.keys() - directories.keys()}


@pytest.mark.parametrize("case", CASES)
def test_the_top_hash_is_quilt3s(case: str) -> None:
    golden = golden_manifest(case)
    manifest = Manifest.from_bytes(golden.data)
    assert manifest.top_hash == golden.top_hash
    Manifest.from_bytes(golden.data).verify(golden.top_hash, allow_files=True)


@pytest.mark.parametrize("case", CASES)
def test_every_record_is_read_and_the_order_is_quilt3s(case: str) -> None:
    golden = golden_manifest(case)
    manifest = Manifest.from_bytes(golden.data)
    header, directories, records = _records(golden.data)
    header.pop("top_hash", None)
    assert manifest.header == header
    assert {item.key: item.meta for item in manifest.directories()} == {
        key: record["meta"] for key, record in directories.items()
    }
    entries = list(manifest.entries())
    assert [entry.logical_key for entry in entries] == golden.keys
    assert len(manifest) == len(records)
    for entry in entries:
        record = records[entry.logical_key]
        assert entry.physical_key == record["physical_keys"][0]
        assert str(PhysicalKey.parse(entry.physical_key)) == entry.physical_key
        assert entry.size_bytes == record["size"]
        assert entry.hash == Checksum(**record["hash"])
        # By text: `==` would take 1 for 1.0 and for True, which hash differently.
        assert json.dumps(entry.meta) == json.dumps(record["meta"] or {})


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_manifest_keeps_its_bytes(case: str) -> None:
    data = golden_manifest(case).data
    assert Manifest.from_bytes(data).to_bytes() == data


def _written_again(data: bytes) -> bytes:
    manifest = Manifest.from_bytes(data)
    return Manifest.of(manifest.header, manifest.entries(), manifest.directories()).to_bytes()


@pytest.mark.parametrize("case", VERBATIM)
def test_we_write_what_quilt3_writes(case: str) -> None:
    data = golden_manifest(case).data
    assert _written_again(data) == data


@pytest.mark.parametrize("case", ["keys", "directory_metadata"])
def test_lines_out_of_order_are_written_in_order(case: str) -> None:
    golden, shuffled = golden_manifest(case), golden_manifest(f"out_of_order_{case}")
    assert shuffled.data != golden.data
    assert shuffled.top_hash == golden.top_hash
    assert _written_again(shuffled.data) == golden.data


def test_headers_that_look_alike_hash_differently() -> None:
    empty = [
        case for case in CASES if case.startswith("header_") and not golden_manifest(case).keys
    ]
    assert len(empty) == 7
    assert len({Manifest.from_bytes(golden_manifest(case).data).top_hash for case in empty}) == 7


def _revisions(registry: Path, name: str) -> dict[str, str]:
    pointers = registry / ".quilt" / "named_packages" / name
    return {pointer.name: pointer.read_text("ascii") for pointer in sorted(pointers.iterdir())}


@pytest.mark.parametrize("name", sorted(INDEX["registry"]))
def test_the_registry_holds_what_quilt3_built(name: str, tmp_path: Path) -> None:
    registry = place_registry(tmp_path)
    pointers = _revisions(registry, name)
    expected = INDEX["registry"][name]
    assert pointers.pop("latest") == expected["latest"]
    assert list(pointers.values()) == expected["revisions"]
    for top_hash in {*expected["revisions"]}:
        manifest = Manifest.from_bytes((registry / ".quilt" / "packages" / top_hash).read_bytes())
        manifest.verify(top_hash, allow_files=True)
        for entry in manifest.entries():
            data = Path(PhysicalKey.parse(entry.physical_key).path).read_bytes()
            assert len(data) == entry.size_bytes
            assert entry.hash is not None
            assert checksum_of(data, entry.hash.type) == entry.hash
        with pytest.raises(FormatError, match="local file"):
            manifest.verify(top_hash, allow_files=False)


def test_the_script_makes_these_files(tmp_path: Path) -> None:
    script = [sys.executable, str(FOLDER / "make.py"), str(tmp_path)]
    subprocess.run(script, check=True, capture_output=True, timeout=100)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    kept = {
        path.relative_to(FOLDER)
        for part in ("manifests", "registry", "files")
        for path in (FOLDER / part).rglob("*")
        if path.is_file()
    }
    assert made == kept | {Path("index.json")}
    for path in made:
        assert (tmp_path / path).read_bytes() == (FOLDER / path).read_bytes(), path
