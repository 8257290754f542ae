"""Rollback, undo, promote and delete: pointers move by compare-and-swap, and nothing is lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations as ops
from t4_ops.settings import load_settings
from t4_ops.storage import open_store
from tests.package_support import contents_of, objects_of, watched, write_files

NAME = "team/raw"


@pytest.fixture
def made(tmp_path: Path, registry: str) -> list[ops.StepResult]:
    """Three revisions, oldest first."""
    folder = tmp_path / "files"
    results = []
    for i in range(3):
        write_files(folder, {"a": str(i).encode()})
        results.append(ops.build(NAME, folder, registry=registry))
    return results


def held(registry: str, name: str = NAME) -> str | None:
    ref = ops.latest(name, registry=registry)
    return None if ref is None else ref.top_hash


def listed(registry: str, name: str = NAME) -> list[str]:
    try:
        return [h for p, h in t4.list_package_versions(name, registry) if p != "latest"]
    except t4.NotFoundError:
        return []


def test_rollback_moves_latest_and_a_repeat_finds_it_done(
    made: list[ops.StepResult], registry: str
) -> None:
    first, _, third = made
    before = listed(registry)
    moved = ops.rollback(NAME, first["top_hash"], registry=registry, expected=third["top_hash"])
    assert moved == {**first, "inputs": [], "changed": True, "previous": third["top_hash"]}
    assert (held(registry), listed(registry)) == (first["top_hash"], before)
    again = ops.rollback(NAME, first["top_hash"], registry=registry, expected=third["top_hash"])
    assert (again["changed"], again["previous"]) == (False, first["top_hash"])


def test_rollback_takes_whatever_names_the_revision(
    made: list[ops.StepResult], registry: str
) -> None:
    first, second, third = made
    short = first["top_hash"][:10]
    for to in (
        first,
        str(first),
        t4.PackageRef.from_dict(first),
        first["uri"],
        f"{NAME}@{short}",
        short,
        f" {first['top_hash']} ",
    ):
        moved = ops.rollback(NAME, to, registry=registry)
        assert (moved["top_hash"], moved["changed"]) == (first["top_hash"], True)
        assert ops.rollback(NAME, third)["top_hash"] == third["top_hash"]
    other = ops.build("team/other", {"a": Path(__file__)}, registry=registry)
    elsewhere = {**second, "registry": "s3://another-bucket"}
    errors: list[tuple[Any, type[Exception]]] = [
        (other, t4.InvalidInputError),
        (other["top_hash"], t4.NotFoundError),
        (NAME, t4.InvalidInputError),
        ("xyz", t4.InvalidInputError),
        ("0" * 64, t4.NotFoundError),
        (elsewhere, t4.InvalidInputError),
    ]
    for to, error in errors:
        with pytest.raises(error):
            ops.rollback(NAME, to, registry=registry)
    assert held(registry) == third["top_hash"]


def test_rollback_is_refused_if_somebody_moved_on_unless_told(
    made: list[ops.StepResult], registry: str
) -> None:
    first, second, third = made
    with pytest.raises(t4.ConflictError) as caught:
        ops.rollback(NAME, first, expected=second["top_hash"])
    assert (caught.value.actual, caught.value.retryable) == (third["top_hash"], False)
    assert held(registry) == third["top_hash"]
    assert ops.rollback(NAME, first, expected=second["top_hash"], force=True)["changed"]
    # A damaged pointer is what a rollback mends; it holds no top hash.
    store = open_store(registry, load_settings())
    store.write(f".quilt/named_packages/{NAME}/latest", b"rubbish")
    mended = ops.rollback(NAME, second)
    assert (mended["previous"], held(registry)) == (None, second["top_hash"])


def test_a_revision_without_its_manifest_is_no_target(
    made: list[ops.StepResult], registry: str
) -> None:
    first, second, third = made
    store = open_store(registry, load_settings())
    store.delete(f".quilt/packages/{second['top_hash']}")
    with pytest.raises(t4.NotFoundError):
        ops.rollback(NAME, second)
    assert held(registry) == third["top_hash"]
    # Nor does a deletion leave `latest` at it.
    gone = ops.delete_revision(third)
    assert (gone["latest"], held(registry)) == (first["top_hash"], first["top_hash"])
    # With the manifest of the only other one gone, nothing would be left to point at.
    with pytest.raises(t4.NotFoundError, match="nowhere"):
        ops.delete_revision(first)
    assert held(registry) == first["top_hash"]


def test_undo_takes_back_what_was_published(
    made: list[ops.StepResult], registry: str, tmp_path: Path
) -> None:
    third = made[2]
    before = held(registry)
    new = ops.build(
        NAME, write_files(tmp_path / "new", {"n": b""}), registry=registry, expected=before
    )
    undone = ops.undo(new, before)
    assert undone == {
        "uri": new["uri"],
        "registry": new["registry"],
        "name": NAME,
        "top_hash": new["top_hash"],
        "latest": third["top_hash"],
        "changed": True,
    }
    assert held(registry) == before
    assert ops.undo(new, before) == {**undone, "changed": False}
    # Who pinned it still has it.
    assert ops.browse(new)["files"] == 1
    # Somebody's newer revision is never taken back.
    newer = ops.build(NAME, tmp_path / "new", registry=registry, message="newer")
    with pytest.raises(t4.ConflictError, match="stays") as caught:
        ops.undo(new, before)
    assert (caught.value.expected, caught.value.actual) == (new["top_hash"], newer["top_hash"])
    assert held(registry) == newer["top_hash"]


def test_undo_of_a_new_package_takes_its_name_away(registry: str, tmp_path: Path) -> None:
    new = ops.build("team/new", write_files(tmp_path / "x", {"a": b""}), registry=registry)
    assert ops.undo(new, None)["latest"] is None
    assert "team/new" not in t4.list_packages(registry)
    assert ops.undo(new, None)["changed"] is False
    assert ops.build("team/new", tmp_path / "x", registry=registry)["changed"]


def test_undo_of_a_new_package_publishes_nothing_of_others(registry: str, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "x", {"a": b"1"})
    other = ops.build("team/other", folder, registry=registry)
    store = open_store(registry, load_settings())
    # A writer who died before he moved `latest`.
    dead = f".quilt/named_packages/team/new/{int(time.time()) - 100}"
    store.write(dead, other["top_hash"].encode())
    new = ops.build("team/new", folder, registry=registry, message="new")
    assert ops.undo(new, None)["latest"] is None
    assert held(registry, "team/new") is None
    assert listed(registry, "team/new") == [other["top_hash"]]
    # Somebody's newer revision was rolled back; that is not ours to publish again, nor to remove.
    new = ops.build("team/new", folder, registry=registry, message="new")
    newer = ops.build("team/new", folder, registry=registry, message="newer")
    ops.rollback("team/new", new, registry=registry)
    with pytest.raises(t4.ConflictError, match="not taken back") as caught:
        ops.undo(new, None)
    assert caught.value.actual == newer["top_hash"]
    assert held(registry, "team/new") == new["top_hash"]
    assert listed(registry, "team/new") == [h["top_hash"] for h in (other, new, newer)]


def test_promote_brings_the_same_revision_elsewhere(
    registry: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    files = {"a": b"1", "d/big": bytes(range(256)) * 5000}
    staging = ops.push(
        ops.build("staging/raw", write_files(tmp_path / "files", files), message="m"),
        registry=registry,
    )
    target = (tmp_path / "production").as_uri()
    promoted = ops.promote(staging, registry=target, name="prod/raw")
    assert (promoted["top_hash"], promoted["changed"]) == (staging["top_hash"], True)
    assert (promoted["registry"], promoted["name"]) == (target, "prod/raw")
    assert promoted["inputs"][0]["uri"] == staging["uri"]
    package = t4.Package.browse("prod/raw", target)
    assert contents_of(package) == files
    assert all(entry.physical_key.startswith(target) for entry in package.entries())
    again = ops.promote(staging, registry=target, name="prod/raw")
    assert again == {**promoted, "changed": False}
    # Under another name in the same registry no object is written twice.
    before = {key for key in objects_of(registry) if not key.startswith((".quilt/", ".t4/v1/l"))}
    renamed = ops.promote(staging, name="prod/raw")
    after = {key for key in objects_of(registry) if not key.startswith((".quilt/", ".t4/v1/l"))}
    assert (renamed["top_hash"], renamed["registry"]) == (
        staging["top_hash"],
        staging["registry"],
    )
    assert before == after
    with pytest.raises(t4.InvalidInputError, match="itself"):
        ops.promote(staging)
    with pytest.raises(t4.ConflictError):
        ops.promote(
            ops.build("staging/raw", tmp_path / "files", registry=registry, message="2"),
            registry=target,
            name="prod/raw",
            expected=None,
        )
    assert held(target, "prod/raw") == staging["top_hash"]


def test_promote_from_bucket_to_bucket_is_copied_by_the_server(
    s3_env: SeaweedFS, versioned_bucket: str, unversioned_bucket: str, tmp_path: Path
) -> None:
    size_bytes = 20 * 1024 * 1024
    folder = write_files(tmp_path / "files", {"big": bytes(size_bytes), "small": b"s"})
    buckets = [f"s3://{versioned_bucket}", f"s3://{unversioned_bucket}"]
    for source, target in (buckets, buckets[::-1]):
        staging = ops.push(ops.build("staging/raw", folder), registry=source)
        with watched(s3_env.endpoint_url) as (relay, settings):
            promoted = ops.promote(staging, registry=target, name="prod/raw", settings=settings)
            sent_bytes = sum(len(request.body) for request in relay.requests)
        assert promoted["top_hash"] == staging["top_hash"]
        assert sent_bytes < size_bytes / 10
        assert ops.verify(promoted)["ok"]
        package = t4.Package.browse("prod/raw", target)
        assert all(entry.physical_key.startswith(target) for entry in package.entries())


def test_delete_takes_a_revision_away_and_latest_never_dangles(
    made: list[ops.StepResult], registry: str
) -> None:
    first, second, third = made
    gone = ops.delete_revision(third)
    assert gone == {
        "uri": third["uri"],
        "registry": third["registry"],
        "name": NAME,
        "top_hash": third["top_hash"],
        "latest": second["top_hash"],
        "changed": True,
    }
    assert ops.delete_revision(third) == {**gone, "changed": False}
    assert ops.browse(third)["files"] == 1  # pinned references still hold
    assert ops.delete_revision(f"{NAME}@{first['top_hash']}", registry=registry)["changed"]
    assert (listed(registry), held(registry)) == ([second["top_hash"]], second["top_hash"])
    last = ops.delete_revision(t4.PackageRef.from_dict(second))
    assert (last["latest"], last["changed"]) == (None, True)
    assert NAME not in t4.list_packages(registry)
    assert ops.delete_revision(second)["changed"] is False
    for unclear in (NAME, f"{NAME}@", {"name": NAME}):
        with pytest.raises(t4.InvalidInputError):
            ops.delete_revision(unclear, registry=registry)
    with pytest.raises(t4.NotFoundError):
        ops.delete_revision(f"{NAME}@{first['top_hash'][:12]}", registry=registry)


def test_latest(made: list[ops.StepResult], registry: str) -> None:
    assert ops.latest(NAME, registry=registry) == t4.PackageRef.from_dict(made[2])
    assert ops.latest("team/none", registry=registry) is None
