"""Plain flows and tasks, which know nothing of lineage: the library finds their runs by itself."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect import flow, runtime, task
from prefect.client.orchestration import get_client
from prefect.exceptions import Abort, Pause, TerminationSignal
from prefect.flow_engine import run_flow

import t4_ops as t4
from t4_ops import lineage
from t4_ops.prefect.runs import RUNS
from t4_ops.prefect.tasks import build_package, install_package
from tests.lineage_run_support import events, told
from tests.test_prefect.support import task_runs

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def raw(registry: str) -> str:
    """A registry with the packages `raw/a` and `raw/b`, made outside any run."""
    for name in ("a", "b"):
        t4.Package().set("x.json", {"from": name}).build(f"raw/{name}", registry)
    return registry


@task
def derive(registry: str, source: str, target: str) -> str:
    package = t4.Package.browse(source, registry)
    text = package["x.json"].get_as_string()
    t4.Package().set_text("y.txt", text).build(target, registry)
    t4.Package().set_text("z.txt", text).build(f"{target}-more", registry)
    return str(runtime.task_run.get_id())


@flow
def plain(registry: str) -> dict[str, str]:
    t4.Package.browse("raw/b", registry)
    task_id = derive(registry, "raw/a", "made/task")
    t4.Package().set_text("y.txt", "flow").push("made/flow", registry)
    return {"flow": str(runtime.flow_run.get_id()), "task": task_id}


def test_a_deployed_flow_names_its_deployment(raw: str) -> None:
    with get_client(sync_client=True) as client:
        deployment_id = client.create_deployment(client.create_flow(plain), "nightly")
        run = client.create_flow_run_from_deployment(deployment_id, parameters={"registry": raw})
    run_flow(plain, flow_run=run, parameters={"registry": raw})
    found = lineage.runs_of(t4.resolve("made/task", raw)) + lineage.runs_of(
        t4.resolve("made/flow", raw)
    )
    assert [event.run.deployment for event in found] == ["plain/nightly"] * 2
    for event in events(raw):
        assert event["run"]["facets"]["t4_run"]["deployment"] == "plain/nightly"
    ids = plain(raw)
    assert ids["flow"] != str(run.id)
    (_, newest) = lineage.runs_of(t4.resolve("made/flow", raw))
    assert newest.run.deployment is None


def test_a_plain_task_and_a_plain_flow_are_recorded(raw: str) -> None:
    ids = plain(raw)

    in_task, in_task_too, in_flow = events(raw)
    assert told(in_task) == (["raw/a"], ["made/task"])
    assert told(in_task_too) == (["raw/a"], ["made/task-more"])
    assert told(in_flow) == (["raw/b"], ["made/flow"])
    assert in_task["run"]["runId"] == in_task_too["run"]["runId"] == ids["task"]
    assert in_flow["run"]["runId"] == ids["flow"]
    assert (in_task["job"]["namespace"], in_task["job"]["name"]) == ("prefect", "plain.derive")
    assert in_flow["job"]["name"] == "plain"
    facets = in_task["run"]["facets"]
    assert facets["parent"]["run"]["runId"] == facets["parent"]["root"]["run"]["runId"]
    assert facets["parent"]["run"]["runId"] == ids["flow"]
    assert facets["t4_run"]["attempt"] == 1
    assert facets["processing_engine"]["name"] == "prefect"
    with get_client(sync_client=True) as client:
        expected = client.read_flow_run(ids["flow"]).expected_start_time  # type: ignore[arg-type]
    assert expected is not None
    assert facets["nominalTime"]["nominalStartTime"] == expected.isoformat()


def test_the_code_is_that_of_the_task_or_the_flow(raw: str, tmp_path: Path) -> None:
    plain(raw)
    (tmp_path / "f").write_text("x")

    @flow(name="with-our-tasks")
    def with_our_tasks() -> None:
        build_package("made/ours", tmp_path / "f", registry=raw)

    with_our_tasks()

    code = [event["job"]["facets"]["t4_code"] for event in events(raw)]
    assert all(facet["path"].endswith("tests/test_prefect/test_lineage.py") for facet in code)
    functions = [facet["function"].split(".")[-1] for facet in code]
    assert functions == ["derive", "derive", "plain", "with_our_tasks"]


def test_a_retry_is_another_attempt(raw: str) -> None:
    @task(retries=1, retry_delay_seconds=0)
    def flaky() -> None:
        t4.Package.browse("raw/a" if runtime.task_run.run_count == 1 else "raw/b", raw)
        t4.Package().set_text("y.txt", "x").build("made/p", raw)
        if runtime.task_run.run_count == 1:
            raise ValueError("first try")

    @flow
    def retried() -> None:
        flaky()

    retried()

    first, second = events(raw)
    assert first["run"]["runId"] == second["run"]["runId"]
    assert [e["run"]["facets"]["t4_run"]["attempt"] for e in (first, second)] == [1, 2]
    # What the first try read, the second one did not.
    assert [told(event)[0] for event in (first, second)] == [["raw/a"], ["raw/b"]]


def test_tasks_at_the_same_time_do_not_mix(raw: str) -> None:
    @flow
    def many() -> None:
        futures = [
            derive.submit(raw, source, f"made/{number}{source[-1]}")
            for number in range(4)
            for source in ("raw/a", "raw/b")
        ]
        for future in futures:
            future.result()

    many()

    for event in events(raw):
        (read,), (written,) = told(event)
        assert read[-1] == written.removesuffix("-more")[-1]
    assert len(events(raw)) == 16
    assert len({event["run"]["runId"] for event in events(raw)}) == 8


# Prefect 3.7.7 leaves a socket of an async flow's client to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*socket:pytest.PytestUnraisableExceptionWarning"
)
def test_an_async_flow_and_its_threads(raw: str) -> None:
    @flow
    async def main() -> None:
        package = t4.Package.browse("raw/a", raw)
        await asyncio.to_thread(t4.Package.browse("raw/b", raw)["x.json"].get_bytes)
        with ThreadPoolExecutor(1) as pool:
            # No context goes to this thread: a thread of its own, and no run.
            pool.submit(package["x.json"].get_bytes).result()
        t4.Package().set_text("y.txt", "x").build("made/p", raw)

    asyncio.run(main())

    (event,) = events(raw)
    assert told(event) == (["raw/a", "raw/b"], ["made/p"])
    subsets = [dataset.get("inputFacets") for dataset in event["inputs"]]
    assert "subset" not in (subsets[0] or {})
    assert subsets[1]["subset"]["inputCondition"]["locations"] == ["x.json"]


def test_a_run_block_in_a_task_is_the_tasks_own_run(raw: str) -> None:
    ids: list[str] = []

    @task
    def work() -> None:
        ids.append(str(runtime.task_run.get_id()))
        with lineage.run():
            t4.Package.browse("raw/a", raw)
            t4.Package().set_text("y.txt", "x").build("made/p", raw)
            t4.Package.browse("raw/b", raw)

    @flow
    def main() -> None:
        work()

    main()

    (event,) = events(raw)
    assert told(event) == (["raw/a", "raw/b"], ["made/p"])
    assert event["run"]["runId"] == ids[0]
    assert (event["job"]["namespace"], event["job"]["name"]) == ("prefect", "main.work")


def test_a_named_run_in_a_task_is_its_child(raw: str) -> None:
    ids: list[str] = []

    @task
    def work() -> None:
        ids.append(str(runtime.task_run.get_id()))
        with lineage.run(job="part"):
            t4.Package.browse("raw/a", raw)
            t4.Package().set_text("y.txt", "x").build("made/p", raw)

    @flow
    def main() -> str:
        work()
        return str(runtime.flow_run.get_id())

    flow_id = main()

    (event,) = events(raw)
    parent = event["run"]["facets"]["parent"]
    assert (event["job"]["namespace"], event["job"]["name"]) == ("prefect", "part")
    assert event["run"]["runId"] not in (*ids, flow_id)
    assert parent["run"]["runId"] == ids[0]
    assert parent["root"]["run"]["runId"] == flow_id


def test_a_step_in_a_plain_task_is_recorded_once(raw: str, tmp_path: Path) -> None:
    @task
    def work() -> None:
        installed = install_package.fn("raw/a", registry=raw, dest=tmp_path / "out")
        build_package.fn("made/p", installed.dest, registry=raw)

    @flow
    def main() -> None:
        work()

    main()

    install, build = events(raw)
    assert install["run"]["runId"] == build["run"]["runId"]
    assert told(install) == (["raw/a"], [])
    inputs, outputs = told(build)
    # The folder that was packaged, and the revision that was installed into it.
    assert len(inputs) == 2
    assert inputs[1] == "raw/a"
    assert outputs == ["made/p"]


def test_outside_a_run_nothing_is_recorded_though_prefect_is_here(raw: str) -> None:
    t4.Package.browse("raw/a", raw)
    t4.Package().set_text("y.txt", "x").build("made/p", raw)

    assert events(raw) == []


def test_a_task_without_a_flow(raw: str) -> None:
    run_id = derive(raw, "raw/a", "made/p")

    first, _ = events(raw)
    assert first["run"]["runId"] == run_id
    assert first["job"]["name"] == "derive"
    assert "parent" not in first["run"]["facets"]


def test_the_server_knows_the_runs_that_lineage_names(raw: str) -> None:
    ids = plain(raw)

    assert [str(run.id) for run in task_runs(ids["flow"], 1)] == [ids["task"]]


def test_prefects_signals_are_told_from_failures() -> None:
    errors: list[BaseException] = [Pause(), Abort(), TerminationSignal(15), ValueError("no")]

    assert [RUNS.outcome(error) for error in errors] == ["COMPLETE", "ABORT", "ABORT", None]
