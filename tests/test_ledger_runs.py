"""The current run, and what a run may be."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from t4_ops.errors import InvalidInputError
from t4_ops.ledger import JobRun, RunInfo, current
from tests.ledger_support import use_run

RUN_ID = "0192aaaa-bbbb-7ccc-8ddd-eeeeffff0000"
PARENT = JobRun(run_id=RUN_ID, job_namespace="n", job_name="dag")


def current_run() -> RunInfo | None:
    gathered = current(mode="required")
    return None if gathered is None else gathered.run


def test_a_run_is_current_inside_its_block_only() -> None:
    outer, inner = RunInfo.here("outer"), RunInfo.here("inner")

    assert current_run() is None
    with use_run(outer) as given:
        assert given is outer
        with contextlib.suppress(KeyError), use_run(inner):
            assert current_run() is inner
            raise KeyError
        assert current_run() is outer
    assert current_run() is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2024-W01-1T00:00+00:00", "2024-01-01T00:00:00+00:00"),
        ("20240101T000000+0000", "2024-01-01T00:00:00+00:00"),
        ("2024-01-01T00+00:00", "2024-01-01T00:00:00+00:00"),
        ("2024-01-01T00:00:00.5-01:30", "2024-01-01T00:00:00.500000-01:30"),
        ("2024-01-01T00:00:30+00:00:30", "2024-01-01T00:00:00+00:00"),
    ],
)
def test_a_nominal_time_is_kept_as_openlineage_writes_it(given: str, kept: str) -> None:
    run = RunInfo(run_id=RUN_ID, job_namespace="n", job_name="j", nominal_time=given)

    assert run.nominal_time == kept


def test_a_run_reaches_threads_that_carry_the_context() -> None:
    seen: list[RunInfo | None] = []
    run = RunInfo.here("job")
    with use_run(run):
        context = contextvars.copy_context()
        carrying = threading.Thread(target=context.run, args=(lambda: seen.append(current_run()),))
        carrying.start()
        carrying.join()
    bare = threading.Thread(target=lambda: seen.append(current_run()))
    bare.start()
    bare.join()

    assert seen == [run, None]


def test_every_run_here_is_another_one() -> None:
    first, second = RunInfo.here("job"), RunInfo.here("job")

    assert first.run_id != second.run_id
    assert (first.job_namespace, first.job_name, first.engine) == ("t4_ops", "job", "python")


@pytest.mark.parametrize("how", ["script", "module", "command"])
def test_the_job_is_called_like_the_program(tmp_path: Path, how: str) -> None:
    code = "from t4_ops.ledger import RunInfo; print(RunInfo.here().job_name)"
    (tmp_path / "pipe").mkdir()
    for name in ("etl.py", "pipe/__main__.py"):
        (tmp_path / name).write_text(code)
    arguments = {"script": [str(tmp_path / "etl.py")], "module": ["-m", "pipe"], "command": ["-c"]}
    command = [sys.executable, *arguments[how]] + ([code] if how == "command" else [])
    path = f"{Path(__file__).parents[1]}:{tmp_path}"
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": path}, timeout=60
    )

    assert done.stdout.strip() == {"script": "etl.py", "module": "pipe", "command": "python"}[how]


def test_a_run_is_json_able() -> None:
    run = RunInfo(
        run_id=RUN_ID.upper(),
        job_namespace="airflow",
        job_name="dag.task",
        parent=PARENT,
        root=PARENT,
        nominal_time="2026-01-02T00:00:00+00:00",
        attempt=2,
        engine="airflow",
        engine_version="3.3.2",
    )

    as_dict = json.loads(json.dumps(dataclasses.asdict(run)))

    assert as_dict["run_id"] == RUN_ID
    assert as_dict["parent"] == {"run_id": RUN_ID, "job_namespace": "n", "job_name": "dag"}


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "run-1"},
        {"run_id": None},
        {"job_name": ""},
        {"job_namespace": ""},
        {"job_name": "x" * 5000},
        {"root": PARENT},
        {"attempt": 0},
        {"nominal_time": "yesterday"},
        {"nominal_time": "2026-01-02"},
        {"nominal_time": "2026-01-02T00:00:00"},
    ],
)
def test_a_run_that_no_event_can_carry_is_refused(change: dict[str, object]) -> None:
    whole = {"run_id": RUN_ID, "job_namespace": "n", "job_name": "j", **change}
    with pytest.raises(InvalidInputError):
        RunInfo(**whole)  # type: ignore[arg-type]
