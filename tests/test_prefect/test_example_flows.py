"""`flows/`: each runs as a user runs it, on a folder, without credentials."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from prefect.events import DeploymentEventTrigger
from prefect.settings import PREFECT_API_URL
from prefect.utilities.importtools import load_script_as_module

import t4_ops as t4
from flows.t4_fan_out import t4_fan_out
from flows.t4_functions import t4_functions
from flows.t4_on_push import t4_on_push
from flows.t4_promote import t4_promote, t4_rollback
from t4_ops.lineage import upstream
from t4_ops.operations import build, latest, produce
from t4_ops.prefect.events import package_trigger

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
server = pytest.mark.usefixtures("prefect_server")


AsScript = Callable[..., str]


def in_a_process(name: str) -> str:
    """Run a script as users do, and return the last line that it prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "flows" / name)],
        env={
            **os.environ,
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture
def as_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> AsScript:
    """Run a script in this process, which has paid for Prefect already; return its last line."""

    def run(name: str, *arguments: str) -> str:
        path = str(ROOT / "flows" / name)
        monkeypatch.setattr(sys, "argv", [path, *arguments])
        capsys.readouterr()
        runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out.strip().splitlines()[-1]

    return run


@server
def test_functions_make_reports_that_lead_back(registry: str) -> None:
    first = t4_functions(registry)
    assert t4_functions(registry) == first
    refs = [t4.resolve(uri) for uri in first]
    assert [ref.name for ref in refs] == ["shop/report-eur", "shop/report-usd"]
    sold = latest("shop/sales", registry=registry)
    assert sold is not None
    for ref in refs:
        found = {node.item.version for node in upstream(ref).walk()}
        assert sold.top_hash in found
    assert t4_functions(registry, day="2026-01-02") != first


@server
def test_the_consumer_reads_what_it_was_started_for(registry: str) -> None:
    one, _ = (
        produce(
            pd.DataFrame({"amount": [amount]}), "shop/sales", key="sales.csv", registry=registry
        )
        for amount in (60, 70)
    )
    # As the event hands it over.
    given: Any = t4.resolve(one).to_dict()
    made = t4.resolve(t4_on_push(given))
    table = t4.Package.browse(made.name, registry, made.top_hash)["big.csv"].deserialize()
    assert list(table["amount"]) == [60]
    assert one["top_hash"] in {node.item.version for node in upstream(made).walk()}


@server
def test_fan_out_arrives_at_the_hash_of_one_build(registry: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for number in range(9):
        (tmp_path / "files" / f"{number}.bin").write_bytes(bytes([number]) * 1000)
    made = t4.resolve(t4_fan_out(str(tmp_path / "files"), registry, 3, 1))
    whole = build(
        "big/files", tmp_path / "files", registry=str(tmp_path / "o"), message="hashed in chunks"
    )
    assert made.top_hash == whole["top_hash"]


@server
def test_promotion_and_its_way_back(registry: str, tmp_path: Path) -> None:
    production = str(tmp_path / "production")
    first: Any = produce({"a.json": [1]}, "shop/orders", registry=registry)
    promoted = t4.resolve(t4_promote("shop/orders", registry, production))
    assert promoted.top_hash == first["top_hash"]
    second: Any = produce({"a.json": [2]}, "shop/orders", registry=registry)
    with pytest.raises(ValueError, match="not fit"):
        t4_promote("shop/orders", registry, production, least_files=2)
    assert latest("shop/orders", registry=production) == promoted
    assert (
        t4.resolve(t4_promote("shop/orders", registry, production)).top_hash == second["top_hash"]
    )
    back = t4_rollback("shop/orders", first["top_hash"][:10], production)
    assert t4.resolve(back) == promoted


@server
@pytest.mark.parametrize(
    ("script", "package"),
    [
        ("t4_on_push.py", "shop/big-sales"),
        ("t4_fan_out.py", "big/files"),
    ],
)
def test_each_runs_as_a_script_without_arguments(
    script: str, package: str, as_script: AsScript
) -> None:
    assert t4.resolve(as_script(script)).name == package


@server
def test_one_runs_in_a_process_of_its_own() -> None:
    assert t4.resolve(in_a_process("t4_functions.py")).name == "shop/report-usd"


@server
def test_promotion_runs_as_a_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_script: AsScript
) -> None:
    monkeypatch.setenv("T4_PRODUCTION_REGISTRY", str(tmp_path / "production"))
    assert t4.resolve(as_script("t4_promote.py")).registry == (tmp_path / "production").as_uri()


@server
def test_the_watcher_runs_as_a_script(as_script: AsScript) -> None:
    assert as_script("t4_watch.py", "shop/") == "0"
    produce({"a.json": [1]}, "shop/orders")
    assert as_script("t4_watch.py", "shop/") == "1"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda item: item["name"])
def test_each_deployment_leads_to_a_flow_that_takes_its_parameters(deployment: Any) -> None:
    place = deployment["entrypoint"]
    path, _, name = place.rpartition(":")
    flow = getattr(load_script_as_module(str(ROOT / path)), name)
    triggers = deployment.get("triggers", [])
    given = {*deployment.get("parameters", {}), *(key for t in triggers for key in t["parameters"])}
    assert given <= set(flow.parameters.properties)
    assert set(flow.parameters.required or ()) <= given


def test_the_written_trigger_is_the_one_the_library_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T4_REGISTRY", "s3://bucket")
    (written,) = (trigger for item in DEPLOYMENTS for trigger in item.get("triggers", []))
    written["match"]["prefect.resource.id"] = written["match"]["prefect.resource.id"].replace(
        "{{ $T4_REGISTRY }}", "s3://bucket"
    )
    made = package_trigger("shop/sales")
    assert DeploymentEventTrigger(**written).model_dump(exclude={"id"}) == made.model_dump(
        exclude={"id"}
    )
