"""What a push moves: decided without a look at any storage."""

from __future__ import annotations

import hashlib
from binascii import a2b_base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.checksums import CRC64NVME, SHA256, SHA256_CHUNKED, Checksum, checksum_of
from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.manifest import Entry
from t4_ops.transfer import OBJECTS_PREFIX, Plan, known_places, object_key, plan_moves
from tests.strategies import logical_keys

INSIDE = "s3://here/"
TYPES = st.sampled_from([SHA256_CHUNKED, SHA256, CRC64NVME])
DATA = st.sampled_from([b"", b"1", b"2", b"33"])


def entry(key: str, data: bytes, kind: str = SHA256_CHUNKED, place: str = "") -> Entry:
    return Entry(key, place or f"s3://there/{key}", len(data), checksum_of(data, kind))


def entries() -> st.SearchStrategy[list[Entry]]:
    def made(parts: dict[str, tuple[bytes, str, bool]]) -> list[Entry]:
        return [
            entry(key, data, kind, f"{INSIDE}{number}" if inside else "")
            for number, (key, (data, kind, inside)) in enumerate(parts.items())
        ]

    parts = st.tuples(DATA, TYPES, st.booleans())
    return st.dictionaries(logical_keys(), parts, max_size=8).map(made)


def holds(physical_key: str) -> bool:
    return physical_key.startswith(INSIDE)


@given(wanted=entries(), revision=entries(), is_pinned=st.booleans(), keyed=st.booleans())
def test_every_entry_finds_a_place_or_moves(
    wanted: list[Entry], revision: list[Entry], is_pinned: bool, keyed: bool
) -> None:
    places = known_places(wanted, iter(revision), holds)
    plan = plan_moves(
        wanted, places, lambda e: f"p/{e.logical_key}" if keyed else None, is_pinned=is_pinned
    )
    moving = {move.entry.logical_key: move for move in plan.moves}
    assert moving.keys() | plan.places.keys() == {e.logical_key for e in wanted}
    assert not moving.keys() & plan.places.keys()
    for item in wanted:
        same = [r for r in revision if (r.hash, r.size_bytes) == (item.hash, item.size_bytes)]
        known = {r.physical_key for r in same if holds(r.physical_key)}
        assert item.hash is not None
        if item.logical_key in plan.places:
            assert item.hash.type != CRC64NVME
            assert plan.places[item.logical_key] in known
        else:
            assert item.hash.type == CRC64NVME or not known
            move = moving[item.logical_key]
            assert (move.entry, move.is_pinned) == (item, is_pinned)
            assert move.key == (f"p/{item.logical_key}" if keyed else None)
    assert plan.size_bytes == sum(move.entry.size_bytes or 0 for move in plan.moves)
    placed = list(plan.placed(wanted))
    for before, after in zip(wanted, placed, strict=True):
        place = plan.places.get(before.logical_key, before.physical_key)
        assert after == Entry(
            before.logical_key, place, before.size_bytes, before.hash, before.meta
        )


def test_one_key_can_not_hold_two_contents() -> None:
    one, two, same = entry("a", b"1"), entry("b", b"2"), entry("c", b"1")
    with pytest.raises(InvalidInputError, match="'a' and 'b'"):
        plan_moves([one, two], {}, lambda _: "target", is_pinned=True)
    plan = plan_moves([one, same], {}, lambda _: "target", is_pinned=True)
    assert [move.key for move in plan.moves] == ["target", "target"]
    # Equal weak hashes do not make equal bytes.
    weak = [entry(key, b"1", CRC64NVME) for key in "ab"]
    assert len(plan_moves(weak, {}, lambda _: None, is_pinned=False).moves) == 2


def test_an_unhashed_entry_is_never_taken_for_another() -> None:
    unhashed = [Entry("a", "s3://there/a", 1), Entry("b", f"{INSIDE}b", 1)]
    assert known_places(unhashed, unhashed, holds) == {}
    plan = plan_moves(unhashed, {}, lambda _: None, is_pinned=False)
    assert [move.entry for move in plan.moves] == unhashed
    assert Plan().size_bytes == 0


@given(st.binary(max_size=40))
def test_an_object_lies_where_its_hash_says(data: bytes) -> None:
    digest = hashlib.sha256(hashlib.sha256(data).digest() if data else b"").hexdigest()
    assert object_key(checksum_of(data)) == f".t4/v1/objects/{digest[:2]}/{digest}"
    assert object_key(checksum_of(data)).startswith(OBJECTS_PREFIX)
    assert a2b_base64(checksum_of(data).value).hex() == digest


@pytest.mark.parametrize("value", ["", "x", "AAAA", "../../x", "A" * 43 + "=\n", "A" * 42 + "B="])
def test_what_is_no_hash_names_no_place(value: str) -> None:
    with pytest.raises(FormatError):
        object_key(Checksum(SHA256_CHUNKED, value))
