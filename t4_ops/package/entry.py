"""An entry bound to where it lives: it can be read, verified, deserialised and described."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from t4_ops import formats
from t4_ops.errors import FormatError, InvalidInputError, NotFoundError
from t4_ops.keys import PhysicalKey
from t4_ops.ledger import note_read
from t4_ops.manifest import USER_META, Entry, plain_meta
from t4_ops.package.contents import Contents
from t4_ops.package.overlay import copied
from t4_ops.package.provenance import Taken
from t4_ops.settings import Settings
from t4_ops.storage import Tree
from t4_ops.transfer import (
    OBJECT_SCHEME,
    Opener,
    Payload,
    Target,
    check_targets,
    download_files,
    hash_object,
    open_cache,
    progress,
    read_verified,
)


class PackageEntry:
    """One file of a package.

    It is bound to its package: `set_meta` changes the package it was taken from. Bytes that are
    read through it are verified against size and hash, always.
    """

    def __init__(self, contents: Contents, entry: Entry, settings: Settings) -> None:
        self._contents = contents
        self._entry = entry
        self._settings = settings

    def __repr__(self) -> str:
        return f"PackageEntry({self.physical_key!r})"

    def __eq__(self, other: object) -> bool:
        """Compare size, hash and metadata; places don't count."""
        if not isinstance(other, PackageEntry):
            return NotImplemented
        return self._entry.same_content(other._entry)

    __hash__ = None  # type: ignore[assignment]  # its metadata can change

    @property
    def entry(self) -> Entry:
        """The plain record; of an object that was stored since this was taken, with its place."""
        entry = self._entry
        if entry.physical_key.startswith(OBJECT_SCHEME) and self.payload is None:
            held = self._contents.get(entry.logical_key)
            if held is not None and held.hash == entry.hash:
                return entry.but(physical_key=held.physical_key)
        return entry

    @property
    def logical_key(self) -> str:
        """The path in the package."""
        return self._entry.logical_key

    @property
    def physical_key(self) -> str:
        """The URL of the object."""
        return self.entry.physical_key

    @property
    def size(self) -> int | None:
        """Size in bytes; None until it is known."""
        return self._entry.size_bytes

    @property
    def hash(self) -> dict[str, str] | None:
        """The hash as manifests write it, `{"type": ..., "value": ...}`; None until built."""
        checksum = self._entry.hash
        return None if checksum is None else {"type": checksum.type, "value": checksum.value}

    @property
    def meta(self) -> dict[str, Any]:
        """The user metadata; a copy, change it with `set_meta`."""
        return copied(self._entry.meta.get(USER_META))

    def get_meta(self) -> dict[str, Any]:
        """Return `meta`."""
        return self.meta

    def set_meta(self, meta: dict[str, Any]) -> PackageEntry:
        """Set the user metadata, in the package too, and return self.

        Raises:
            InvalidInputError: It is not plain JSON.
            NotFoundError: The entry was deleted from its package.
        """
        plain = plain_meta(meta, self.logical_key)
        held = self._contents.get(self.logical_key)
        if held is None:
            raise NotFoundError(
                f"{self.logical_key!r} was deleted from its package", key=self.logical_key
            )
        self._contents.take_unproved(self.logical_key, held, self._contents)
        # The package's own record: a build may have given it a hash and a place since.
        self._contents.set(held.but(meta={**held.meta, USER_META: plain}))
        self._entry = self._entry.but(meta={**self._entry.meta, USER_META: plain})
        return self

    def get(self) -> str:
        """Return the physical key, as `Package.get` does."""
        return self.physical_key

    # Reading

    def get_bytes(self) -> bytes:
        """Return the verified bytes.

        Raises:
            NotFoundError: The object is gone.
            IntegrityError: The bytes are not the promised ones.
        """
        opener = self._opener()
        data = read_verified(self._hashed(opener), opener)
        self._note_read()
        return data

    def get_as_string(self) -> str:
        """Return the verified bytes as UTF-8 text.

        Raises:
            FormatError: They are no UTF-8.
        """
        try:
            return self.get_bytes().decode()
        except UnicodeDecodeError as exc:
            raise FormatError(
                f"{self.logical_key!r} is no UTF-8 text", key=self.logical_key
            ) from exc

    def get_as_json(self) -> Any:
        """Return the verified bytes as the JSON value they hold.

        Raises:
            FormatError: They are no JSON.
        """
        try:
            return json.loads(self.get_as_string())
        except ValueError as exc:
            raise FormatError(
                f"{self.logical_key!r} is no JSON: {exc}", key=self.logical_key
            ) from exc

    def deserialize(self, func: Callable[[bytes], Any] | None = None, **options: Any) -> Any:
        """Return the object that the verified bytes hold.

        Args:
            func: Called with the bytes instead of the format's own reader.
            **options: Format options; they win over those remembered when the object was set.

        Raises:
            FormatError: The format is unknown, or the bytes are not of it.
            IntegrityError: The bytes are not the promised ones.
        """
        data = self.get_bytes()
        if func is not None:
            return func(data)
        return formats.deserialize(
            data,
            self.logical_key,
            self._entry.meta,
            opts=options or None,
            max_size_bytes=self._contents.limits.decompressed_bytes,
        )

    __call__ = deserialize

    def fetch(self, dest: str | os.PathLike[str] | None = None) -> PackageEntry:
        """Write the file to `dest` and return the entry there.

        Args:
            dest: The file; ending in `/` or an existing folder: the folder to put it in. Default:
                its own name in the working directory.

        Raises:
            InvalidInputError: `dest` is no local path.
            IntegrityError: The bytes are not the promised ones; what was at `dest` stays.
        """
        name = PurePosixPath(self.logical_key).name
        place = local_path("." if dest is None else dest)
        if dest is None or str(dest).endswith("/") or os.path.isdir(place):
            place = os.path.join(place, name)
        folder, name = os.path.split(place)
        opener = self._opener()
        entry = self._hashed(opener)
        target, size_bytes = Target(name, entry), entry.size_bytes or 0
        with (
            Tree(folder) as tree,
            progress(f"fetching {name}", size_bytes, shown=self._settings.progress) as bar,
        ):
            check_targets([target], folds_case=False)
            download_files([target], tree, opener, bar, workers=1)
        self._note_read()
        moved = entry.but(physical_key=str(PhysicalKey.of_path(place)))
        fetched = Contents(None, self._contents.limits)
        fetched.set(moved)
        fetched.adopt(moved, self.origin)
        fetched.take_unproved(moved.logical_key, self.entry, self._contents)
        return PackageEntry(fetched, fetched.get(moved.logical_key) or moved, self._settings)

    def _opener(self) -> Opener:
        return Opener(
            self._settings,
            self._contents.payloads,
            roots=self._contents.roots,
            cache=open_cache(self._settings),
        )

    def _hashed(self, opener: Opener) -> Entry:
        """Return the record with size and hash; for one that was just set, as the file is now."""
        entry = self.entry
        if entry.hash is not None:
            return entry
        size_bytes, checksum = hash_object(entry.physical_key, opener)
        return entry.but(size_bytes=size_bytes, hash=checksum)

    @property
    def contents(self) -> Contents:
        """The contents of the package this was taken from."""
        return self._contents

    @property
    def roots(self) -> set[str]:
        """Real paths of the folders that were scanned for the package this came from."""
        return self._contents.roots

    def _note_read(self) -> None:
        taken = self.origin
        if taken is not None:
            note_read(taken.ref, self._settings, paths=(taken.logical_key,))

    @property
    def origin(self) -> Taken | None:
        """The revision that the entry is from, and its key there; None if it is from elsewhere."""
        return self._contents.taken_from(self._entry)

    @property
    def payload(self) -> Payload | None:
        """The serialised object, while it has no place of its own; else None."""
        return self._contents.payloads.get(self._entry.physical_key)


def local_path(dest: str | os.PathLike[str]) -> str:
    """Return an absolute local path for a path or `file://` URL.

    Raises:
        InvalidInputError: It is an S3 URL.
    """
    key = PhysicalKey.of(os.fspath(dest))
    if not key.is_local:
        raise InvalidInputError(
            f"{dest!s} is no local folder: to copy a package to a bucket use push", key=str(dest)
        )
    return key.path
