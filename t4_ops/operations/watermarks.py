"""What a watcher remembers of a package between two looks at it: small, and of JSON values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from t4_ops.errors import InvalidInputError
from t4_ops.storage import ObjectInfo

LOOK_BACK_S: Final = 600
"""How far a writer's clock may be behind the storage's. Pointers are named by their writer's clock;
ours sort after all others whatever the clock says, quilt3's do not."""
MAX_RECENT: Final = 200
"""Most pointers remembered by name; of a package with more in ten minutes only the newest are."""
_TAG_DIGITS: Final = 6


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What was seen of one package.

    Attributes:
        top_hash: What `latest` pointed at; None: there was no such package.
        written_s: When `latest` was written, by the storage's clock; None: unknown.
        floor: Pointers with names up to this one are not looked at any more.
        recent: Names of pointers above it that were reported, or were there at the first look, and
            what tells each from another one of the same name: one may be removed, and its name
            used again.
        is_settled: Whether it was looked for pointers again after the second in which `latest` was
            written was over. Storages tell times in seconds: in one of them `latest` may have moved
            away and back.
        seen_s: When this state of `latest` was first seen, by the watcher's clock.
    """

    top_hash: str | None = None
    written_s: float | None = None
    floor: int = -1
    recent: Mapping[int, str] = field(default_factory=dict)
    is_settled: bool = True
    seen_s: float = 0.0

    def with_reported(self, pointers: Iterable[ObjectInfo]) -> Mark:
        """Return the mark with more pointers reported.

        Args:
            pointers: What a listing says of them.
        """
        found = list(pointers)
        if not found:
            return self
        recent = {**self.recent, **{int(info.key): _tag(info) for info in found}}
        # A pointer of a clock that is ahead hides none that others name by the time it is.
        written_s = [info.mtime_s for info in found if info.mtime_s is not None]
        newest = min([max(recent), *map(int, sorted(written_s)[-1:])])
        floor = max(self.floor, newest - LOOK_BACK_S)
        above = sorted(second for second in recent if second > floor)
        if len(above) > MAX_RECENT:
            floor = above[-MAX_RECENT - 1]
        kept = above[-MAX_RECENT:]
        return replace(self, floor=floor, recent={second: recent[second] for second in kept})

    def is_new(self, pointer: ObjectInfo) -> bool:
        """Return whether a pointer that was listed was not reported yet."""
        second = int(pointer.key)
        return second > self.floor and self.recent.get(second) != _tag(pointer)

    @property
    def list_after(self) -> str:
        """The name after which all new pointers sort as text, as stores list them."""
        text = str(self.floor)
        is_text_order = len(text) == len(str(max(self.recent, default=self.floor)))
        return text if is_text_order and self.floor > 0 else ""

    def to_list(self) -> list[Any]:
        """Return the JSON form: short, because a watcher may follow many packages."""
        recent = {str(second - self.floor): tag for second, tag in self.recent.items()}
        return [
            self.top_hash,
            self.written_s,
            self.floor,
            recent,
            self.is_settled,
            self.seen_s,
        ]

    @classmethod
    def from_list(cls, value: Any) -> Mark:
        """Read the JSON form.

        Raises:
            InvalidInputError: It is none.
        """
        try:
            top_hash, written_s, floor, recent, is_settled, seen_s = value
            return cls(
                top_hash=None if top_hash is None else str(top_hash),
                written_s=None if written_s is None else float(written_s),
                floor=int(floor),
                recent={int(floor) + int(above): str(tag) for above, tag in recent.items()},
                is_settled=bool(is_settled),
                seen_s=float(seen_s),
            )
        except (AttributeError, TypeError, ValueError) as exc:
            raise InvalidInputError(f"{value!r} is no watermark of a package") from exc


def _tag(pointer: ObjectInfo) -> str:
    """Return what tells a pointer from another one of the same name."""
    # A bucket's listing gives etags, that of a folder exact times.
    what = pointer.etag or repr(pointer.mtime_s)
    return hashlib.sha256(what.encode()).hexdigest()[:_TAG_DIGITS]


def read_watermark(watermark: Mapping[str, Any], registry: str) -> dict[str, Mark]:
    """Return the marks in a watermark, by package name.

    Raises:
        InvalidInputError: It is none, or one of another registry.
    """
    packages = watermark.get("packages")
    if watermark.get("version") != 1 or not isinstance(packages, Mapping):
        raise InvalidInputError(f"{str(watermark)[:200]} is no watermark: start without one")
    if watermark.get("registry") != registry:
        raise InvalidInputError(
            f"the watermark is of {watermark.get('registry')!r}, not of {registry!r}: start without"
            " one, or keep one for each registry"
        )
    return {str(name): Mark.from_list(mark) for name, mark in packages.items()}


def written_watermark(registry: str, marks: Mapping[str, Mark]) -> dict[str, Any]:
    """Return the watermark of some marks, as JSON values."""
    packages = {name: marks[name].to_list() for name in sorted(marks)}
    return {"version": 1, "registry": registry, "packages": packages}
