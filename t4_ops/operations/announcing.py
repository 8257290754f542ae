"""Telling of one's own publication what watchers will report of it."""

from __future__ import annotations

from t4_ops.operations.moves import ON_ITS_WAY_S, Move, move_to, moved_back
from t4_ops.operations.results import PackageLike, pinned
from t4_ops.package import open_registry
from t4_ops.registry import Pointer
from t4_ops.settings import Settings, load_settings


def move_of(package: PackageLike, *, settings: Settings | None = None) -> Move | None:
    """Return the move that brought `latest` to a revision, with the id under which `poll` has it.

    Who publishes something can announce it by that id, so that the same move is not told twice.

    Args:
        package: The revision: a step's result.
        settings: Settings; None loads the user's.

    Returns:
        The move; None: `latest` leads elsewhere by now.
    """
    settings = settings or load_settings()
    ref = pinned(package, settings)
    source = open_registry(ref.registry, settings)
    held = source.pointers.latest(ref.name)
    if held is None or held.top_hash != ref.top_hash:
        return None
    newest = next(source.pointers.newest_first(ref.name, {}), None)
    if newest is None or newest.top_hash != ref.top_hash or _is_later(held, newest):
        newest = moved_back(held)
    return move_to(ref.registry, ref.name, newest, None, is_latest=True)


def _is_later(held: Pointer, newest: Pointer) -> bool:
    """Return whether `latest` came to a revision long after it was published, so by a rollback."""
    if held.mtime_s is None or newest.mtime_s is None:
        return False
    return held.mtime_s - newest.mtime_s > ON_ITS_WAY_S
