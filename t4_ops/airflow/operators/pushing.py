"""Bringing a revision into a registry: as its next one, or the same from another."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg

from t4_ops import operations
from t4_ops.airflow._run import settings_for
from t4_ops.airflow._values import count, flag, parsed
from t4_ops.airflow.operators._base import PublishingOperator

if TYPE_CHECKING:
    from t4_ops import Settings
    from t4_ops.airflow.operators._base import (
        ColumnLineageArg,
        CountArg,
        FlagArg,
        InputsArg,
        PackageArg,
        TextArg,
    )
    from t4_ops.operations import RunInfo


class PushPackageOperator(PublishingOperator):
    """Bring a revision with all its objects into a registry, and move `latest` to it.

    Args:
        package: The revision: `build.output`, a template that renders to a step's result, a package
            URI, or `ns/name[@hash]` in the registry of the connection.
        registry: Where to: `s3://bucket` or a folder; None or empty text is the one of the
            connection.
        name: Its name there; None or empty text keeps it.
        message: What changed; None keeps the package's own, and with it the top hash.
        dest: Folder or prefix inside the registry for new objects; None or empty text: the usual
            places.
        force: Replace whatever `latest` holds.
        expected: The top hash that `latest` must hold; None or empty text: what it holds when the
            step begins.
        selector: Only these files: patterns as in a `.gitignore`.
        retry_conflicts: How often to bring the changes together with those of somebody who was
            faster.
        inputs: What it was made from, besides what the given step's result says.
        column_lineage: What the columns of its table were made from, as for the build.
        **kwargs: Arguments of `PublishingOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 push"
    template_fields: Sequence[str] = (
        "package",
        "registry",
        "name",
        "message",
        "dest",
        "force",
        "expected",
        "selector",
        "retry_conflicts",
        "inputs",
        "column_lineage",
        "partitions",
        "t4_conn_id",
    )

    def __init__(
        self,
        *,
        package: PackageArg,
        registry: TextArg = None,
        name: TextArg = None,
        message: TextArg = None,
        dest: TextArg = None,
        force: FlagArg = False,
        expected: TextArg = None,
        selector: str | Sequence[str] | XComArg | None = None,
        retry_conflicts: CountArg = 0,
        inputs: InputsArg = None,
        column_lineage: ColumnLineageArg = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.package: Any = package
        self.registry: Any = registry
        self.name: Any = name
        self.message: Any = message
        self.dest: Any = dest
        self.force: Any = force
        self.expected: Any = expected
        self.selector: Any = selector
        self.retry_conflicts: Any = retry_conflicts
        self.inputs: Any = inputs
        self.column_lineage: Any = column_lineage
        self._declare(name, registry)

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:
        return operations.push(
            self.package,
            registry=self.registry or None,
            name=self.name or None,
            message=self.message or None,
            dest=self.dest or None,
            force=flag(self.force, "force"),
            expected=self.expected or operations.NOW,
            selector=parsed(self.selector) or None,
            retry_conflicts=count(self.retry_conflicts, "retry_conflicts"),
            inputs=parsed(self.inputs),
            column_lineage=parsed(self.column_lineage),
            run=run,
            settings=settings,
            stop=stop,
        )


class PromotePackageOperator(PublishingOperator):
    """Bring the same top hash, proven, into another registry or under another name.

    Args:
        package: The revision: `verify.output`, a template that renders to a step's result, a
            package URI, or `ns/name[@hash]` in the registry of the connection.
        registry: Where to; None or empty text is the registry it is in, or with `source_conn_id`
            that of `t4_conn_id`.
        name: Its name there; None or empty text keeps it.
        dest: Folder or prefix inside the registry for new objects; None or empty text: the usual
            places.
        force: Replace whatever `latest` holds there.
        expected: The top hash that `latest` must hold there; None or empty text: what it holds when
            the step begins.
        inputs: What it was made from, besides what the given step's result says.
        source_conn_id: Connection that reaches the registry it comes from, if `t4_conn_id`, which
            reaches the target, does not.
        **kwargs: Arguments of `PublishingOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 promote"
    ui_color = "#e3ecf7"
    template_fields: Sequence[str] = (
        "package",
        "registry",
        "name",
        "dest",
        "force",
        "expected",
        "inputs",
        "source_conn_id",
        "partitions",
        "t4_conn_id",
    )

    def __init__(
        self,
        *,
        package: PackageArg,
        registry: TextArg = None,
        name: TextArg = None,
        dest: TextArg = None,
        force: FlagArg = False,
        expected: TextArg = None,
        inputs: InputsArg = None,
        source_conn_id: TextArg = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.package: Any = package
        self.registry: Any = registry
        self.name: Any = name
        self.dest: Any = dest
        self.force: Any = force
        self.expected: Any = expected
        self.inputs: Any = inputs
        self.source_conn_id: Any = source_conn_id
        self._declare(name, registry)

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:
        registry, source_registry = self.registry or None, None
        if self.source_conn_id:
            source = settings_for(self.source_conn_id)
            registry, source_registry = self.registry or settings.registry, source.registry
            settings = replace(
                settings,
                registries=(*settings.registries, (source.registry, source.s3)),
                read_only=(*settings.read_only, *source.read_only),
            )
        return operations.promote(
            self.package,
            registry=registry,
            name=self.name or None,
            source_registry=source_registry,
            dest=self.dest or None,
            force=flag(self.force, "force"),
            expected=self.expected or operations.NOW,
            inputs=parsed(self.inputs),
            run=run,
            settings=settings,
            stop=stop,
        )
