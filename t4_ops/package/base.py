"""A package as one reads it: a nested dictionary of entries, with metadata and a manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from t4_ops.columns import arrow_table, data_frame, write_parquet
from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import PackageRef
from t4_ops.manifest import (
    USER_META,
    Diff,
    Entry,
    Manifest,
    Verified,
    View,
    compose,
    diff_entries,
    diff_manifests,
    plain_meta,
    stored_json,
    top_hash_of,
)
from t4_ops.package.contents import Contents
from t4_ops.package.entry import PackageEntry, local_path
from t4_ops.package.overlay import copied
from t4_ops.package.tree_text import tree_text
from t4_ops.settings import Settings, load_settings
from t4_ops.transfer import OBJECT_SCHEME

if TYPE_CHECKING:
    from t4_ops.columns.tables import ArrowTable, DataFrame

Mapped = TypeVar("Mapped")


class PackageBase:
    """What a package and a view of one of its directories have in common.

    A view shares the contents of its package: what is changed through it is changed there.
    """

    def __init__(self, *, settings: Settings | None = None) -> None:
        self._settings = settings or load_settings()
        self._contents = Contents(None, self._settings.limits)
        # "" for a package; for a view the directory, ending in "/".
        self._prefix = ""
        # What this object knows `latest` to hold, by registry and name.
        self._known: dict[tuple[str, str], str] = {}
        self._origin: PackageRef | None = None

    @classmethod
    def _of(cls, base: View | None, settings: Settings) -> Self:
        package = cls(settings=settings)
        package._contents.rebase(base)
        return package

    @classmethod
    def of_manifest(cls, manifest: Manifest, *, settings: Settings | None = None) -> Self:
        """Return the package whose entries are those of a manifest, from no registry."""
        return cls._of(manifest, settings or load_settings())

    def _view(self, prefix: str) -> Self:
        view = type(self)(settings=self._settings)
        view._contents = self._contents
        view._prefix = prefix
        view._known = self._known
        return view

    def _adopt(self, key: str, entry: PackageEntry) -> Entry:
        """Return the record of another package's entry at a key of this one."""
        record = entry.entry.but(logical_key=key)
        if entry.payload is None and record.physical_key.startswith(OBJECT_SCHEME):
            raise InvalidInputError(
                f"{entry.logical_key!r} is an object of a package that was built without it: take"
                " the entry from that package again, or set the object itself",
                key=entry.logical_key,
            )
        if entry.payload is not None:
            self._contents.payloads[record.physical_key] = entry.payload
        self._contents.roots |= entry.roots
        self._contents.adopt(record, entry.origin)
        self._contents.take_unproved(key, entry.entry, entry.contents)
        self._contents.adopt_sources(record, entry.contents)
        return record

    def _root_of_view(self) -> Self:
        """Return self, or for a view of a directory a package of its own with the same entries."""
        return self if not self._prefix else self.filter(lambda *_: True)

    @property
    def ref(self) -> PackageRef | None:
        """The revision this object was browsed from or last published as."""
        return self._origin

    def known_latest(self, registry: str, name: str) -> str | None:
        """Return what this object takes `latest` to hold: what it was browsed from or published as.

        Args:
            registry: Normalised registry.
            name: Package name.
        """
        return self._known.get((registry, name))

    @property
    def verified(self) -> Verified | None:
        """How the manifest that this package was read from was proved.

        `"top_hash"`: all of it, against the top hash. `"index"`: not at all, it is large and was
        read by way of its index, and the manifest is what `check` proves; objects are verified in
        either case. None: it is from no registry.
        """
        base = self._contents.base
        if base is None or self._contents.origin is None:
            return None
        return "top_hash" if base.is_whole else "index"

    def check(self) -> Self:
        """Read the manifest below this package as a whole, prove it, and return self.

        So are entries that were taken from other packages. It does nothing where that was done
        already; see `verified`.

        Raises:
            NotFoundError: The manifest is gone.
            IntegrityError: What is stored is not the package of its top hash.
        """
        if self._contents.base is not None:
            self._contents.base.whole()
        self._contents.prove()
        return self

    # Metadata

    @property
    def meta(self) -> dict[str, Any]:
        """User metadata of the package, or of the directory this is a view of; a copy."""
        if self._prefix:
            return self._contents.folder_meta(self._prefix)
        return copied(self._contents.header.get(USER_META))

    def set_meta(self, meta: Mapping[str, Any] | None) -> Self:
        """Set the user metadata and return self. That of directories is stored, but not hashed.

        Raises:
            InvalidInputError: It is not plain JSON.
        """
        self._set_meta(self._prefix, meta)
        return self

    def _set_meta(self, prefix: str, meta: Mapping[str, Any] | None) -> None:
        plain = None if meta is None else plain_meta(meta, prefix or "the package")
        if prefix:
            self._contents.set_folder_meta(prefix, plain)
        else:
            self._contents.header[USER_META] = plain

    def get_meta(self, logical_key: str | None = None) -> dict[str, Any]:
        """Return the user metadata of the package, or of a directory or entry in it.

        Raises:
            KeyError: There is nothing at the key.
        """
        return self.meta if logical_key is None else self[logical_key].meta

    # Reading, as a dictionary

    def __getitem__(self, logical_key: str) -> Any:
        """Return the entry at a logical key, or the directory as a `Package` view.

        Raises:
            KeyError: There is neither.
        """
        key = self._prefix + str(logical_key)
        record = self._contents.get(key)
        if record is not None:
            return PackageEntry(self._contents, record, self._settings)
        if logical_key and self._contents.has_folder(f"{key}/"):
            return self._view(f"{key}/")
        raise KeyError(logical_key)

    def __contains__(self, logical_key: object) -> bool:
        key = f"{self._prefix}{logical_key}"
        return self._contents.get(key) is not None or self._contents.has_folder(f"{key}/")

    def keys(self) -> list[str]:
        """Return the names right below, in order; directories without a slash."""
        return [name.rstrip("/") for name in self._contents.children(self._prefix)]

    def __iter__(self) -> Iterator[str]:
        """Iterate over `keys`."""
        return iter(self.keys())

    def __len__(self) -> int:
        """Return the number of `keys`, as in T4; `count_files` counts all below."""
        return len(self.keys())

    def __bool__(self) -> bool:
        """Return True: an empty package is a package."""
        return True

    def walk(self) -> Iterator[tuple[str, PackageEntry]]:
        """Yield every logical key and entry in tree order."""
        for entry in self._contents.entries(self._prefix):
            key = entry.logical_key[len(self._prefix) :]
            yield key, PackageEntry(self._contents, entry, self._settings)

    def entries(self) -> Iterator[Entry]:
        """Yield the plain records in tree order: what `walk` gives, faster."""
        entries = self._contents.entries(self._prefix)
        if not self._prefix:
            return entries
        start = len(self._prefix)
        return (entry.but(logical_key=entry.logical_key[start:]) for entry in entries)

    def count_files(self) -> int:
        """Return the number of entries, at all levels."""
        return self._contents.count(self._prefix)

    def size_bytes(self) -> int:
        """Return the size of all files whose size is known."""
        return self._contents.size_bytes(self._prefix)

    def get(self, logical_key: str) -> str:
        """Return the physical key of an entry.

        Raises:
            KeyError: There is none.
            ValueError: It is a directory.
        """
        entry = self[logical_key]
        if isinstance(entry, PackageBase):
            raise InvalidInputError(f"{logical_key!r} is a directory, no entry", key=logical_key)
        return str(entry.physical_key)

    def readme(self) -> PackageEntry:
        """Return the entry `README.md`.

        Raises:
            NotFoundError: There is none.
        """
        if self._contents.get(f"{self._prefix}README.md") is None:
            raise NotFoundError("the package has no README.md", key="README.md")
        entry: PackageEntry = self["README.md"]
        return entry

    def map(
        self, f: Callable[[str, Any], Mapped], include_directories: bool = False
    ) -> Iterator[Mapped]:
        """Yield what `f(logical_key, entry)` returns for every entry.

        Args:
            f: The function.
            include_directories: Call it first for every directory with metadata, whose key ends in
                `/`, with the view of it.
        """
        if include_directories:
            for key, view in self._described_folders():
                yield f(key, view)
        for key, entry in self.walk():
            yield f(key, entry)

    def filter(self, f: Callable[[str, Any], bool], include_directories: bool = False) -> Self:
        """Return a new package with the entries for which `f(logical_key, entry)` is true.

        Metadata of the package and of its directories is kept.

        Args:
            f: The function.
            include_directories: Ask it about directories with metadata too; a refused one is left
                out with all below it.
        """
        result = type(self)(settings=self._settings)
        result._contents.header = self._header()
        dropped: list[str] = []
        for key, view in self._described_folders():
            if include_directories and not f(key, view):
                dropped.append(key)
            elif not key.startswith(tuple(dropped)):
                result._contents.set_folder_meta(key, view.meta)
        for key, entry in self.walk():
            if not key.startswith(tuple(dropped)) and f(key, entry):
                result._contents.set(result._adopt(key, entry))
        return result

    def _described_folders(self) -> Iterator[tuple[str, Self]]:
        for directory in list(self._contents.directories(self._prefix)):
            yield directory.key[len(self._prefix) :], self._view(directory.key)

    def diff(self, other: PackageBase) -> Diff:
        """Return what changed from this package to another: added, modified, deleted keys."""
        old, new = self._own_base(), other._own_base()
        if old is not None and new is not None:
            return diff_manifests(old.whole(), new.whole())
        return diff_entries(self.entries(), other.entries())

    def _own_base(self) -> View | None:
        """Return the manifest below if its entries are exactly those of this package."""
        return self._contents.base if not self._prefix and self._contents.is_plain() else None

    def __repr__(self) -> str:
        return tree_text(self._contents, self._prefix)

    # As a table

    def to_arrow(self) -> ArrowTable:
        """Return the entries as an Arrow table, one row each, in tree order.

        Columns: `logical_key`, `physical_key`, `size_bytes`, `hash_type`, `hash_value`, and `meta`,
        the user metadata as JSON text. The schema's metadata says which package it is.
        """
        return arrow_table(self.entries(), self._facts())

    def to_pandas(self) -> DataFrame:
        """Return the entries as a pandas frame with the columns of `to_arrow`."""
        return data_frame(self.entries(), self._facts())

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the entries to a local Parquet file with the columns of `to_arrow`.

        Raises:
            InvalidInputError: It is no path of a file in a local folder.
            StorageError: It can't be written; what was there stays.
        """
        write_parquet(self.entries(), local_path(path), self._facts())

    def _facts(self) -> dict[str, str]:
        facts = {USER_META: stored_json(self.meta)}
        if self._prefix:
            facts["path"] = self._prefix
        origin = self._contents.origin
        if origin is not None:
            facts["uri"] = origin.uri
        return facts

    # Manifests

    @property
    def top_hash(self) -> str:
        """The top hash of the package as it is now.

        Raises:
            FormatError: An entry has no hash yet: build the package.
        """
        if not self._prefix:
            return self._contents.top_hash(self._contents.header)
        return top_hash_of(self._header(), self.entries())

    @property
    def manifest(self) -> Iterator[dict[str, Any]]:
        """The records of the manifest as mappings, the header first."""
        yield copied(self._header())
        for directory in self._contents.directories(self._prefix):
            key = directory.key[len(self._prefix) :]
            yield {"logical_key": key, "meta": copied(directory.meta)}
        for key, entry in self.walk():
            yield {
                "logical_key": key,
                "physical_keys": [entry.physical_key],
                "size": entry.size,
                "hash": entry.hash,
                "meta": copied(entry.entry.meta),
            }

    def dump(self, writable_file: IO[bytes]) -> None:
        """Write the manifest to a file opened for writing bytes.

        Raises:
            InvalidInputError: An object has no place yet: build the package first.
        """
        # Before it is built, only what was set here can be such an object.
        for entry in self._contents.edited(self._prefix) if self._contents.payloads else ():
            if entry.physical_key in self._contents.payloads:
                raise InvalidInputError(
                    f"{entry.logical_key!r} is an object without a place: build the package first",
                    key=entry.logical_key,
                )
        for chunk in self._chunks():
            writable_file.write(chunk)

    def _chunks(self) -> Iterator[bytes]:
        """Return the manifest's bytes in pieces; all of it was looked at before the first."""
        frozen = None if self._prefix else self._contents.frozen()
        if frozen is not None:
            return frozen.chunks()
        own = self._root_of_view()._contents
        made = compose(own.header, own.pieces(), own.directories(), self._settings.limits)
        # Keys that are not as they must be are told before anything is written.
        return made.chunks() if made.first_entry else Manifest(made.lines()).chunks()

    def _header(self) -> dict[str, Any]:
        if not self._prefix:
            return dict(self._contents.header)
        header = {"version": self._contents.header["version"]}
        return {**header, USER_META: self.meta} if self.meta else header
