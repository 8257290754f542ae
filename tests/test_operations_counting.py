"""Steps tell who counts how many files they wrote and kept; their results are the same."""

from __future__ import annotations

from pathlib import Path

import t4_ops as t4
from t4_ops import operations as ops
from tests.package_support import write_files

NAME = "team/raw"


def counted(counts: ops.Counts) -> tuple[int | None, int | None]:
    return counts.written_files, counts.kept_files


def test_who_counts_is_told_of_the_last_step_that_moves_files(
    bucket_registry: str, tmp_path: Path
) -> None:
    folder = write_files(tmp_path / "in", {"a": b"1", "b": b"22"})
    with ops.count_files() as counts:
        assert counted(counts) == (None, None)
        made = ops.build(NAME, folder, registry=bucket_registry)
        assert counted(counts) == (2, 0)
        ops.install(made, dest=tmp_path / "out", path="a")
        assert counted(counts) == (1, 0)
        (folder / "c").write_bytes(b"333")
        ops.build(NAME, folder, registry=bucket_registry)
        assert counted(counts) == (1, 2)
        ops.browse(made)
        assert counted(counts) == (1, 2)
    ops.build(NAME, folder, registry=bucket_registry)
    assert counted(counts) == (1, 2)


def test_a_merge_that_finds_its_work_done_wrote_nothing(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", {"a": b"1", "b": b"22"})
    plan = ops.plan_shards(folder, registry=tmp_path / "registry")
    results = [ops.hash_shard(shard) for shard in plan["shards"]]
    with ops.count_files() as first:
        merged = ops.merge_shards(results, NAME)
    with ops.count_files() as second:
        assert ops.merge_shards(results, NAME) == {**merged, "changed": False}
    assert counted(first) == counted(second) == (0, 2)


def test_what_is_written_anew_after_a_conflict_is_not_counted_as_kept(tmp_path: Path) -> None:
    registry = str(tmp_path / "registry")
    base = t4.Package().set("a", b"1").push(NAME, registry).top_hash
    t4.Package().set("a", b"1").set("theirs", b"2").push(NAME, registry, force=True)
    own = t4.Package().set("a", b"1").set("own", b"3").build("team/own", tmp_path / "own")
    assert own != base
    with ops.count_files() as counts:
        pushed = ops.push(
            t4.resolve("team/own", tmp_path / "own"),
            registry=registry,
            name=NAME,
            expected=base,
            retry_conflicts=1,
        )
    assert pushed["files"] == 3
    assert counted(counts) == (1, 2)
