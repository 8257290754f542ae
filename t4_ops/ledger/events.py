"""One OpenLineage run event, built with the OpenLineage client's own classes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal

from t4_ops.errors import InvalidInputError
from t4_ops.ledger.datasets import Input, Output
from t4_ops.ledger.runs import JobRun, RunInfo
from t4_ops.ledger.text import clean

State = Literal["COMPLETE", "FAIL"]

PACKAGE_FACET: Final = "t4_package"
"""Our facet of an output; OpenLineage asks for the project's name as a prefix."""
RUN_FACET: Final = "t4_run"
"""Our facet of a run."""
# The schemas lie in `schemas/`; a URN, because nothing has to be fetched to read an event.
PACKAGE_SCHEMA: Final = "urn:t4-ops:facets:1-0-0:T4PackageDatasetFacet"
RUN_SCHEMA: Final = "urn:t4-ops:facets:1-0-0:T4RunFacet"
EVENT_MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest event written or read; 10,000 inputs take about 4 MB."""
_MESSAGE_MAX_CHARS: Final = 1000
_ERROR_MAX_CHARS: Final = 4000


def build_event(
    run: RunInfo,
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    *,
    state: State,
    error: BaseException | str | None,
    event_time: datetime | None,
    secrets: Iterable[str] = (),
) -> bytes:
    """Return an OpenLineage RunEvent as JSON.

    Args:
        run: The run.
        inputs: What it read.
        outputs: What it published.
        state: How it ended.
        error: Why it failed.
        event_time: When; now unless given. It needs an offset from UTC.
        secrets: Credentials in use, hidden in messages.

    Raises:
        InvalidInputError: The time has no offset, or the event is larger than `EVENT_MAX_BYTES`.
    """
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.serde import Serde

    moment = event_time or datetime.now(UTC)
    if moment.tzinfo is None:
        raise InvalidInputError(f"event time {moment.isoformat()} needs an offset from UTC")
    hidden = tuple(secrets)
    event = RunEvent(
        eventTime=moment.astimezone(UTC).isoformat(),
        eventType=RunState[state],
        producer=_producer(),
        run=Run(runId=run.run_id, facets=_run_facets(run, error, hidden)),
        job=Job(namespace=run.job_namespace, name=run.job_name, facets=_job_facets(run)),
        inputs=[_input_dataset(item) for item in inputs],
        outputs=[_output_dataset(item, hidden) for item in outputs],
    )
    text = json.dumps(Serde.to_dict(event), sort_keys=True, separators=(",", ":"), allow_nan=False)
    data = text.encode("ascii")
    if len(data) > EVENT_MAX_BYTES:
        raise InvalidInputError(
            f"the lineage event of run {run.run_id} is {len(data)} bytes, more than"
            f" {EVENT_MAX_BYTES}: name fewer inputs"
        )
    return data


@cache
def _library_version() -> str:
    try:
        return version("t4-ops")
    except PackageNotFoundError:
        return "unknown"


def _producer() -> str:
    return f"urn:t4-ops:{_library_version()}"


def _run_facets(
    run: RunInfo, error: BaseException | str | None, secrets: Sequence[str]
) -> dict[str, Any]:
    from openlineage.client.facet_v2 import (
        error_message_run,
        nominal_time_run,
        processing_engine_run,
    )

    producer = _producer()
    facets: dict[str, Any] = {
        RUN_FACET: _facet_classes()[1](attempt=run.attempt, producer=producer)
    }
    if run.parent is not None:
        facets["parent"] = _parent_facet(run.parent, run.root)
    if run.nominal_time is not None:
        facets["nominalTime"] = nominal_time_run.NominalTimeRunFacet(
            nominalStartTime=run.nominal_time, producer=producer
        )
    if run.engine is not None:
        facets["processing_engine"] = processing_engine_run.ProcessingEngineRunFacet(
            version=run.engine_version or "unknown",
            name=run.engine,
            openlineageAdapterVersion=_library_version(),
            producer=producer,
        )
    if error is not None:
        # No stack trace: its lines quote code and values that nobody chose to publish.
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=clean(text, _ERROR_MAX_CHARS, secrets),
            programmingLanguage="PYTHON",
            producer=producer,
        )
    return facets


def _parent_facet(parent: JobRun, root: JobRun | None) -> Any:
    from openlineage.client.facet_v2 import parent_run

    above = None
    if root is not None:
        above = parent_run.Root(
            run=parent_run.RootRun(runId=root.run_id),
            job=parent_run.RootJob(namespace=root.job_namespace, name=root.job_name),
        )
    return parent_run.ParentRunFacet(
        run=parent_run.Run(runId=parent.run_id),
        job=parent_run.Job(namespace=parent.job_namespace, name=parent.job_name),
        root=above,
        producer=_producer(),
    )


def _job_facets(run: RunInfo) -> dict[str, Any]:
    from openlineage.client.facet_v2 import job_type_job

    integration = (run.engine or "python").upper()
    return {
        "jobType": job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration=integration, producer=_producer()
        )
    }


def _version_facets(top_hash: str | None) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset

    if top_hash is None:
        return {}
    facet = dataset_version_dataset.DatasetVersionDatasetFacet(
        datasetVersion=top_hash, producer=_producer()
    )
    return {"version": facet}


def _input_dataset(item: Input) -> Any:
    from openlineage.client.event_v2 import InputDataset

    return InputDataset(
        namespace=item.namespace, name=item.name, facets=_version_facets(item.version)
    )


def _output_dataset(output: Output, secrets: Sequence[str]) -> Any:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    item = Input.of_ref(output.ref)
    facets = _version_facets(item.version)
    facets[PACKAGE_FACET] = _facet_classes()[0](
        uri=output.ref.uri,
        changed=output.changed,
        parentTopHash=output.parent,
        message=None
        if output.message is None
        else clean(output.message, _MESSAGE_MAX_CHARS, secrets),
        producer=_producer(),
    )
    if output.changed:
        facets["lifecycleStateChange"] = _lifecycle_facet(is_new=output.parent is None)
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        size=output.size_bytes, fileCount=output.files, producer=_producer()
    )
    return OutputDataset(
        namespace=item.namespace,
        name=item.name,
        facets=facets,
        outputFacets={"outputStatistics": statistics},
    )


def _lifecycle_facet(*, is_new: bool) -> Any:
    from openlineage.client.facet_v2 import lifecycle_state_change_dataset as lifecycle

    change = lifecycle.LifecycleStateChange.CREATE
    if not is_new:
        change = lifecycle.LifecycleStateChange.OVERWRITE
    return lifecycle.LifecycleStateChangeDatasetFacet(
        lifecycleStateChange=change, producer=_producer()
    )


@cache
def _facet_classes() -> tuple[Any, Any]:
    """Return our own facets' classes; inside a function because their bases are slow to import."""
    import attr
    from openlineage.client.facet_v2 import DatasetFacet, RunFacet

    @attr.define
    class T4PackageDatasetFacet(DatasetFacet):
        """What our readers want to know of a published revision."""

        uri: str
        changed: bool
        parentTopHash: str | None = None  # OpenLineage's facets are in camelCase
        message: str | None = None

        @staticmethod
        def _get_schema() -> str:
            return f"{PACKAGE_SCHEMA}#/$defs/T4PackageDatasetFacet"

    @attr.define
    class T4RunFacet(RunFacet):
        """What OpenLineage has no facet for: which try it was."""

        attempt: int

        @staticmethod
        def _get_schema() -> str:
            return f"{RUN_SCHEMA}#/$defs/T4RunFacet"

    return T4PackageDatasetFacet, T4RunFacet
