"""`retry_conflicts`: a push's own changes are applied to what somebody else published meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations
from t4_ops.registry import rounds
from tests.package_support import NAME, contents_of, objects_of, watched, write_files
from tests.s3_support import Fault, Request


def start(registry: str, files: Mapping[str, bytes]) -> t4.Package:
    """Publish files and return the package as browsed from the registry."""
    package = t4.Package()
    for key, data in files.items():
        package.set(key, data)
    package.push(NAME, registry)
    return t4.Package.browse(NAME, registry)


def edited(registry: str, changes: Mapping[str, bytes | None]) -> t4.Package:
    """Return the newest revision with keys set, or deleted where there are no bytes."""
    package = t4.Package.browse(NAME, registry)
    for key, data in changes.items():
        package.delete(key) if data is None else package.set(key, data)
    return package


BASE = {"a.bin": b"a", "b.bin": b"b", "d/c.bin": b"c", "d/e.bin": b"e"}

MERGES: dict[str, tuple[dict[str, bytes | None], dict[str, bytes | None]]] = {
    "different keys": ({"a.bin": b"mine"}, {"b.bin": b"theirs"}),
    "new keys": ({"n.bin": b"mine"}, {"m.bin": b"theirs", "d/n.bin": b"theirs"}),
    "deleted and changed elsewhere": ({"a.bin": None}, {"b.bin": b"theirs", "d/c.bin": None}),
    "the same change": ({"a.bin": b"same", "b.bin": None}, {"a.bin": b"same", "b.bin": None}),
    "a file where nobody's directory is": (
        {"d/c.bin": None, "d/e.bin": None, "d": b"file"},
        {"a.bin": b"theirs"},
    ),
}


@pytest.mark.parametrize("case", MERGES)
def test_what_nobody_else_changed_is_applied(tmp_path: Path, case: str) -> None:
    mine, theirs = MERGES[case]
    registry = str(tmp_path / "registry")
    start(registry, BASE)
    late = edited(registry, mine)
    rival = edited(registry, theirs).push(NAME, registry, message="theirs")

    with pytest.raises(t4.ConflictError):
        late.push(NAME, registry, message="mine")
    merged = late.push(NAME, registry, message="mine", retry_conflicts=1)

    wanted = {**BASE, **theirs, **mine}
    found = t4.Package.browse(NAME, registry)
    assert contents_of(found) == {k: data for k, data in wanted.items() if data is not None}
    assert found.top_hash == merged.top_hash
    assert found.top_hash not in (late.top_hash, rival.top_hash)
    revisions = [top_hash for _, top_hash in t4.list_package_versions(NAME, registry)]
    assert revisions[1:] == [rival.top_hash, merged.top_hash, merged.top_hash]


CONFLICTS: dict[str, tuple[dict[str, bytes | None], dict[str, bytes | None]]] = {
    "one key, two values": ({"a.bin": b"mine", "n.bin": b"n"}, {"a.bin": b"theirs"}),
    "one new key, two values": ({"n.bin": b"mine"}, {"n.bin": b"theirs"}),
    "changed here, deleted there": ({"a.bin": b"mine"}, {"a.bin": None}),
    "deleted here, changed there": ({"a.bin": None}, {"a.bin": b"theirs"}),
    "a file here, a directory there": ({"n": b"mine"}, {"n/m.bin": b"theirs"}),
    "a directory here, a file there": ({"n/m.bin": b"mine"}, {"n": b"theirs"}),
}


@pytest.mark.parametrize("case", CONFLICTS)
def test_what_both_changed_is_for_the_users_to_decide(tmp_path: Path, case: str) -> None:
    mine, theirs = CONFLICTS[case]
    registry = (tmp_path / "registry").as_uri()
    start(registry, BASE)
    late = edited(registry, mine)
    rival = edited(registry, theirs).push(NAME, registry)
    before = objects_of(registry), t4.list_package_versions(NAME, registry)

    with pytest.raises(t4.ConflictError, match="was changed by this push and by") as caught:
        late.push(NAME, registry, retry_conflicts=5)

    assert caught.value.actual == rival.top_hash
    assert (objects_of(registry), t4.list_package_versions(NAME, registry)) == before


def metas(registry: str, mine: Any, theirs: Any) -> t4.Package:
    """Publish with metadata, let a rival change it, and push a change of ours after him."""
    first = t4.Package().set("d/a.bin", b"a").set_meta({"n": 0})
    first["d"].set_meta({"m": 0})
    first.push(NAME, registry)
    late, rival = (t4.Package.browse(NAME, registry) for _ in range(2))
    theirs(rival.set("r.bin", b"r"))
    rival.push(NAME, registry)
    mine(late.set("l.bin", b"l"))
    late.push(NAME, registry, retry_conflicts=1)
    return t4.Package.browse(NAME, registry)


def test_metadata_is_merged_as_a_whole(tmp_path: Path) -> None:
    registry = iter(str(tmp_path / str(number)) for number in range(9))

    def nothing(package: t4.Package) -> None:
        """Change no metadata."""

    def root(value: int) -> Any:
        return lambda package: package.set_meta({"n": value})

    def folder(value: int | None) -> Any:
        return lambda package: package["d"].set_meta(None if value is None else {"m": value})

    def state(package: t4.Package) -> tuple[dict[str, Any], dict[str, Any]]:
        return package.meta, package["d"].meta

    assert state(metas(next(registry), nothing, root(1))) == ({"n": 1}, {"m": 0})
    assert state(metas(next(registry), root(1), nothing)) == ({"n": 1}, {"m": 0})
    assert state(metas(next(registry), root(1), folder(2))) == ({"n": 1}, {"m": 2})
    assert state(metas(next(registry), folder(None), root(1))) == ({"n": 1}, {})
    assert state(metas(next(registry), folder(3), folder(3))) == ({"n": 0}, {"m": 3})
    for mine, theirs in ((root(1), root(2)), (folder(1), folder(2)), (folder(None), folder(2))):
        with pytest.raises(t4.ConflictError, match="metadata"):
            metas(next(registry), mine, theirs)


def test_new_packages_of_several_join(registry: str) -> None:
    t4.Package().set("a.bin", b"a").push(NAME, registry)
    t4.Package().set("b.bin", b"b").push(NAME, registry, retry_conflicts=1)
    assert contents_of(t4.Package.browse(NAME, registry)) == {"a.bin": b"a", "b.bin": b"b"}
    with pytest.raises(t4.ConflictError):
        t4.Package().set("a.bin", b"other").push(NAME, registry, retry_conflicts=1)


def test_a_package_that_was_merged_takes_nobodys_changes_away(registry: str) -> None:
    start(registry, BASE)
    late = edited(registry, {"a.bin": b"mine"})
    edited(registry, {"b.bin": b"theirs"}).push(NAME, registry)
    merged = late.push(NAME, registry, retry_conflicts=1)

    late.set("n.bin", b"more")
    with pytest.raises(t4.ConflictError):
        late.push(NAME, registry)
    assert contents_of(t4.Package.browse(NAME, registry))["b.bin"] == b"theirs"
    late.push(NAME, registry, retry_conflicts=1)
    wanted = {**BASE, "a.bin": b"mine", "b.bin": b"theirs", "n.bin": b"more"}
    assert contents_of(t4.Package.browse(NAME, registry)) == wanted
    assert contents_of(merged) == {k: v for k, v in wanted.items() if k != "n.bin"}


def test_a_build_merges_into_what_it_was_browsed_from(registry: str) -> None:
    start(registry, BASE)
    late = edited(registry, {"a.bin": b"mine"})
    edited(registry, {"b.bin": b"theirs"}).push(NAME, registry)
    top_hash = late.build(NAME, registry, "both", retry_conflicts=1)
    assert t4.Package.browse(NAME, registry).top_hash == top_hash == late.top_hash
    wanted = {**BASE, "a.bin": b"mine", "b.bin": b"theirs"}
    assert contents_of(late) == contents_of(t4.Package.browse(NAME, registry)) == wanted
    # Built as it stands, the next one has only its own changes again.
    assert late.set("n.bin", b"n").build(NAME, registry, retry_conflicts=1)
    assert contents_of(t4.Package.browse(NAME, registry)) == {**wanted, "n.bin": b"n"}


def test_steps_merge_into_the_revision_they_are_told_of(registry: str, tmp_path: Path) -> None:
    first = operations.build(NAME, write_files(tmp_path / "1", {"a": b"a"}), registry=registry)
    operations.build(NAME, write_files(tmp_path / "2", {"a": b"a", "b": b"b"}), registry=registry)
    mine = write_files(tmp_path / "3", {"a": b"new"})
    result = operations.build(
        NAME, mine, registry=registry, expected=first["top_hash"], retry_conflicts=1
    )
    found = t4.Package.browse(NAME, registry)
    assert contents_of(found) == {"a": b"new", "b": b"b"}
    assert (found.top_hash, len(list(found.walk()))) == (result["top_hash"], result["files"])

    local = operations.build("team/local", write_files(tmp_path / "4", {"a": b"a", "c": b"c"}))
    pushed = operations.push(
        local, registry=registry, name=NAME, expected=first["top_hash"], retry_conflicts=1
    )
    assert contents_of(t4.Package.browse(NAME, registry)) == {"a": b"new", "b": b"b", "c": b"c"}
    assert pushed["top_hash"] == t4.resolve(NAME, registry).top_hash


def test_a_destination_counts_for_own_entries_only(registry: str) -> None:
    first = start(registry, BASE)
    places = {key: entry.physical_key for key, entry in first.walk()}
    late = edited(registry, {"a.bin": b"mine"})
    edited(registry, {"n.bin": b"theirs"}).push(NAME, registry)
    root = t4.resolve(NAME, registry).registry
    merged = late.push(
        NAME,
        registry,
        dest=f"{root}/mine",
        selector_fn=lambda key, entry: key in ("a.bin", "n.bin"),
        retry_conflicts=1,
    )
    now = {key: entry.physical_key for key, entry in merged.walk()}
    assert "/mine/a.bin" in now.pop("a.bin")
    assert "/mine/" not in now.pop("n.bin")
    assert now == {key: place for key, place in places.items() if key != "a.bin"}


@pytest.mark.parametrize("bad", [-1, 1.5, True, "3", None])
def test_what_is_no_number_of_retries_is_refused(tmp_path: Path, bad: Any) -> None:
    package = t4.Package().set("a.bin", b"a")
    for publish in (package.push, package.build):
        with pytest.raises(t4.InvalidInputError, match="retry_conflicts"):
            publish(NAME, tmp_path / "reg", retry_conflicts=bad)
    with pytest.raises(t4.InvalidInputError, match="force"):
        package.push(NAME, tmp_path / "reg", force=True, retry_conflicts=1)
    assert not (tmp_path / "reg").exists()


@pytest.mark.parametrize("rivals", [1, 2])
def test_what_was_uploaded_before_the_race_was_lost_is_not_uploaded_again(
    s3_env: SeaweedFS, unversioned_bucket: str, rivals: int
) -> None:
    registry = f"s3://{unversioned_bucket}"
    start(registry, BASE)
    left = [f"r{number}.bin" for number in range(rivals)]
    with watched(s3_env.endpoint_url) as (relay, settings):
        late = t4.Package.browse(NAME, registry, settings=settings).set("late.bin", b"late")

        def rival_first(request: Request) -> None:
            if request.method == "PUT" and request.target.endswith("/latest") and left:
                edited(registry, {left.pop(): b"rival"}).push(NAME, registry)

        relay.rule = rival_first
        late.push(NAME, registry, retry_conflicts=rivals)
        assert len(relay.seen("PUT", ".t4/v1/objects/")) == 1
    versions = t4.list_package_versions(NAME, registry)
    # The first, the rivals' and the merged one: what lost the race is not listed.
    assert len(versions) == 1 + rivals + 1 + 1
    wanted = {**BASE, "late.bin": b"late"}
    wanted |= {f"r{number}.bin": b"rival" for number in range(rivals)}
    assert contents_of(t4.Package.browse(NAME, registry)) == wanted


def test_a_revision_whose_reply_was_lost_stays_listed(
    s3_env: SeaweedFS, unversioned_bucket: str
) -> None:
    registry = f"s3://{unversioned_bucket}"
    start(registry, BASE)
    with watched(s3_env.endpoint_url) as (relay, settings):
        late = t4.Package.browse(NAME, registry, settings=settings).set("late.bin", b"late")
        moves = []

        def lose(request: Request) -> Fault | None:
            if request.method != "PUT" or not request.target.endswith("/latest"):
                return None
            moves.append(request)
            if len(moves) == 1:
                return Fault(drop=True)
            # The client sends it again, and finds what a rival has made of ours by now.
            edited(registry, {"r.bin": b"rival"}).push(NAME, registry)
            return None

        relay.rule = lose
        with pytest.raises(t4.ConflictError):
            late.push(NAME, registry)
    hashes = [top_hash for _, top_hash in t4.list_package_versions(NAME, registry)]
    # The first, ours, the rival's, and `latest`, which is his and has ours in it.
    assert len(hashes) == 4
    assert contents_of(t4.Package.browse(NAME, registry, hashes[1]))["late.bin"] == b"late"
    wanted = {**BASE, "late.bin": b"late", "r.bin": b"rival"}
    assert contents_of(t4.Package.browse(NAME, registry)) == wanted


@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), (0.0, -0.0)])
def test_metadata_that_is_equal_in_python_only_is_a_change(
    tmp_path: Path, before: object, after: object
) -> None:
    registry = str(tmp_path / "registry")
    t4.Package().set("a.bin", b"a", meta={"n": before}).push(NAME, registry)
    late = t4.Package.browse(NAME, registry)
    late["a.bin"].set_meta({"n": after})
    assert t4.Package.browse(NAME, registry).diff(late).modified == ["a.bin"]
    edited(registry, {"b.bin": b"theirs"}).push(NAME, registry)
    merged = late.push(NAME, registry, retry_conflicts=1)
    assert repr(merged["a.bin"].meta) == repr({"n": after})
    assert contents_of(merged) == {"a.bin": b"a", "b.bin": b"theirs"}


def test_a_key_of_the_header_that_was_removed_is_gone(tmp_path: Path) -> None:
    registry = str(tmp_path / "registry")
    first = t4.Package().set("a.bin", b"a").set_meta({"n": 1})
    first.push(NAME, registry)
    late = t4.Package.browse(NAME, registry)
    del late._contents.header["user_meta"]
    edited(registry, {"b.bin": b"theirs"}).push(NAME, registry)
    merged = late.push(NAME, registry, retry_conflicts=1)
    assert "user_meta" not in merged._contents.header
    plain = t4.Package().set("a.bin", b"a").set("b.bin", b"theirs")
    assert merged.top_hash == plain.build(NAME, str(tmp_path / "other"))


def test_as_many_retries_as_asked_for(mocker: MockerFixture) -> None:
    mocker.patch("time.sleep", autospec=True)
    lost: list[int] = []
    with pytest.raises(t4.ConflictError, match="251 times"):
        lost.extend(rounds("file:///r", "k", 251))
    assert lost == list(range(251))
