"""The rules for package names, logical keys and top hashes, checked at every door.

Sources: the registry format of quilt3 8.0.0 for what is legal there; the stricter rules here answer
cases in which that client wrote outside its destination, mixed keys up, or crashed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from t4_ops.errors import InvalidInputError

# quilt3 also takes Unicode letters and, because it anchors with `$`, a final newline. ASCII keeps
# names equal to their S3 keys, asset keys and dataset names.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+")
_TOP_HASH: Final = re.compile(r"[0-9a-f]{64}")
# 6 digits is quilt3's shortest prefix.
_HASH_PREFIX: Final = re.compile(r"[0-9a-f]{6,64}")
# C0 controls, DEL and C1 controls: no terminal, URL or S3 listing carries them safely.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_ANY_DRIVE: Final = re.compile("/[A-Za-z]:")

RESERVED_COMPONENTS: Final = frozenset({".quilt", ".t4"})
"""Folders that hold registries: no scan enters them, no installed file may land in them."""


@dataclass(frozen=True)
class Limits:
    """Bounds on what is read and written; every one is a setting.

    Attributes:
        key_bytes: Longest logical key, in UTF-8 bytes. Source: the longest S3 key.
        depth: Most components of a logical key. Source: quilt3 fails on some 1,000 levels.
        record_write_bytes: Longest manifest record we write. Source: quilt3's own limit.
        record_read_bytes: Longest manifest record we read.
        decompressed_bytes: Most bytes a file may expand to when it is deserialised.
    """

    key_bytes: int = 1024
    depth: int = 200
    record_write_bytes: int = 1_000_000
    record_read_bytes: int = 16 * 1024 * 1024
    decompressed_bytes: int = 2 * 1024**3

    def __post_init__(self) -> None:
        """Refuse bounds that nothing could pass.

        Raises:
            InvalidInputError: A bound is below 1.
        """
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise InvalidInputError(f"the limit {field.name} must be 1 or more")


DEFAULT_LIMITS: Final = Limits()


def is_package_name(text: str) -> bool:
    """Return whether `text` is `namespace/name` of ASCII letters, digits, `_`, `-`."""
    return _NAME.fullmatch(text) is not None


def validate_name(name: object) -> str:
    """Return `name` if it is a package name: `namespace/name`, ASCII letters, digits, `_`, `-`.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(name, str) or not is_package_name(name):
        raise InvalidInputError(
            f"{name!r} is no package name: use 'namespace/name' of ASCII letters, digits, '_', '-'",
            key=str(name),
        )
    return name


def validate_top_hash(top_hash: object) -> str:
    """Return `top_hash` if it is 64 lower-case hex digits.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(top_hash, str) or not _TOP_HASH.fullmatch(top_hash):
        raise InvalidInputError(
            f"{top_hash!r} is no top hash: it must be 64 lower-case hex digits", key=str(top_hash)
        )
    return top_hash


def is_top_hash(text: str) -> bool:
    """Return whether `text` is 64 lower-case hex digits."""
    return _TOP_HASH.fullmatch(text) is not None


def validate_hash_prefix(prefix: object) -> str:
    """Return `prefix` if it can be the beginning of a top hash: 6 to 64 lower-case hex digits.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(prefix, str) or not _HASH_PREFIX.fullmatch(prefix):
        raise InvalidInputError(
            f"{prefix!r} is no top hash and no prefix of one: give 6 to 64 lower-case hex digits",
            key=str(prefix),
        )
    return prefix


def logical_key_problem(key: object, limits: Limits = DEFAULT_LIMITS) -> str | None:
    """Return what is wrong with a logical key, or None if nothing is.

    One function serves every door (set, load, build, fetch, install, push), because separate checks
    drift apart: each caller turns the answer into the error of its own side.
    """
    if not isinstance(key, str):
        return f"it is {type(key).__name__}, not text"
    if _is_plain(key, limits):
        return None
    if not key:
        return "it is empty"
    if _CONTROL.search(key):
        return "it holds a control character"
    if "\\" in key:
        return "it holds a backslash"
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    if size_bytes > limits.key_bytes:
        return f"it is {size_bytes} bytes long, more than {limits.key_bytes}"
    components = key.split("/")
    if len(components) > limits.depth:
        return f"it is {len(components)} levels deep, more than {limits.depth}"
    for component in components:
        if component in ("", ".", ".."):
            return f"it has the component {component!r}"
    if _DRIVE.match(key):
        return "it begins with a drive letter"
    return None


def _is_plain(key: str, limits: Limits) -> bool:
    """Return whether a key is so plain that no rule could refuse it: most are, and this is quick.

    A component that begins with a dot is left to the rules; so is a colon in second place.
    """
    return (
        key.isascii()
        and key.isprintable()
        and 0 < len(key) <= limits.key_bytes
        and "\\" not in key
        and "//" not in key
        and "/." not in key
        and key[0] not in "/."
        and key[-1] != "/"
        and key[1:2] != ":"
        and key.count("/") < limits.depth
    )


def are_legal(keys: Sequence[str], limits: Limits) -> bool:
    """Return whether all keys surely follow the rules of `logical_key_problem`.

    One look at many: False means that each must be asked about by itself.
    """
    text = f"/{'/'.join(keys)}/"
    if "//" in text or "/./" in text or "/../" in text or "\\" in text:
        return False
    if not text.isprintable() or (":" in text and _ANY_DRIVE.search(text)):
        return False
    longest = max(map(len, keys), default=0)
    # Each component but the last takes two characters.
    if longest > 2 * limits.depth - 1:
        return False
    return longest * (1 if text.isascii() else 4) <= limits.key_bytes


def validate_logical_key(key: object, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return `key` if it is a legal logical key.

    Raises:
        InvalidInputError: It is empty, too long or too deep, has an empty, `.` or `..` component, a
            backslash, a control character, a drive letter, or is not valid UTF-8.
    """
    problem = logical_key_problem(key, limits)
    if problem is not None or not isinstance(key, str):
        raise InvalidInputError(f"logical key {key!r} is refused: {problem}", key=str(key))
    return key


def is_reserved(key: str) -> bool:
    """Return whether a logical key passes through a folder that holds a registry."""
    if "." not in key:  # as every reserved name has
        return False
    return any(component in RESERVED_COMPONENTS for component in key.lower().split("/"))


def tree_order(key: str) -> str:
    """Return the sort key of a logical key: by path components, each by code point.

    A `/` becomes NUL, which no legal key holds and which sorts before everything else, so that
    `a/b` comes before `a-b` as in quilt3's tree walk, not after it as in plain string order.
    """
    return key.replace("/", "\0")


def tree_orders(keys: Sequence[str]) -> list[str]:
    """Return the sort keys of at least one legal key, all at once: none holds a line feed."""
    return "\n".join(keys).replace("/", "\0").split("\n")
