"""`flows/t4_weather.py`: the whole pipeline, as a user runs it."""

import csv
import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect.settings import PREFECT_API_URL

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from flows.t4_weather import t4_weather
from t4_ops.examples import weather
from t4_ops.keys import PhysicalKey
from t4_ops.ledger import Event
from t4_ops.lineage import runs_of, upstream
from t4_ops.operations import build

pytestmark = pytest.mark.usefixtures("prefect_server")

FLOW = Path(__file__).parents[2] / "flows" / "t4_weather.py"
OBSERVATIONS, SUMMARY = "weather/observations", "weather/summary"


@pytest.fixture
def observations(tmp_path: Path) -> Path:
    """Seventy days of weather, in three months of two years."""
    path = tmp_path / "made-up.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(weather.COLUMNS)
        for day in range(70):
            moment = date(2020, 11, 25) + timedelta(days=day)
            writer.writerow([moment.isoformat(), day % 3, 10 + day % 7, day % 5, 1.5])
    return path


def test_the_pipeline_makes_both_packages(observations: Path, registry: str) -> None:
    pushed = t4_weather(source=str(observations), registry=registry)

    months = t4.Package.browse(OBSERVATIONS, registry, pushed[OBSERVATIONS]["top_hash"])
    assert [key for key, _ in months.walk()] == [
        *("2020/2020-11.parquet", "2020/2020-12.parquet"),
        *("2021/2021-01.parquet", "2021/2021-02.parquet"),
    ]
    assert len(pd.concat([entry.deserialize() for _, entry in months.walk()])) == 70
    assert months.meta == {"source": "made-up.csv"}
    summary = t4.Package.browse(SUMMARY, registry, pushed[SUMMARY]["top_hash"])
    assert list(summary["summary.csv"].deserialize()["days"]) == [6, 31, 31, 2]
    assert summary["summary.png"].get_bytes().startswith(b"\x89PNG")
    # The work folder is gone by now: both lie in the registry, whole.
    for package in (months, summary):
        for _, entry in package.walk():
            assert PhysicalKey.parse(entry.physical_key).path.startswith(registry)


def test_the_lineage_goes_back_to_the_source(observations: Path, registry: str) -> None:
    pushed = t4_weather(source=str(observations), registry=registry)
    found = {node.item for node in upstream(pushed[SUMMARY]).walk()}
    assert pushed[OBSERVATIONS]["top_hash"] in {item.version for item in found}
    assert ("file", str(observations)) in {item.dataset for item in found}
    jobs = {name: jobs_of(runs_of(pushed[name])) for name in pushed}
    assert jobs == {
        OBSERVATIONS: ["t4_weather.build_observations", "t4_weather.push_observations"],
        SUMMARY: ["t4_weather.build_summary", "t4_weather.push_summary"],
    }


def jobs_of(events: list[Event]) -> list[str]:
    return [event.run.job_name for event in events]


def test_a_repeat_changes_nothing_wherever_it_works(
    observations: Path, registry: str, tmp_path: Path
) -> None:
    folders = [None, str(tmp_path / "work"), str(tmp_path / "work")]
    runs: list[Any] = [t4_weather(str(observations), registry, folder) for folder in folders]
    hashes = [{name: result["top_hash"] for name, result in run.items()} for run in runs]
    assert hashes[1:] == hashes[:1] * 2
    assert [result["changed"] for run in runs for result in run.values()] == [True] * 2 + [
        False
    ] * 4
    # Two runs in one folder: one of each, and what was installed once.
    assert sorted(path.name[:4] for path in (tmp_path / "work").iterdir()) == [
        "inst",
        "run-",
        "run-",
    ]
    (installed,) = (tmp_path / "work" / "installed").iterdir()
    assert installed.name == hashes[0][OBSERVATIONS]


def test_nothing_of_the_run_is_in_the_package(
    observations: Path, registry: str, tmp_path: Path
) -> None:
    pushed = t4_weather(source=str(observations), registry=registry)
    folder = weather.write_snapshots(observations, tmp_path / "elsewhere")
    built = build(
        OBSERVATIONS,
        folder,
        registry=str(tmp_path / "other"),
        meta={"source": observations.name},
        message="monthly snapshots",
    )
    assert pushed[OBSERVATIONS]["top_hash"] == built["top_hash"]


def test_a_source_without_the_columns_fails_before_anything_is_made(
    registry: str, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    with pytest.raises(t4.InvalidInputError, match="lacks the columns"):
        t4_weather(source=str(wrong), registry=registry)
    assert not Path(registry).exists()


def test_it_runs_as_a_script_on_the_default_source(own_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FLOW)],
        env={**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    package = t4.Package.browse(OBSERVATIONS)
    assert len(package) > 0
    assert len([key for key, _ in package.walk()]) == 48
    assert "pushed t4+file://" in done.stderr + done.stdout


def test_it_works_on_a_bucket(
    observations: Path, s3_env: SeaweedFS, versioned_bucket: str, registry: str
) -> None:
    on_bucket = t4_weather(source=str(observations), registry=f"s3://{versioned_bucket}")
    on_folder = t4_weather(source=str(observations), registry=registry)
    for name in (OBSERVATIONS, SUMMARY):
        assert on_bucket[name]["registry"] == f"s3://{versioned_bucket}"
        assert on_bucket[name]["top_hash"] == on_folder[name]["top_hash"]
