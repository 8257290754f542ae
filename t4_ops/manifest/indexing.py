"""Making the index of a manifest: one pass over its lines."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from typing import IO, Final

from t4_ops.keys import tree_order
from t4_ops.manifest.index_format import (
    INLINE_BYTES,
    MAGIC,
    NAMES_BYTES,
    PAGE_BYTES,
    Block,
    Folder,
    Leaf,
    ManifestFacts,
    PageAt,
    Root,
    deflated,
    inflated,
)
from t4_ops.manifest.model import Manifest


@dataclass(frozen=True, slots=True)
class Shape:
    """How an index is cut; readers take any.

    Attributes:
        rows: Rows of a page, some 100 bytes each.
        top_pages: Most pages that the root names. It must fit into what a reader asks for first,
            with the header and metadata of directories in it.
        flat_bytes: A folder of files only whose lines are no more is listed from the manifest.
    """

    rows: int = PAGE_BYTES // 100
    top_pages: int = 200
    flat_bytes: int = 512 * 1024


SHAPE: Final = Shape()


def write_index(
    manifest: Manifest,
    etag: str | None,
    mtime_ns: int | None,
    file: IO[bytes],
    shape: Shape = SHAPE,
) -> int:
    """Write the index of a manifest whose entries stand in tree order; return its size in bytes.

    Args:
        manifest: The manifest.
        etag: Its ETag where it is stored; None in a folder.
        mtime_ns: When its file there was changed; None in a bucket.
        file: Where to, opened for writing and reading; pages of it are moved once at the end.
        shape: How to cut it.
    """
    return _Writer(manifest, file, shape).write(etag, mtime_ns)


@dataclass(slots=True)
class _Open:
    """A folder that has begun.

    Attributes:
        number: Its row.
        prefix: Its prefix.
        count: Entries below it so far.
        size_bytes: Their size.
        files: Files of its own.
        folders: Folders of its own.
        children: Its children in order: names of folders, and ranges of lines of files.
    """

    number: int
    prefix: str
    count: int = 0
    size_bytes: int = 0
    files: int = 0
    folders: int = 0
    children: list[str | tuple[int, int]] = field(default_factory=list)


class _Writer:
    def __init__(self, manifest: Manifest, file: IO[bytes], shape: Shape) -> None:
        self._manifest = manifest
        self._shape = shape
        self._file = file
        self._offset = 0
        # Folders by number, in tree order, as columns: a package may have as many as files.
        self._prefixes: list[str] = []
        self._facts = tuple(array("Q") for _ in range(8))
        self._blocks: list[Block] = []
        self._stack: list[_Open] = []

    def write(self, etag: str | None, mtime_ns: int | None) -> int:
        manifest = self._manifest
        first, end = manifest.entry_lines()
        self._begin("", first)
        self._walk(first, end)
        while self._stack:
            self._close(end)
        sha256 = self._sha256()
        facts = ManifestFacts(manifest.top_hash, manifest.size_bytes, sha256, etag, mtime_ns)
        pages, levels = self._pages()
        header_end, entries_start = manifest.line_start(1), manifest.line_start(first)
        root = Root(
            facts,
            self._text(0, 1),
            header_end,
            self._text(1, first),
            entries_start,
            self._folder(0),
            levels,
            pages,
        )
        return self._finish(deflated(root))

    def _text(self, first: int, end: int) -> str | None:
        """Return some lines as text, None if they are long."""
        data = self._manifest.line_bytes(first, end)
        return data.decode() if len(data) <= INLINE_BYTES else None

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for chunk in self._manifest.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    # Folders

    def _walk(self, first: int, end: int) -> None:
        start = self._manifest.line_start
        for line, keys, sizes in self._manifest.keys_and_sizes(first, end):
            after = line + len(keys)
            self._blocks.append(Block(tree_order(keys[0]), start(line), start(after)))
            position = 0
            for folder, run in groupby(keys, key=_folder_of):
                count = sum(1 for _ in run)
                self._enter(folder, line + position)
                size_bytes = sum(sizes[position : position + count])
                self._add_files(line + position, count, size_bytes)
                position += count

    def _add_files(self, line: int, count: int, size_bytes: int) -> None:
        own = self._stack[-1]
        own.files += count
        own.count += count
        own.size_bytes += size_bytes
        before = own.children[-1] if own.children else ""
        if isinstance(before, tuple) and before[1] == line:
            own.children[-1] = (before[0], line + count)
        else:
            own.children.append((line, line + count))

    def _enter(self, folder: str, line: int) -> None:
        """Make a folder the innermost one; between it and the one before others end and begin."""
        while not folder.startswith(self._stack[-1].prefix):
            self._close(line)
        own = self._stack[-1].prefix
        while len(own) < len(folder):
            own = folder[: folder.index("/", len(own)) + 1]
            self._begin(own, line)

    def _begin(self, prefix: str, line: int) -> None:
        self._stack.append(_Open(len(self._prefixes), prefix))
        self._prefixes.append(prefix)
        for column in self._facts:
            column.append(0)
        self._facts[0][-1] = self._manifest.line_start(line)

    def _close(self, line: int) -> None:
        """Note what the innermost folder holds; it ends before a line."""
        own = self._stack.pop()
        end = self._manifest.line_start(line)
        names_at = self._names(own, end)
        values = (end, own.count, own.size_bytes, own.files, own.folders, *names_at)
        for column, value in zip(self._facts[1:], values, strict=True):
            column[own.number] = value
        if self._stack:
            parent = self._stack[-1]
            parent.count += own.count
            parent.size_bytes += own.size_bytes
            parent.folders += 1
            parent.children.append(own.prefix[len(parent.prefix) :])

    def _names(self, own: _Open, end: int) -> tuple[int, int]:
        """Write the names in a folder, unless its lines are the names; return where they are."""
        if not own.folders and end - self._facts[0][own.number] <= self._shape.flat_bytes:
            return 0, 0
        names: list[str] = []
        for child in own.children:
            if isinstance(child, str):
                names.append(child)
                continue
            for _, keys, _ in self._manifest.keys_and_sizes(*child):
                names += [key[len(own.prefix) :] for key in keys]
        return self._append(deflated("\n".join(names).encode()))

    def _append(self, page: bytes) -> tuple[int, int]:
        self._file.write(page)
        offset, self._offset = self._offset, self._offset + len(page)
        return offset, len(page)

    def _folder(self, number: int) -> Folder:
        start, end, count, size_bytes, files, folders, offset, length = (
            column[number] for column in self._facts
        )
        names = self._short_names(offset, length)
        where = (offset, length) if names is None else (0, 0)
        order = tree_order(self._prefixes[number])
        return Folder(order, start, end, count, size_bytes, files, folders, names, where)

    def _short_names(self, offset: int, length: int) -> str | None:
        # What is short, deflated or not, is some bytes longer deflated.
        if not 0 < length <= NAMES_BYTES:
            return None
        self._file.seek(offset)
        text = inflated(self._file.read(length)).decode()
        self._file.seek(self._offset)
        return text if len(text) <= NAMES_BYTES else None

    # Pages

    def _pages(self) -> tuple[list[PageAt], int]:
        """Write all pages; return those of the uppermost level, and how many levels there are."""
        pages = [self._page(order, leaf) for order, leaf in self._leaves()]
        levels = 1
        while len(pages) > self._shape.top_pages:
            rows = self._shape.rows
            groups = [pages[i : i + rows] for i in range(0, len(pages), rows)]
            pages = [self._page(group[0].order, group) for group in groups]
            levels += 1
        return pages, levels

    def _page(self, order: str, rows: object) -> PageAt:
        return PageAt(order, *self._append(deflated(rows)))

    def _leaves(self) -> Iterator[tuple[str, Leaf]]:
        """Yield each leaf with the order at which it begins."""
        rows = heapq.merge(
            ((block.order, block) for block in self._blocks),
            ((tree_order(self._prefixes[n]), n) for n in range(1, len(self._prefixes))),
            key=itemgetter(0),
        )
        in_force = self._blocks[0] if self._blocks else None
        while page := list(islice(rows, self._shape.rows)):
            assert in_force is not None  # a folder without an entry does not come to be
            own = [row for _, row in page if isinstance(row, Block)]
            folders = [self._folder(row) for _, row in page if isinstance(row, int)]
            yield page[0][0], Leaf([in_force, *own], folders)
            in_force = own[-1] if own else in_force

    def _finish(self, root: bytes) -> int:
        """Put the root before the pages."""
        head = MAGIC % len(root) + root
        shift, copied = len(head), self._offset
        while copied > 0:
            size = min(copied, 1024 * 1024)
            copied -= size
            self._file.seek(copied)
            piece = self._file.read(size)
            self._file.seek(copied + shift)
            self._file.write(piece)
        self._file.seek(0)
        self._file.write(head)
        self._file.seek(0)
        return self._offset + shift


def _folder_of(key: str) -> str:
    return key[: key.rfind("/") + 1]
