"""The triggers, run as the triggerer runs them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from airflow.serialization.encoders import encode_trigger
from airflow.triggers.base import BaseEventTrigger

import t4_ops as t4
from t4_ops import operations
from t4_ops.airflow import triggers
from t4_ops.airflow._watching import Group
from t4_ops.airflow.assets import package_asset, package_of
from t4_ops.airflow.triggers import PackageMovedTrigger, PackageTrigger, package_watcher
from t4_ops.operations import Condition, watching
from tests.test_airflow.triggerer_support import Kept, Triggerer, again

POLL_S = 0.2
SLOW_S = 2.0


@pytest.fixture
def registry(tmp_path: Path) -> str:
    return (tmp_path / "registry").as_uri()


def push(registry: str, text: str, name: str = "team/raw") -> str:
    return t4.Package().set_text("a.txt", text).push(name, registry, force=True).top_hash


def test_triggers_survive_their_own_serialization(registry: str) -> None:
    condition = Condition(name="team/raw", registry=registry, contains=("a.txt",)).as_dict()
    for trigger in (
        PackageTrigger(condition, "conn", 5.0, "a" * 64, 1e9),
        PackageMovedTrigger("team/raw", registry, "conn", 5.0),
    ):
        made = again(trigger)
        assert type(made) is type(trigger)
        assert made.serialize() == trigger.serialize()
    moved = PackageMovedTrigger("team/raw", registry)
    one, other = moved.serialize(), again(moved).serialize()
    assert BaseEventTrigger.hash(*one) == BaseEventTrigger.hash(*other)


async def _first(events: AsyncIterator[Any], within_s: float = 30) -> Any:
    return (await asyncio.wait_for(anext(events), within_s)).payload


def test_a_condition_that_is_met_fires_once_and_the_loop_is_never_blocked(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = operations.check

    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(SLOW_S)
        return real(*args, **kwargs)

    monkeypatch.setattr(operations, "check", slow)

    async def main() -> tuple[Any, float, bool]:
        condition = Condition(name="team/raw", registry=registry, contains=("a.txt",))
        events = again(PackageTrigger(condition.as_dict(), None, POLL_S)).run()
        waiting = asyncio.create_task(_first(events))
        longest_s, last_s = 0.0, time.monotonic()
        pushed = False
        while not waiting.done():
            await asyncio.sleep(0.02)
            longest_s = max(longest_s, time.monotonic() - last_s)
            if not pushed:
                pushed = True
                await asyncio.to_thread(push, registry, "first")
            last_s = time.monotonic()
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        return waiting.result(), longest_s, pushed

    answer, longest_s, _ = asyncio.run(main())
    assert answer["met"] is True
    assert answer["top_hash"] == t4.resolve("team/raw", registry).top_hash
    assert json.loads(json.dumps(answer)) == answer
    # A look that blocked the loop would stop it for as long as it is made to last here.
    assert longest_s < SLOW_S / 2, f"the event loop stood still for {longest_s:.2f} s"


def test_what_waiting_does_not_mend_is_told(registry: str) -> None:
    async def main() -> Any:
        return await _first(PackageTrigger({"name": "noslash"}, None, POLL_S).run())

    answer = asyncio.run(main())
    assert answer["met"] is False
    assert "noslash" in answer["reason"]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep watermarks soon after an event: no kill is near."""
    monkeypatch.setattr(triggers, "_EVENT_ARRIVES_S", 0.05)


async def _settled(kept: Kept, top_hash: str) -> None:
    end_s = time.monotonic() + 20
    while top_hash not in str(kept.values) and time.monotonic() < end_s:
        await asyncio.sleep(0.02)
    assert top_hash in str(kept.values)


def test_every_move_fires_whoever_made_it_and_none_is_skipped(registry: str, soon: None) -> None:
    old = push(registry, "old")

    async def main() -> list[Any]:
        triggerer, kept = Triggerer(), Kept()
        triggerer.start(PackageMovedTrigger("team/raw", registry, None, POLL_S), kept)
        await _settled(kept, old)
        # Two in one go: the first is no longer `latest` when anybody looks.
        await asyncio.to_thread(lambda: [push(registry, text) for text in ("one", "two")])
        await triggerer.until(2)
        await asyncio.to_thread(push, registry, "three")
        await triggerer.until(3)
        await triggerer.stop()
        return triggerer.events

    events = asyncio.run(main())
    versions = [top_hash for _, top_hash in t4.list_package_versions("team/raw", registry)][:-1]
    assert [event["top_hash"] for event in events] == versions[1:]
    assert events[0]["previous"] == old
    assert len({event["id"] for event in events}) == 3
    assert json.loads(json.dumps(events)) == events
    # As an asset event carries it.
    extra = {"from_trigger": True, "payload": events[-1]}
    assert package_of(extra)["top_hash"] == versions[-1]


def test_a_restart_repeats_nothing_and_misses_nothing(registry: str, soon: None) -> None:
    push(registry, "old")
    kept = Kept()

    async def first() -> list[Any]:
        triggerer = Triggerer()
        triggerer.start(PackageMovedTrigger("team/raw", registry, None, POLL_S), kept)
        await asyncio.sleep(1)
        top_hash = await asyncio.to_thread(push, registry, "one")
        await triggerer.until(1)
        await _settled(kept, top_hash)
        await triggerer.stop()
        return triggerer.events

    async def second() -> list[Any]:
        triggerer = Triggerer()
        triggerer.start(PackageMovedTrigger("team/raw", registry, None, POLL_S), kept)
        await triggerer.until(1)
        await asyncio.sleep(1)
        await triggerer.stop()
        return triggerer.events

    (one,) = asyncio.run(first())
    while_away = push(registry, "while away")
    (two,) = asyncio.run(second())
    assert two["top_hash"] == while_away
    assert two["previous"] == one["top_hash"]


def test_a_stop_right_after_an_event_still_keeps_how_far_it_got(registry: str) -> None:
    push(registry, "old")
    kept = Kept()

    async def main() -> Any:
        triggerer = Triggerer()
        triggerer.start(PackageMovedTrigger("team/raw", registry, None, POLL_S), kept)
        await asyncio.sleep(1)
        await asyncio.to_thread(push, registry, "one")
        await triggerer.until(1)
        await triggerer.stop()
        return triggerer.events[-1]

    assert asyncio.run(main())["top_hash"] in str(kept.values)


def test_a_kill_between_event_and_watermark_repeats_one_with_the_same_id(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(registry, "old")
    kept = Kept()

    async def main(trigger: PackageMovedTrigger) -> Any:
        triggerer = Triggerer()
        triggerer.start(trigger, kept)
        if not kept.values:
            await asyncio.sleep(1)
            await asyncio.to_thread(push, registry, "one")
        await triggerer.until(1)
        before = dict(kept.values)
        await triggerer.stop()
        kept.values = before  # a kill says no last word
        return triggerer.events[-1]

    trigger = PackageMovedTrigger("team/raw", registry, None, POLL_S)
    first, second = (asyncio.run(main(trigger)) for _ in range(2))
    assert first["id"] == second["id"]


def test_triggers_of_one_registry_share_one_loop(
    registry: str, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["team/a", "team/b", "team/c"]
    looks: list[list[str]] = []
    real: Callable[..., Any] = operations.poll

    def counted(registry: str, names: Any, **kwargs: Any) -> Any:
        if isinstance(names, list):
            looks.append(names)
        return real(registry, names, **kwargs)

    monkeypatch.setattr(operations, "poll", counted)

    async def main() -> list[Any]:
        triggerer = Triggerer()
        for name in names:
            triggerer.start(PackageMovedTrigger(name, registry, None, POLL_S), Kept())
        await asyncio.sleep(1.5)
        await asyncio.to_thread(lambda: [push(registry, "x", name) for name in names])
        await triggerer.until(3)
        await triggerer.stop()
        return triggerer.events

    start_s = time.monotonic()
    events = asyncio.run(main())
    assert sorted(event["name"] for event in events) == names
    assert names in looks
    assert len(looks) <= (time.monotonic() - start_s) / POLL_S + 1


def test_a_trigger_alone_polls_by_itself(registry: str) -> None:
    push(registry, "old")

    async def main() -> Any:
        events = PackageMovedTrigger("team/raw", registry, None, POLL_S).run()
        waiting = asyncio.create_task(_first(events))
        await asyncio.sleep(1)
        await asyncio.to_thread(push, registry, "one")
        found = await waiting
        await events.aclose()  # type: ignore[attr-defined]
        return found

    assert asyncio.run(main())["top_hash"] == t4.resolve("team/raw", registry).top_hash


def test_a_damaged_latest_ends_no_watch(registry: str, soon: None, tmp_path: Path) -> None:
    push(registry, "old")
    pointer = tmp_path / "registry/.quilt/named_packages/team/raw/latest"

    async def main() -> list[Any]:
        triggerer, kept = Triggerer(), Kept()
        triggerer.start(PackageMovedTrigger("team/raw", registry, None, POLL_S), kept)
        await asyncio.sleep(1)
        held = pointer.read_text()
        pointer.write_text("damaged")
        await asyncio.sleep(1)
        pointer.write_text(held)
        await asyncio.to_thread(push, registry, "one")
        await triggerer.until(1)
        await triggerer.stop()
        return triggerer.events

    assert asyncio.run(main())[-1]["top_hash"] == t4.resolve("team/raw", registry).top_hash


def test_a_damaged_latest_stops_no_other_watch(registry: str, soon: None, tmp_path: Path) -> None:
    push(registry, "old", "team/broken")
    old = push(registry, "old")

    async def main() -> list[Any]:
        triggerer, kept = Triggerer(), Kept()
        triggerer.start(PackageMovedTrigger("team/raw", registry, None, POLL_S), kept)
        triggerer.start(PackageMovedTrigger("team/broken", registry, None, POLL_S), Kept())
        await _settled(kept, old)
        await asyncio.sleep(1)
        latest = tmp_path / "registry/.quilt/named_packages/team/broken/latest"
        held = latest.read_text()
        latest.write_text("damaged")
        await asyncio.to_thread(push, registry, "one")
        await triggerer.until(1)
        latest.write_text(held)
        await asyncio.to_thread(push, registry, "mended", "team/broken")
        await triggerer.until(2)
        await triggerer.stop()
        return triggerer.events

    assert [event["name"] for event in asyncio.run(main())] == ["team/raw", "team/broken"]


def test_more_packages_than_one_watermark_may_hold_are_watched(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll: Any = watching.poll
    defaults = {**poll.__kwdefaults__, "max_packages": 2}
    monkeypatch.setattr(poll, "__kwdefaults__", defaults)
    group = Group()
    settings = t4.load_settings()
    names = [f"team/p{number}" for number in range(3)]
    with ExitStack() as stack:
        for name in names:
            mark = operations.poll(registry, name, settings=settings).watermark
            stack.enter_context(group.watching(name, mark))
        push(registry, "one", names[2])
        found = group.look(registry, settings)
    assert found is not None
    assert list(found["moves"]) == [names[2]]


def test_a_watch_outlives_a_connection_that_is_not_there_yet(
    registry: str, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = push(registry, "old")

    async def main() -> None:
        triggerer, kept = Triggerer(), Kept()
        triggerer.start(PackageMovedTrigger("team/raw", registry, "later", POLL_S), kept)
        await asyncio.sleep(1)
        assert not triggerer.tasks[0].done()
        monkeypatch.setenv("AIRFLOW_CONN_LATER", "t4://")
        await _settled(kept, old)
        await triggerer.stop()

    asyncio.run(main())


def test_a_watcher_of_an_asset_can_be_stored(registry: str) -> None:
    watcher = package_watcher("team/raw", registry, poll_s=5)
    asset = package_asset("team/raw", registry, watchers=[watcher])
    encoded = encode_trigger(asset.watchers[0].trigger)
    assert encoded["classpath"] == "t4_ops.airflow.triggers.PackageMovedTrigger"
    assert encoded["kwargs"]["name"] == "team/raw"
    with pytest.raises(t4.InvalidInputError):
        package_watcher("noslash", registry)
