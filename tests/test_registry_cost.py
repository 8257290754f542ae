"""What questions about names cost: the requests they send, as a server counts them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pytest_mock import MockerFixture

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from t4_ops.keys import DEFAULT_LIMITS
from t4_ops.registry import ANYTHING, Registry
from t4_ops.settings import load_settings
from t4_ops.storage import open_store
from tests.package_support import watched
from tests.s3_support import Fault, Relay, Request

POINTERS = ".quilt/named_packages/"


def publish(registry: str, name: str, count: int) -> list[str]:
    """Write pointers of so many revisions, none with a manifest, and return their top hashes."""
    store = open_store(registry, load_settings())
    hashes = [f"{number:064x}" for number in range(count)]
    for number, top_hash in enumerate(hashes):
        store.write(f"{POINTERS}{name}/{1_700_000_000 + number}", top_hash.encode())
    store.write(f"{POINTERS}{name}/latest", hashes[-1].encode())
    return hashes


def cost(relay: Relay, question: Callable[[], object]) -> list[Request]:
    """Return the requests of a question; connections are made before."""
    question()
    relay.requests.clear()
    question()
    return list(relay.requests)


@pytest.fixture
def bucket(s3_env: SeaweedFS, unversioned_bucket: str) -> str:
    return f"s3://{unversioned_bucket}"


def test_a_list_of_packages_costs_the_packages(bucket: str, s3_env: SeaweedFS) -> None:
    for name in ("a/1", "a/2", "b/1"):
        publish(bucket, name, 2)
    store = open_store(bucket, load_settings())
    for number in range(20):
        store.write(f".quilt/packages/{number:064x}", b"{}")
    with watched(s3_env.endpoint_url) as (relay, settings):

        def question() -> None:
            assert t4.list_packages(bucket, settings=settings) == ["a/1", "a/2", "b/1"]

        before = cost(relay, question)
        publish(bucket, "a/1", 30)
        after = cost(relay, question)
    # One for the namespaces, one for each; this server is asked of each folder whether it is empty.
    assert len(before) == len(after) == 1 + 2 + (2 + 3)
    assert not [request for request in after if "packages%2F" in request.target.split("named_")[0]]
    assert {request.method for request in after} == {"GET"}


def test_a_list_of_versions_costs_the_versions(bucket: str, s3_env: SeaweedFS) -> None:
    publish(bucket, "a/other", 9)
    with watched(s3_env.endpoint_url) as (relay, settings):
        for count in (1, 5, 25):
            hashes = publish(bucket, "a/p", count)

            def question(hashes: list[str] = hashes) -> None:
                found = t4.list_package_versions("a/p", bucket, settings=settings)
                assert [top_hash for _, top_hash in found] == [*hashes, hashes[-1]]

            # One listing, one read for each pointer; `latest` is one of them.
            assert len(cost(relay, question)) == 1 + count + 1


def test_pointers_are_read_at_once(bucket: str, s3_env: SeaweedFS) -> None:
    hashes = publish(bucket, "a/p", 24)
    running, most, lock = 0, 0, threading.Lock()

    def slow(request: Request) -> Fault | None:
        nonlocal running, most
        if f"{POINTERS}a/p/" not in request.target:
            return None
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return None

    with watched(s3_env.endpoint_url) as (relay, settings):
        relay.rule = slow
        found = Registry(open_store(bucket, settings), DEFAULT_LIMITS).pointers.revisions("a/p")
    assert [pointer.top_hash for pointer in found] == hashes
    assert 4 < most <= 16


def test_a_folder_is_asked_for_no_more_than_the_names(tmp_path: Path) -> None:
    hashes = publish(str(tmp_path), "a/p", 5)
    manifests = tmp_path / ".quilt" / "packages"
    # Whoever looks into it fails.
    manifests.write_bytes(b"no folder")
    assert t4.list_packages(tmp_path) == ["a/p"]
    found = t4.list_package_versions("a/p", tmp_path)
    assert [top_hash for _, top_hash in found] == [*hashes, hashes[-1]]


def test_many_publications_of_one_second_cost_the_same_each(
    bucket: str, s3_env: SeaweedFS, mocker: MockerFixture
) -> None:
    mocker.patch("time.time", autospec=True, return_value=1_700_000_000.5)
    store = open_store(bucket, load_settings())
    listed = []
    with watched(s3_env.endpoint_url) as (relay, settings):
        pointers = Registry(open_store(bucket, settings), DEFAULT_LIMITS).pointers
        for number in range(40):
            relay.requests.clear()
            pointers.publish("a/p", f"{number:064x}", expected=ANYTHING)
            # Where `latest` is, which names there are, the new one, and `latest`.
            assert [request.method for request in relay.requests] == ["GET", "GET", "PUT", "PUT"]
            after = parse_qs(urlsplit(relay.requests[1].target).query)["start-after"][0]
            listed.append(len([info for info in store.list(f"{POINTERS}a/p/") if info.key > after]))
        seconds = [int(pointer.name) for pointer in pointers.revisions("a/p")]
    # The last one, the new one, `latest`.
    assert listed == [2] + [3] * 39
    assert seconds == list(range(1_700_000_000, 1_700_000_040))


def test_what_others_did_meanwhile_is_seen(
    bucket: str, mocker: MockerFixture, s3_env: SeaweedFS
) -> None:
    mocker.patch("time.time", autospec=True, return_value=1_700_000_000.5)
    store = open_store(bucket, load_settings())
    pointers = Registry(store, DEFAULT_LIMITS).pointers

    def publish_next(number: int) -> int:
        pointers.publish("a/p", f"{number:064x}", expected=ANYTHING)
        return max(int(pointer.name) for pointer in pointers.revisions("a/p"))

    first = [publish_next(number) for number in range(3)]
    store.write(f"{POINTERS}a/p/{first[-1] + 7}", b"a" * 64)
    assert publish_next(3) == first[-1] + 8
    # The last one is gone, and so are those that a rival made: the clock's own second is free.
    for info in list(store.list(f"{POINTERS}a/p/")):
        store.delete(info.key)
    assert publish_next(4) == 1_700_000_000
    # Only the last one is gone.
    publish_next(5)
    store.delete(f"{POINTERS}a/p/1700000001")
    assert publish_next(6) == 1_700_000_001
    assert [p.top_hash for p in pointers.revisions("a/p")] == [f"{n:064x}" for n in (4, 6)]


def test_a_long_history_is_not_listed_to_add_to_it(bucket: str, s3_env: SeaweedFS) -> None:
    publish(bucket, "a/p", 30)
    with watched(s3_env.endpoint_url) as (relay, settings):
        before = int(time.time())
        pointers = Registry(open_store(bucket, settings), DEFAULT_LIMITS).pointers
        pointers.publish("a/p", "f" * 64, expected=ANYTHING)
        (listing,) = relay.seen("GET", "list-type=2")
    after = parse_qs(urlsplit(listing.target).query)["start-after"][0]
    assert int(after.rpartition("/")[2]) >= before - 1
