"""Transactions: what is told when, and what a failure takes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.context import AssetContext
from prefect.events import Event
from prefect.transactions import atransaction, transaction
from pytest_mock import MockerFixture

import t4_ops as t4
from t4_ops.operations import latest
from t4_ops.prefect import events
from t4_ops.prefect._moves import on_rollback
from t4_ops.prefect.package_task import package_task
from t4_ops.prefect.revisions import Revision
from t4_ops.prefect.tasks import (
    browse_package,
    build_package,
    delete_revision,
    install_package,
    promote_package,
    push_package,
    rollback_package,
    verify_package,
)

pytestmark = pytest.mark.usefixtures("prefect_server")

NAME = "team/raw"


class Broken(Exception):
    """What goes wrong in a transaction."""


def ours(sent: list[Event]) -> list[tuple[str, str]]:
    """Return our events: which, and of which revision."""
    found = [event for event in sent if event.event.startswith("t4.")]
    return [(event.event, event.payload["top_hash"]) for event in found]


@flow
def publish(source: Path, registry: str, then: Callable[[Any], Any] | None = None) -> Revision:
    with transaction():
        built = build_package(NAME, source, registry=registry)
        pushed = push_package.with_options(name="push_raw")(built, registry=registry)
        if then is not None:
            then(pushed)
    return pushed


def fail(_: object) -> None:
    raise Broken


def held(registry: str) -> str | None:
    ref = latest(NAME, registry=registry)
    return ref.top_hash if ref else None


def test_a_failure_takes_a_new_package_back_and_nobody_is_told(
    source: Path, registry: str, sent: Callable[[], list[Event]]
) -> None:
    with pytest.raises(Broken):
        publish(source, registry, fail)
    assert held(registry) is None
    assert ours(sent()) == []
    assert [event for event in sent() if "materialization" in event.event] == []

    pushed = publish(source, registry)
    assert held(registry) == pushed.top_hash
    assert ours(sent()) == [(events.PUSHED, pushed.top_hash)]


def test_a_failure_leaves_the_revision_before(source: Path, registry: str) -> None:
    first = publish(source, registry)
    (source / "a.txt").write_text("second")
    with pytest.raises(Broken):
        publish(source, registry, fail)
    assert held(registry) == first.top_hash
    second = publish(source, registry)
    assert held(registry) == second.top_hash != first.top_hash


def test_somebody_elses_newer_revision_stays(
    source: Path, registry: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish(source, registry)
    (source / "a.txt").write_text("second")
    other: list[str] = []

    def overtaken(_: object) -> None:
        package = t4.Package.browse(NAME, registry)
        package.set("b.bin", b"somebody else")
        other.append(package.push(NAME, registry).top_hash)
        raise Broken

    with pytest.raises(Broken):
        publish(source, registry, overtaken)
    assert [held(registry)] == other
    assert "stays" in caplog.text


def test_force_and_retried_conflicts_are_taken_back_too(source: Path, registry: str) -> None:
    first = publish(source, registry)
    (source / "a.txt").write_text("second")

    @flow
    def forced(options: dict[str, Any]) -> None:
        with transaction():
            built = build_package(NAME, source, registry=registry)
            push_package(built, registry=registry, **options)
            raise Broken

    for options in ({"force": True}, {"retry_conflicts": 3}):
        with pytest.raises(Broken):
            forced(options)
        assert held(registry) == first.top_hash


def test_promotion_and_rollback_are_taken_back(source: Path, registry: str, tmp_path: Path) -> None:
    production = str(tmp_path / "production")
    first = publish(source, registry)
    (source / "a.txt").write_text("second")
    second = publish(source, registry)

    @flow
    def both() -> None:
        with transaction():
            promote_package(second, registry=production)
            rollback_package(NAME, first, registry=registry)
            assert held(registry) == first.top_hash
            assert held(production) == second.top_hash
            raise Broken

    with pytest.raises(Broken):
        both()
    assert held(registry) == second.top_hash
    assert held(production) is None


def test_submitted_steps_are_taken_back(source: Path, registry: str) -> None:
    @flow
    def submitted() -> None:
        with transaction():
            built: Any = build_package.submit(NAME, source, registry=registry)
            push_package.submit(built, registry=registry).result()
            raise Broken

    with pytest.raises(Broken):
        submitted()
    assert held(registry) is None


def test_a_failing_task_takes_back_what_was_before_it_in_its_transaction(
    source: Path, registry: str
) -> None:
    @task
    def broken() -> None:
        raise Broken

    with pytest.raises(Broken):
        publish(source, registry, lambda _: broken())
    assert held(registry) is None


def test_without_a_transaction_each_step_stands(source: Path, registry: str) -> None:
    @flow
    def alone() -> None:
        push_package(build_package(NAME, source, registry=registry), registry=registry)
        raise Broken

    with pytest.raises(Broken):
        alone()
    assert held(registry) is not None


def test_events_tell_what_each_step_did(
    source: Path, registry: str, tmp_path: Path, sent: Callable[[], list[Event]]
) -> None:
    @flow
    def all_steps() -> Revision:
        pushed = push_package(build_package(NAME, source, registry=registry), registry=registry)
        install_package(pushed, dest=tmp_path / "out")
        verify_package(pushed)
        delete_revision(pushed)
        return pushed

    pushed = all_steps()
    told = [events.PUSHED, events.INSTALLED, events.VERIFIED, events.DELETED]
    assert ours(sent()) == [(event, pushed.top_hash) for event in told]
    first = next(event for event in sent() if event.event == events.PUSHED)
    assert first.resource.id == f"{Path(registry).as_uri()}/{NAME}"
    assert (
        first.payload["package"]
        == t4.PackageRef(pushed.registry, pushed.name, pushed.top_hash).to_dict()
    )
    assert (first.payload["files"], first.payload["size_bytes"]) == (2, 1285)
    roles = {item.role for item in first.related}
    assert {"flow-run", "task-run", "flow", "t4-registry"} <= roles


def test_a_repeat_that_changes_nothing_is_no_news(
    source: Path, registry: str, tmp_path: Path, sent: Callable[[], list[Event]]
) -> None:
    @flow
    def once() -> Revision:
        pushed = push_package(build_package(NAME, source, registry=registry), registry=registry)
        install_package(pushed, dest=tmp_path / "out")
        return pushed

    once()
    pushed = once()
    assert ours(sent()) == [
        (events.PUSHED, pushed.top_hash),
        (events.INSTALLED, pushed.top_hash),
    ]


def test_hooks_of_the_users_own_come_on_top(
    source: Path, registry: str, sent: Callable[[], list[Event]]
) -> None:
    seen: list[str | None] = []

    def look(_: object) -> None:
        seen.append(held(registry))

    step = build_package.with_options(on_rollback=[look], on_commit=[look])
    push = push_package.with_options(on_rollback=[look]).with_options(on_commit=[look])

    @flow
    def own(fails: bool) -> None:
        with transaction():
            push(step(NAME, source, registry=registry), registry=registry)
            if fails:
                raise Broken

    with pytest.raises(Broken):
        own(True)
    assert held(registry) is None
    assert len(seen) == 2
    assert seen[-1] is None
    own(False)
    assert seen[2:] == [held(registry)] * 2
    assert ours(sent()) == [(events.PUSHED, held(registry))]


def test_a_task_inside_a_task_tells_its_own(
    source: Path, registry: str, tmp_path: Path, sent: Callable[[], list[Event]]
) -> None:
    built = build_package.fn("team/other", source, registry=registry)

    @package_task(NAME, registry=registry)
    def outer() -> Path:
        browse_package(built)
        return Path(install_package(built, dest=tmp_path / "out").dest)

    @flow
    def nested() -> Revision:
        return outer()

    made = nested()
    assert ours(sent()) == [(events.INSTALLED, built.top_hash), (events.PUSHED, made.top_hash)]
    assert len([event for event in sent() if "materialization" in event.event]) == 1


def test_prefects_failure_to_take_one_thing_keeps_no_other_back(
    source: Path, registry: str, sent: Callable[[], list[Event]], mocker: MockerFixture
) -> None:
    def full(context: AssetContext, _: object) -> None:
        if context.downstream_assets:
            raise RuntimeError("full")

    mocker.patch.object(AssetContext, "emit_events", autospec=True, side_effect=full)
    pushed = publish(source, registry)
    assert ours(sent()) == [(events.PUSHED, pushed.top_hash)]


@pytest.mark.parametrize("way", [transaction, atransaction])
def test_an_async_flows_transaction_takes_back_too(way: Any, source: Path, registry: str) -> None:
    @flow
    async def failing() -> None:
        async with AsyncExitStack() as stack:
            if way is transaction:
                stack.enter_context(transaction())
            else:
                await stack.enter_async_context(atransaction())
            built = build_package(NAME, source, registry=registry)
            await asyncio.to_thread(push_package, built, registry=registry)
            assert held(registry) is not None
            raise Broken

    with pytest.raises(Broken):
        asyncio.run(failing())
    assert held(registry) is None


def test_a_part_that_is_whole_is_no_whole(
    source: Path, registry: str, sent: Callable[[], list[Event]]
) -> None:
    built = build_package.fn(NAME, source, registry=registry)

    @flow
    def parts() -> None:
        verify_package(built, path="deep/")
        verify_package(f"{built.uri}&path=a.txt")

    parts()
    assert ours(sent()) == []


def test_fn_is_the_step_and_nothing_else(
    source: Path, registry: str, sent: Callable[[], list[Event]]
) -> None:
    @task
    def mine() -> Revision:
        return push_package.fn(build_package.fn(NAME, source, registry=registry), registry=registry)

    @flow
    def own() -> None:
        with transaction():
            mine()
            raise Broken

    with pytest.raises(Broken):
        own()
    assert held(registry) is not None
    assert ours(sent()) == []


@pytest.fixture
def moved(source: Path, registry: str) -> Any:
    return build_package.fn(NAME, source, registry=registry)


def test_a_rollback_that_fails_leaves_a_line(
    moved: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path, registry: str
) -> None:
    @flow
    def vanishing() -> None:
        with transaction():
            push_package(moved, registry=registry, name="team/other", message="new")
            pointer = Path(registry, ".quilt/named_packages/team/other/latest")
            pointer.write_text("no top hash")
            raise Broken

    with pytest.raises(Broken):
        vanishing()
    assert "was not taken back" in caplog.text
    assert on_rollback in push_package.on_rollback_hooks
