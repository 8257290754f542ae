"""The steps as operators: what they return is a small plain dict that any task can read.

    build = BuildPackageOperator(task_id="build", name="team/raw", source="/data/raw")
    push = PushPackageOperator(task_id="push", package=build.output, registry="s3://bucket")

Each returns `uri registry name top_hash inputs files size_bytes changed` (install adds `dest`) and
pushes every item under its own key too, so `push.output["top_hash"]` works. What the user has to
mend fails at once; what the storage did wrong is retried, as often as `retries` of the task says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from airflow.sdk import BaseOperator, Context, XComArg

from t4_ops import Settings, load_settings, operations
from t4_ops.airflow._run import airflow_errors, flag, run_info
from t4_ops.operations import (
    ColumnLineageLike,
    InputLike,
    PackageLike,
    RunInfo,
    Sources,
    StepResult,
)

PackageArg: TypeAlias = PackageLike | XComArg
"""A step's result (`op.output`), a template that renders to one, a URI, or `ns/name[@hash]`."""
ColumnLineageArg: TypeAlias = ColumnLineageLike | XComArg | None
"""A column to one or several `(input, column)` pairs, where an input may be `install.output`."""
InputsArg: TypeAlias = InputLike | XComArg | Iterable[InputLike | XComArg] | None
"""One or several of: a step's result, a package URI, OpenLineage `namespace` and `name`; or a
template that renders to such."""


class _PackageOperator(BaseOperator):
    """What the operators share: one call of a step, told about its run, in Airflow's words."""

    ui_color = "#e6f2ec"
    # Made in `execute`: an operator with an Event can't be deep-copied, as DAGs are.
    _stop: threading.Event | None = None

    def __init__(self, *, multiple_outputs: bool = True, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step and return its result.

        Raises:
            AirflowFailException: The step failed and a retry would not help.
            StorageError: The storage failed and a retry may help.
        """
        self._stop = threading.Event()
        start_s = time.monotonic()
        try:
            with airflow_errors():
                # A bar would break up the lines of a task's log; the steps log progress instead.
                settings = load_settings(progress=False)
                result = self._step(run_info(context), settings, self._stop)
        finally:
            self._stop = None
        self.log.info(
            "%s: %d files, %d bytes, %.1f s, %s",
            result["uri"],
            result["files"],
            result["size_bytes"],
            time.monotonic() - start_s,
            "changed" if result["changed"] else "unchanged",
        )
        return dict(result)

    def on_kill(self) -> None:
        """Let the step give up: it starts no further piece of work."""
        stop = self._stop  # read once: the step may end meanwhile
        if stop is not None:
            self.log.info("Killed: finishing the pieces under way, starting no others")
            stop.set()

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> StepResult:
        """Call the step with the operator's rendered fields."""
        raise NotImplementedError


class BuildPackageOperator(_PackageOperator):
    """Make a revision of a package from files.

    The same files, metadata and message give the same top hash, so a retry finds its work done.

    Args:
        name: Package name, `ns/name`.
        source: A folder, `s3://` prefix, file or object; or a mapping of logical keys to such.
        registry: `s3://bucket` or a folder; None or empty text is the default registry.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What the files were made from, for lineage: `install.output`, package URIs, or
            `{"namespace": ..., "name": ...}` for other sources.
        column_lineage: What the columns of the package's table were made from: column to one or
            several `(input, column)` pairs, such as `{"total": [(install.output, "amount")]}`.
        **kwargs: Arguments of every operator, such as `task_id` and `retries`.
    """

    template_fields: Sequence[str] = (
        "name",
        "source",
        "registry",
        "meta",
        "message",
        "inputs",
        "column_lineage",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "meta": "json",
        "inputs": "json",
        "column_lineage": "json",
    }

    def __init__(
        self,
        *,
        name: str | XComArg,
        source: Sources | Mapping[str, XComArg] | XComArg,
        registry: str | XComArg | None = None,
        meta: Mapping[str, Any] | XComArg | None = None,
        message: str | XComArg | None = None,
        inputs: InputsArg = None,
        column_lineage: ColumnLineageArg = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name: Any = name
        self.source: Any = source
        self.registry: Any = registry
        self.meta: Any = meta
        self.message: Any = message
        self.inputs: Any = inputs
        self.column_lineage: Any = column_lineage

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> StepResult:
        return operations.build(
            self.name,
            self.source,
            registry=self.registry,
            meta=self.meta,
            message=self.message,
            inputs=self.inputs,
            column_lineage=self.column_lineage,
            run=run,
            settings=settings,
            stop=stop,
        )


class PushPackageOperator(_PackageOperator):
    """Bring a revision with all its objects into a registry, and move `latest` to it.

    Args:
        package: The revision: `build.output`, a template that renders to a step's result, a package
            URI, or `ns/name[@hash]` in the default registry.
        registry: Where to: `s3://bucket` or a folder; None or empty text is the default registry.
        name: Its name there; None or empty text keeps it.
        message: What changed; None keeps the package's own, and with it the top hash.
        dest: Folder or prefix inside the registry for new objects; None or empty text: the usual
            places.
        force: Replace whatever `latest` holds.
        inputs: What it was made from, besides what the given step's result says.
        column_lineage: What the columns of its table were made from, as for the build.
        **kwargs: Arguments of every operator, such as `task_id` and `retries`.
    """

    template_fields: Sequence[str] = (
        "package",
        "registry",
        "name",
        "message",
        "dest",
        "force",
        "inputs",
        "column_lineage",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "package": "json",
        "inputs": "json",
        "column_lineage": "json",
    }

    def __init__(
        self,
        *,
        package: PackageArg,
        registry: str | XComArg | None = None,
        name: str | XComArg | None = None,
        message: str | XComArg | None = None,
        dest: str | XComArg | None = None,
        force: bool | str | XComArg = False,
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
        self.inputs: Any = inputs
        self.column_lineage: Any = column_lineage

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> StepResult:
        return operations.push(
            self.package,
            registry=self.registry,
            name=self.name,
            message=self.message,
            dest=self.dest or None,
            force=flag(self.force, "force"),
            inputs=self.inputs,
            column_lineage=self.column_lineage,
            run=run,
            settings=settings,
            stop=stop,
        )


class InstallPackageOperator(_PackageOperator):
    """Bring a revision's files into a folder of the worker, every byte verified.

    The folder is on the machine that ran the task: other workers see it only if it is shared.

    Args:
        package: The revision: `push.output`, a template that renders to a step's result, a package
            URI, or `ns/name[@hash]`.
        dest: Folder; None or empty text is `<install_dir>/<ns>/<name>`.
        path: Only this file, or what lies below this directory.
        registry: Where `ns/name` is; None or empty text is the default registry.
        **kwargs: Arguments of every operator, such as `task_id` and `retries`.
    """

    template_fields: Sequence[str] = ("package", "dest", "path", "registry")
    template_fields_renderers: ClassVar[dict[str, str]] = {"package": "json"}

    def __init__(
        self,
        *,
        package: PackageArg,
        dest: str | XComArg | None = None,
        path: str | XComArg | None = None,
        registry: str | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.package: Any = package
        self.dest: Any = dest
        self.path: Any = path
        self.registry: Any = registry

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> StepResult:
        return operations.install(
            self.package,
            dest=self.dest or None,
            path=self.path or None,
            registry=self.registry,
            run=run,
            settings=settings,
            stop=stop,
        )


class BrowsePackageOperator(_PackageOperator):
    """Pin a revision and prove its manifest, without fetching its files.

    Args:
        package: A package URI, `ns/name[@hash]`, a step's result or a template that renders to one.
        registry: Where `ns/name` is; None or empty text is the default registry.
        **kwargs: Arguments of every operator, such as `task_id` and `retries`.
    """

    template_fields: Sequence[str] = ("package", "registry")
    template_fields_renderers: ClassVar[dict[str, str]] = {"package": "json"}

    def __init__(
        self, *, package: PackageArg, registry: str | XComArg | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.package: Any = package
        self.registry: Any = registry

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> StepResult:  # noqa: ARG002
        # Browsing reads two small objects: there is nothing to give up.
        return operations.browse(self.package, registry=self.registry, run=run, settings=settings)
