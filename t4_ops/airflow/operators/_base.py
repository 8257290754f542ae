"""What the operators share: one call of a step, told about its run, in Airflow's words."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from airflow.sdk import Asset, BaseOperator, Context, XComArg

from t4_ops import operations
from t4_ops.airflow._lineage import TellsDatasets
from t4_ops.airflow._run import airflow_errors, run_info, settings_for
from t4_ops.airflow._values import amount, is_literal, moved, partition_keys
from t4_ops.airflow.assets import alias_of, package_asset, tell
from t4_ops.airflow.links import revision_links
from t4_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from t4_ops import Settings
    from t4_ops.operations import ColumnLineageLike, InputLike, PackageLike, RunInfo

    PackageArg: TypeAlias = PackageLike | XComArg
    """A step's result (`op.output`), a template for one, a URI, or `ns/name[@hash]`."""
    ColumnLineageArg: TypeAlias = ColumnLineageLike | XComArg | None
    """A column to one or several `(input, column)` pairs; an input may be `install.output`."""
    InputsArg: TypeAlias = InputLike | XComArg | Iterable[InputLike | XComArg] | None
    """One or several of: a step's result, a package URI, OpenLineage `namespace` and `name`; or a
    template that renders to such."""
    TextArg: TypeAlias = str | XComArg | None
    FlagArg: TypeAlias = bool | str | XComArg
    CountArg: TypeAlias = int | str | XComArg

_JSON_FIELDS: Final = (
    "package",
    "other",
    "to",
    "meta",
    "inputs",
    "column_lineage",
    "expectations",
    "selector",
    "plan",
    "shard",
    "shards",
)


class PackageOperator(TellsDatasets, BaseOperator):
    """One call of a step.

    Args:
        t4_conn_id: Connection of type `t4`; None or empty text: the settings of the worker.
        multiple_outputs: Whether each item of the result is pushed under its own key too.
        **kwargs: Arguments of every operator, such as `task_id` and `retries`.
    """

    ui_color = "#e6f2ec"
    ui_fgcolor = "#12352a"
    operator_extra_links = revision_links()
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **dict.fromkeys(_JSON_FIELDS, "json"),
        "message": "md",
    }
    custom_operator_name = "T4 step"
    """The name that the UI and the log show."""
    # Made in `execute`: an operator with an Event can't be deep-copied, as DAGs are.
    _stop: threading.Event | None = None

    def __init__(
        self, *, t4_conn_id: TextArg = None, multiple_outputs: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.t4_conn_id: Any = t4_conn_id

    def execute(self, context: Context) -> Any:
        """Run the step and return its result.

        Raises:
            AirflowFailException: The step failed and a retry would not help.
            StorageError: The storage failed and a retry may help.
        """
        self._stop = threading.Event()
        start_s = time.monotonic()
        try:
            with airflow_errors(), self._log_group(), operations.count_files() as counts:
                self._check(context)
                run, settings = run_info(context), settings_for(self.t4_conn_id)
                result = self._result = dict(self._step(run, settings, self._stop))
                self._tell(context, result)
        finally:
            self._stop = None
        took_s = time.monotonic() - start_s
        # What matters first: log views cut long lines.
        facts = f"{self._facts(result)}{moved(counts)}"
        self.log.info("%s, %.1f s: %s", facts, took_s, self._about(result))
        return result

    def on_kill(self) -> None:
        """Let the step give up: it starts no further piece of work."""
        stop = self._stop  # read once: the step may end meanwhile
        if stop is not None:
            stop.set()
            self.log.info("Killed: finishing the pieces under way, starting no others")

    def _check(self, context: Context) -> None:
        """Refuse what could only fail after the step.

        Raises:
            InvalidInputError: Something does not fit.
        """

    def _step(self, run: RunInfo, settings: Settings, stop: threading.Event) -> Mapping[str, Any]:
        """Call the step with the operator's rendered fields."""
        raise NotImplementedError

    def _tell(self, context: Context, result: Mapping[str, Any]) -> None:
        """Tell Airflow's assets of what was published."""

    def _facts(self, result: Mapping[str, Any]) -> str:
        """Return what the step did, in a few words."""
        return f"{'changed' if result['changed'] else 'unchanged'}, {amount(result)}"

    def _about(self, result: Mapping[str, Any]) -> str:
        """Return what the step was about."""
        return str(result["uri"])

    def _log_group(self) -> AbstractContextManager[None]:
        return _group(self.log, self.custom_operator_name)


@contextmanager
def _group(log: Any, title: str) -> Iterator[None]:
    # What Airflow's log view folds; source: `airflow.sdk` 1.3.2, its own groups.
    log.info("::group::%s", title)
    try:
        yield
    finally:
        log.info("::endgroup::")


class PublishingOperator(PackageOperator):
    """A step that moves `latest`, and tells Airflow's assets.

    Where name and registry are literal, the package's asset is an outlet of the task; where they
    are known only when it runs, an alias is (`t4:<dag_id>.<task_id>`), which leads to the asset.

    Args:
        emit_event: Whether to tell at all; an asset among `outlets` is told of in any case.
        partitions: Partition keys of the event; needs a literal name and registry.
        **kwargs: Arguments of `PackageOperator`.
    """

    _publishes = True

    def __init__(
        self,
        *,
        emit_event: bool = True,
        partitions: str | Iterable[str] | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.emit_event = emit_event
        self.partitions: Any = partitions
        self._declared: list[Any] = []

    def _declare(self, name: object, registry: object) -> None:
        """Declare what the task publishes, as far as that is known when the DAG is parsed."""
        if not self.emit_event:
            return
        if is_literal(name) and is_literal(registry):
            self._declared = [package_asset(str(name), str(registry))]
        elif self.has_dag():
            self._declared = [alias_of(self)]
        self.outlets.extend(self._declared)

    def _check(self, context: Context) -> None:
        if getattr(context["ti"], "map_index", -1) >= 0:
            # What a mapped task declares is unknown to the scheduler, which would drop the event.
            self.outlets = [o for o in self.outlets if all(o is not d for d in self._declared)]
        if partition_keys(self.partitions) and not any(isinstance(o, Asset) for o in self.outlets):
            raise InvalidInputError(
                "partitions need the package's asset among the task's outlets, as Airflow has none"
                " for aliases: give name and registry literally, or"
                " outlets=[package_asset(name, registry)]"
            )

    def _tell(self, context: Context, result: Mapping[str, Any]) -> None:
        tell(self, context, result, partition_keys(self.partitions), add_outlet=self.emit_event)
