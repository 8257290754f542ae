"""The store contract: reading, and what is known of an object."""

from __future__ import annotations

import pytest

from t4_ops.errors import FormatError, NotFoundError
from t4_ops.storage import PreconditionFailedError, Store, open_store
from tests.contract_tools import MIB, SIZES, Place, StoreCase, content, read_all


class ReadingContract(StoreCase):
    def test_it_knows_its_url_and_whether_it_keeps_versions(
        self, store: Store, place: Place
    ) -> None:
        assert store.url == place.url
        assert store.is_versioned is place.is_versioned

    @pytest.mark.parametrize("size_bytes", SIZES)
    def test_an_object_is_read_as_it_is(self, store: Store, place: Place, size_bytes: int) -> None:
        data = content(size_bytes)
        place.raw_put("dir/x", data)
        found = store.read("dir/x")
        assert found.data == data
        assert read_all(store, "dir/x") == data
        assert (found.info.key, found.info.size_bytes) == ("dir/x", size_bytes)

    def test_head_read_open_and_write_agree_on_the_etag(self, store: Store) -> None:
        for key, size_bytes in (("small", 10), ("large", 200_000)):
            written = store.write(key, content(size_bytes))
            assert written.etag
            with store.open(key) as reader:
                assert reader.info.etag == written.etag
            assert store.read(key).info.etag == written.etag
            assert store.head(key).etag == written.etag
            assert store.head(key).size_bytes == written.size_bytes == size_bytes
            assert (store.head(key).version_id is not None) is store.is_versioned
            assert store.head(key).version_id == written.version_id

    def test_the_etag_changes_with_the_bytes(self, store: Store, place: Place) -> None:
        for size_bytes in (64, 200_000):
            etags = {store.write("x", content(size_bytes, seed)).etag for seed in range(8)}
            assert len(etags) == 8
            before = store.head("x").etag
            place.raw_put("x", content(size_bytes, 99))
            assert store.head("x").etag != before

    @pytest.mark.parametrize("size_bytes", [100, 200_000])
    def test_a_range_is_read_of_the_expected_object_only(
        self, store: Store, size_bytes: int
    ) -> None:
        data = content(size_bytes)
        etag = store.write("x", data).etag
        with store.open("x", start=10, end=50, if_match=etag) as reader:
            assert b"".join(bytes(piece) for piece in reader) == data[10:50]
        store.write("x", content(size_bytes, 1))
        for start, end in ((10, 50), (0, None), (10, 10), (size_bytes + 5, None)):
            with (
                pytest.raises(PreconditionFailedError),
                store.open("x", start=start, end=end, if_match=etag),
            ):
                pass
        store.delete("x")
        with pytest.raises((NotFoundError, PreconditionFailedError)):
            store.open("x", if_match=etag).__enter__()

    def test_the_time_of_change_is_known(self, store: Store) -> None:
        first = store.write("x", b"1")
        found = store.head("x")
        listed = next(iter(store.list("x")))
        assert found.mtime_s is not None
        assert listed.mtime_s is not None
        # Listings of some servers give whole seconds.
        assert abs(found.mtime_s - listed.mtime_s) <= 1
        assert first.mtime_s is None or abs(first.mtime_s - found.mtime_s) <= 1

    def test_what_is_missing_is_not_found(self, store: Store, place: Place) -> None:
        place.raw_put("there/x", b"1")
        for key in ("x", "there", "there/x2", "there/x/y"):
            with pytest.raises(NotFoundError):
                store.head(key)
            with pytest.raises(NotFoundError):
                store.read(key)
            with pytest.raises(NotFoundError):
                read_all(store, key)

    def test_in_a_missing_place_nothing_is_found(self, place: Place) -> None:
        nowhere = open_store(place.missing_url, place.settings)
        with pytest.raises(NotFoundError):
            nowhere.head("x")
        with pytest.raises(NotFoundError):
            nowhere.read("x")
        with pytest.raises(NotFoundError):
            read_all(nowhere, "x")

    def test_a_limit_on_what_is_read_whole(self, store: Store, place: Place) -> None:
        place.raw_put("x", b"12345")
        assert store.read("x", max_bytes=5).data == b"12345"
        with pytest.raises(FormatError):
            store.read("x", max_bytes=4)

    @pytest.mark.parametrize("size_bytes", [10, 3 * MIB])
    def test_a_range_is_what_a_slice_is(self, store: Store, place: Place, size_bytes: int) -> None:
        data = content(size_bytes)
        place.raw_put("x", data)
        ends = (1, 7, size_bytes - 1, size_bytes, None)
        for start, end in [(s, e) for s in (0, 3, size_bytes - 1) for e in ends]:
            if end is None or start < end:
                assert read_all(store, "x", start=start, end=end) == data[start:end]
        with store.open("x", start=3, end=7) as reader:
            assert reader.info.size_bytes == size_bytes

    def test_a_range_beyond_the_end_is_cut(self, store: Store, place: Place) -> None:
        place.raw_put("x", b"12345")
        assert read_all(store, "x", start=3, end=100) == b"45"

    def test_a_large_object_comes_in_bounded_pieces(self, store: Store, place: Place) -> None:
        place.raw_put("x", content(40 * MIB))
        with store.open("x") as reader:
            sizes = [len(piece) for piece in reader]
        assert sum(sizes) == 40 * MIB
        assert max(sizes) <= 16 * MIB

    def test_an_opened_object_may_be_left_unread(self, store: Store, place: Place) -> None:
        place.raw_put("x", content(20 * MIB))
        for _ in range(30):
            with store.open("x") as reader:
                next(iter(reader))
        assert store.read("x").data == content(20 * MIB)
