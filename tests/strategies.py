"""Hypothesis strategies: what users may pass, and what must be refused.

They state the rules a second time instead of calling the library's validators, so that a test that
feeds one to the other can fail.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

from hypothesis import strategies as st

from t4_ops.checksums import CRC64NVME, SHA256, SHA256_CHUNKED, Checksum
from t4_ops.keys import PhysicalKey

_NAME_CHARACTERS = "abcXYZ019_-"
_AWKWARD_COMPONENTS = (
    *("a", "b", "a-b", "a.b", "a b", " a", "a ", "é", "e\u0301", "+", "#", "?", "%41", "%", "~"),
    *("&=;", "😀", "\U0010ffff", "\ufffd", "...", ".a", "-", "a:b", "'\"", "*", "[x]", "$HOME"),
)
_AWKWARD_TEXT = (
    *("", "\x7f", "\x00", "\n", "é", "😀", "/", "\\", '"', "\u2028", "\ufeff", "%41", "0"),
)
_AWKWARD_NUMBERS = (1e16, 1e-7, -0.0, 1.0, 5e-324, 1.7976931348623157e308, 2**64, -(2**63) - 1)


def package_names() -> st.SearchStrategy[str]:
    """Legal package names, `namespace/name`."""
    part = st.text(_NAME_CHARACTERS, min_size=1, max_size=12)
    return st.builds("{}/{}".format, part, part)


def top_hashes() -> st.SearchStrategy[str]:
    """Full top hashes."""
    return st.binary(min_size=32, max_size=32).map(bytes.hex)


def key_components() -> st.SearchStrategy[str]:
    """Legal components of a logical key, short enough to be file names."""
    letters = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\")
    free = st.text(letters, min_size=1, max_size=12).filter(lambda text: text not in (".", ".."))
    return st.sampled_from(_AWKWARD_COMPONENTS) | free


def logical_keys(max_depth: int = 4) -> st.SearchStrategy[str]:
    """Legal logical keys."""
    joined = st.lists(key_components(), min_size=1, max_size=max_depth).map("/".join)
    return joined.filter(lambda key: re.match("[A-Za-z]:", key) is None)


def illegal_logical_keys() -> st.SearchStrategy[str]:
    """Keys that every door must refuse."""
    bad_component = st.sampled_from(
        ["", ".", "..", "a\\b", "a\0b", "a\nb", "a\x7fb", "a\x85b", "a\ud800b"]
    )
    around = st.lists(key_components(), max_size=2)
    spoiled = st.builds(lambda a, bad, b: "/".join([*a, bad, *b]), around, bad_component, around)
    drive = logical_keys().map("C:{}".format)
    too_deep = st.integers(201, 300).map(lambda depth: "/".join(["d"] * depth))
    too_long = st.integers(1025, 2000).map(lambda size: "k" * size)
    # 256 characters of four bytes each are one component of 1,024 bytes.
    too_many_bytes = st.just("😀" * 256 + "k")
    return spoiled | drive | too_deep | too_long | too_many_bytes


def texts() -> st.SearchStrategy[str]:
    """Text that JSON and UTF-8 can carry: no surrogates, all the rest."""
    free = st.text(st.characters(codec="utf-8"), max_size=12)
    return st.sampled_from(_AWKWARD_TEXT) | free


def json_values() -> st.SearchStrategy[Any]:
    """JSON values, with integers beyond 64 bits and floats that encoders disagree on."""
    numbers = (
        st.sampled_from(_AWKWARD_NUMBERS)
        | st.integers(-(2**80), 2**80)
        | st.floats(allow_nan=False, allow_infinity=False)
    )
    leaves = st.none() | st.booleans() | numbers | texts()
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
        max_leaves=8,
    )


def metadata() -> st.SearchStrategy[dict[str, Any]]:
    """Metadata of a package, a directory or a file."""
    return st.dictionaries(texts(), json_values(), max_size=4)


def s3_keys() -> st.SearchStrategy[PhysicalKey]:
    """Places in S3, with and without a version."""
    buckets = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,20}[a-z0-9]", fullmatch=True)
    paths = logical_keys() | st.text(st.characters(codec="utf-8"), max_size=20)
    versions = st.none() | st.just("null") | texts().filter(bool)
    return st.builds(PhysicalKey, buckets, paths, versions)


def local_keys() -> st.SearchStrategy[PhysicalKey]:
    """Places on disk."""
    return logical_keys().map(lambda key: PhysicalKey(None, f"/{key}"))


def physical_keys() -> st.SearchStrategy[PhysicalKey]:
    """Places of both kinds."""
    return s3_keys() | local_keys()


def checksums() -> st.SearchStrategy[Checksum]:
    """Well-formed checksums of every type; they belong to no particular bytes."""
    digest = st.binary(min_size=32, max_size=32)
    crc = st.binary(min_size=8, max_size=8)
    return (
        digest.map(lambda raw: Checksum(SHA256_CHUNKED, b64encode(raw).decode()))
        | digest.map(lambda raw: Checksum(SHA256, raw.hex()))
        | crc.map(lambda raw: Checksum(CRC64NVME, b64encode(raw).decode()))
    )


def _without_conflicts(tree: dict[str, bytes]) -> dict[str, bytes]:
    """Drop the files that stand where another file needs a directory."""
    directories = {key[:i] for key in tree for i, letter in enumerate(key) if letter == "/"}
    return {key: data for key, data in tree.items() if key not in directories}


def file_trees(
    min_size: int = 0, max_size: int = 6, max_bytes: int = 64
) -> st.SearchStrategy[dict[str, bytes]]:
    """Logical keys and contents that one folder can hold; nothing lies in a registry's folders."""
    keys = logical_keys().filter(
        lambda key: not {".quilt", ".t4"} & {part.lower() for part in key.split("/")}
    )
    trees = st.dictionaries(
        keys, st.binary(max_size=max_bytes), min_size=min_size, max_size=max_size
    )
    return trees.map(_without_conflicts)
