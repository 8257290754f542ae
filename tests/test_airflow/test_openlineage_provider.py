"""Airflow's own OpenLineage provider: it tells of our datasets, and nothing is sent twice.

The provider, its listener and its HTTP transport are the real ones; each case is a process that
runs the DAG of `told.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from tests.ledger_support import check_event, stored_events
from tests.openlineage_receiver import receiver

ROOT = Path(__file__).resolve().parents[2]
# Far more than it takes (15 s of one processor each), for machines with other things to do.
PATIENCE_S = 500
OURS, PROVIDERS = "ours", "the provider's"
# `told.block` fails, and with it the DAG run.
ENDS = {
    "told.build": "COMPLETE",
    "told.push": "COMPLETE",
    "told.wait": "COMPLETE",
    "told.derive": "COMPLETE",
    "told.nested": "COMPLETE",
    "told.block": "FAIL",
    "told.idle": "COMPLETE",
}
PUBLISHED = {
    "told.build": ["made/c"],
    "told.push": ["made/c"],
    "told.derive": ["made/one", "made/two"],
    "told.block": ["made/block"],
    "inner": ["made/nested"],
}


@dataclass(frozen=True)
class Told:
    """What a run of the DAG left behind.

    Attributes:
        folder: Its registries are in here.
        events: What the receiver got, in order.
        elsewhere: What a second receiver got that only our own client was told of.
        held: What our ledger has.
        log: What the process said.
    """

    folder: Path
    events: list[Any]
    elsewhere: list[Any]
    held: list[Any]
    log: str

    def of(self, job: str) -> list[Any]:
        return [event for event in self.events if event["job"]["name"] == job]


def settings_of(case: str, here: str, elsewhere: str) -> dict[str, str]:
    if case == "airflow's setting":
        transport = json.dumps({"type": "http", "url": here})
        # Ours would go by the second one, if we sent any.
        return {"AIRFLOW__OPENLINEAGE__TRANSPORT": transport, "OPENLINEAGE_URL": elsewhere}
    if case == "the client's setting":
        return {"OPENLINEAGE_URL": here}
    return {"OPENLINEAGE_URL": here, "AIRFLOW__OPENLINEAGE__DISABLED": "True"}


CASES = ("airflow's setting", "the client's setting", "disabled")
ACTIVE = CASES[:2]


def start(folder: Path, settings: Mapping[str, str], log: int) -> subprocess.Popen[bytes]:
    home = folder / "airflow"
    (home / "dags").mkdir(parents=True)
    (folder / "f.csv").write_text("a,b\n1,2\n")
    t4.Package().set("x.json", {"from": "a"}).build("raw/a", str(folder / "registry"))
    environ = {
        **os.environ,
        **settings,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        # What they wait for is an event's arrival; by default they give up after 10 s.
        "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": str(PATIENCE_S),
        "T4_LINEAGE_TIMEOUT_S": str(PATIENCE_S),
    }
    # Airflow and the provider do some things otherwise where they believe to be tested.
    for name in ("AIRFLOW__CORE__UNIT_TEST_MODE", "PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        environ.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.test_airflow.told", str(folder)],
        cwd=ROOT,
        env=environ,
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def wait_for(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the end of a process, and return what it said."""
    try:
        code = process.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        pytest.fail(f"no end in {PATIENCE_S} s:\n{log.read_text()}")
    said = log.read_text()
    assert code == 0, said
    return said


@pytest.fixture(scope="module")
def told() -> Iterator[dict[str, Told]]:
    """Run the DAG in every case, side by side: most of the time goes to starting Airflow."""
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="t4-told-")))
        running = {}
        for number, case in enumerate(CASES):
            folder = top / str(number)
            folder.mkdir()
            here, elsewhere = (stack.enter_context(receiver()) for _ in range(2))
            log = stack.enter_context((folder / "log").open("wb"))
            settings = settings_of(case, here.url, elsewhere.url)
            process = start(folder, settings, log.fileno())
            stack.callback(process.wait)
            stack.callback(process.kill)
            running[case] = (folder, process, here, elsewhere)
        found = {}
        for case, (folder, process, here, elsewhere) in running.items():
            said = wait_for(process, folder / "log")
            held = [
                event
                for name in ("registry", "other")
                for event in stored_events(folder / name).values()
            ]
            found[case] = Told(folder, here.events, elsewhere.events, held, said)
        yield found


def whose(event: Any) -> str:
    producer = event["producer"]
    if producer.startswith("https://github.com/apache/airflow/tree/providers-openlineage/"):
        return PROVIDERS
    assert producer.startswith("urn:t4-ops:")
    return OURS


def summary(event: Any) -> tuple[str, str, str, str]:
    return event["eventType"], event["job"]["name"], event["run"]["runId"], whose(event)


def outputs(event: Any) -> list[str]:
    return ["/".join(dataset["name"].split("/")[-2:]) for dataset in event["outputs"]]


def by_outputs(events: list[Any]) -> list[Any]:
    return sorted(events, key=lambda event: (event["job"]["name"], outputs(event)))


def test_the_ledger_has_everything_in_every_case(told: dict[str, Told]) -> None:
    for found in told.values():
        published: dict[str, list[str]] = {}
        for event in by_outputs(found.held):
            check_event(event)
            published.setdefault(event["job"]["name"], []).extend(outputs(event))
        assert published == PUBLISHED
        assert "was not sent" not in found.log


@pytest.mark.parametrize("case", ACTIVE)
def test_every_event_is_accounted_for(told: dict[str, Told], case: str) -> None:
    found = told[case]
    (dag_run,) = {event["run"]["runId"] for event in found.of("told")}
    expected = Counter({("FAIL", "told", dag_run, PROVIDERS): 1})
    held_runs = {event["job"]["name"]: event["run"]["runId"] for event in found.held}
    for job, end in ENDS.items():
        # A task that has nothing in the ledger is known by its first event.
        run = held_runs.get(job) or found.of(job)[0]["run"]["runId"]
        expected += Counter([("START", job, run, PROVIDERS), (end, job, run, PROVIDERS)])
        expected += Counter(("RUNNING", job, run, PROVIDERS) for _ in PUBLISHED.get(job, []))
    # A run of its own inside a task: the provider knows nothing of it, so that it is whole.
    expected[("COMPLETE", "inner", held_runs["inner"], OURS)] = 1

    assert Counter(map(summary, found.events)) == expected
    assert found.elsewhere == []


@pytest.mark.parametrize("case", ACTIVE)
def test_our_datasets_come_between_beginning_and_end_of_the_task(
    told: dict[str, Told], case: str
) -> None:
    found = told[case]
    for job, end in ENDS.items():
        between = ["RUNNING"] * len(PUBLISHED.get(job, []))
        assert [event["eventType"] for event in found.of(job)] == ["START", *between, end]


@pytest.mark.parametrize("case", ACTIVE)
def test_the_provider_tells_what_the_ledger_tells(told: dict[str, Told], case: str) -> None:
    found = told[case]
    # What the operators say of themselves at the end is looked at below.
    said = [
        event for event in found.events if event["eventType"] == "RUNNING" or whose(event) == OURS
    ]
    sent = by_outputs([event for event in said if event["outputs"]])
    held = by_outputs(found.held)

    assert len(sent) == len(held) == 6
    for there, here in zip(sent, held, strict=True):
        # Versions, statistics and our own facets, as they are in the registry.
        assert there["inputs"] == here["inputs"]
        assert there["outputs"] == here["outputs"]
        assert there["run"]["runId"] == here["run"]["runId"]
        assert there["run"]["facets"]["t4_run"] == here["run"]["facets"]["t4_run"]
        assert there["job"]["facets"]["t4_code"] == here["job"]["facets"]["t4_code"]
        parents = [event["run"]["facets"]["parent"]["run"]["runId"] for event in (there, here)]
        assert parents[0] == parents[1]


@pytest.mark.parametrize("case", ACTIVE)
def test_operators_name_the_same_datasets_when_they_end(told: dict[str, Told], case: str) -> None:
    found = told[case]
    held = {event["job"]["name"]: event for event in found.held}
    for job in ("told.build", "told.push"):
        (end,) = (event for event in found.of(job) if event["eventType"] == "COMPLETE")
        for side in ("inputs", "outputs"):
            assert [versioned(item) for item in end[side]] == [
                versioned(item) for item in held[job][side]
            ]
        (made,) = end["outputs"]
        assert made["outputFacets"]["outputStatistics"]["fileCount"] == 1


@pytest.mark.parametrize("case", ACTIVE)
def test_a_sensor_tells_which_revision_it_saw(told: dict[str, Told], case: str) -> None:
    found = told[case]
    (end,) = (event for event in found.of("told.wait") if event["eventType"] == "COMPLETE")
    registry = str(found.folder / "registry")
    top_hash = t4.Package.browse("raw/a", registry).top_hash
    assert [versioned(item) for item in end["inputs"]] == [("file", f"{registry}/raw/a", top_hash)]
    assert end["outputs"] == []


@pytest.mark.parametrize("case", ACTIVE)
def test_the_provider_finds_nothing_to_complain_of(told: dict[str, Told], case: str) -> None:
    assert "START" in {event["eventType"] for event in told[case].of("told.wait")}
    assert "non-valid" not in told[case].log
    assert "Failed to extract" not in told[case].log


def versioned(dataset: Any) -> tuple[str, str, str | None]:
    version = dataset["facets"].get("version", {}).get("datasetVersion")
    return dataset["namespace"], dataset["name"], version


@pytest.mark.parametrize("case", ACTIVE)
def test_versions_are_top_hashes(told: dict[str, Told], case: str) -> None:
    found = told[case]
    registry = str(found.folder / "registry")
    first, second = (event for event in found.of("told.derive") if event["outputs"])
    for event, name in ((first, "made/one"), (second, "made/two")):
        (source,), (made,) = event["inputs"], event["outputs"]
        for dataset, package in ((source, "raw/a"), (made, name)):
            assert dataset["name"] == f"{registry}/{package}"
            version = dataset["facets"]["version"]["datasetVersion"]
            assert version == t4.Package.browse(package, registry).top_hash


@pytest.mark.parametrize("case", ACTIVE)
def test_a_run_inside_a_task_belongs_to_it(told: dict[str, Told], case: str) -> None:
    (inner,) = told[case].of("inner")
    (task_run,) = {event["run"]["runId"] for event in told[case].of("told.nested")}
    assert inner["run"]["facets"]["parent"]["run"]["runId"] == task_run


def test_a_disabled_provider_leaves_the_events_to_us(told: dict[str, Told]) -> None:
    found = told["disabled"]
    assert by_outputs(found.events) == by_outputs(found.held)
    assert {whose(event) for event in found.events} == {OURS}
