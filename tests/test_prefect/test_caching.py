"""Caching by content: what is computed once, and what is never skipped."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import Task, flow, task
from prefect.context import TaskRunContext

import t4_ops as t4
from t4_ops.operations import build
from t4_ops.prefect.blocks import T4Registry
from t4_ops.prefect.caching import BY_CONTENT, BY_CONTENT_AND_PLACE, ByContent
from t4_ops.prefect.revisions import Revision
from t4_ops.prefect.tasks import build_package, install_package, verify_package
from tests.test_prefect.support import task_runs

CALLS: list[Any] = []
HASH, OTHER = "1" * 64, "2" * 64
REF = t4.PackageRef("s3://bucket", "team/raw", HASH)


@task(cache_policy=BY_CONTENT)
def compute(package: Any, **options: Any) -> Any:
    return package


def key(policy: ByContent = BY_CONTENT, of: Task[Any, Any] = compute, **inputs: Any) -> str | None:
    context = TaskRunContext.model_construct(task=of)
    return policy.compute_key(context, inputs, {})


def test_one_revision_has_one_key_however_it_is_given() -> None:
    step = {**REF.to_dict(), "inputs": [], "files": 2, "size_bytes": 3, "changed": True}
    given: list[Any] = [REF, REF.to_dict(), Revision.of(step), step]
    assert len({key(package=package) for package in given}) == 1
    assert key(package=REF.uri) == key(package=f" {REF.uri} ")
    assert key(package=REF) is not None
    assert str(key(package=REF)).startswith("t4-content/")


def test_place_counts_only_where_it_is_asked_for() -> None:
    elsewhere = t4.PackageRef("s3://another", "team/raw", HASH)
    assert key(package=REF) == key(package=elsewhere)
    place = BY_CONTENT_AND_PLACE
    assert key(place, package=REF) != key(place, package=elsewhere)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (REF, t4.PackageRef("s3://bucket", "team/raw", OTHER)),
        (REF, t4.PackageRef("s3://bucket", "team/other", HASH)),
        (1, 1.0),
        (1, True),
        (1, "1"),
        (b"a", "a"),
        (date(2026, 1, 1), "2026-01-01"),
        (UUID(int=1), Decimal(1)),
        ([1, 2], [2, 1]),
        ([1], [[1]]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, [["a", 1]]),
        ({1: 1}, {"1": 1}),
        ({1, 2}, [1, 2]),
        (None, "None"),
        (0.1 + 0.2, 0.3),
        (T4Registry(url="s3://one"), T4Registry(url="s3://two")),
        (["bytes", "x"], b"x"),
        (T4Registry(url="s3://one", endpoint_url="http://a:1"), T4Registry(url="s3://one")),
        ({**REF.to_dict(), "least": 1}, {**REF.to_dict(), "least": 2}),
        (f"{REF.uri}&path=a", REF.uri),
    ],
)
def test_different_arguments_have_different_keys(one: Any, other: Any) -> None:
    assert None not in (key(package=one), key(package=other))
    assert key(package=one) != key(package=other)
    assert key(package=[one]) != key(package=[other])


def test_a_part_of_a_revision_is_not_the_whole() -> None:
    step = {**REF.to_dict(), "inputs": [], "files": 2, "size_bytes": 3, "changed": True}
    one, other = ({**step, "dest": f"/data/{name}"} for name in "ab")
    assert key(package=one) != key(package=other) != key(package=step)
    assert key(package=Revision.of(one)) == key(package=one)


def test_a_folder_has_one_key_on_each_machine_and_after_each_install() -> None:
    step = {**REF.to_dict(), "inputs": [], "files": 2, "size_bytes": 3, "dest": "/data/a"}
    one = {**step, "changed": True, "host": "one", "dest_stat": [7, 1_700_000_000_000_000_000]}
    two = {**step, "changed": False, "host": "two", "dest_stat": [8, 1_800_000_000_000_000_000]}
    assert key(package=Revision.of(one)) == key(package=Revision.of(two)) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"keys": ["a.txt"]}, {"keys": ["b.txt"]}),
        ({"path": "a/", "dest": "/data"}, {"path": "b/", "dest": "/data"}),
        ({"is_selected": True, "files": 1}, {"is_selected": True, "files": 2}),
        ({"ok": True, "bad": 0}, {"ok": False, "bad": 1}),
    ],
)
def test_what_a_step_found_counts(one: dict[str, Any], other: dict[str, Any]) -> None:
    step = {**REF.to_dict(), "inputs": [], "files": 2, "size_bytes": 3, "changed": False}
    found = [Revision.of(step | more) for more in ({}, one, other)]
    assert len({key(package=given) for given in found}) == 3
    assert [key(package=given) for given in found] == [
        key(package=given.to_dict()) for given in found
    ]


def test_an_endpoint_is_part_of_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for port in (1, 2):
        monkeypatch.setenv("T4_S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        found.append((key(package=REF), key(BY_CONTENT_AND_PLACE, package=REF)))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


def test_a_name_with_its_hash_is_that_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T4_REGISTRY", REF.registry)
    place = BY_CONTENT_AND_PLACE
    assert key(place, package=f"{REF.name}@{HASH}") == key(place, package=REF.uri)
    assert key(place, package=REF) == key(place, package=REF.uri)


def test_order_in_mappings_and_sets_does_not_count() -> None:
    assert key(a=1, b={"x": 1, "y": 2}) == key(b={"y": 2, "x": 1}, a=1)
    assert key(a={"one", "two", "three"}) == key(a={"three", "two", "one"})


@pytest.mark.parametrize(
    "value",
    [
        "quilt+s3://bucket#package=team/raw",
        "quilt+s3://bucket#package=team/raw@11111111",
        "quilt+s3://bucket#package=team/raw:latest",
        "quilt+s3://bucket#package=",
        "team/raw",
        " team/raw ",
        "team/raw@11111111",
        "s3://bucket/folder/",
        "file:///data",
        __file__,
        Path("a"),
        object(),
        lambda: 1,
        iter([1]),
        [object()],
        {"a": object()},
    ],
)
def test_what_names_no_fixed_content_is_not_cached(value: Any) -> None:
    assert key(package=value) is None
    assert key(package=REF, more={"a": [value]}) is None


@pytest.mark.parametrize("value", ["s3://bucket", "s3://bucket/a?versionId=1", "no/such/file", "a"])
def test_other_texts_are_what_they_are(value: str) -> None:
    assert key(package=value) is not None
    assert key(package={"in/a": 1, value: 2}) is not None


def test_code_and_what_it_closes_over_count() -> None:
    def made(factor: Any) -> Task[Any, Any]:
        @task(cache_policy=BY_CONTENT)
        def scaled(package: Any) -> Any:
            return package, factor

        return scaled

    @task(name="scaled")
    def another(package: Any) -> Any:
        return package

    assert key(of=made(2), package=REF) == key(of=made(2), package=REF)
    found = [key(of=item, package=REF) for item in (made(2), made(3), another, compute)]
    assert len(set(found)) == 4
    assert key(of=made(object()), package=REF) is None


def test_what_a_function_uses_that_is_closed_over_counts() -> None:
    def made(use: Any) -> Task[Any, Any]:
        @task(cache_policy=BY_CONTENT)
        def scaled(package: Any) -> Any:
            return use(package)

        return scaled

    def by_closure(factor: Any) -> Any:
        def use(package: Any) -> Any:
            return package, factor

        return use

    def by_default(factor: Any) -> Any:
        def use(package: Any, by: Any = factor, *, more: Any = factor) -> Any:
            return package, by, more

        return use

    for helper in (by_closure, by_default):
        keys = [key(of=made(helper(factor)), package=REF) for factor in (2, 2, 3)]
        assert keys[0] == keys[1] != keys[2]
        assert key(of=made(helper(object())), package=REF) is None
    one, other = [lambda _: 1, lambda _: 2]
    assert key(of=made(one), package=REF) != key(of=made(other), package=REF)


@pytest.mark.usefixtures("prefect_server")
def test_a_transform_runs_once_for_each_content(
    source: Path, registry: str, tmp_path: Path
) -> None:
    calls = CALLS
    calls.clear()

    @task(cache_policy=BY_CONTENT)
    def count_files(package: t4.PackageRef, least: int) -> int:
        CALLS.append(package)
        found = t4.Package.browse(package.name, package.registry, package.top_hash)
        return len([key for key, entry in found.walk() if (entry.size or 0) >= least])

    @flow
    def counting(package: t4.PackageRef, least: int = 0) -> int:
        return count_files(package, least)

    @flow
    def another(package: t4.PackageRef) -> int:
        return count_files(package, 0)

    first = t4.resolve(build("team/raw", source, registry=registry))
    copied = t4.resolve(build("team/raw", source, registry=str(tmp_path / "copied")))
    assert [counting(first), another(first), counting(copied)] == [2, 2, 2]
    assert len(calls) == 1
    assert counting(first, 100) == 1
    assert len(calls) == 2
    (source / "c.txt").write_text("more")
    assert counting(t4.resolve(build("team/raw", source, registry=registry))) == 3
    assert len(calls) == 3


@pytest.mark.usefixtures("prefect_server")
def test_a_package_by_name_is_looked_at_each_time(
    source: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T4_REGISTRY", registry)
    cached = verify_package.with_options(cache_policy=BY_CONTENT_AND_PLACE, persist_result=None)

    @flow
    def verified() -> Revision:
        return cached("team/raw")

    found = []
    for text in ("one", "two"):
        (source / "a.txt").write_text(text)
        found.append((build("team/raw", source)["top_hash"], verified().top_hash))
    assert found[0][0] == found[0][1] != found[1][0] == found[1][1]


@pytest.mark.usefixtures("prefect_server")
def test_steps_that_move_something_run_each_time_and_verify_may_be_cached(
    source: Path, registry: str, tmp_path: Path
) -> None:
    from prefect import runtime

    cached = verify_package.with_options(cache_policy=BY_CONTENT_AND_PLACE, persist_result=None)

    @flow
    def all_steps() -> str | None:
        built = build_package("team/raw", source, registry=registry)
        cached(built)
        verify_package(built)
        install_package(built, dest=tmp_path / "out")
        return runtime.flow_run.get_id()

    all_steps()
    second = all_steps()
    assert [run.state_name for run in task_runs(second, 4)] == [
        "Completed",
        "Cached",
        "Completed",
        "Completed",
    ]
