"""Pointers as values: what one holds, what is expected of `latest`, and what a publication did."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from t4_ops.errors import ConflictError, FormatError
from t4_ops.keys import is_top_hash, validate_name
from t4_ops.registry.common import LATEST, NAMED, patiently
from t4_ops.registry.wire import Fingerprint, read_safely
from t4_ops.storage import Content, Store

POINTER_MAX_BYTES: Final = 1024
"""A pointer is 64 digits; T4 and careless editors add white space."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a pointer holds.

    Attributes:
        name: The pointer's own name: `latest`, or unix seconds.
        top_hash: The revision it points at.
        etag: The token to move it with.
        mtime_s: When it was written, by the storage's clock, seconds since the epoch.
    """

    name: str
    top_hash: str
    etag: str | None = None
    mtime_s: float | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome of a publication.

    Attributes:
        top_hash: What `latest` holds now.
        previous: What it held before; None: the package is new.
        changed: Whether it moved.
    """

    top_hash: str
    previous: str | None
    changed: bool


class Anything:
    """The type of `ANYTHING`."""


ANYTHING: Final = Anything()
"""As `expected`: whatever `latest` holds may be replaced, still by compare-and-swap."""


def pointer_key(name: str, pointer: str) -> str:
    """Return where a pointer of a package is.

    Raises:
        InvalidInputError: The package's name breaks a rule.
    """
    return f"{NAMED}{validate_name(name)}/{pointer}"


def read_pointer(store: Store, name: str, pointer: str) -> Pointer:
    """Return what a pointer holds.

    Raises:
        NotFoundError: There is none.
        FormatError: It holds something else than a top hash.
    """
    key = pointer_key(name, pointer)

    def read() -> tuple[Pointer | FormatError, Fingerprint]:
        try:
            content = store.read(key, max_bytes=POINTER_MAX_BYTES)
        except FormatError as exc:
            raise FormatError(f"{exc}, so it is no pointer: {_advice(pointer)}", key=key) from exc
        fingerprint = Fingerprint((content.data,), content.info)
        deque(fingerprint, maxlen=0)
        try:
            return parse_pointer(store.url, name, pointer, content), fingerprint
        except FormatError as exc:
            return exc, fingerprint

    return patiently(lambda: read_safely(read, f"{store.url}/{key}"))


def parse_pointer(url: str, name: str, pointer: str, content: Content) -> Pointer:
    """Return what the bytes of a pointer mean.

    Raises:
        FormatError: They are no top hash.
    """
    # quilt3 writes no newline, T4 strips one: write without, read with strip.
    text = content.data.decode("ascii", errors="replace").strip()
    if not is_top_hash(text):
        key = pointer_key(name, pointer)
        raise FormatError(
            f"{url}: pointer {key} holds {text[:80]!r}, not a top hash: {_advice(pointer)}", key=key
        )
    return Pointer(pointer, text, content.info.etag, content.info.mtime_s)


def _advice(pointer: str) -> str:
    return "roll back to one of the package's revisions" if pointer == LATEST else "remove it"


def is_expected(held: str | None, expected: str | Anything | None) -> bool:
    """Return whether `latest` may be moved away from what it holds."""
    return isinstance(expected, Anything) or held == expected


def conflict(
    url: str, name: str, expected: str | Anything | None, held: str | None
) -> ConflictError:
    """Return the error for a `latest` that is not what is expected."""
    wanted = None if isinstance(expected, Anything) else expected
    return ConflictError(
        f"{url}: latest of {name!r} is {held or 'absent'}, expected {wanted or 'absent'}: browse"
        " it again and redo the change, or push with force=True",
        name=name,
        expected=wanted,
        actual=held,
    )
