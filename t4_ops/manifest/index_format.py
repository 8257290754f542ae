"""The form of an index: a root, and pages of rows below it.

An index lets a reader answer questions about a large manifest without reading it. It is derived and
may be thrown away at any time. It begins with a line that says how long the root is, then comes the
root, then the pages; root and pages are JSON, deflated. Offsets in it count from the end of the
root.

A row is either a *block* (so many lines of the manifest, by its first key) or a *folder* (what lies
below a directory, at which lines, how many files of what size). Leaf pages hold both in tree order;
pages above them, and the root, say where each page begins.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Final, TypeVar

import msgspec

from t4_ops.errors import FormatError

_T = TypeVar("_T")

MAGIC: Final = b"t4-index-1 %010d\n"
"""The first line; the number is the root's size in bytes."""
MAGIC_BYTES: Final = len(MAGIC % 0)
OPEN_BYTES: Final = 128 * 1024
"""What a reader asks for first. A root is always shorter; small indexes are in it as a whole."""
PAGE_BYTES: Final = 128 * 1024
"""Size of a page before it is deflated."""
INLINE_BYTES: Final = 16 * 1024
"""Longest header, or metadata of all directories, that the root carries itself."""
NAMES_BYTES: Final = 256
"""Names of so many bytes stand in the folder's own row."""
# A damaged or hostile index must not cost what it says. A page, or a root, of what `write_index`
# makes has some MiB when it is inflated: 1300 rows with keys of 1024 characters at most.
_ROOT_MAX_BYTES: Final = 16 * 1024 * 1024
_PAGE_EXPANDED_BYTES: Final = 64 * 1024 * 1024

# Offsets and sizes: no negative ones, and none that no file has.
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
# Each level has hundreds of times the pages of the one above.
_Levels = Annotated[int, msgspec.Meta(ge=0, le=16)]


class Block(msgspec.Struct, frozen=True, array_like=True):
    """Some lines of entries.

    Attributes:
        order: Tree order of the first key.
        start: Offset of the first line in the manifest.
        end: Offset after the last line.
    """

    order: str
    start: _Bytes
    end: _Bytes


class Folder(msgspec.Struct, frozen=True, array_like=True):
    """A directory of the package.

    Attributes:
        order: Tree order of its prefix, with the slash; empty for the package itself.
        start: Offset of the first line of an entry below it.
        end: Offset after the last one.
        count: Entries below it, at all levels.
        size_bytes: Size of their files.
        files: Files right below it.
        folders: Directories right below it.
        names: Names right below it, one a line, those of directories with a slash; None if they are
            elsewhere.
        names_at: Where they are: offset and size of the deflated text; size 0: nowhere, all lines
            of the folder are files of its own.
    """

    order: str
    start: _Bytes
    end: _Bytes
    count: _Count
    size_bytes: _Count
    files: _Count
    folders: _Count
    names: str | None
    names_at: tuple[_Bytes, _Bytes]


class Leaf(msgspec.Struct, frozen=True, array_like=True):
    """A page of rows.

    Attributes:
        blocks: The block in force at the first row, and those that begin on the page.
        folders: The folders that begin on the page.
    """

    blocks: list[Block]
    folders: list[Folder]


class PageAt(msgspec.Struct, frozen=True, array_like=True):
    """Where a page is.

    Attributes:
        order: Tree order at which it begins.
        offset: Where it begins, from the end of the root.
        size_bytes: Its size, deflated.
    """

    order: str
    offset: _Bytes
    size_bytes: _Bytes


class ManifestFacts(msgspec.Struct, frozen=True):
    """Which manifest an index belongs to.

    Attributes:
        top_hash: Its top hash.
        size_bytes: Its size.
        sha256: SHA-256 of its bytes, in hex.
        etag: Its ETag; None in a folder.
        mtime_ns: When its file was changed, to the nanosecond; None in a bucket.
    """

    top_hash: str
    size_bytes: int
    sha256: str
    etag: str | None
    mtime_ns: int | None


class Root(msgspec.Struct, frozen=True):
    """What is read first.

    Attributes:
        manifest: The manifest it belongs to.
        header: The header's line; None if it is long, then `header_end` says where it ends.
        header_end: Offset after the header's line.
        directories: The lines of directories' metadata; None if they are long.
        directories_end: Offset after them, where the entries begin.
        folder: The package itself.
        levels: Levels of pages below `pages`, the leaves included.
        pages: The pages of the uppermost level.
    """

    manifest: ManifestFacts
    header: str | None
    header_end: _Bytes
    directories: str | None
    directories_end: _Bytes
    folder: Folder
    levels: _Levels
    pages: list[PageAt]


_encode: Final = msgspec.json.Encoder().encode
_ROOT: Final = msgspec.json.Decoder(Root)
_LEAF: Final = msgspec.json.Decoder(Leaf)
_PAGES: Final = msgspec.json.Decoder(list[PageAt])


def deflated(value: object) -> bytes:
    """Return a root, a page or names as they are stored."""
    return zlib.compress(value if isinstance(value, bytes) else _encode(value), 6)


def parse_root(data: bytes) -> Root:
    """Return the root of its deflated bytes.

    Raises:
        FormatError: It is damaged.
    """
    return _parsed(_ROOT, data)


def parse_leaf(data: bytes) -> Leaf:
    """Return a page of rows; errors are those of `parse_root`."""
    leaf = _parsed(_LEAF, data)
    if not leaf.blocks:
        raise FormatError("the index has a page without a block")
    return leaf


def parse_pages(data: bytes) -> list[PageAt]:
    """Return a page of pages; errors are those of `parse_root`."""
    return _parsed(_PAGES, data)


def parse_names(data: bytes, max_bytes: int) -> list[str]:
    """Return the names of a folder; errors are those of `parse_root`.

    Args:
        data: The deflated text.
        max_bytes: Most bytes they can have: those of the lines they stand in.
    """
    try:
        return inflated(data, max_bytes).decode().split("\n")
    except UnicodeDecodeError as exc:
        raise FormatError(f"the index is damaged: {exc}") from exc


def _parsed(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T:
    try:
        return decoder.decode(inflated(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FormatError(f"the index is damaged: {exc}") from exc


def inflated(data: bytes, max_bytes: int = _PAGE_EXPANDED_BYTES) -> bytes:
    """Return the bytes that were deflated.

    Raises:
        FormatError: They are damaged, or expand to more than `max_bytes`.
    """
    unpacker = zlib.decompressobj()
    try:
        # At least one, because zero means no limit.
        found = unpacker.decompress(data, max(1, max_bytes))
    except zlib.error as exc:
        raise FormatError(f"the index is damaged: {exc}") from exc
    if not unpacker.eof:
        raise FormatError("the index is damaged: a page of it has no end")
    return found


def root_size_bytes(head: bytes) -> int:
    """Return the size of the root that the first line of an index tells.

    Raises:
        FormatError: These bytes begin no index, or one with a root that can't be one.
    """
    digits = head[MAGIC_BYTES - 11 : MAGIC_BYTES - 1]
    if len(digits) != 10 or not digits.isdigit() or head[:MAGIC_BYTES] != MAGIC % int(digits):
        raise FormatError("this is no index of a manifest, or one of another version")
    if int(digits) > _ROOT_MAX_BYTES:
        raise FormatError(f"the index is damaged: it claims a root of {int(digits)} bytes")
    return int(digits)
