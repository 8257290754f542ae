"""The tasks in real flows: sync and async, called, submitted and mapped."""

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, runtime, task, unmapped
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import Log

import t4_ops as t4
from t4_ops.ledger import Event
from t4_ops.lineage import runs_of
from t4_ops.prefect.tasks import browse_package, build_package, install_package, push_package
from tests.test_prefect.support import KEYS, files_of, task_runs, until

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow
def pipeline(source: Path, registry: str, dest: Path) -> dict[str, Any]:
    built = build_package("team/raw", source, registry=registry, message="m")
    pushed = push_package(built, registry=registry)
    browsed = browse_package(pushed)
    installed = install_package(browsed, dest=dest)
    run_id = runtime.flow_run.get_id()
    return {"run_id": run_id, "results": [built, pushed, browsed, installed]}


def test_a_flow_runs_the_steps(source: Path, registry: str, tmp_path: Path) -> None:
    first = pipeline(source, registry, tmp_path / "out")
    second = pipeline(source, registry, tmp_path / "out")

    assert [set(r.to_dict()) for r in first["results"]] == [
        KEYS,
        KEYS,
        KEYS,
        KEYS | {"dest", "dest_stat"},
    ]
    assert [r.changed for r in first["results"]] == [True, True, False, True]
    assert [r.changed for r in second["results"]] == [False] * 4
    assert len({r.top_hash for r in first["results"] + second["results"]}) == 1
    assert files_of(tmp_path / "out") == files_of(source)


def test_the_server_is_told_names_states_and_lines(
    source: Path, registry: str, tmp_path: Path
) -> None:
    done = pipeline(source, registry, tmp_path / "out")
    short = done["results"][0].top_hash[:8]
    runs = task_runs(done["run_id"], 4)
    assert [(run.name, run.state_name) for run in runs] == [
        ("build-team/raw", "Completed"),
        (f"push-team/raw@{short}", "Completed"),
        (f"browse-team/raw@{short}", "Completed"),
        (f"install-team/raw@{short}", "Completed"),
    ]
    chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[done["run_id"]]))

    def read() -> list[Log] | None:
        with get_client(sync_client=True) as client:
            logs = client.read_logs(chosen)
        ours = [log for log in logs if done["results"][0].uri in log.message]
        return ours if len(ours) >= 4 else None

    lines = {log.task_run_id: log.message for log in until(read)}
    assert [lines[run.id].split()[0] for run in runs] == ["built", "pushed", "browsed", "installed"]


def test_lineage_names_the_task_run_and_its_flow_run(
    source: Path, registry: str, tmp_path: Path
) -> None:
    done = pipeline(source, registry, tmp_path / "out")
    runs = task_runs(done["run_id"], 4)
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(done["run_id"])
    events = {event.run.run_id: event.run for event in runs_of(done["results"][0])}
    assert list(events) == [str(runs[0].id), str(runs[1].id)]
    for run_id, job in zip(events, ("build_package", "push_package"), strict=True):
        run = events[run_id]
        assert (run.job_namespace, run.job_name) == ("prefect", f"pipeline.{job}")
        assert run.parent is not None
        assert (run.parent.run_id, run.parent.job_name) == (str(flow_run.id), "pipeline")
        assert run.root == run.parent
        assert run.nominal_time is not None
        assert datetime.fromisoformat(run.nominal_time) == flow_run.expected_start_time
        assert (run.attempt, run.engine) == (1, "prefect")
        assert run.engine_version


def test_a_step_in_another_task_or_in_the_flows_body_belongs_to_that_run(
    source: Path, registry: str
) -> None:
    @task
    def mine() -> Any:
        return build_package.fn("team/in-task", source, registry=registry)

    @flow
    def inner() -> Any:
        build_package.fn("team/in-subflows-body", source, registry=registry)
        return build_package("team/in-subflow", source, registry=registry)

    @flow
    def outer() -> tuple[Any, ...]:
        body = build_package.fn("team/in-flow", source, registry=registry)
        return runtime.flow_run.get_id(), body, mine(), inner()

    run_id, *results = outer()
    in_flow, in_task, in_subflow = (one_event(result).run for result in results)
    assert (in_flow.run_id, in_flow.job_name, in_flow.parent) == (run_id, "outer", None)
    assert in_task.job_name == "outer.mine"
    assert in_task.parent is not None
    assert in_task.parent.run_id == run_id
    assert in_subflow.job_name == "inner.build_package"
    assert in_subflow.parent is not None
    assert in_subflow.parent.run_id != run_id
    assert in_subflow.root is not None
    assert (in_subflow.root.run_id, in_subflow.root.job_name) == (run_id, "outer")
    in_body = one_event(t4.resolve("team/in-subflows-body", registry).to_dict()).run
    assert (in_body.run_id, in_body.parent) == (in_subflow.parent.run_id, in_subflow.root)
    assert in_body.root == in_subflow.root


def test_a_task_without_a_flow_has_no_parent(source: Path, registry: str) -> None:
    run = one_event(build_package("team/raw", source, registry=registry)).run
    assert (run.job_name, run.parent, run.engine) == ("build_package", None, "prefect")


def one_event(result: Any) -> Event:
    (event,) = runs_of(result)
    return event


def test_options_make_another_job(source: Path, registry: str) -> None:
    @flow
    def named() -> Any:
        step = build_package.with_options(name="build_raw", tags={"nightly"})
        return step("team/raw", source, registry=registry)

    assert one_event(named()).run.job_name == "named.build_raw"


def test_submitted_steps_take_futures(source: Path, registry: str, tmp_path: Path) -> None:
    @flow
    def submitted() -> tuple[Any, ...]:
        built: Any = build_package.submit("team/raw", source, registry=registry)
        pushed: Any = push_package.submit(built, registry=registry)
        installed: Any = install_package.submit(pushed, dest=tmp_path / "out")
        clean = build_package.submit(
            "team/clean", {"clean/": source}, registry=registry, inputs=[installed]
        )
        return runtime.flow_run.get_id(), installed.result(), clean.result()

    run_id, installed, clean = submitted()
    assert files_of(installed.dest) == files_of(source)
    assert t4.PackageRef.from_dict(installed.to_dict()).to_dict() in clean.inputs
    assert one_event(clean).run.run_id in {str(run.id) for run in task_runs(run_id, 4)}


def test_mapped_steps_make_one_revision_each(source: Path, registry: str, tmp_path: Path) -> None:
    names = [f"team/part-{number}" for number in range(4)]
    sources = []
    for number, name in enumerate(names):
        sources.append(tmp_path / name)
        sources[-1].mkdir(parents=True)
        (sources[-1] / "number.txt").write_text(str(number))

    @flow
    def mapped() -> list[Any]:
        built = build_package.map(names, sources, registry=registry)
        pushed = push_package.map(built, registry=unmapped(registry))
        return list(pushed.result())

    results = mapped()
    assert [result.name for result in results] == names
    assert len({event.run.run_id for result in results for event in runs_of(result)}) == 8
    for number, result in enumerate(results):
        package = t4.Package.browse(result.name, registry, result.top_hash)
        assert package["number.txt"].get_as_string() == str(number)


@pytest.mark.parametrize(
    "call",
    [
        lambda step, *args, **kwargs: step(*args, **kwargs),
        lambda step, *args, **kwargs: step.submit(*args, **kwargs).result(),
        asyncio.to_thread,
    ],
    ids=["called", "submitted", "in-thread"],
)
def test_async_flows_use_the_same_tasks(
    source: Path, registry: str, tmp_path: Path, call: Callable[..., Any]
) -> None:
    async def value(given: Any) -> Any:
        return await given if asyncio.iscoroutine(given) else given

    @flow
    async def pipeline_async() -> Any:
        built = await value(call(build_package, "team/raw", source, registry=registry))
        pushed = await value(call(push_package, built, registry=registry))
        return await value(call(install_package, pushed, dest=tmp_path / "out"))

    installed = asyncio.run(pipeline_async())
    assert set(installed.to_dict()) == KEYS | {"dest", "dest_stat"}
    assert files_of(installed.dest) == files_of(source)
    runs = [event.run for event in runs_of(installed)]
    assert [run.job_name for run in runs] == [
        "pipeline-async.build_package",
        "pipeline-async.push_package",
    ]


def test_edges_lead_to_the_task_whose_result_was_given(
    source: Path, registry: str, tmp_path: Path
) -> None:
    @task
    def use(given: Any) -> str:
        return str(given.dest)

    @flow
    def consumers() -> str | None:
        built = build_package("team/raw", source, registry=registry)
        one = install_package(built, dest=tmp_path / "one")
        other = install_package(built, dest=tmp_path / "other")
        use(one)
        use(other)
        use(dataclasses.replace(built, dest=""))
        return runtime.flow_run.get_id()

    built, one, other, *users = task_runs(consumers(), 6)
    edges = [{source.id for source in run.task_inputs["given"]} for run in users]  # type: ignore[union-attr]
    assert edges == [{one.id}, {other.id}, {built.id}]
