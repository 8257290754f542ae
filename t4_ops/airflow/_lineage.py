"""What a task read and wrote, in the words of Airflow's OpenLineage provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class TellsDatasets:
    """The methods that Airflow's OpenLineage provider asks; it asks only where it is installed.

    They ask nothing of any storage; the registry's own ledger says the same and more.
    """

    _publishes: ClassVar[bool] = False
    """Whether the revision in the result was published by the task, else it was read."""
    _result: Mapping[str, Any] | None = None

    def get_openlineage_facets_on_start(self) -> Any:
        """Tell nothing yet: what is read is known at the end."""
        return _told()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002
        """Return the datasets that the task read and wrote."""
        result = self._result
        if result is None or not {"top_hash", "old"} & result.keys():
            return _told()
        from t4_ops.operations import openlineage_datasets

        return _told(*openlineage_datasets(result, publishes=self._publishes))

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        """Return what is known of the datasets; of a failed task that is little."""
        return self.get_openlineage_facets_on_complete(task_instance)


def _told(inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()) -> Any:
    # Also where there are none: of None the provider (2.20.3) says in every task's log that it is
    # "non-valid metadata".
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage(inputs=[*inputs], outputs=[*outputs])
