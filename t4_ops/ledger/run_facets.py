"""What an event says about the run and its job, in OpenLineage's classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from t4_ops.ledger.code import CodeLocation
from t4_ops.ledger.producing import (
    CODE_FACET,
    CODE_SCHEMA,
    RUN_FACET,
    RUN_SCHEMA,
    library_version,
    producer,
)
from t4_ops.ledger.runs import JobRun, RunInfo
from t4_ops.ledger.text import clean

_ERROR_MAX_CHARS: Final = 4000


def run_facets(
    run: RunInfo, error: BaseException | str | None, secrets: Sequence[str], omitted_inputs: int
) -> dict[str, Any]:
    """Return the facets of a run by name."""
    from openlineage.client.facet_v2 import (
        error_message_run,
        nominal_time_run,
        processing_engine_run,
    )

    facets: dict[str, Any] = {
        RUN_FACET: _facet_classes()[0](
            attempt=run.attempt,
            omittedInputs=omitted_inputs or None,
            deployment=run.deployment,
            producer=producer(),
        )
    }
    if run.parent is not None:
        facets["parent"] = _parent_facet(run.parent, run.root)
    if run.nominal_time is not None:
        facets["nominalTime"] = nominal_time_run.NominalTimeRunFacet(
            nominalStartTime=run.nominal_time, producer=producer()
        )
    if run.engine is not None:
        facets["processing_engine"] = processing_engine_run.ProcessingEngineRunFacet(
            version=run.engine_version or "unknown",
            name=run.engine,
            openlineageAdapterVersion=library_version(),
            producer=producer(),
        )
    if error is not None:
        # No stack trace: its lines quote code and values that nobody chose to publish.
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=clean(text, _ERROR_MAX_CHARS, secrets),
            programmingLanguage="PYTHON",
            producer=producer(),
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
        producer=producer(),
    )


def job_facets(run: RunInfo) -> dict[str, Any]:
    """Return the facets of a run's job by name."""
    from openlineage.client.facet_v2 import job_type_job

    integration = (run.engine or "python").upper()
    facets: dict[str, Any] = {
        "jobType": job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration=integration, producer=producer()
        )
    }
    if run.code is not None:
        facets.update(_code_facets(run.code))
    return facets


def _code_facets(code: CodeLocation) -> dict[str, Any]:
    from openlineage.client.facet_v2 import source_code_location_job

    facets: dict[str, Any] = {
        CODE_FACET: _facet_classes()[1](
            path=code.path,
            function=code.function,
            sha256=code.sha256,
            commit=code.commit,
            producer=producer(),
        )
    }
    if code.repository is not None:
        facets["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
            type="git",
            url=code.repository,
            repoUrl=code.repository,
            path=code.path,
            version=code.commit,
            branch=code.branch,
            producer=producer(),
        )
    return facets


@cache
def _facet_classes() -> tuple[Any, Any]:
    """Return our own facets' classes; inside a function because their bases are slow to import."""
    import attr
    from openlineage.client.facet_v2 import JobFacet, RunFacet

    @attr.define
    class T4RunFacet(RunFacet):
        """What OpenLineage has no facet for: which try it was, and what would not fit."""

        attempt: int
        omittedInputs: int | None = None  # OpenLineage's facets are in camelCase
        deployment: str | None = None

        @staticmethod
        def _get_schema() -> str:
            return f"{RUN_SCHEMA}#/$defs/T4RunFacet"

    @attr.define
    class T4CodeJobFacet(JobFacet):
        """Which code ran: a location in a repository does not tell whether it was changed."""

        path: str
        function: str | None = None
        sha256: str | None = None
        commit: str | None = None

        @staticmethod
        def _get_schema() -> str:
            return f"{CODE_SCHEMA}#/$defs/T4CodeJobFacet"

    return T4RunFacet, T4CodeJobFacet
