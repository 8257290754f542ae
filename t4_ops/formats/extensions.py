"""The extension of a logical key, and the compression wrapped around it."""

from __future__ import annotations

from typing import Final

# Wrapper extension -> codec. "gz" and "gzip" are those of quilt3 8.0.0 (GzipCompressionHandler).
WRAPPERS: Final = {"gz": "gzip", "gzip": "gzip", "zst": "zstd"}


def split_extension(logical_key: str) -> tuple[str, str]:
    """Split off the extension that names the format, and the wrapper outside it.

    A leading dot makes a hidden file, not an extension; a trailing dot means nothing.

    Args:
        logical_key: A logical key such as `data/x.csv.gz`.

    Returns:
        Extension and codec of the wrapper, lower case, "" for none: `("csv", "gzip")`.
    """
    name = logical_key.rsplit("/", 1)[-1]
    stem, extension = _last_extension(name)
    codec = WRAPPERS.get(extension, "")
    if codec:
        _, extension = _last_extension(stem)
    return extension, codec


def _last_extension(name: str) -> tuple[str, str]:
    stem, _, extension = name.rpartition(".")
    if not stem or not extension:
        return name, ""
    return stem, extension.lower()
