"""Poll: every revision once, in order, whoever publishes, and an idle look costs one read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from t4_ops.keys import PhysicalKey
from t4_ops.operations.watermarks import LOOK_BACK_S
from tests.watching_support import NAME, NAMED, Publisher, Watcher, hash_of


@pytest.fixture
def publisher(registry: str) -> Publisher:
    return Publisher(registry)


@pytest.fixture
def local(tmp_path: Path) -> Publisher:
    return Publisher((tmp_path / "registry").as_uri())


def test_every_revision_is_reported_once_in_order(publisher: Publisher) -> None:
    publisher.publish(1)
    watcher = Watcher(publisher.url)
    assert watcher.look() == []
    assert watcher.look() == []
    for number in (2, 3, 4):
        publisher.publish(number)
    moves = watcher.look()
    assert [move["top_hash"] for move in moves] == [hash_of(2), hash_of(3), hash_of(4)]
    assert [move["previous"] for move in moves] == [hash_of(1), hash_of(2), hash_of(3)]
    assert [move["is_latest"] for move in moves] == [False, False, True]
    assert [move["name"] for move in moves] == [NAME] * 3
    assert {move["registry"] for move in moves} == {publisher.store.url}
    assert moves[0]["uri"] == t4.PackageRef(publisher.url, NAME, hash_of(2)).uri
    assert all(abs((move["moved_s"] or 0) - time.time()) < 60 for move in moves)
    assert len({move["id"] for move in moves}) == 3
    assert watcher.look() == []
    publisher.publish(5)
    assert watcher.numbers() == [5]


def test_a_repeat_is_recognised_by_its_id(publisher: Publisher) -> None:
    publisher.publish(1)
    watcher = Watcher(publisher.url)
    watcher.look()
    publisher.publish(2)
    publisher.publish(3)
    before = watcher.watermark
    first = watcher.look()
    # As after a kill between the event and the watermark.
    watcher.watermark = before
    assert watcher.look() == first
    assert [int(move["top_hash"], 16) for move in first] == [2, 3]
    # Another watcher tells the same of what was published.
    other = Watcher(publisher.url).look(since=0)
    assert [move["id"] for move in other][1:] == [move["id"] for move in first]
    publisher.rollback(1)
    before = watcher.watermark
    back = watcher.look()
    watcher.watermark = before
    assert [move["top_hash"] for move in back] == [hash_of(1)]
    assert watcher.look() == back


def test_what_was_moved_away_from_at_once_is_reported_late(
    publisher: Publisher, mocker: MockerFixture
) -> None:
    publisher.publish(1)
    watcher = Watcher(publisher.url)
    watcher.look()
    publisher.publish(2)
    publisher.publish(3)
    publisher.rollback(1)
    # 2 and 3 may still be on their way, as far as anybody can see.
    assert watcher.numbers() == [] == watcher.numbers()
    later = Watcher(publisher.url)
    later.watermark = watcher.watermark
    mocker.patch.object(time, "time", autospec=True, return_value=time.time() + 90)
    moves = watcher.look()
    assert [int(move["top_hash"], 16) for move in moves] == [2, 3]
    assert not any(move["is_latest"] for move in moves)
    assert watcher.look() == []
    # If something else is published first, they come before it.
    mocker.stopall()
    publisher.publish(4)
    assert later.numbers() == [2, 3, 4]
    assert watcher.numbers() == [4]


def test_what_was_moved_away_from_later_is_reported_in_order(local: Publisher) -> None:
    local.publish(1)
    watcher = Watcher(local.url)
    watcher.look()
    local.publish(2)
    pointer = PhysicalKey.parse(f"{local.url}/{NAMED}{NAME}/{local.newest()}").path
    os.utime(pointer, (time.time() - 20, time.time() - 20))
    local.rollback(1)
    assert [(int(m["top_hash"], 16), m["is_latest"]) for m in watcher.look()] == [
        (2, False),
        (1, True),
    ]


def test_a_package_that_is_not_there_yet_is_reported_from_its_beginning(
    publisher: Publisher,
) -> None:
    watcher = Watcher(publisher.url)
    assert watcher.look() == []
    publisher.publish(1)
    publisher.publish(2)
    moves = watcher.look()
    assert [int(move["top_hash"], 16) for move in moves] == [1, 2]
    assert moves[0]["previous"] is None


def test_the_first_look_may_ask_for_what_was_published_since(local: Publisher) -> None:
    for number in (1, 2, 3):
        local.claim(number, 1_700_000_000 + number)
    local.move(3)
    looks = {
        0: [1, 2, 3],
        1_700_000_001: [2, 3],
        1_700_000_002.5: [3],
        1_700_000_003: [],
        time.time(): [],
    }
    for since, numbers in looks.items():
        watcher = Watcher(local.url)
        moves = watcher.look(since=since)
        assert [int(move["top_hash"], 16) for move in moves] == numbers
        if since == 1_700_000_001:
            assert moves[0]["previous"] == hash_of(1)
        # It says where the first look begins, nothing else.
        assert watcher.look(since=0) == []
    local.rollback(1)
    for second in range(1_700_000_001, 1_700_000_004):
        os.utime(PhysicalKey.parse(f"{local.url}/{NAMED}{NAME}/{second}").path, (second, second))
    assert Watcher(local.url).numbers(since=1_700_000_002) == [3, 1]


def test_moves_back_are_reported_and_moves_to_the_same_are_not(publisher: Publisher) -> None:
    for number in (1, 2, 3):
        publisher.publish(number)
    watcher = Watcher(publisher.url)
    watcher.look()
    publisher.rollback(1)
    (move,) = watcher.look()
    assert (move["top_hash"], move["previous"]) == (hash_of(1), hash_of(3))
    assert move["pointer"].startswith("latest@")
    time.sleep(1.1)  # the storage tells times in seconds, and these are two moves
    publisher.rollback(2)
    publisher.rollback(1)
    assert watcher.look() == []
    publisher.rollback(3)
    publisher.pointers.delete(NAME, hash_of(3))
    assert watcher.numbers() == [2]
    # quilt3 writes pointers anew for a push that changes nothing.
    publisher.claim(2, publisher.newest() + 1)
    publisher.move(2)
    assert watcher.look() == []
    publisher.publish(3)
    assert watcher.numbers() == [3]


def test_a_publication_on_its_way_is_reported_when_latest_gets_there(local: Publisher) -> None:
    local.publish(1)
    watcher = Watcher(local.url)
    watcher.look()
    local.publish(2)
    second = local.newest()
    withdrawn = local.claim(9, second + 1)
    assert watcher.numbers() == [2]
    local.claim(3, second + 2)
    assert watcher.numbers() == []
    local.store.delete(withdrawn)
    local.move(3)
    assert watcher.numbers() == [3]


def test_writers_with_slow_clocks_are_seen(local: Publisher) -> None:
    local.publish(1)
    watcher = Watcher(local.url)
    watcher.look()
    local.publish(2)
    assert watcher.numbers() == [2]
    # As quilt3 does on a machine whose clock is behind: pointers that sort before others.
    behind = local.newest() - LOOK_BACK_S // 2
    local.claim(3, behind)
    local.move(3)
    local.claim(4, behind + 1)
    local.move(4)
    assert watcher.numbers() == [3, 4]
    assert watcher.numbers() == []
    local.claim(5, local.newest() - 10 * LOOK_BACK_S)
    local.move(5)
    assert watcher.numbers() == [5]
    assert watcher.numbers() == []


def test_a_pointer_from_the_future_hides_no_other(local: Publisher) -> None:
    """One machine's clock is months ahead; quilt3 goes on naming pointers by the time it is."""
    local.publish(1)
    local.claim(2, int(time.time()) + 10**7)
    local.move(2)
    watcher = Watcher(local.url)
    assert watcher.numbers() == []
    now = int(time.time())
    for number in (3, 4):
        local.claim(number, now + number)
        local.move(number)
    assert watcher.numbers() == [3, 4]
    local.publish(5)
    local.publish(6)
    assert watcher.numbers() == [5, 6]
    assert watcher.numbers() == []


def test_a_name_that_is_used_again_is_another_pointer(publisher: Publisher) -> None:
    """Of publications in one second names run ahead of the clock; one removed is the next again."""
    for number in range(1, 6):
        publisher.publish(number)
    watcher = Watcher(publisher.url)
    assert watcher.look() == []
    name = publisher.newest()
    publisher.pointers.delete(NAME, hash_of(5))
    publisher.publish(6)
    assert publisher.newest() == name
    publisher.publish(7)
    moves = watcher.look()
    assert [int(move["top_hash"], 16) for move in moves] == [6, 7]
    assert moves[0]["pointer"] == str(name)
    assert watcher.look() == []


def test_the_same_second_hides_nothing(local: Publisher) -> None:
    latest = PhysicalKey.parse(f"{local.url}/{NAMED}{NAME}/latest").path
    local.publish(1)
    watcher = Watcher(local.url)
    watcher.look()
    for _ in range(2):
        found = os.stat(latest)
        local.publish(2)
        local.publish(1)
        os.utime(latest, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert watcher.numbers() == [2, 1]
        assert watcher.numbers() == []
