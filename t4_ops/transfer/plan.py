"""What a push must move: pure, decided before anything is written.

Source of the rules: objects that the parent revision already has are never sent again, and no
object that an older revision needs is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from t4_ops.checksums import SHA256, SHA256_CHUNKED
from t4_ops.errors import InvalidInputError
from t4_ops.manifest import Entry

OBJECTS_PREFIX: Final = ".t4/v1/objects/"
"""Content-addressed objects of buckets without versions, and of folders."""

# Hashes that nobody can forge, so that equal hash means equal bytes. CRC64NVME is not one.
_STRONG: Final = (SHA256_CHUNKED, SHA256)

Content = tuple[str, str, int]
Selector = Callable[[str, Entry], bool]


@dataclass(frozen=True, slots=True)
class Move:
    """One object that must be moved.

    Attributes:
        entry: Whose bytes.
        key: Where to, relative to the destination's root; None: the place its content names.
        is_pinned: Whether the destination keeps versions, so that the key may be written again.
    """

    entry: Entry
    key: str | None
    is_pinned: bool


@dataclass(slots=True)
class Plan:
    """What a push does.

    Attributes:
        moves: Objects to move; the engine takes them out as it moves them.
        places: Physical keys, by logical key, of entries that are found elsewhere than they say:
            filled here with what the registry already has, by the engine with what it moved.
    """

    moves: list[Move] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes to move."""
        return sum(move.entry.size_bytes or 0 for move in self.moves)

    def placed(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the entries, at their new places."""
        for entry in entries:
            place = self.places.get(entry.logical_key)
            yield entry if place is None else moved(entry, place)


def moved(entry: Entry, physical_key: str) -> Entry:
    """Return the entry at another place."""
    return Entry(entry.logical_key, physical_key, entry.size_bytes, entry.hash, entry.meta)


def content_of(entry: Entry) -> Content | None:
    """Return what identifies an entry's bytes beyond doubt, or None if nothing does."""
    if entry.hash is None or entry.size_bytes is None or entry.hash.type not in _STRONG:
        return None
    return entry.hash.type, entry.hash.value, entry.size_bytes


def known_places(
    wanted: Iterable[Entry], revision: Iterable[Entry], holds: Callable[[str], bool]
) -> dict[Content, str]:
    """Return where a revision keeps the contents that are wanted.

    Args:
        wanted: Entries that would have to move.
        revision: Entries of a revision of the destination.
        holds: Whether a physical key lies inside the destination.
    """
    contents = {content for entry in wanted if (content := content_of(entry)) is not None}
    places: dict[Content, str] = {}
    for entry in revision:
        if not contents:
            break
        content = content_of(entry)
        if content in contents and holds(entry.physical_key):
            assert content is not None
            places[content] = entry.physical_key
            contents.discard(content)
    return places


def plan_moves(
    wanted: Iterable[Entry],
    places: Mapping[Content, str],
    key_of: Callable[[Entry], str | None],
    *,
    is_pinned: bool,
) -> Plan:
    """Return what must move.

    Args:
        wanted: Entries that must lie inside the destination, and don't.
        places: Where the destination already keeps contents.
        key_of: Where an entry goes; None for the place its content names.
        is_pinned: Whether the destination keeps versions.

    Raises:
        InvalidInputError: Two entries with different bytes go to one key.
    """
    plan = Plan()
    taken: dict[str, Entry] = {}
    for entry in wanted:
        content = content_of(entry)
        if content is not None and content in places:
            plan.places[entry.logical_key] = places[content]
            continue
        key = key_of(entry)
        if key is not None:
            other = taken.setdefault(key, entry)
            # A hash that can be forged proves nothing equal.
            if other is not entry and (content is None or content_of(other) != content):
                raise InvalidInputError(
                    f"{other.logical_key!r} and {entry.logical_key!r} both go to {key!r}, which can"
                    " hold only one of them: give each its own destination",
                    key=entry.logical_key,
                )
        plan.moves.append(Move(entry, key, is_pinned))
    return plan
