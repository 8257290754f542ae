"""Waiting for a revision."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue, XComArg, conf
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from t4_ops import operations
from t4_ops.airflow._lineage import TellsDatasets
from t4_ops.airflow._run import airflow_errors, settings_for
from t4_ops.airflow._values import parsed
from t4_ops.airflow.links import revision_links
from t4_ops.errors import StorageError
from t4_ops.keys import PackageRef

if TYPE_CHECKING:
    from t4_ops import Settings
    from t4_ops.operations import CheckResult, Condition

_STATE_KEY: Final = "t4_condition"
_GRACE_S: Final = 60.0
NOW: Final = "now"
"""As `moved_since`: what `latest` holds when the sensor begins."""


class PackageSensor(TellsDatasets, BaseSensorOperator):
    """Wait until a package is there, and all that is given is so; return the revision, pinned.

    Args:
        name: Package name, `ns/name`.
        registry: Where; None or empty text is the registry of the connection.
        moved_since: A top hash, or a step's result with one, that `latest` must have left; or
            `"now"`: what it holds when the sensor begins.
        equals: The top hash that `latest` must hold, or the first digits of it; or a step's result.
        contains: Logical keys it must have, directories with their `/`.
        t4_conn_id: Connection of type `t4`; None or empty text: the settings of the worker.
        deferrable: Wait in the triggerer, without a worker.
        **kwargs: Arguments of every sensor, such as `mode`, `poke_interval` and `timeout`.
    """

    custom_operator_name = "T4 sensor"
    ui_color = "#e8e6f2"
    ui_fgcolor = "#12352a"
    operator_extra_links = revision_links()
    template_fields: Sequence[str] = (
        "name",
        "registry",
        "moved_since",
        "equals",
        "contains",
        "t4_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"contains": "json"}
    _seen: str | None = None

    def __init__(
        self,
        *,
        name: str | XComArg,
        registry: str | XComArg | None = None,
        moved_since: str | Mapping[str, Any] | XComArg | None = None,
        equals: str | Mapping[str, Any] | XComArg | None = None,
        contains: str | Sequence[str] | XComArg | None = None,
        t4_conn_id: str | XComArg | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.name: Any = name
        self.registry: Any = registry
        self.moved_since: Any = moved_since
        self.equals: Any = equals
        self.contains: Any = contains
        self.t4_conn_id: Any = t4_conn_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Look, and wait in the way that was asked for.

        Raises:
            AirflowFailException: It can't become so without the user.
            AirflowSensorTimeout: It was not so in time.
        """
        if not self.deferrable:
            found = super().execute(context)
            self._forget(context)
            return found
        answer = self.poke(context)
        if answer:
            self._forget(context)
            return answer.xcom_value
        with airflow_errors():
            condition = self._condition(context, settings_for(self.t4_conn_id))
        from t4_ops.airflow.triggers import PackageTrigger

        self.defer(
            trigger=PackageTrigger(
                condition=condition.as_dict(),
                t4_conn_id=self.t4_conn_id or None,
                poll_s=self.poke_interval,
                seen=self._seen,
                until_s=time.time() + self.timeout,
            ),
            method_name="execute_complete",
            # The trigger gives up by itself, and says what was lacking; unless it can't.
            timeout=timedelta(seconds=self.timeout + self.poke_interval + _GRACE_S),
        )
        return None

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; a storage that is away may be back the next time."""
        try:
            with airflow_errors():
                settings = settings_for(self.t4_conn_id)
                condition = self._condition(context, settings)
                answer = operations.check(condition, seen=self._seen, settings=settings)
        except StorageError as exc:
            self.log.warning("%s; looking again later", exc)
            return PokeReturnValue(is_done=False)
        self.log.info("%s", answer["reason"])
        self._seen = answer["top_hash"]
        if answer["met"]:
            self._result = _found(answer)
        return PokeReturnValue(is_done=answer["met"], xcom_value=self._result)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return what the triggerer found.

        Raises:
            AirflowFailException: It can't become so without the user.
            AirflowSensorTimeout: It was not so in time.
        """
        if event.get("timed_out"):
            raise AirflowSensorTimeout(f"not so after {self.timeout:g} s: {event['reason']}")
        if not event["met"]:
            raise AirflowFailException(event["reason"])
        self.log.info("%s", event["reason"])
        self._forget(context)
        self._result = found = _found(event)
        return found

    def _condition(self, context: Context, settings: Settings) -> Condition:
        """Return what is waited for; what "now" means is remembered between pokes and tries."""
        moved_since = _top_hash(self.moved_since)
        if moved_since == NOW:
            moved_since = self._when_it_began(context, settings)
        return operations.Condition(
            name=self.name,
            registry=self.registry or settings.registry,
            moved_since=moved_since,
            equals=_top_hash(self.equals),
            contains=parsed(self.contains) or (),
        )

    def _when_it_began(self, context: Context, settings: Settings) -> str | None:
        store = context["task_state_store"]
        kept = store.get(_STATE_KEY)
        if not isinstance(kept, dict) or kept.get("name") != self.name:
            condition = operations.moved_from_now(
                self.name, registry=self.registry or None, settings=settings
            )
            kept = {"name": self.name, "moved_since": condition.moved_since}
            store.set(_STATE_KEY, kept)
        found = kept["moved_since"]
        return None if found is None else str(found)

    def _forget(self, context: Context) -> None:
        """Begin anew when the task is cleared and run again."""
        if self.moved_since == NOW:
            context["task_state_store"].delete(_STATE_KEY)


def _top_hash(value: Any) -> str | None:
    """Return the top hash that a field means: that of a step's result, or the text itself."""
    value = parsed(value)
    return PackageRef.from_dict(value).top_hash if isinstance(value, Mapping) else value


def _found(answer: CheckResult | Mapping[str, Any]) -> dict[str, Any]:
    ref = PackageRef(answer["registry"], answer["name"], str(answer["top_hash"]))
    return {**ref.to_dict(), "changed": True}
