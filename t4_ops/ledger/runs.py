"""The run that reads and writes: who it is, and which one is current."""

from __future__ import annotations

import platform
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from t4_ops.errors import InvalidInputError
from t4_ops.ledger.text import clean, required_text

DEFAULT_NAMESPACE: Final = "t4_ops"
"""Job namespace of runs that no orchestrator started."""
# Long enough for any `dag_id.task_id` (250 characters each) and flow name.
_JOB_MAX_BYTES: Final = 2048
_JOB_MAX_CHARS: Final = 256

_current: ContextVar[RunInfo | None] = ContextVar("t4_ops_run", default=None)


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
    """A run as the ledger records it; every field is a JSON value or a `JobRun`.

    Attributes:
        parent: The run that started this one, such as the DAG run of a task.
        root: The outermost run; only with `parent`.
        nominal_time: The time the run is for, ISO 8601 with an offset from UTC.
        attempt: Which try this is, from 1.
        engine: What runs it: `airflow`, `prefect`, `python`.
        engine_version: Its version.
    """

    parent: JobRun | None = None
    root: JobRun | None = None
    nominal_time: str | None = None
    attempt: int = 1
    engine: str | None = None
    engine_version: str | None = None

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
            _check_time(self.nominal_time)

    @classmethod
    def here(cls, job_name: str | None = None) -> RunInfo:
        """Return a new run of this program, for when no orchestrator runs it.

        Args:
            job_name: Name of the job; the script's file name unless given.
        """
        return cls(
            run_id=str(uuid.uuid4()),
            job_namespace=DEFAULT_NAMESPACE,
            job_name=job_name or _program_name(),
            engine="python",
            engine_version=platform.python_version(),
        )


def _check_time(text: str) -> None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise InvalidInputError(f"nominal time {text!r} is no ISO 8601 date and time") from exc
    if moment.tzinfo is None or "T" not in text.upper():
        raise InvalidInputError(f"nominal time {text!r} needs a time and an offset from UTC")


def _program_name() -> str:
    path = Path(sys.argv[0] if sys.argv else "")
    # `python -m package` runs package/__main__.py; `python -c` and a prompt have no file.
    name = path.parent.name if path.name == "__main__.py" else path.name
    return clean(name, _JOB_MAX_CHARS) if name and name != "-c" else "python"


def current_run() -> RunInfo | None:
    """Return the run that this code is part of, if one was set around it."""
    return _current.get()


@contextmanager
def use_run(run: RunInfo) -> Iterator[RunInfo]:
    """Make a run the current one inside a `with` block."""
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)
