"""A manifest that stays where it is: its index answers, and leads to the few lines needed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

from t4_ops.errors import FormatError
from t4_ops.keys import Limits, are_legal, tree_order
from t4_ops.manifest.batches import entries_of, is_plain_block
from t4_ops.manifest.checks import parse_header
from t4_ops.manifest.entry import Directory, Entry, check_key, decode_record
from t4_ops.manifest.index_format import (
    Block,
    Folder,
    Leaf,
    PageAt,
    Root,
    parse_leaf,
    parse_names,
    parse_pages,
)
from t4_ops.manifest.model import Manifest

RANGE_BYTES: Final = 16 * 1024 * 1024
"""Lines of a folder that are read by themselves; for more of them the manifest is read whole."""
# A page is some hundred KiB; who looks at many places begins anew after so many.
_MAX_PAGES: Final = 64

T = TypeVar("T")


class UnusableIndexError(Exception):
    """The index is damaged, or of another manifest than the one that is stored."""


class Ranges(Protocol):
    """Where an index and its manifest are read."""

    def index(self, start: int, end: int) -> bytes:
        """Return bytes of the index's pages.

        Raises:
            UnusableIndexError: They are not there any more.
        """

    def manifest(self, start: int, end: int) -> bytes:
        """Return bytes of the manifest.

        Raises:
            UnusableIndexError: It is not the one that the index belongs to.
        """


class IndexedManifest:
    """A `View` of a manifest by way of its index.

    What it says was not compared with the top hash; `whole` reads and proves the manifest, and from
    then on everything comes from there. That also happens by itself where the index is of no use:
    it is damaged, or the manifest was replaced.

    Args:
        root: The index's root.
        ranges: Where both are read.
        load: Reads and proves the manifest.
        limits: Bounds on keys.
        allow_files: Whether physical keys may be local files.
    """

    def __init__(
        self,
        root: Root,
        ranges: Ranges,
        load: Callable[[], Manifest],
        limits: Limits,
        *,
        allow_files: bool,
    ) -> None:
        self._root = root
        self._ranges = ranges
        self._load = load
        self._limits = limits
        self._allow_files = allow_files
        self._whole: Manifest | None = None
        self._pages: dict[int, Leaf | list[PageAt]] = {}
        # The block of lines that was read last: neighbours are asked for together.
        self._last: tuple[int, list[Entry]] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the manifest was read and proved."""
        return self._whole is not None

    def whole(self) -> Manifest:
        """Return the manifest, read and proved against its top hash.

        Raises:
            NotFoundError: It is gone.
            IntegrityError: What is stored is another package.
        """
        if self._whole is None:
            self._whole = self._load()
            self._pages.clear()
            self._last = None
        return self._whole

    @property
    def top_hash(self) -> str:
        """The top hash that the manifest is stored by."""
        return self._root.manifest.top_hash

    def _answer(self, by_index: Callable[[], T], by_manifest: Callable[[Manifest], T]) -> T:
        """Return what the index says, or what the manifest says where there is no use in it."""
        if self._whole is None:
            try:
                return by_index()
            except (UnusableIndexError, FormatError):
                # A damaged line shows again, and is told, when the manifest is proved.
                pass
        return by_manifest(self.whole())

    @property
    def header(self) -> dict[str, Any]:
        """The header; a copy."""
        return self._answer(self._header, lambda manifest: manifest.header)

    def _header(self) -> dict[str, Any]:
        text = self._root.header
        data = self._range(0, self._root.header_end) if text is None else text.encode()
        return parse_header(data)

    def directories(self) -> Iterator[Directory]:
        """Yield the metadata of directories."""
        yield from self._answer(self._directories, lambda manifest: list(manifest.directories()))

    def _directories(self) -> list[Directory]:
        root, text = self._root, self._root.directories
        if text is None:
            data = self._range(root.header_end, root.directories_end)
        else:
            data = text.encode()
        found = []
        for number, line in enumerate(data.splitlines()):
            record = decode_record(line, number + 2)
            if not isinstance(record, Directory):
                raise FormatError(f"manifest line {number + 2} describes no directory")
            check_key(record.key[:-1], number + 2, self._limits)
            found.append(record)
        return found

    def count(self, prefix: str = "") -> int:
        """Return the number of entries below a directory, at all levels."""
        return self._answer(
            lambda: 0 if (found := self._folder(prefix)) is None else found.count,
            lambda manifest: manifest.count(prefix),
        )

    def files_size_bytes(self, prefix: str = "") -> int:
        """Return the size of all files below a directory whose size is known."""
        return self._answer(
            lambda: 0 if (found := self._folder(prefix)) is None else found.size_bytes,
            lambda manifest: manifest.files_size_bytes(prefix),
        )

    def has_directory(self, prefix: str) -> bool:
        """Return whether any entry lies below `prefix`, which ends in `/`."""
        return self._answer(
            lambda: self._folder(prefix) is not None,
            lambda manifest: manifest.has_directory(prefix),
        )

    def get(self, key: str) -> Entry | None:
        """Return the entry at a logical key, or None."""
        return self._answer(lambda: self._get(key), lambda manifest: manifest.get(key))

    def children(self, prefix: str = "") -> Iterator[str]:
        """Yield the names right below a directory in order; those of directories end in `/`."""
        yield from self._answer(
            lambda: self._children(prefix), lambda manifest: manifest.children(prefix)
        )

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Yield entries below a directory in tree order; for many the manifest is read whole."""
        yield from self._answer(
            lambda: self._entries(prefix), lambda manifest: manifest.entries(prefix)
        )

    # By way of the index

    def _get(self, key: str) -> Entry | None:
        order = tree_order(key)
        leaf = self._leaf(order)
        if leaf is None or _row(leaf.folders, f"{order}\0") is not None:
            return None
        position = bisect_right(leaf.blocks, order, key=_order)
        if not position:
            return None
        block = leaf.blocks[position - 1]
        entries = self._block(block)
        place = bisect_left(entries, order, key=lambda entry: tree_order(entry.logical_key))
        if place == len(entries) or entries[place].logical_key != key:
            return None
        return entries[place]

    def _folder(self, prefix: str) -> Folder | None:
        if not prefix:
            return self._root.folder
        order = tree_order(prefix)
        leaf = self._leaf(order)
        return None if leaf is None else _row(leaf.folders, order)

    def _children(self, prefix: str) -> Sequence[str]:
        folder = self._folder(prefix)
        if folder is None or not folder.count:
            return ()
        offset, length = folder.names_at
        if folder.names is not None:
            names = folder.names.split("\n")
        elif length:
            size_bytes = self._root.manifest.size_bytes
            if length > size_bytes:
                raise FormatError(
                    f"the index claims more names in {prefix!r} than the manifest has"
                )
            found = self._ranges.index(offset, offset + length)
            names = parse_names(found, min(size_bytes, folder.end - folder.start))
        else:
            return [e.logical_key[len(prefix) :] for e in self._below(prefix, folder)]
        if len(names) != folder.files + folder.folders:
            raise FormatError(f"the index does not name all that is in {prefix!r}")
        keys = [prefix + name.removesuffix("/") for name in names]
        self._check(keys)
        return names

    def _entries(self, prefix: str) -> Sequence[Entry]:
        folder = self._folder(prefix)
        if folder is None or not folder.count:
            return ()
        if not prefix or folder.end - folder.start > RANGE_BYTES:
            # Whoever reads all of it, or much, gets it proved.
            raise UnusableIndexError
        return self._below(prefix, folder)

    def _below(self, prefix: str, folder: Folder) -> Sequence[Entry]:
        """Return the entries on the lines of a folder."""
        entries = self._lines(folder.start, folder.end)
        if len(entries) != folder.count or not (
            entries[0].logical_key.startswith(prefix) and entries[-1].logical_key.startswith(prefix)
        ):
            raise FormatError(f"the index has other lines than those of {prefix!r}")
        return entries

    def _block(self, block: Block) -> list[Entry]:
        last = self._last
        if last is None or last[0] != block.start:
            # Another thread may put its own here meanwhile.
            self._last = last = block.start, self._lines(block.start, block.end)
        return last[1]

    def _lines(self, start: int, end: int) -> list[Entry]:
        """Return the entries of some lines, checked as a manifest's are when it is opened."""
        data = self._range(start, end)
        lines = data.split(b"\n")
        if lines.pop():
            raise FormatError("the index leads to half a line")
        found = entries_of(data, is_plain_block(data, max(map(len, lines))))
        if found is None or len(found) != len(lines):
            found = [_entry(line) for line in lines]
        keys = [entry.logical_key for entry in found]
        self._check(keys)
        orders = [tree_order(key) for key in keys]
        if sorted(orders) != orders:
            raise FormatError("the index leads to lines that are not in order")
        if not self._allow_files and any(e.physical_key.startswith("file:") for e in found):
            raise FormatError("the manifest names a local file")
        return found

    def _range(self, start: int, end: int) -> bytes:
        """Return bytes of the manifest, if they are few: nobody reads it all on an index's word."""
        if end <= start:
            raise FormatError("the index leads to lines that end before they begin")
        if end - start > RANGE_BYTES:
            raise UnusableIndexError("the index leads to too much to be read unproved")
        return self._ranges.manifest(start, end)

    def _check(self, keys: Sequence[str]) -> None:
        if not are_legal(keys, self._limits):
            for key in keys:
                check_key(key, 0, self._limits)

    def _leaf(self, order: str) -> Leaf | None:
        """Return the page of rows that an order is on, None if it is before all of them."""
        pages = self._root.pages
        for level in range(self._root.levels, 0, -1):
            position = bisect_right(pages, order, key=_order)
            if not position:
                return None
            found = self._page(pages[position - 1], is_leaf=level == 1)
            if isinstance(found, Leaf):
                return found
            pages = found
        return None

    def _page(self, at: PageAt, *, is_leaf: bool) -> Leaf | list[PageAt]:
        found = self._pages.get(at.offset)
        if found is None:
            if not 0 < at.size_bytes <= RANGE_BYTES:
                raise FormatError(f"the index claims a page of {at.size_bytes} bytes")
            data = self._ranges.index(at.offset, at.offset + at.size_bytes)
            found = parse_leaf(data) if is_leaf else parse_pages(data)
            if len(self._pages) >= _MAX_PAGES:
                self._pages.clear()
            self._pages[at.offset] = found
        return found


def _order(row: Block | Folder | PageAt) -> str:
    return row.order


def _row(folders: list[Folder], order: str) -> Folder | None:
    position = bisect_left(folders, order, key=_order)
    if position == len(folders) or folders[position].order != order:
        return None
    return folders[position]


def _entry(line: bytes) -> Entry:
    record = decode_record(line, 0)
    if isinstance(record, Directory):
        raise FormatError("the index leads to a directory's metadata")
    return record
