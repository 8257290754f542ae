"""The store contract: writing and deleting whole objects."""

from __future__ import annotations

import threading

import pytest

from t4_ops.errors import NotFoundError
from t4_ops.storage import PreconditionFailedError, Store
from tests.contract_tools import Place, StoreCase, content, read_all

ODD_KEYS = (
    "a-b",
    "a/b",
    "a.b",
    "with space/in it",
    " leading",
    "é",
    "e\u0301",  # the same letter in two code points: another key
    "+",
    "#",
    "?",
    "?versionId=x",
    "%41",
    "%",
    "A",
    "😀/😀.txt",
    "~",
    "a&b=c;d,e",
    "'\"`(){}[]<>*|^:@!$",
    "...",
    ".hidden/.x",
    "x" * 200 + "/" + "y" * 200,
)


class WritingContract(StoreCase):
    def test_a_write_replaces_the_object(self, store: Store, place: Place) -> None:
        for data in (b"1", b"", b"three"):
            info = store.write("dir/x", data)
            assert (info.key, info.size_bytes) == ("dir/x", len(data))
            assert place.raw_get("dir/x") == data
        assert place.raw_list() == ["dir/x"]
        assert place.raw_leftovers() == []

    def test_odd_keys_are_taken_as_they_are(self, store: Store, place: Place) -> None:
        for number, key in enumerate(ODD_KEYS):
            store.write(f"{number}/{key}", b"1")
            store.upload(f"{number}/{key}2", [b"22"], 2)
        everything = sorted(
            f"{n}/{key}{end}" for n, key in enumerate(ODD_KEYS) for end in ("", "2")
        )
        assert place.raw_list() == everything
        assert [info.key for info in store.list()] == everything
        for number, key in enumerate(ODD_KEYS):
            first, second = f"{number}/{key}", f"{number}/{key}2"
            assert place.raw_get(first) == b"1", key
            assert store.read(first).data == b"1", key
            assert store.head(second).key == second
            assert read_all(store, second) == b"22", key
            found = [(info.key, info.size_bytes) for info in store.list(first)]
            assert found == [(first, 1), (second, 2)], key
            store.delete(first)
        assert place.raw_list() == [key for key in everything if key.endswith("2")]

    def test_a_reader_sees_old_or_new_but_nothing_between(self, store: Store) -> None:
        states = [content(300_000, seed) for seed in (1, 2)]
        store.write("x", states[0])
        done = threading.Event()

        def write() -> None:
            for number in range(20):
                store.write("x", states[number % 2])
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        seen = []
        while not done.is_set():
            seen.append(store.read("x").data)
        writer.join()
        assert seen
        assert all(data in states for data in seen)

    def test_a_deleted_object_is_gone(self, store: Store, place: Place) -> None:
        store.write("a/x", b"1")
        store.write("a/y", b"1")
        store.delete("a/x")
        store.delete("a/x")
        store.delete("never/was")
        assert place.raw_list() == ["a/y"]
        with pytest.raises(NotFoundError):
            store.read("a/x")
        assert [info.key for info in store.list()] == ["a/y"]

    def test_delete_on_condition(self, store: Store, place: Place) -> None:
        old = store.write("x", b"1").etag
        new = store.write("x", b"2").etag
        with pytest.raises(PreconditionFailedError):
            store.delete("x", if_match=old)
        assert place.raw_get("x") == b"2"
        store.delete("x", if_match=new)
        assert place.raw_list() == []
        store.delete("x", if_match=new)
