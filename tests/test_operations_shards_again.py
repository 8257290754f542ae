"""What is done again, or at once, of a build that several workers share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations as ops
from t4_ops.operations.scratch import SCRATCH
from t4_ops.settings import load_settings
from t4_ops.storage import open_store
from tests.package_support import contents_of, watched, write_files
from tests.s3_support import Request
from tests.shards_support import NAME, hashed, planned, same_as, scratch_of, some_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "files", some_files())


def test_a_merge_that_was_taken_back_is_done_again(folder: Path, tmp_path: Path) -> None:
    """As when a flow fails after the merge, takes it back, and is retried."""
    registry = tmp_path / "registry"
    first = ops.build(NAME, write_files(tmp_path / "first", {"a": b"1"}), registry=registry)

    def build() -> ops.StepResult:
        return ops.merge_shards(hashed(planned(folder, registry=registry, token="run-1")), NAME)

    merged = build()
    assert ops.undo(merged, first["top_hash"])["changed"]
    assert build() == merged
    assert ops.latest(NAME, registry=registry) == t4.PackageRef.from_dict(merged)
    ops.delete_revision(merged)
    assert build() == merged
    # But not over what somebody has published since.
    newer = ops.build(NAME, tmp_path / "first", registry=registry, message="newer")
    assert build() == {**merged, "changed": False}
    assert ops.latest(NAME, registry=registry) == t4.PackageRef.from_dict(newer)
    assert scratch_of(registry.as_uri()) == {"merged"}


def test_two_tries_of_a_merge_at_once_both_find_it_done(
    unversioned_bucket: str, s3_env: SeaweedFS, folder: Path
) -> None:
    """A worker that was given up for dead ends its merge while the next try is at it."""
    registry = f"s3://{unversioned_bucket}"
    results = hashed(planned(folder, registry=registry, max_shards=2))
    merged: list[ops.StepResult] = []
    with watched(s3_env.endpoint_url) as (relay, settings):

        def rule(request: Request) -> None:
            if "done/00001" in request.target and not merged:
                merged.append(ops.merge_shards(results, NAME))

        relay.rule = rule
        late = ops.merge_shards(results, NAME, settings=settings)
    assert merged[0]["changed"]
    assert late == {**merged[0], "changed": False}


def test_a_file_that_was_mended_after_it_was_brought_is_hashed_again(
    bucket_registry: str, folder: Path
) -> None:
    """The second try of a run publishes what the files are now, though their sizes are the same."""
    plan = planned(folder, registry=bucket_registry, max_shards=3, token="run-1")
    hashed(plan)
    name = max(some_files(), key=lambda name: len(some_files()[name]))
    files = {**some_files(), name: os.urandom(len(some_files()[name]))}
    write_files(folder, files)
    again = planned(folder, registry=bucket_registry, max_shards=3, token="run-1")
    merged = ops.merge_shards(hashed(again), NAME)
    assert contents_of(t4.Package.browse(NAME, bucket_registry)) == files
    assert merged["top_hash"] == ops.build("team/one", folder)["top_hash"]


def test_an_empty_folder_and_metadata_of_files_survive(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    one = ops.build("team/empty", empty)
    merged = ops.merge_shards(hashed(planned(empty)), NAME)
    assert same_as(merged, one)
    meta = t4.Package().set("x", write_files(tmp_path / "f", {"x": b"1"}) / "x", meta={"k": [1]})
    meta.build("team/meta")
    source = t4.resolve("team/meta")
    assert same_as(
        ops.merge_shards(hashed(planned(source)), "team/copy"), ops.build("team/built", source)
    )
    assert t4.Package.browse("team/copy")["x"].meta == {"k": [1]}


def test_clean_takes_only_what_rests(folder: Path, tmp_path: Path) -> None:
    registry = (tmp_path / "registry").as_uri()
    planned(folder, registry=registry)
    store = open_store(registry, load_settings())
    store.write(f"{SCRATCH}notes.txt", b"somebody's")
    count = len(list(store.list(SCRATCH)))
    assert ops.clean_shards(registry) == 0
    assert len(list(store.list(SCRATCH))) == count
    with pytest.raises(t4.InvalidInputError):
        ops.clean_shards(registry, older_than_s=-1)
    assert ops.clean_shards(registry, older_than_s=0) == 1
    assert [info.key for info in store.list(SCRATCH)] == [f"{SCRATCH}notes.txt"]
