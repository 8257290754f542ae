"""Moving `latest` back, and taking a revision from a package's names."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg

from t4_ops import operations
from t4_ops.airflow._values import flag
from t4_ops.airflow.operators._base import PackageOperator, PublishingOperator

if TYPE_CHECKING:
    from t4_ops import Settings
    from t4_ops.airflow.operators._base import FlagArg, PackageArg, TextArg
    from t4_ops.operations import RunInfo


class RollbackPackageOperator(PublishingOperator):
    """Move `latest` to a revision that the package had.

    Args:
        name: Package name, `ns/name`.
        to: The revision: its top hash or the beginning of it, a step's result, a template that
            renders to one, or a package URI.
        registry: Where; None or empty text is the one of the connection.
        expected: The top hash that `latest` must hold, such as the one found bad; None or empty
            text: what it holds when the step begins.
        force: Move it whatever it holds.
        **kwargs: Arguments of `PublishingOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 rollback"
    ui_color = "#f7e6e3"
    template_fields: Sequence[str] = (
        "name",
        "to",
        "registry",
        "expected",
        "force",
        "partitions",
        "t4_conn_id",
    )

    def __init__(
        self,
        *,
        name: str | XComArg,
        to: PackageArg,
        registry: TextArg = None,
        expected: TextArg = None,
        force: FlagArg = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name: Any = name
        self.to: Any = to
        self.registry: Any = registry
        self.expected: Any = expected
        self.force: Any = force
        self._declare(name, registry)

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:  # noqa: ARG002
        # It moves one pointer: there is nothing to give up.
        return operations.rollback(
            self.name,
            self.to,
            registry=self.registry or None,
            expected=self.expected or operations.NOW,
            force=flag(self.force, "force"),
            settings=settings,
        )


class DeleteRevisionOperator(PackageOperator):
    """Take one revision from a package's names; manifests and objects stay.

    Args:
        package: The revision, its hash told: a step's result, a template that renders to one,
            a package URI, or `ns/name@hash`.
        registry: Where `ns/name` is; None or empty text is the one of the connection.
        **kwargs: Arguments of `PackageOperator`, such as `t4_conn_id`, and of every operator.
    """

    custom_operator_name = "T4 delete revision"
    ui_color = "#f7e6e3"
    template_fields: Sequence[str] = ("package", "registry", "t4_conn_id")

    def __init__(self, *, package: PackageArg, registry: TextArg = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.package: Any = package
        self.registry: Any = registry

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:  # noqa: ARG002
        # It removes a pointer: there is nothing to give up.
        return operations.delete_revision(
            self.package, registry=self.registry or None, settings=settings
        )

    def _facts(self, result: Mapping[str, Any]) -> str:
        left = f"latest is {result['latest']}" if result["latest"] else "no revision is left"
        return f"{'removed' if result['changed'] else 'was not there'}, {left}"
