"""Moves of `latest`, as watchers and publishers tell them: the same move has the same id."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final, TypedDict

from t4_ops.keys import PackageRef
from t4_ops.registry import Pointer

ON_ITS_WAY_S: Final = 5.0
"""A pointer is written before `latest` moves to its revision, and withdrawn if that fails: within
so many seconds, unless its writer died. Two requests take far less."""


class Move(TypedDict):
    """One revision that `latest` has moved to.

    Attributes:
        id: Derived from registry, name, pointer and top hash: a move that is reported twice, as
            after a crash, has the same one.
        uri: Package URI of the revision.
        registry: Normalised registry.
        name: Package name.
        top_hash: Its top hash.
        previous: Top hash that was reported, or known, before it; None: the package was new.
        pointer: Name of the revision's pointer, unix seconds; for a move back to a revision that
            was published long ago `latest` and when it was written.
        moved_s: When the pointer was written, by the storage's clock; None: unknown.
        is_latest: Whether `latest` points at it; False for those between two looks.
    """

    id: str
    uri: str
    registry: str
    name: str
    top_hash: str
    previous: str | None
    pointer: str
    moved_s: float | None
    is_latest: bool


def move_to(
    registry: str, name: str, pointer: Pointer, previous: str | None, *, is_latest: bool = False
) -> Move:
    """Return the move to where a pointer points.

    Args:
        registry: Normalised registry.
        name: Package name.
        pointer: The revision's pointer, or `moved_back` of `latest`.
        previous: The top hash before it.
        is_latest: Whether `latest` points there now.
    """
    ref = PackageRef(registry, name, pointer.top_hash)
    parts = "\n".join((ref.registry, name, pointer.name, pointer.top_hash))
    return Move(
        id=hashlib.sha256(parts.encode()).hexdigest()[:32],
        uri=ref.uri,
        registry=ref.registry,
        name=name,
        top_hash=ref.top_hash,
        previous=previous,
        pointer=pointer.name,
        moved_s=pointer.mtime_s,
        is_latest=is_latest,
    )


def moved_back(held: Pointer) -> Pointer:
    """Return `latest` as the pointer of a move back to a revision that was published before."""
    written = "" if held.mtime_s is None else f"@{held.mtime_s:.3f}"
    return replace(held, name=f"{held.name}{written}")
