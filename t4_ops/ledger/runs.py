"""The run that reads and writes: who it is."""

from __future__ import annotations

import platform
import sys
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from t4_ops.errors import InvalidInputError
from t4_ops.ledger.code import CodeLocation, code_of_file
from t4_ops.ledger.text import clean, required_text

DEFAULT_NAMESPACE: Final = "t4_ops"
"""Job namespace of runs that no orchestrator started."""
# Long enough for any `dag_id.task_id` (250 characters each) and flow name.
_JOB_MAX_BYTES: Final = 2048
_JOB_MAX_CHARS: Final = 256


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """A run and its job.

    Attributes:
        run_id: UUID, as text.
        job_namespace: OpenLineage namespace of the job: which scheduler.
        job_name: Name of the job in it, such as `dag_id.task_id`.
    """

    run_id: str
    job_namespace: str
    job_name: str

    def __post_init__(self) -> None:
        """Check and normalise.

        Raises:
            InvalidInputError: The run id is no UUID, or the job has no name or namespace.
        """
        try:
            object.__setattr__(self, "run_id", str(uuid.UUID(self.run_id)))
        except (ValueError, AttributeError, TypeError) as exc:
            raise InvalidInputError(f"run id {self.run_id!r} is no UUID") from exc
        required_text(self.job_namespace, "the namespace of a job", _JOB_MAX_BYTES)
        required_text(self.job_name, "the name of a job", _JOB_MAX_BYTES)


@dataclass(frozen=True, kw_only=True)
class RunInfo(JobRun):
    """A run as the ledger records it; `dataclasses.asdict` makes plain JSON of it.

    Attributes:
        parent: The run that started this one, such as the DAG run of a task.
        root: The outermost run; only with `parent`.
        nominal_time: The time the run is for, ISO 8601 with an offset from UTC.
        attempt: Which try this is, from 1.
        engine: What runs it: `airflow`, `prefect`, `python`.
        engine_version: Its version.
        code: Where its code is.
        deployment: What it was deployed as, in its engine's words: `flow/deployment` of Prefect.
    """

    parent: JobRun | None = None
    root: JobRun | None = None
    nominal_time: str | None = None
    attempt: int = 1
    engine: str | None = None
    engine_version: str | None = None
    code: CodeLocation | None = None
    deployment: str | None = None

    def __post_init__(self) -> None:
        """Check and normalise.

        Raises:
            InvalidInputError: A part is missing or has the wrong form.
        """
        super().__post_init__()
        if self.root is not None and self.parent is None:
            raise InvalidInputError("a run with a root needs a parent: give the root as both")
        if self.attempt < 1:
            raise InvalidInputError(f"attempt is {self.attempt}: the first try is 1")
        if self.nominal_time is not None:
            object.__setattr__(self, "nominal_time", _date_time(self.nominal_time))

    @classmethod
    def here(
        cls,
        job_name: str | None = None,
        *,
        namespace: str | None = None,
        code: CodeLocation | None = None,
    ) -> RunInfo:
        """Return a new run of this program, for when no orchestrator runs it.

        Args:
            job_name: Name of the job; the script's file name unless given.
            namespace: Namespace of the job; `t4_ops` unless given.
            code: Where its code is; the script unless given.
        """
        return cls(
            run_id=str(uuid.uuid4()),
            job_namespace=namespace or DEFAULT_NAMESPACE,
            job_name=job_name or _program_name(),
            engine="python",
            engine_version=platform.python_version(),
            code=code or _program_code(),
        )

    def child(
        self, job_name: str, *, namespace: str | None = None, code: CodeLocation | None = None
    ) -> RunInfo:
        """Return a new run inside this one.

        Args:
            job_name: Name of its job.
            namespace: Namespace of its job; this run's unless given.
            code: Where its code is.
        """
        parent = self.job_run
        return replace(
            self,
            run_id=str(uuid.uuid4()),
            job_namespace=namespace or self.job_namespace,
            job_name=job_name,
            parent=parent,
            # A run with a parent but no root does not know what is above.
            root=self.root if self.parent is not None else parent,
            code=code,
        )

    @property
    def job_run(self) -> JobRun:
        """The run and its job, and nothing else."""
        return JobRun(run_id=self.run_id, job_namespace=self.job_namespace, job_name=self.job_name)


def _date_time(text: str) -> str:
    """Return a time as RFC 3339 writes it, which OpenLineage wants; ISO 8601 has more forms."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise InvalidInputError(f"nominal time {text!r} is no ISO 8601 date and time") from exc
    if moment.tzinfo is None or "T" not in text.upper():
        raise InvalidInputError(f"nominal time {text!r} needs a time and an offset from UTC")
    offset = moment.utcoffset() or timedelta()
    # RFC 3339 has no seconds in an offset.
    return (moment if offset.total_seconds() % 60 == 0 else moment.astimezone(UTC)).isoformat()


def _program_code() -> CodeLocation | None:
    # Not `sys.argv[0]`, which is relative to a folder that the program may have left since.
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return code_of_file(path) if path else None


def _program_name() -> str:
    path = Path(sys.argv[0] if sys.argv else "")
    # `python -m package` runs package/__main__.py; `python -c` and a prompt have no file.
    name = path.parent.name if path.name == "__main__.py" else path.name
    return clean(name, _JOB_MAX_CHARS) if name and name != "-c" else "python"
