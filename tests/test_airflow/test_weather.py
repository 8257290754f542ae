"""The weather DAG: it runs as it stands, twice, on a folder and on S3."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import lineage
from t4_ops.examples import weather

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from tests.test_airflow.conftest import Run

DAGS = Path(__file__).resolve().parents[2] / "dags"
KEYS = ["uri", "registry", "name", "top_hash", "inputs", "files", "size_bytes", "changed"]
STEPS = [
    "build_observations",
    "push_observations",
    "browse_observations",
    "install_observations",
    "build_summary",
    "push_summary",
]
RunDag = Callable[..., "Run"]


def load_dag() -> DAG:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=DAGS, safe_mode=False)
    assert bag.import_errors == {}
    return bag.dags["t4_weather"]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def runs(run_dag: RunDag, registry: str, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs over the same data against one folder registry."""
    dag = load_dag()
    conf = {"registry": registry, "work_dir": str(tmp_path_factory.mktemp("work"))}
    return [run_dag(dag, conf) for _ in range(2)]


def test_parsing_asks_for_no_data(airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vega_datasets", None)
    with pytest.raises(ImportError, match="demo"):
        weather.default_source()
    assert set(STEPS) <= set(load_dag().task_ids)


def test_it_succeeds_at_the_first_try(runs: list[Run]) -> None:
    for run in runs:
        assert run.state == "success"
        assert set(run.tries.values()) == {1}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_hands_on_plain_json_whole_and_by_item(runs: list[Run], step: str) -> None:
    pushed = runs[0].xcoms(step)
    result = pushed.pop("return_value")
    keys = [*KEYS, "host", *(["dest", "dest_stat"] if step == "install_observations" else [])]
    assert sorted(result) == sorted(keys)
    assert pushed == result
    assert json.loads(json.dumps(result)) == result


def test_the_consumer_gets_the_producers_revision(runs: list[Run], registry: str) -> None:
    for run in runs:
        hashes = {run.result(step)["top_hash"] for step in STEPS[:4]}
        assert len(hashes) == 1
        dest = run.result("install_observations")["dest"]
        package = t4.Package.browse("weather/observations", registry=registry)
        assert package.top_hash in hashes
        assert package.verify(dest)
        assert len(package) > 0


def test_the_second_run_arrives_at_the_same_hashes_and_changes_nothing(runs: list[Run]) -> None:
    first, second = ({step: run.result(step) for step in STEPS} for run in runs)
    for step in STEPS:
        assert first[step]["top_hash"] == second[step]["top_hash"]
        assert second[step]["changed"] is False
    changed = [step for step in STEPS if first[step]["changed"]]
    assert changed == [step for step in STEPS if step != "browse_observations"]


def test_what_the_registry_holds(runs: list[Run], registry: str) -> None:
    observations = t4.Package.browse("weather/observations", registry=registry)
    assert observations.meta == {"source": "seattle-weather.csv"}
    assert next(observations.manifest)["message"] == "monthly snapshots"
    assert "2012/2012-01.parquet" in observations
    summary = t4.Package.browse("weather/summary", registry=registry)
    assert sorted(key for key, _ in summary.walk()) == ["summary.csv", "summary.png"]
    assert summary.meta == {}
    assert next(summary.manifest)["message"] == "summary by month"
    assert summary["summary.png"].get_bytes().startswith(b"\x89PNG")
    months = summary["summary.csv"].get_as_string().splitlines()
    assert months[0].startswith("month,")
    assert len(months) == 1 + len(list(observations.walk()))


def sources_of(result: dict[str, Any]) -> list[str]:
    """Return the names of what a revision goes back to, packages left out."""
    return [node.item.name for node in lineage.upstream(result).walk() if node.ref is None]


def test_the_summarys_lineage_goes_back_to_the_source(runs: list[Run]) -> None:
    summary = runs[0].result("push_summary")
    assert weather.default_source() in sources_of(summary)
    events = lineage.runs_of(summary)
    assert {event.run.job_name for event in events} == {
        "t4_weather.build_summary",
        "t4_weather.push_summary",
    }
    assert {event.run.parent.job_name for event in events if event.run.parent} == {"t4_weather"}
    read = [item.ref.name for event in events for item in event.inputs if item.ref]
    assert set(read) == {"weather/observations"}


def test_another_source_in_the_default_registry(
    run_dag: RunDag, runs: list[Run], own_home: Path, tmp_path: Path
) -> None:
    lines = Path(weather.default_source()).read_text().splitlines(keepends=True)
    source = tmp_path / "two-months.csv"
    source.write_text("".join(lines[:61]))
    conf = {"source": str(source), "work_dir": str(tmp_path / "work")}
    run = run_dag(load_dag(), conf, logical_date=None)
    assert run.state == "success"
    pushed = run.result("push_observations")
    assert pushed["registry"] == f"file://{own_home / 'registry'}"
    assert (pushed["files"], pushed["changed"]) == (2, True)
    assert pushed["top_hash"] != runs[0].result("push_observations")["top_hash"]
    assert t4.Package.browse("weather/observations").meta == {"source": "two-months.csv"}
    assert str(source) in sources_of(run.result("push_summary"))


@pytest.mark.parametrize("bucket", ["versioned_bucket", "unversioned_bucket"])
def test_on_s3_it_arrives_at_the_same_hashes(
    bucket: str,
    request: pytest.FixtureRequest,
    s3_env: SeaweedFS,
    run_dag: RunDag,
    runs: list[Run],
    tmp_path: Path,
) -> None:
    registry = f"s3://{request.getfixturevalue(bucket)}"
    run = run_dag(load_dag(), {"registry": registry, "work_dir": str(tmp_path)})
    assert run.state == "success"
    for step in STEPS:
        result = run.result(step)
        assert result["registry"] == registry
        assert result["top_hash"] == runs[0].result(step)["top_hash"]
    summary = t4.Package.browse("weather/summary", registry=registry)
    urls = [entry.physical_key for _, entry in summary.walk()]
    assert all(str(url).startswith(f"{registry}/") for url in urls)
    assert summary["summary.png"].get_bytes().startswith(b"\x89PNG")
    assert weather.default_source() in sources_of(run.result("push_summary"))
