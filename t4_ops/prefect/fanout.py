"""One huge package hashed by many task runs, on whatever runner the flow has.

The plan and the publication run in the flow's own process: only there a transaction can take a
publication back. The hashing goes to the runner, threads, processes, Dask or Ray, in chunks of
about equal work; what passes between them is small. The top hash is that of `build_package`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prefect import unmapped
from prefect.context import FlowRunContext

from t4_ops import operations
from t4_ops.keys import NOW
from t4_ops.prefect._finishing import built, log
from t4_ops.prefect._moves import Publishing
from t4_ops.prefect._reach import Where, reach, url_of
from t4_ops.prefect._runs import run_info
from t4_ops.prefect._step import step
from t4_ops.prefect.revisions import Revision, plain

if TYPE_CHECKING:
    from t4_ops.operations import (
        ColumnLineageLike,
        Expected,
        InputLike,
        PlanResult,
        Shard,
        ShardResult,
        Sources,
    )

MAX_SHARDS = 100
"""Most task runs, unless asked for another number."""
MIN_SHARD_BYTES = 64 * 1024 * 1024
"""Least work of one, unless asked for another number: a run costs some 10 ms in a thread, and
seconds in a process of its own."""


@step("plan")
def plan_shards(
    source: Sources,
    *,
    registry: Where = None,
    max_shards: int = MAX_SHARDS,
    min_shard_bytes: int = MIN_SHARD_BYTES,
) -> PlanResult:
    """List the sources of a package and cut the list into chunks of about equal work.

    A flow run that is tried again makes the same plan and goes on with what was hashed.

    Args:
        source: As `build_package` takes it; every worker must reach it by the same name.
        registry: Where the package is going to be, and where the lists wait: every worker must
            reach it.
        max_shards: Most chunks.
        min_shard_bytes: Least work of one.

    Raises:
        InvalidInputError: An argument breaks a rule; nothing was written.
        NotFoundError: A source is not there.
    """
    context = FlowRunContext.get()
    flow_run = context.flow_run if context else None
    plan = operations.plan_shards(
        plain(source),
        registry=url_of(registry),
        max_shards=max_shards,
        min_shard_bytes=min_shard_bytes,
        token=None if flow_run is None else str(flow_run.id),
        settings=reach(registry),
    )
    log(
        "planned %d chunks: %d files, %d bytes",
        len(plan["shards"]),
        plan["files"],
        plan["size_bytes"],
    )
    return plan


@step("hash")
def hash_shard(shard: Shard, *, registry: Where = None) -> ShardResult:
    """Hash the files of one chunk; to a bucket local files are uploaded too.

    Args:
        shard: One of a plan's.
        registry: The `T4Registry` block of the plan's registry, if it takes one to reach it.

    Raises:
        NotFoundError: A file is gone, or not on this machine.
    """
    return operations.hash_shard(shard, settings=reach(registry))


@step("merge")
def merge_shards(
    results: Iterable[ShardResult],
    name: str,
    *,
    registry: Where = None,
    meta: Mapping[str, Any] | None = None,
    message: str | None = None,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
    expected: Expected = NOW,
) -> Revision:
    """Publish the package whose chunks were hashed.

    Args:
        results: What `hash_shard` returned, in any order.
        name: Package name.
        registry: That of the plan, where it takes a `T4Registry` block to reach it; None: wherever
            the plan is.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What the files were made from; the sources are noted too.
        column_lineage: What the columns of its table were made from.
        expected: What `latest` must hold; see `build_package`.

    Raises:
        InvalidInputError: A result is missing, or they are of several plans, or of one in another
            registry.
        IntegrityError: A file changed since it was hashed.
        ConflictError: Somebody moved `latest` meanwhile.
    """
    settings, parts = reach(registry), list(results)
    place = operations.registry_of_shards(parts)
    publishing = Publishing(name, place, settings, expected=expected)
    result = operations.merge_shards(
        parts,
        name,
        registry=url_of(registry),
        meta=meta,
        message=message,
        inputs=plain(inputs),
        column_lineage=column_lineage,
        expected=publishing.expected,
        run=run_info(),
        settings=settings,
    )
    return built(result, publishing.undo(result))


def build_in_shards(
    name: str,
    source: Sources,
    *,
    registry: Where = None,
    max_shards: int = MAX_SHARDS,
    min_shard_bytes: int = MIN_SHARD_BYTES,
    **options: Any,
) -> Revision:
    """Make a revision from files, hashed by many task runs; call it in a flow.

    Args:
        name: Package name.
        source: As `build_package` takes it; every worker must reach it by the same name.
        registry: Where; every worker must reach it. None is the default registry.
        max_shards: Most task runs that hash.
        min_shard_bytes: Least work of one.
        **options: Those of `merge_shards`: `meta`, `message`, `inputs`, `column_lineage`,
            `expected`.

    Raises:
        T4Error: As `build_package`, and what the three tasks raise.
    """
    plan = plan_shards(
        source, registry=registry, max_shards=max_shards, min_shard_bytes=min_shard_bytes
    )
    hashed = hash_shard.map(plan["shards"], registry=unmapped(registry))
    made: Revision = merge_shards(hashed.result(), name, registry=registry, **options)
    return made
