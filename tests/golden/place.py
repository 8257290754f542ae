"""Read the golden manifests, and put the golden registry into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
PLACE = b"file:///golden"
"""The folder that the physical keys of the stored files name."""

INDEX: dict[str, Any] = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
"""What quilt3 said: top hashes and keys of manifests, revisions of the registry's packages."""


class GoldenManifest(NamedTuple):
    """A manifest and what quilt3 says of it.

    Attributes:
        data: Its bytes.
        top_hash: Its top hash.
        keys: Its logical keys in quilt3's order.
        verbatim: Whether quilt3 wrote these bytes; else it only read them.
    """

    data: bytes
    top_hash: str
    keys: list[str]
    verbatim: bool


def golden_manifest(case: str) -> GoldenManifest:
    """Return one of the cases of `INDEX["manifests"]`."""
    data = (FOLDER / "manifests" / f"{case}.jsonl").read_bytes()
    return GoldenManifest(data, **INDEX["manifests"][case])


def place_registry(folder: Path) -> Path:
    """Copy the golden registry and its data files below `folder`.

    Returns:
        The registry; its physical keys name the copied data files.
    """
    for part in ("registry", "files"):
        for source in (FOLDER / part).rglob("*"):
            if source.is_file():
                target = folder / source.relative_to(FOLDER)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes().replace(PLACE, folder.as_uri().encode()))
    return folder / "registry"
