"""Poll: many packages, damaged pointers, questions refused, what an idle look costs."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops import operations as ops
from t4_ops.keys import PhysicalKey
from t4_ops.operations.watermarks import MAX_RECENT
from tests.package_support import watched
from tests.watching_support import NAME, NAMED, Publisher, Watcher, hash_of


@pytest.fixture
def publisher(registry: str) -> Publisher:
    return Publisher(registry)


@pytest.fixture
def local(tmp_path: Path) -> Publisher:
    return Publisher((tmp_path / "registry").as_uri())


def test_packages_by_prefix_come_and_go(publisher: Publisher) -> None:
    publisher.publish(1, "team/a")
    publisher.publish(2, "other/a")
    watcher = Watcher(publisher.url, prefix="team/")
    everything = Watcher(publisher.url, prefix="")
    named = Watcher(publisher.url, names=["team/a", "team/b"])
    assert watcher.look() == everything.look() == named.look() == []
    publisher.publish(3, "team/b")
    publisher.publish(4, "team/b")
    publisher.publish(5, "team/a")
    publisher.publish(6, "other/a")
    moves = [(m["name"], int(m["top_hash"], 16)) for m in watcher.look()]
    assert moves == [("team/a", 5), ("team/b", 3), ("team/b", 4)]
    assert [(m["name"], int(m["top_hash"], 16)) for m in named.look()] == moves
    assert sorted(everything.numbers()) == [3, 4, 5, 6]
    publisher.pointers.delete("team/b")
    assert watcher.look() == named.look() == []
    publisher.publish(7, "team/b")
    assert watcher.numbers() == named.numbers() == [7]
    half = Watcher(publisher.url, prefix="team/b", since=None)
    assert half.look() == []
    publisher.publish(8, "team/b")
    publisher.publish(9, "team/a")
    assert half.numbers() == [8]


def test_a_damaged_pointer_stops_only_who_named_it(
    local: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    local.publish(1, "team/a")
    local.publish(2, "team/b")
    named, found = Watcher(local.url, names="team/a"), Watcher(local.url, prefix="team/")
    both = Watcher(local.url, names=["team/a", "team/b"])
    assert named.look() == found.look() == both.look() == []
    local.store.write(f"{NAMED}team/a/latest", b"rubbish")
    local.publish(3, "team/b")
    with pytest.raises(t4.FormatError):
        named.look()
    assert found.numbers() == [3] == both.numbers()
    assert "team/a" in caplog.text
    local.publish(4, "team/b")
    local.move(1, "team/a")
    local.publish(5, "team/a")
    assert sorted(found.numbers()) == [4, 5] == sorted(both.numbers())
    assert named.numbers() == [5]


def test_who_looks_says_whether_a_damaged_pointer_is_skipped(local: Publisher) -> None:
    both = ["team/a", "team/b"]
    for name in both:
        local.publish(1, name)
    local.store.write(f"{NAMED}team/a/latest", b"rubbish")
    first = ops.poll(local.url, both, skip_damaged=True).watermark
    local.publish(2, "team/b")
    (move,) = ops.poll(local.url, both, watermark=first, skip_damaged=True).moves
    assert move["name"] == "team/b"
    with pytest.raises(t4.FormatError):
        ops.poll(local.url, prefix="team/", skip_damaged=False)


def test_bad_questions_are_refused(local: Publisher) -> None:
    local.publish(1)
    good = ops.poll(local.url, NAME).watermark
    bad: list[dict[str, Any]] = [
        {},
        {"names": NAME, "prefix": ""},
        {"names": []},
        {"names": ["nonsense"]},
        {"names": NAME, "watermark": {}},
        {"names": NAME, "watermark": {**good, "version": 2}},
        {"names": NAME, "watermark": {**good, "registry": "s3://other"}},
        {"names": NAME, "watermark": {**good, "packages": {NAME: [1]}}},
        {"names": NAME, "watermark": {**good, "packages": {NAME: "text"}}},
        {"names": [f"team/{i}" for i in range(1_001)]},
    ]
    for asked in bad:
        with pytest.raises(t4.InvalidInputError):
            ops.poll(local.url, **asked)


def test_a_watermark_stays_small(local: Publisher) -> None:
    for number in range(600):
        local.claim(number, 1_700_000_000 + number)
    local.move(0)
    watcher = Watcher(local.url)
    watcher.look()
    local.publish(1_000)
    assert watcher.numbers() == [1_000]
    assert watcher.watermark is not None
    assert len(watcher.watermark) < 20 * MAX_RECENT
    packages = {f"team/p{number}": number for number in range(50)}
    for name, number in packages.items():
        local.publish(number, name)
    many = Watcher(local.url, prefix="team/p")
    many.look()
    assert many.watermark is not None
    assert len(many.watermark) < 50 * 200


def test_an_idle_look_is_one_read(s3_env: SeaweedFS, unversioned_bucket: str) -> None:
    publisher = Publisher(f"s3://{unversioned_bucket}")
    for number in range(20):
        publisher.publish(number)
    with watched(s3_env.endpoint_url) as (relay, settings):
        mark = ops.poll(publisher.url, NAME, settings=settings).watermark
        time.sleep(2.1)
        # The first look after a move lists once more, see `Mark.is_settled`.
        mark = ops.poll(publisher.url, NAME, watermark=mark, settings=settings).watermark
        relay.requests.clear()
        idle = ops.poll(publisher.url, NAME, watermark=mark, settings=settings)
        assert idle.moves == []
        (request,) = relay.requests
        assert (request.method, request.target.endswith("latest")) == ("GET", True)
        publisher.publish(100)
        publisher.publish(101)
        relay.requests.clear()
        found = ops.poll(publisher.url, NAME, watermark=idle.watermark, settings=settings)
        assert len(found.moves) == 2
        # `latest`, a listing, and the two new pointers.
        assert len(relay.requests) == 4


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_nothing_published_is_missed(
    seed: int, local: Publisher, mocker: MockerFixture
) -> None:
    """Random publications, moves back and looks, against what a watcher must have seen."""
    choose = random.Random(seed)
    watcher = Watcher(local.url)
    watcher.look()
    published: list[int] = []
    moves: list[ops.Move] = []
    current: int | None = None

    def look() -> None:
        found = watcher.look()
        now = [int(move["top_hash"], 16) for move in found if move["is_latest"]]
        before = [int(move["top_hash"], 16) for move in moves if move["is_latest"]]
        # The end is right at every look: what was told last to be `latest` is.
        assert (now or before)[-1:] == ([] if current is None else [current])
        assert len(now) < 2
        moves.extend(found)

    for step in range(60):
        action = choose.random()
        if action < 0.45 or not published:
            again = choose.random() < 0.3 and published
            current = choose.choice(published) if again else step + 1
            local.publish(current)
            published.append(current)
        elif action < 0.6:
            current = choose.choice(published)
            local.rollback(current)
        else:
            look()
    mocker.patch.object(time, "time", autospec=True, return_value=time.time() + 90)
    look()
    assert {int(move["top_hash"], 16) for move in moves} == set(published)
    assert len({move["id"] for move in moves}) == len(moves)
    assert watcher.look() == []


def test_rivals_publish_while_somebody_watches(publisher: Publisher, mocker: MockerFixture) -> None:
    """Whoever publishes at the same moment, none is missed, and the end is right."""
    watcher = Watcher(publisher.url)
    watcher.look()

    def publish(first: int) -> None:
        for number in range(first, first + 6):
            publisher.publish(number)

    with ThreadPoolExecutor(3) as pool:
        rivals = [pool.submit(publish, first) for first in (100, 200, 300)]
        moves: list[ops.Move] = []
        while not all(rival.done() for rival in rivals):
            moves += watcher.look()
        for rival in rivals:
            rival.result()
    moves += watcher.look()
    held = publisher.pointers.latest(NAME)
    assert held is not None
    # A rival whose pointer sorts before another's may move `latest` after him.
    mocker.patch.object(time, "time", autospec=True, return_value=time.time() + 90)
    moves += watcher.look()
    told = [move["top_hash"] for move in moves]
    assert {hash_of(first + i) for first in (100, 200, 300) for i in range(6)} == set(told)
    assert [move["top_hash"] for move in moves if move["is_latest"]][-1] == held.top_hash
    assert len({move["id"] for move in moves}) == len(moves)
    assert watcher.look() == []


def test_a_publication_is_told_by_the_id_that_a_watcher_gives_it(local: Publisher) -> None:
    url = local.url
    watcher = Watcher(url)
    watcher.look()

    def told(number: int) -> list[str]:
        move = ops.move_of(t4.PackageRef(url, NAME, hash_of(number)))
        return [] if move is None else [move["id"]]

    def watched_ids() -> list[str]:
        return [move["id"] for move in watcher.look()]

    for number in (1, 2):
        local.publish(number)
        assert told(number) == watched_ids()
    assert told(1) == []
    first = told(2)
    # Long after they were published, `latest` moves back, and forth again.
    for second in range(local.newest() - 1, local.newest() + 1):
        path = PhysicalKey.parse(f"{url}/{NAMED}{NAME}/{second}").path
        os.utime(path, (time.time() - 20, time.time() - 20))
    watcher.look()
    for number in (1, 2):
        local.rollback(number)
        assert told(number) == watched_ids()
        assert len(told(number)) == 1
    assert told(2) != first
