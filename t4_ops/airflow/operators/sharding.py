"""A build that many workers share: plan, one mapped task for each part, merge."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context, TaskGroup, XComArg, conf

from t4_ops import operations
from t4_ops.airflow._values import amount, count, parsed
from t4_ops.airflow.operators._base import PackageOperator, PublishingOperator

if TYPE_CHECKING:
    from t4_ops import Settings
    from t4_ops.airflow.operators._base import ColumnLineageArg, CountArg, InputsArg, TextArg
    from t4_ops.operations import RunInfo, Sources


class PlanShardsOperator(PackageOperator):
    """List the sources once, and cut the list into parts of about equal size; return the parts.

    It returns a list, and not a dict as the others do: Airflow maps tasks over nothing else.

    Args:
        source: A folder, `s3://` prefix, file or object; several of them; or a mapping of logical
            keys to such. Every worker must reach it by the same name.
        registry: Where the package is going to be; None or empty text is the one of the connection.
        max_shards: Most parts; Airflow's `[core] max_map_length` is never passed.
        min_shard_bytes: Least work of a part.
        **kwargs: Arguments of `PackageOperator`, such as `t4_conn_id`, and of every operator.
    """

    _token: str | None = None
    custom_operator_name = "T4 plan shards"
    ui_color = "#eee9df"
    template_fields: Sequence[str] = (
        "source",
        "registry",
        "max_shards",
        "min_shard_bytes",
        "t4_conn_id",
    )

    def __init__(
        self,
        *,
        source: Sources | Sequence[Any] | Mapping[str, Any] | XComArg,
        registry: TextArg = None,
        max_shards: CountArg = 100,
        min_shard_bytes: CountArg = 64 * 1024 * 1024,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"multiple_outputs": False, **kwargs})
        self.source: Any = source
        self.registry: Any = registry
        self.max_shards: Any = max_shards
        self.min_shard_bytes: Any = min_shard_bytes

    def execute(self, context: Context) -> Any:
        """Make the plan, or find the one of the try before; return its shards."""
        # Not the try: a retry goes on with the plan of the one before.
        ti, clear_number = context["ti"], context["dag_run"].clear_number
        self._token = f"{ti.dag_id}/{ti.run_id}/{clear_number}/{ti.task_id}/{ti.map_index}"
        return super().execute(context)["shards"]

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:  # noqa: ARG002
        most = conf.getint("core", "max_map_length", fallback=1024)
        return operations.plan_shards(
            self.source,
            registry=self.registry or None,
            max_shards=min(count(self.max_shards, "max_shards"), most),
            min_shard_bytes=count(self.min_shard_bytes, "min_shard_bytes"),
            token=self._token,
            settings=settings,
            stop=stop,
        )

    def _facts(self, result: Mapping[str, Any]) -> str:
        return f"{len(result['shards'])} shards, {amount(result)}"

    def _about(self, result: Mapping[str, Any]) -> str:
        return f"plan {result['plan']}"


class HashShardOperator(PackageOperator):
    """Hash one part; on a bucket also bring what is local there.

    Args:
        shard: One of a plan's; mapped: `.expand(shard=plan.output)`.
        **kwargs: Arguments of `PackageOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 hash shard"
    ui_color = "#eee9df"
    template_fields: Sequence[str] = ("shard", "t4_conn_id")

    def __init__(self, *, shard: Mapping[str, Any] | str | XComArg, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard: Any = shard

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:  # noqa: ARG002
        # No run: what was read is told by the merge, once.
        return operations.hash_shard(self.shard, settings=settings, stop=stop)

    def _about(self, result: Mapping[str, Any]) -> str:
        return f"shard {result['number']} of {result['of']}, plan {result['plan']}"


class MergeShardsOperator(PublishingOperator):
    """Make the revision of all parts: the same top hash as one build would have.

    Args:
        results: What the mapped tasks returned: `hash.output`.
        name: Package name, `ns/name`.
        registry: That of the plan. Where name and registry are literal, the package's asset is an
            outlet of the task.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What the files were made from, for lineage.
        column_lineage: What the columns of its table were made from, as for a build.
        **kwargs: Arguments of `PublishingOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 merge shards"
    template_fields: Sequence[str] = (
        "results",
        "name",
        "registry",
        "meta",
        "message",
        "inputs",
        "column_lineage",
        "partitions",
        "t4_conn_id",
    )

    def __init__(
        self,
        *,
        results: Iterable[Any] | XComArg,
        name: str | XComArg,
        registry: TextArg = None,
        meta: Mapping[str, Any] | TextArg = None,
        message: TextArg = None,
        inputs: InputsArg = None,
        column_lineage: ColumnLineageArg = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.results: Any = results
        self.name: Any = name
        self.registry: Any = registry
        self.meta: Any = meta
        self.message: Any = message
        self.inputs: Any = inputs
        self.column_lineage: Any = column_lineage
        self._declare(name, registry)

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:
        return operations.merge_shards(
            self.results,
            self.name,
            registry=self.registry or None,
            meta=parsed(self.meta),
            message=self.message or None,
            inputs=parsed(self.inputs),
            column_lineage=parsed(self.column_lineage),
            run=run,
            settings=settings,
            stop=stop,
        )


def build_in_shards(
    *,
    name: str,
    source: Any,
    registry: str | None = None,
    group_id: str = "build",
    t4_conn_id: str | None = None,
    max_shards: int | str = 100,
    min_shard_bytes: int | str = 64 * 1024 * 1024,
    **merge: Any,
) -> MergeShardsOperator:
    """Return the last task of a group that builds a package on as many workers as there are.

    Args:
        name: Package name, `ns/name`.
        source: As `PlanShardsOperator` takes it.
        registry: Where; None is the registry of the connection.
        group_id: Name of the task group, with the tasks `plan`, `hash` and `merge`.
        t4_conn_id: Connection of type `t4`; None: what `default_args` say, else the settings of
            the workers.
        max_shards: Most parts.
        min_shard_bytes: Least work of a part.
        **merge: Further arguments of `MergeShardsOperator`, such as `message`.
    """
    # What is not given is left to `default_args`.
    shared: dict[str, Any] = {} if t4_conn_id is None else {"t4_conn_id": t4_conn_id}
    place: dict[str, Any] = {} if registry is None else {"registry": registry}
    with TaskGroup(group_id):
        plan = PlanShardsOperator(
            task_id="plan",
            source=source,
            max_shards=max_shards,
            min_shard_bytes=min_shard_bytes,
            **place,
            **shared,
        )
        shards = HashShardOperator.partial(task_id="hash", **shared).expand(shard=plan.output)
        return MergeShardsOperator(
            task_id="merge", results=shards.output, name=name, **place, **shared, **merge
        )
