"""The store contract: objects of any size, from pieces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from t4_ops.checksums import Buffer
from t4_ops.errors import IntegrityError
from t4_ops.storage import Store
from tests.contract_tools import MIB, SIZES, Place, StoreCase, content, in_pieces, in_threads


class _SourceBrokeError(Exception):
    """Stands for any error of a source."""


def _breaks_after(data: bytes) -> Iterator[Buffer]:
    yield from in_pieces(data, MIB)
    raise _SourceBrokeError


class UploadContract(StoreCase):
    @pytest.mark.parametrize("size_bytes", SIZES)
    def test_an_upload_arrives_whole(self, store: Store, place: Place, size_bytes: int) -> None:
        data = content(size_bytes)
        info = store.upload("dir/x", in_pieces(data, 999_983), size_bytes)
        assert (info.key, info.size_bytes) == ("dir/x", size_bytes)
        assert place.raw_get("dir/x") == data
        assert store.head("dir/x").etag == info.etag
        assert store.head("dir/x").version_id == info.version_id
        assert place.raw_leftovers() == []

    def test_an_upload_replaces_the_object(self, store: Store, place: Place) -> None:
        place.raw_put("x", b"old")
        store.upload("x", [b"ne", b"", b"w"], 3)
        assert place.raw_get("x") == b"new"

    @pytest.mark.parametrize("size_bytes", [0, 10, 20 * MIB])
    @pytest.mark.parametrize("create_only", [True, False])
    def test_an_error_of_the_pieces_is_passed_on_and_nothing_is_left(
        self, store: Store, place: Place, size_bytes: int, create_only: bool
    ) -> None:
        place.raw_put("old", b"old")
        pieces = _breaks_after(content(size_bytes))
        with pytest.raises(_SourceBrokeError):
            store.upload("new/deep/x", pieces, size_bytes, create_only=create_only)
        with pytest.raises(_SourceBrokeError):
            store.upload("old", _breaks_after(content(size_bytes)), size_bytes + 1)
        assert place.raw_list() == ["old"]
        assert place.raw_get("old") == b"old"
        assert place.raw_leftovers() == []
        assert store.list_folder().folders == ()

    @pytest.mark.parametrize("size_bytes", [0, 10, 8 * MIB, 17 * MIB])
    @pytest.mark.parametrize("difference", [-1, 1])
    def test_an_upload_of_another_size_is_refused(
        self, store: Store, place: Place, size_bytes: int, difference: int
    ) -> None:
        place.raw_put("old", b"old")
        announced = size_bytes + difference
        if announced < 0:
            announced = 5
        for key in ("new", "old"):
            with pytest.raises(IntegrityError):
                store.upload(key, in_pieces(content(size_bytes), MIB), announced)
        assert place.raw_list() == ["old"]
        assert place.raw_get("old") == b"old"
        assert place.raw_leftovers() == []

    def test_pieces_without_an_end_are_not_taken_for_ever(self, store: Store) -> None:
        taken = 0

        def endless() -> Iterator[Buffer]:
            nonlocal taken
            for _ in range(200):
                taken += 1
                yield bytes(MIB)

        for size_bytes in (1, 9 * MIB):
            taken = 0
            with pytest.raises(IntegrityError):
                store.upload("x", endless(), size_bytes)
            assert taken < 100

    def test_threads_write_and_read_side_by_side(self, store: Store, place: Place) -> None:
        def work(number: int) -> None:
            for turn in range(5):
                key, data = f"t{number % 3}/{number}-{turn}", content(1000 + number, turn)
                store.upload(key, [data], len(data), create_only=True)
                assert store.read(key).data == data

        in_threads(8, work)
        assert len(place.raw_list()) == 40
