"""A build that several workers share: the same top hash, in parts, and nothing mixed up."""

from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from t4_ops import operations as ops
from t4_ops.ledger import RunInfo
from t4_ops.operations.scratch import SCRATCH
from t4_ops.settings import load_settings
from t4_ops.storage import open_bucket
from tests.ledger_support import stored_events
from tests.package_support import contents_of, write_files
from tests.shards_support import NAME, hashed, planned, same_as, scratch_of, some_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "files", some_files())


@pytest.mark.parametrize("max_shards", [1, 2, 7, 60, 1000])
def test_shards_give_the_top_hash_of_one_process(
    folder: Path, tmp_path: Path, max_shards: int
) -> None:
    one = ops.build(NAME, folder, registry=tmp_path / "one", meta={"n": 1}, message="m")
    plan = planned(folder, registry=tmp_path / "many", max_shards=max_shards)
    assert len(plan["shards"]) <= min(max_shards, 60)
    assert [shard["number"] for shard in plan["shards"]] == [*range(len(plan["shards"]))]
    assert sum(shard["files"] for shard in plan["shards"]) == plan["files"] == 60
    assert sum(shard["size_bytes"] for shard in plan["shards"]) == plan["size_bytes"]
    results = hashed(plan)
    random.Random(1).shuffle(results)
    merged = ops.merge_shards(results, NAME, meta={"n": 1}, message="m")
    assert same_as(merged, one)
    assert merged["changed"]
    assert contents_of(t4.Package.browse(NAME, tmp_path / "many")) == some_files()
    assert scratch_of((tmp_path / "many").as_uri()) == {"merged"}
    assert ops.clean_shards(tmp_path / "many", older_than_s=0) == 1
    assert scratch_of((tmp_path / "many").as_uri()) == set()


def test_in_a_registry_of_every_kind_from_sources_of_every_kind(
    registry: str, bucket_registry: str, folder: Path, tmp_path: Path
) -> None:
    store = open_bucket(bucket_registry, load_settings())
    for key, data in some_files(seed=2, count=45).items():
        store.write(f"in/{key}", data)
    package = ops.build("team/part", write_files(tmp_path / "p", {"x": b"x"}), registry=registry)
    sources = {"": folder, "remote": f"{bucket_registry}/in/", "packed": package}
    with_one = ops.build("team/one", sources, registry=registry)
    plan = planned(sources, registry=registry, max_shards=4)
    before = t4.list_packages(registry)
    results = hashed(plan)
    assert t4.list_packages(registry) == before
    run = RunInfo.here("merge")
    merged = ops.merge_shards(results, NAME, run=run)
    assert same_as(merged, with_one)
    made = t4.Package.browse(NAME, registry)
    one = t4.Package.browse("team/one", registry)
    assert contents_of(made) == contents_of(one)
    assert [e.physical_key for e in made.entries()] == [e.physical_key for e in one.entries()]
    events = [e for e in stored_events(registry).values() if e["job"]["name"] == "merge"]
    assert len(events) == 1
    assert len(events[0]["inputs"]) == 3
    assert scratch_of(registry) == {"merged"}
    # Retried, as when a worker died after the merge but before it could say so.
    again = ops.merge_shards(results, NAME, run=run)
    assert again == {**merged, "changed": False}


def test_shards_are_balanced(tmp_path: Path) -> None:
    choose = random.Random(3)
    sizes = [choose.choice([10, 1000, 300_000]) for _ in range(200)]
    folder = tmp_path / "files"
    folder.mkdir()
    for number, size in enumerate(sizes):
        with (folder / f"{number:03}").open("wb") as file:
            file.truncate(size)
    plan = planned(folder, max_shards=8)
    loads = [shard["size_bytes"] for shard in plan["shards"]]
    assert len(loads) == 8
    cost = 64 * 1024 * max(shard["files"] for shard in plan["shards"])
    assert max(loads) <= sum(sizes) / 8 + max(sizes) + cost
    # What is not worth a task of its own gets none.
    assert len(ops.plan_shards(folder)["shards"]) == 1
    assert len(ops.plan_shards(folder, min_shard_bytes=10**7)["shards"]) <= 4


def test_a_retry_finds_its_work_done(folder: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    plan = planned(folder, registry=registry, max_shards=3, token="run-1")
    first = hashed(plan)
    assert [result["changed"] for result in first] == [True] * 3
    assert planned(folder, registry=registry, max_shards=3, token="run-1") == plan
    again = hashed(plan)
    assert again == [{**result, "changed": False} for result in first]
    assert [ops.hash_shard(str(shard))["changed"] for shard in plan["shards"]] == [False] * 3
    other = planned(folder, registry=registry, max_shards=3, token="run-2")
    assert other["plan"] != plan["plan"]
    assert planned(folder, registry=registry)["plan"] != planned(folder, registry=registry)["plan"]
    # Other files are another plan.
    write_files(folder, {"new": b""})
    assert planned(folder, registry=registry, token="run-1")["plan"] != plan["plan"]
    assert ops.merge_shards(str(first), NAME)["files"] == 60


def test_a_file_that_changed_is_found_and_its_shard_hashed_again(
    folder: Path, tmp_path: Path
) -> None:
    registry = tmp_path / "registry"
    plan = planned(folder, registry=registry, max_shards=5)
    results = hashed(plan)
    name = sorted(some_files())[30]
    size = (folder / name).stat().st_size
    write_files(folder, {name: os.urandom(size)})
    with pytest.raises(t4.IntegrityError, match=name) as caught:
        ops.merge_shards(results, NAME)
    assert not caught.value.retryable
    assert t4.list_packages(registry) == []
    again = hashed(plan)
    assert sum(result["changed"] for result in again) == 1
    # The old result of that shard is not taken for the new one.
    with pytest.raises(t4.IntegrityError, match="newest"):
        ops.merge_shards(results, NAME)
    merged = ops.merge_shards(again, NAME)
    assert merged["top_hash"] == ops.build("team/one", folder)["top_hash"]
    (folder / name).unlink()
    plan = planned(folder, registry=registry, max_shards=5)
    (folder / sorted(some_files())[3]).unlink()
    with pytest.raises(t4.NotFoundError):
        hashed(plan)


def test_an_object_that_changed_is_found(unversioned_bucket: str, s3_env: Any) -> None:
    registry = f"s3://{unversioned_bucket}"
    store = open_bucket(registry, load_settings())
    for count in (5, 60):  # few are asked for one by one, many are listed
        files = some_files(seed=count, count=count)
        for key, data in files.items():
            store.write(f"in{count}/{key}", data)
        plan = planned(f"{registry}/in{count}/", registry=registry, max_shards=1)
        results = hashed(plan)
        name = sorted(files)[2]
        store.write(f"in{count}/{name}", os.urandom(len(files[name]) + 1))
        with pytest.raises(t4.IntegrityError, match=name):
            ops.merge_shards(results, NAME)
        results = hashed(plan)
        store.delete(f"in{count}/{name}")
        with pytest.raises(t4.IntegrityError, match=name):
            ops.merge_shards(results, NAME)
        store.write(f"in{count}/{name}", files[name])
        merged = ops.merge_shards(hashed(plan), NAME)
        assert merged["files"] == count


def test_on_a_bucket_workers_bring_their_files(
    bucket_registry: str, folder: Path, tmp_path: Path
) -> None:
    plan = planned(folder, registry=bucket_registry, max_shards=3)
    results = hashed(plan)
    # They are there, so whoever merges need not have them.
    shutil.rmtree(folder)
    merged = ops.merge_shards(results, NAME)
    package = t4.Package.browse(NAME, bucket_registry)
    assert contents_of(package) == some_files()
    assert merged["files"] == 60
    assert all(e.physical_key.startswith(bucket_registry) for e in package.entries())


def test_missing_mixed_and_foreign_shards_are_refused(folder: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    plan = planned(folder, registry=registry, max_shards=4)
    results = hashed(plan)
    others = hashed(planned(folder, registry=registry, max_shards=4))
    bad: list[tuple[Any, type[Exception]]] = [
        ([], t4.InvalidInputError),
        (results[:3], t4.InvalidInputError),
        (results[1:], t4.InvalidInputError),
        ([*results[:3], others[3]], t4.InvalidInputError),
        ([*results[:3], None], t4.InvalidInputError),
        ([{**result, "of": 3} for result in results], t4.InvalidInputError),
        ([{**result, "sha256": "0"} for result in results], t4.IntegrityError),
        ([{**result, "plan": "../../x"} for result in results], t4.InvalidInputError),
        ([{**result, "plan": "0" * 32} for result in results], t4.NotFoundError),
    ]
    for given, error in bad:
        with pytest.raises(error):
            ops.merge_shards(given, NAME)
    with pytest.raises(t4.InvalidInputError):
        ops.merge_shards(results, "nonsense")
    assert t4.list_packages(registry) == []
    shards: list[tuple[Any, type[Exception]]] = [
        ({}, t4.InvalidInputError),
        ("text", t4.InvalidInputError),
        ({**plan["shards"][0], "number": -1}, t4.InvalidInputError),
        ({**plan["shards"][0], "number": 9}, t4.NotFoundError),
        ({**plan["shards"][0], "plan": "0" * 32}, t4.NotFoundError),
    ]
    for shard, error in shards:
        with pytest.raises(error):
            ops.hash_shard(shard)
    bounds: list[Any] = [{"max_shards": 0}, {"max_shards": 1001}, {"min_shard_bytes": 0}]
    for asked in bounds:
        with pytest.raises(t4.InvalidInputError):
            ops.plan_shards(folder, **asked)
    with pytest.raises(t4.NotFoundError):
        planned(tmp_path / "nothing")
    assert ops.merge_shards([*results, results[0]], NAME)["files"] == 60
    with pytest.raises(t4.NotFoundError, match="plan again"):
        ops.hash_shard(plan["shards"][0])
    with pytest.raises(t4.NotFoundError, match="plan again"):
        ops.merge_shards(results, "team/another")


def test_a_plan_of_another_machine_is_told(folder: Path, tmp_path: Path) -> None:
    plan = planned(folder, registry=tmp_path / "registry")
    foreign: Any = {**plan["shards"][0], "host": "worker-7"}
    assert ops.hash_shard(foreign)["changed"]
    shutil.rmtree(tmp_path / "registry")
    with pytest.raises(t4.NotFoundError, match="worker-7"):
        ops.hash_shard(foreign)


def test_stopped_workers_leave_nothing_half_done(folder: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    stop = threading.Event()
    plan = planned(folder, registry=registry, max_shards=2)
    stop.set()
    with pytest.raises(ops.Cancelled):
        ops.hash_shard(plan["shards"][0], stop=stop)
    results = hashed(plan)
    assert all(result["changed"] for result in results)
    with pytest.raises(ops.Cancelled):
        ops.merge_shards(results, NAME, stop=stop)
    with pytest.raises(ops.Cancelled):
        planned(folder, registry=registry, stop=stop)
    assert t4.list_packages(registry) == []
    assert ops.merge_shards(results, NAME)["files"] == 60


def test_a_merge_that_was_killed_is_gone_on_with(folder: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    plan = planned(folder, registry=registry, max_shards=3)
    results = hashed(plan)
    scratch = registry / SCRATCH / plan["plan"]
    shutil.copytree(scratch, tmp_path / "before")
    merged = ops.merge_shards(results, NAME)
    note = (scratch / "merged").read_bytes()
    versions = t4.list_package_versions(NAME, registry)
    # Killed after `latest` moved; after the note was written; and while the parts were removed.
    for has_note, gone in ((False, ()), (True, ()), (True, ("done/00001", "plan"))):
        shutil.rmtree(scratch)
        shutil.copytree(tmp_path / "before", scratch)
        if has_note:
            (scratch / "merged").write_bytes(note)
        for name in gone:
            (scratch / name).unlink()
        assert ops.merge_shards(results, NAME) == {**merged, "changed": False}
        assert scratch_of(registry.as_uri()) == {"merged"}
    assert t4.list_package_versions(NAME, registry) == versions


def test_a_plan_that_is_cut_otherwise_is_another_plan(folder: Path, tmp_path: Path) -> None:
    """A run that is cleared after its author changed `max_shards` has the same token."""
    registry = tmp_path / "registry"
    for before, after in ((3, 2), (2, 3)):
        planned(folder, registry=registry, max_shards=before, token="run-1")
        plan = planned(folder, registry=registry, max_shards=after, token="run-1")
        assert ops.merge_shards(hashed(plan), NAME)["files"] == 60
    assert contents_of(t4.Package.browse(NAME, registry)) == some_files()
    plan = planned(folder, registry=registry, max_shards=4)
    fewer = [{**result, "of": 3} for result in hashed(plan)[:3]]
    with pytest.raises(t4.IntegrityError, match="60 files in 4 shards"):
        ops.merge_shards(fewer, "team/fewer")


def test_a_plan_of_other_metadata_is_another_plan(tmp_path: Path) -> None:
    file = write_files(tmp_path / "f", {"x": b"1"}) / "x"
    plans = []
    for number in (1, 2):
        t4.Package().set("x", file, meta={"n": number}).build("team/meta")
        plans.append(planned(t4.resolve("team/meta"), token="run-1"))
    assert ops.merge_shards(hashed(plans[1]), "team/copy")["files"] == 1
    assert t4.Package.browse("team/copy")["x"].meta == {"n": 2}
