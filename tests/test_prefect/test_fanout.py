"""Fan-out: the same top hash on every runner, and pointers in the flow's process only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, runtime
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.transactions import transaction

import t4_ops as t4
from t4_ops.lineage import runs_of
from t4_ops.operations import latest
from t4_ops.prefect.fanout import build_in_shards, hash_shard, merge_shards, plan_shards
from t4_ops.prefect.revisions import Revision
from t4_ops.prefect.tasks import build_package
from tests.test_prefect.support import task_runs

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    for number in range(40):
        path = folder / f"{number % 4}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (1000 + 50_000 * (number % 3)))
    return folder


def runner_of(kind: str) -> Any:
    if kind == "threads":
        return ThreadPoolTaskRunner(max_workers=2)
    if kind == "processes":
        return ProcessPoolTaskRunner(max_workers=2)
    if kind == "ray":
        ray = pytest.importorskip("prefect_ray", reason="needs prefect-ray: make compat-prefect")
        return ray.RayTaskRunner(init_kwargs={"num_cpus": 2, "include_dashboard": False})
    dask = pytest.importorskip("prefect_dask", reason="needs prefect-dask")
    return dask.DaskTaskRunner(
        cluster_kwargs={"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
        | {"processes": False}
    )


@pytest.mark.parametrize("kind", ["threads", "processes", "dask", "ray"])
@pytest.mark.timeout(300)
def test_chunks_make_the_hash_of_one_build(
    kind: str, many: Path, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Processes of a pool find the checkout by it.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2])]))
    run_ids = []

    @flow(task_runner=runner_of(kind))
    def huge() -> Revision:
        run_ids.append(runtime.flow_run.get_id())
        return build_in_shards(
            "team/huge", many, registry=registry, max_shards=4, min_shard_bytes=1, message="m"
        )

    made = huge()
    whole = build_package.fn("team/whole", many, registry=str(tmp_path / "other"), message="m")
    assert made.top_hash == whole.top_hash
    assert latest("team/huge", registry=registry) == made
    runs = task_runs(run_ids[0], 6)
    assert sorted(run.name.partition("-")[0] for run in runs) == [
        *["hash"] * 4,
        "merge",
        "plan",
    ]
    event = runs_of(made)[0]
    assert event.run.job_name == "huge.merge_shards"


def test_a_transaction_takes_it_back(many: Path, registry: str) -> None:
    @flow
    def failing() -> None:
        with transaction():
            build_in_shards("team/huge", many, registry=registry, min_shard_bytes=1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert latest("team/huge", registry=registry) is None


def test_the_plan_says_where_it_goes(many: Path, registry: str, tmp_path: Path) -> None:
    first = build_package.fn("team/huge", many / "0", registry=registry)
    plan = plan_shards.fn(many, registry=registry)
    # Not to the default registry, which has no such package.
    hashed = [hash_shard.fn(shard) for shard in plan["shards"]]
    with pytest.raises(t4.InvalidInputError, match="give both the same registry"):
        merge_shards.fn(hashed, "team/huge", registry=tmp_path / "another")
    made = merge_shards.fn(hashed, "team/huge")
    assert made.registry == first.registry
    assert latest("team/huge", registry=registry) == made


def test_a_source_that_is_not_there_fails_before_any_chunk(registry: str, tmp_path: Path) -> None:
    @flow
    def nothing() -> Revision:
        return build_in_shards("team/huge", tmp_path / "none", registry=registry)

    with pytest.raises(t4.NotFoundError):
        nothing()
