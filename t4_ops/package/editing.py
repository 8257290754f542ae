"""Filling a package: files, folders, objects and metadata."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Self, get_args

from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import PackageRef, PhysicalKey
from t4_ops.manifest import USER_META, Entry, plain_meta
from t4_ops.package.base import PackageBase
from t4_ops.package.entry import PackageEntry
from t4_ops.package.sources import (
    entries_of_folder,
    entries_of_prefix,
    entry_of_object,
    entry_of_url,
)

UpdatePolicy = Literal["incoming", "existing", "refuse"]


class EditablePackage(PackageBase):
    """A package, or a view of one of its directories, that can be changed."""

    def set(
        self,
        logical_key: str,
        entry: Any = None,
        meta: Mapping[str, Any] | None = None,
        *,
        serialization_format_opts: Mapping[str, Any] | None = None,
    ) -> Self:
        """Put something at a logical key and return self.

        Args:
            logical_key: Where in the package.
            entry: A path or URL (text or `PathLike`), another package's entry, or a Python object
                that the key's extension has a format for; bytes too. Text is a path or URL, as in
                T4: `set_text` stores text itself. None: the file at the path `logical_key`.
            meta: User metadata; for another package's entry None keeps its own.
            serialization_format_opts: Options of the format; remembered and used on read.

        Raises:
            InvalidInputError: The key, the entry or the metadata breaks a rule.
            NotFoundError: There is no such file or object.
        """
        key = self._key(logical_key)
        plain = None if meta is None else plain_meta(meta, key)
        if entry is None:
            entry = logical_key
        if isinstance(entry, PackageEntry):
            self._put(self._adopt(key, entry), plain)
        elif isinstance(entry, str | os.PathLike):
            record = entry_of_url(key, entry, self._settings)
            self._put(record, plain)
            self._contents.add_source(record.physical_key, is_folder=False)
        else:
            options = serialization_format_opts
            self._put(entry_of_object(key, entry, options, self._contents), plain)
        return self

    def set_text(self, logical_key: str, text: str, meta: Mapping[str, Any] | None = None) -> Self:
        """Put text itself at a logical key (`set` takes text for a path or URL) and return self."""
        key = self._key(logical_key)
        plain = None if meta is None else plain_meta(meta, key)
        self._put(entry_of_object(key, text, None, self._contents), plain)
        return self

    def _key(self, logical_key: str) -> str:
        if not isinstance(logical_key, str):
            raise InvalidInputError(f"{logical_key!r} is no logical key: it must be text")
        return self._prefix + logical_key

    def _put(self, record: Entry, meta: Mapping[str, Any] | None) -> None:
        if meta is not None:
            record = record.but(meta={**record.meta, USER_META: meta})
        self._contents.set(record)

    def set_dir(
        self,
        lkey: str,
        path: str | os.PathLike[str] | None = None,
        meta: Mapping[str, Any] | None = None,
        update_policy: UpdatePolicy = "incoming",
        *,
        unversioned: bool = False,
    ) -> Self:
        """Put every file of a folder or S3 prefix below a logical directory and return self.

        Args:
            lkey: Directory in the package; `""`, `"."` or `"/"` is its root.
            path: Folder or `s3://` prefix; None: the folder `lkey`. In a folder `.quiltignore` has
                the meaning of a `.gitignore`; links that leave it are refused.
            meta: Metadata of the directory; None keeps what it has.
            update_policy: Whether new entries replace those already there (`incoming`) or not
                (`existing`), or may not meet any (`refuse`).
            unversioned: Don't pin S3 versions.

        Raises:
            NotFoundError: There is no such folder, or nothing below the prefix.
            InvalidInputError: A file's name is no legal key, or a link leaves the folder; with
                `refuse` also: an entry is there already.
        """
        if update_policy not in get_args(UpdatePolicy):
            raise InvalidInputError(
                f"update_policy {update_policy!r}: use one of {get_args(UpdatePolicy)}"
            )
        relative = self._key(lkey)[len(self._prefix) :].strip("/")
        relative = "" if relative == "." else relative
        prefix = self._prefix + (f"{relative}/" if relative else "")
        plain = None if meta is None else plain_meta(meta, prefix or "the package")
        source = PhysicalKey.of(relative or "." if path is None else path)
        if source.is_local:
            entries = entries_of_folder(prefix, source.path, self._contents.limits)
        else:
            entries = entries_of_prefix(prefix, source, self._settings, unversioned=unversioned)
        if update_policy == "existing":
            entries = (e for e in entries if self._contents.get(e.logical_key) is None)
        elif update_policy == "refuse":
            entries = self._unmet(entries)
        self._contents.set_all(entries)
        if source.is_local:
            self._contents.roots.add(os.path.realpath(source.path))
        self._contents.add_source(str(source), is_folder=True)
        if plain is not None:
            self._set_meta(prefix, plain)
        elif not prefix:
            # quilt3 writes null here; without it the same calls would give another top hash.
            self._contents.header.setdefault(USER_META, None)
        return self

    def _unmet(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        # Looked at before any is set: entries of one folder don't meet each other.
        wanted = list(entries)
        for entry in wanted:
            if self._contents.get(entry.logical_key) is not None:
                raise InvalidInputError(
                    f"{entry.logical_key!r} is in the package already, from another source: put"
                    " each below a directory of its own",
                    key=entry.logical_key,
                )
        return iter(wanted)

    @property
    def sources(self) -> list[str]:
        """URLs of the folders, prefixes and objects that entries were set from, in order."""
        return self._contents.sources(self._prefix)

    @property
    def revisions(self) -> dict[PackageRef, tuple[str, ...]]:
        """Revisions that entries were taken from, each with the keys there; none means all."""
        return self._contents.revisions(self._prefix)

    @property
    def roots(self) -> list[str]:
        """Real paths of the local folders that were scanned: below them no link is followed."""
        return sorted(self._contents.roots)

    def delete(self, logical_key: str) -> Self:
        """Remove an entry, or a directory with all below it, and return self.

        Raises:
            KeyError: There is neither.
        """
        try:
            self._contents.delete(self._key(logical_key))
        except NotFoundError as exc:
            raise KeyError(logical_key) from exc
        return self
