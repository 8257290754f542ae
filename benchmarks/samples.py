"""Recorded pipelines to look at: a small one, and one of 300 datasets and runs."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from t4_ops.keys import PackageRef
from t4_ops.ledger import Input, Output, RunInfo, record
from t4_ops.settings import Settings
from t4_ops.storage import open_store

START: Final = datetime(2026, 3, 1, 6, tzinfo=UTC)
STATIONS: Final = 20
REGIONS: Final = 4


@dataclass
class Recorder:
    """Records runs in a registry, one minute after the other.

    Attributes:
        registry: Where.
        runs: How many were recorded.
    """

    registry: str
    runs: int = field(default=0, init=False)

    def run(
        self,
        engine: str,
        job: str,
        inputs: Iterable[PackageRef | Input],
        name: str | None = None,
        *,
        error: str | None = None,
    ) -> PackageRef:
        """Record a run that read `inputs` and published the package `name`, and return that."""
        self.runs += 1
        digest = hashlib.sha256(f"{name} {self.runs}".encode()).hexdigest()
        ref = PackageRef(self.registry, name or "no/output", digest)
        files = int(digest[:2], 16) + 1
        output = Output(
            ref,
            files=files,
            size_bytes=files * int(digest[2:7], 16),
            message=f"made by {job}",
        )
        record(
            RunInfo(
                run_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{job} {self.runs}")),
                job_namespace=f"{engine}-production",
                job_name=job,
                engine=engine,
                engine_version="3.3.2" if engine == "airflow" else "3.7.7",
            ),
            [item if isinstance(item, Input) else Input.of_ref(item) for item in inputs],
            [output] if name else [],
            settings=Settings(registry=self.registry),
            open_store=open_store,
            state="FAIL" if error else "COMPLETE",
            error=error,
            event_time=START + timedelta(minutes=self.runs),
        )
        return ref


def small(registry: str) -> PackageRef:
    """Record a source, a run and a revision: a graph of three, and return the revision."""
    source = Input("file", "/data/seattle-weather.csv")
    return Recorder(registry).run("airflow", "t4_weather.build", [source], "weather/observations")


def large(registry: str) -> PackageRef:
    """Record a pipeline whose graph has 300 datasets and runs; return the revision in its middle.

    Stations are read and cleaned, merged by region and into one; features, models and reports are
    made from that.
    """
    made = Recorder(registry)
    clean = list(_stations(made))
    share = STATIONS // REGIONS
    regions = [
        made.run(
            "airflow",
            f"merge.region_{number}",
            clean[number * share : (number + 1) * share],
            f"weather/region-{number}",
        )
        for number in range(REGIONS)
    ]
    root = made.run("airflow", "merge.country", regions, "weather/observations")
    reports = []
    for number in range(16):
        feature = made.run("prefect", f"features/f{number:02}", [root], f"features/f{number:02}")
        for kind in ("trees", "linear"):
            name = f"{kind}-{number:02}"
            model = made.run("prefect", f"train/{kind}", [feature], f"models/{name}")
            reports.append(made.run("prefect", "evaluate", [model, root], f"reports/{name}"))
    for number in range(4):
        made.run("python", f"dashboard-{number}.py", reports[number * 8 :][:8], f"boards/b{number}")
    for number in range(10):
        made.run("python", "notebook.py", reports[number : number + 1], f"notes/n{number:02}")
    made.run("python", "export.py", [root], error="OSError: no space left on device")
    return root


def _stations(made: Recorder) -> Iterator[PackageRef]:
    registry_of = Input("postgres://stations:5432", "public.stations", "2026-03-01")
    for number in range(STATIONS):
        feed = Input(f"https://station-{number:02}.example", f"feed/{number:02}.csv")
        raw = made.run("airflow", "ingest.read", [feed], f"raw/station-{number:02}")
        yield made.run("airflow", "ingest.clean", [raw, registry_of], f"clean/station-{number:02}")
