"""Bytes that changed on their way here, told by the object's etag.

A top hash does not cover physical keys, so a bit that flips in one of them between an S3 server and
us would be believed, and written into the next revision. Without TLS only TCP's weak sum stands
against that. An etag is, for most objects, made of MD5 sums of the bytes. Where it is not (KMS
encryption, parts of another size) it proves nothing, and a second reading that brings the same
bytes does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from t4_ops.checksums import Buffer, chunk_size_bytes
from t4_ops.errors import FormatError, StorageError
from t4_ops.storage import ObjectInfo

Parsed = TypeVar("Parsed")

# Source: "Checking object integrity", Amazon S3 user guide: the MD5 of the object, or that of its
# parts' MD5s, with a dash and their number.
_ETAG: Final = re.compile(r'"?([0-9a-f]{32})(-\d+)?"?')
# More than an object can have. Source: 5 TiB, the same guide.
_ENDLESS: Final = 2**63


class Fingerprint:
    """Pieces of an object passed on, and what its etag should be then.

    MD5 is the only sum that etags are made of; it is no proof against forgery, nor needed as one.
    """

    def __init__(self, pieces: Iterable[Buffer], info: ObjectInfo) -> None:
        self._pieces = pieces
        found = _ETAG.fullmatch(info.etag or "")
        self._expected = None if found is None else found[1]
        self._is_of_parts = found is not None and found[2] is not None
        # An object in one piece is one part.
        self._part_bytes = chunk_size_bytes(info.size_bytes) if self._is_of_parts else _ENDLESS
        self._left = self._part_bytes
        self._part = hashlib.md5(usedforsecurity=False)
        self._ended: list[bytes] = []

    def __iter__(self) -> Iterator[Buffer]:
        if self._expected is None:
            yield from self._pieces
            return
        for piece in self._pieces:
            view = memoryview(piece)
            while view:
                taken = view[: self._left]
                self._part.update(taken)
                self._left -= len(taken)
                view = view[len(taken) :]
                if not self._left:
                    self._ended.append(self._part.digest())
                    self._part, self._left = hashlib.md5(usedforsecurity=False), self._part_bytes
            yield piece

    @property
    def digest(self) -> str:
        """What the etag should be, without its number of parts; all pieces must have passed."""
        if not self._is_of_parts:
            return self._part.hexdigest()
        begun = [self._part.digest()] if self._left < self._part_bytes else []
        return hashlib.md5(b"".join(self._ended + begun), usedforsecurity=False).hexdigest()

    def is_denied(self) -> bool:
        """Return whether the etag speaks against the bytes; all pieces must have passed."""
        return self._expected is not None and self.digest != self._expected


def read_safely(read: Callable[[], tuple[Parsed | FormatError, Fingerprint]], where: str) -> Parsed:
    """Return what was read, read a second time if the etag speaks against the bytes.

    Args:
        read: Reads the object whole; what is wrong with its bytes is returned, not raised.
        where: The object, for the message.

    Raises:
        FormatError: What is stored can't be read.
        StorageError: Its bytes change on their way here.
    """
    parsed, fingerprint = read()
    if fingerprint.is_denied():
        before = fingerprint.digest
        parsed, fingerprint = read()
        if fingerprint.is_denied() and fingerprint.digest != before:
            raise StorageError(
                f"{where} arrives with other bytes each time, none of which fits its etag: the way"
                " to the server changes them; try again, and use https",
                key=where,
                retryable=True,
            )
    if isinstance(parsed, FormatError):
        raise parsed
    return parsed
