"""The store contract: listings and versions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from t4_ops.errors import NotFoundError
from t4_ops.storage import Store
from tests.contract_tools import IN_KEY_ORDER, Place, StoreCase, read_all


class ListingContract(StoreCase):
    def test_a_listing_is_in_key_order(self, store: Store, place: Place) -> None:
        keys = [f"l/{key}" for key in IN_KEY_ORDER]
        for number, key in enumerate(reversed(keys)):
            place.raw_put(key, b"x" * number)
        assert sorted(keys) == keys
        assert [info.key for info in store.list("l/")] == keys
        assert [info.key for info in store.list()] == keys
        assert [info.size_bytes for info in store.list()] == list(reversed(range(len(keys))))

    def test_a_prefix_is_text_not_a_folder(self, store: Store, place: Place) -> None:
        for key in ("a/b", "a/bc/d", "ab", "b/a/b", "é/1", "é2"):
            place.raw_put(key, b"")
        for prefix in ("", "a", "a/", "a/b", "a/bc", "a/bc/", "b/a", "é", "é/", "nothing", "no/"):
            found = [info.key for info in store.list(prefix)]
            assert found == [key for key in place.raw_list() if key.startswith(prefix)], prefix

    def test_a_listing_starts_after_a_key(self, store: Store, place: Place) -> None:
        keys = [f"l/{key}" for key in IN_KEY_ORDER]
        for key in keys:
            place.raw_put(key, b"")
        for after in (*keys, "", "l", "l/", "l/a", "l/a/", "l/a/c", "l/a/z", "l/zzz", "m"):
            found = [info.key for info in store.list("l/", start_after=after)]
            assert found == [key for key in keys if key > after], after

    def test_a_level_starts_after_a_key(self, store: Store, place: Place) -> None:
        for key in IN_KEY_ORDER:
            place.raw_put(f"l/{key}", b"12")
        level = [f"l/{key}" for key in IN_KEY_ORDER if "/" not in key]
        assert len(level) > 3
        for after in (*level, "", "l/", "l/0", "l/zzz"):
            found = list(store.list_level("l/", start_after=after))
            assert [info.key for info in found] == [key for key in level if key > after], after
            assert {info.size_bytes for info in found} <= {2}
        assert list(store.list_level("no/")) == []

    def test_nothing_is_listed_where_nothing_is(self, store: Store) -> None:
        assert list(store.list()) == []
        assert list(store.list("a/b")) == []
        assert list(store.list_versions()) == []
        assert store.list_folder().folders == ()
        assert store.list_folder("a/").objects == ()

    def test_a_long_listing_is_complete(self, store: Store) -> None:
        # Longer than the 1,000 keys of one S3 reply.
        names = [f"n/{number:04}" for number in range(1100)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: store.write(key, b""), names))
        assert [info.key for info in store.list("n/")] == names
        assert len(store.list_folder("n/").objects) == 1100
        level = store.list_level("n/", start_after="n/0009")
        assert [info.key for info in level] == names[10:]
        assert len(list(store.list_versions("n/"))) == 1100

    def test_one_level(self, store: Store, place: Place) -> None:
        for key in ("a", "b/1", "b/2/x", "b/2/y", "b-c", "c/d/e/f", "z"):
            place.raw_put(key, b"12")
        root = store.list_folder()
        assert root.folders == ("b/", "c/")
        assert [(info.key, info.size_bytes) for info in root.objects] == [
            ("a", 2),
            ("b-c", 2),
            ("z", 2),
        ]
        below = store.list_folder("b/")
        assert below.folders == ("b/2/",)
        assert [info.key for info in below.objects] == ["b/1"]
        assert store.list_folder("c/d/").folders == ("c/d/e/",)

    def test_a_folder_goes_with_its_last_object(self, store: Store, place: Place) -> None:
        store.write("a/b/c", b"1")
        store.write("d", b"1")
        store.delete("a/b/c")
        assert store.list_folder().folders == ()
        assert place.raw_list() == ["d"]

    def test_versions_stay_readable_where_they_are_kept(self, store: Store) -> None:
        first = store.write("x", b"first")
        second = store.upload("x", [b"second"], 6)
        assert store.read("x").data == b"second"
        if not store.is_versioned:
            assert first.version_id is None
            assert second.version_id is None
            return
        assert first.version_id != second.version_id
        assert store.read("x", version_id=first.version_id).data == b"first"
        assert read_all(store, "x", version_id=first.version_id, start=1, end=3) == b"ir"
        assert store.head("x", version_id=first.version_id).size_bytes == 5
        assert store.head("x", version_id=first.version_id).etag == first.etag
        store.delete("x")
        assert store.read("x", version_id=second.version_id).data == b"second"
        with pytest.raises(NotFoundError):
            store.head("x")

    def test_an_unknown_version_is_not_found(self, store: Store) -> None:
        store.write("x", b"1")
        version_id = store.write("y", b"1").version_id or "3/L4kqtJlcpXroDTDmJ"
        with pytest.raises(NotFoundError):
            store.head("x", version_id=version_id)
        with pytest.raises(NotFoundError):
            store.read("x", version_id=version_id)
        with pytest.raises(NotFoundError):
            read_all(store, "x", version_id=version_id)

    def test_the_newest_versions_are_listed(self, store: Store) -> None:
        for key in ("a-b", "a/b", "a/c", "b", "gone"):
            store.write(key, b"old")
        newest = {key: store.write(key, b"newer").version_id for key in ("a-b", "a/b", "b")}
        newest["a/c"] = store.head("a/c").version_id
        store.delete("gone")
        found = list(store.list_versions())
        assert [info.key for info in found] == ["a-b", "a/b", "a/c", "b"]
        assert {info.key: info.version_id for info in found} == newest
        assert [info.size_bytes for info in found] == [5, 5, 3, 5]
        assert [info.key for info in store.list_versions("a/")] == ["a/b", "a/c"]
