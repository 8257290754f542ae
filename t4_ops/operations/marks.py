"""Watermarks of single packages, for watchers that share one poll loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t4_ops.keys import RegistryLike, normalize_registry
from t4_ops.operations.watermarks import read_watermark, written_watermark


def marks_of(watermark: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a watermark's parts: one watermark for each package, by its name."""
    registry, packages = watermark["registry"], watermark["packages"]
    return {
        name: {**watermark, "registry": registry, "packages": {name: packages[name]}}
        for name in packages
    }


def joined_marks(registry: RegistryLike, marks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one watermark for several packages of a registry.

    Args:
        registry: The registry.
        marks: Watermarks as `marks_of` gives them, by package name.

    Raises:
        InvalidInputError: One is none, or of another registry.
    """
    url = normalize_registry(registry)
    found = {name: read_watermark(mark, url)[name] for name, mark in marks.items()}
    return written_watermark(url, found)
