"""The store contract: create-only and compare-and-swap, alone and against rivals."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from t4_ops.errors import InvalidInputError
from t4_ops.storage import ObjectInfo, PreconditionFailedError, Store
from tests.contract_tools import (
    MIB,
    ROOT,
    Place,
    StoreCase,
    add_ones,
    content,
    in_pieces,
    in_threads,
)

_ADD_ONES = """
import pickle, sys
from t4_ops.storage import open_store
from tests.contract_tools import add_ones
url, settings, key, times = pickle.load(sys.stdin.buffer)
add_ones(open_store(url, settings), key, times)
"""


class ConditionContract(StoreCase):
    def test_create_only_never_overwrites(self, store: Store, place: Place) -> None:
        assert store.write("x", b"first", create_only=True).size_bytes == 5
        with pytest.raises(PreconditionFailedError):
            store.write("x", b"second", create_only=True)
        with pytest.raises(PreconditionFailedError):
            store.upload("x", [b"third"], 5, create_only=True)
        with pytest.raises(PreconditionFailedError):
            store.upload("x", in_pieces(content(9 * MIB), MIB), 9 * MIB, create_only=True)
        assert place.raw_get("x") == b"first"
        assert place.raw_leftovers() == []

    def test_a_deleted_object_can_be_created_again(self, store: Store, place: Place) -> None:
        store.write("x", b"first", create_only=True)
        store.delete("x")
        store.write("x", b"second", create_only=True)
        assert place.raw_get("x") == b"second"

    @pytest.mark.parametrize("size_bytes", [10, 9 * MIB])
    def test_of_many_creators_one_wins(self, store: Store, place: Place, size_bytes: int) -> None:
        count = 8 if size_bytes < MIB else 3

        def create(number: int) -> ObjectInfo:
            data = content(size_bytes, number)
            if number % 2 and size_bytes < MIB:
                return store.write("race/x", data, create_only=True)
            return store.upload("race/x", in_pieces(data, MIB), size_bytes, create_only=True)

        for _ in range(3 if size_bytes < MIB else 1):
            results = in_threads(count, create)
            winners = [n for n, result in enumerate(results) if isinstance(result, ObjectInfo)]
            losers = [r for r in results if isinstance(r, PreconditionFailedError)]
            assert len(winners) + len(losers) == count
            # SeaweedFS tests the condition of a multipart upload a moment before it ends it, so two
            # may win there; what is stored is whole all the same, and of one of the winners.
            is_exact = size_bytes < MIB or store.url.startswith("file:")
            assert len(winners) == 1 if is_exact else winners
            assert place.raw_get("race/x") in [content(size_bytes, n) for n in winners]
            assert place.raw_leftovers() == []
            store.delete("race/x")

    @pytest.mark.parametrize("size_bytes", [64, 200_000])
    def test_if_match_replaces_only_what_it_names(
        self, store: Store, place: Place, size_bytes: int
    ) -> None:
        first, second, third = (content(size_bytes, seed) for seed in range(3))
        old = store.write("x", first).etag
        new = store.write("x", second, if_match=old).etag
        assert new != old
        with pytest.raises(PreconditionFailedError):
            store.write("x", third, if_match=old)
        assert place.raw_get("x") == second
        place.raw_put("x", first + b"changed around us")
        with pytest.raises(PreconditionFailedError):
            store.write("x", third, if_match=new)
        assert place.raw_get("x") == first + b"changed around us"
        assert place.raw_leftovers() == []

    def test_if_match_fails_where_nothing_is(self, store: Store, place: Place) -> None:
        etag = store.write("x", b"1").etag
        store.delete("x")
        with pytest.raises(PreconditionFailedError):
            store.write("x", b"2", if_match=etag)
        assert place.raw_list() == []

    def test_two_conditions_at_once_are_refused(self, store: Store, place: Place) -> None:
        etag = store.write("x", b"1").etag
        with pytest.raises(InvalidInputError):
            store.write("x", b"2", create_only=True, if_match=etag)
        assert place.raw_get("x") == b"1"

    def test_threads_lose_no_update(self, store: Store, place: Place) -> None:
        store.write("counter", b"0")
        in_threads(6, lambda _: add_ones(store, "counter", 5))
        assert place.raw_get("counter") == b"30"

    def test_processes_lose_no_update(self, store: Store, place: Place) -> None:
        store.write("counter", b"0")
        order = pickle.dumps((place.url, place.settings, "counter", 10))
        command = [sys.executable, "-c", _ADD_ONES]
        running = [subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) for _ in range(3)]
        try:
            for process in running:
                assert process.stdin is not None
                process.stdin.write(order)
                process.stdin.close()
            assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
        finally:
            for process in running:
                process.kill()
                process.wait()
        assert place.raw_get("counter") == b"30"
