"""Making a revision from files."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg

from t4_ops import operations
from t4_ops.airflow._values import count, parsed
from t4_ops.airflow.operators._base import PublishingOperator

if TYPE_CHECKING:
    from t4_ops import Settings
    from t4_ops.airflow.operators._base import ColumnLineageArg, CountArg, InputsArg, TextArg
    from t4_ops.operations import RunInfo, Sources


class BuildPackageOperator(PublishingOperator):
    """Make a revision of a package from files.

    The same files, metadata and message give the same top hash, so a retry finds its work done.

    A build tells Airflow's assets of its revision only if `emit_event=True`, because mostly a push
    follows that does: consumers of one asset would be started twice.

    Args:
        name: Package name, `ns/name`.
        source: A folder, `s3://` prefix, file, object or package; several of them; or a mapping of
            logical keys to such.
        registry: `s3://bucket` or a folder; None or empty text is the one of the connection.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What the files were made from, for lineage: `install.output`, package URIs, or
            `{"namespace": ..., "name": ...}` for other sources.
        column_lineage: What the columns of the package's table were made from: column to one or
            several `(input, column)` pairs, such as `{"total": [(install.output, "amount")]}`.
        retry_conflicts: How often to bring the changes together with those of somebody who was
            faster.
        emit_event: Whether to tell Airflow's assets.
        **kwargs: Arguments of `PublishingOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 build"
    template_fields: Sequence[str] = (
        "name",
        "source",
        "registry",
        "meta",
        "message",
        "inputs",
        "column_lineage",
        "retry_conflicts",
        "partitions",
        "t4_conn_id",
    )

    def __init__(
        self,
        *,
        name: str | XComArg,
        source: Sources | Sequence[Any] | Mapping[str, Any] | XComArg,
        registry: TextArg = None,
        meta: Mapping[str, Any] | TextArg = None,
        message: TextArg = None,
        inputs: InputsArg = None,
        column_lineage: ColumnLineageArg = None,
        retry_conflicts: CountArg = 0,
        emit_event: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(emit_event=emit_event, **kwargs)
        self.name: Any = name
        self.source: Any = source
        self.registry: Any = registry
        self.meta: Any = meta
        self.message: Any = message
        self.inputs: Any = inputs
        self.column_lineage: Any = column_lineage
        self.retry_conflicts: Any = retry_conflicts
        self._declare(name, registry)

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:
        return operations.build(
            self.name,
            self.source,
            registry=self.registry or None,
            meta=parsed(self.meta),
            message=self.message or None,
            inputs=parsed(self.inputs),
            column_lineage=parsed(self.column_lineage),
            retry_conflicts=count(self.retry_conflicts, "retry_conflicts"),
            run=run,
            settings=settings,
            stop=stop,
        )
