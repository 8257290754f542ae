"""A build that several workers share, second part: what one of them does."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from t4_ops.errors import NotFoundError
from t4_ops.keys import is_folder
from t4_ops.ledger import internal
from t4_ops.operations.hosts import host
from t4_ops.operations.recording import check_stop
from t4_ops.operations.scratch import scratch_of, sha256_of, shard_like, whole_number
from t4_ops.operations.sharding import Shard
from t4_ops.operations.stamps import changed_sources, file_stamps, stamped
from t4_ops.package import place_entries
from t4_ops.settings import Settings, load_settings


class ShardResult(TypedDict):
    """A part that was hashed: where it is, never what is in it.

    Attributes:
        plan: Id of the plan.
        registry: Normalised registry.
        number: Which part, from 0.
        of: How many there are.
        files: Files in it.
        size_bytes: Their size.
        sha256: Of the stored part.
        changed: False if the part was hashed before and its files are what they were.
        host: The machine that hashed it; only where the registry is a local folder.
    """

    plan: str
    registry: str
    number: int
    of: int
    files: int
    size_bytes: int
    sha256: str
    changed: bool
    host: NotRequired[str]


def hash_shard(
    shard: Shard | Mapping[str, Any] | str,
    *,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> ShardResult:
    """Hash the files of one shard; on a bucket bring local ones there, too.

    A repeat finds its work done, unless a file is not what it was.

    Args:
        shard: One of the plan's `shards`.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        NotFoundError: A file is gone, or the plan is not there (any more), or not on this machine.
        IntegrityError: A file changed while it was read.
    """
    settings = settings or load_settings()
    given = shard_like(shard)
    scratch = scratch_of(given, settings)
    number, of = whole_number(given, "number"), whole_number(given, "of")
    plan = scratch.read("plan")
    todo = scratch.get(f"todo/{number:05}")
    if plan is None or todo is None:
        raise NotFoundError(
            f"{scratch.registry}: the plan {scratch.plan} has no shard {number}; it was merged or"
            " cleaned: plan again",
            key=scratch.plan,
        )
    done = scratch.get(f"done/{number:05}")
    is_done = done is not None and not changed_sources(done, settings, also_brought=True)
    if not is_done:
        files = file_stamps(todo.entries())
        with internal():
            placed, etags = place_entries(
                todo.entries(), scratch.registry, plan["roots"], settings, stop
            )
        check_stop(stop)
        scratch.put(f"done/{number:05}", stamped(placed, files, etags), create_only=False)
        done = scratch.get(f"done/{number:05}")
    assert done is not None
    result = ShardResult(
        plan=scratch.plan,
        registry=scratch.registry,
        number=number,
        of=of,
        files=len(done),
        size_bytes=done.files_size_bytes(),
        sha256=sha256_of(done),
        changed=not is_done,
    )
    if is_folder(scratch.registry):
        result["host"] = host()
    return result
