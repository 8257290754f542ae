"""A part of a revision: what lies at a path, and what of it is selected."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from t4_ops.errors import NotFoundError
from t4_ops.keys import PackageRef
from t4_ops.manifest import Entry
from t4_ops.operations.expecting import Expectations, expect
from t4_ops.operations.selecting import SelectorFunction
from t4_ops.package import Package, PackageEntry
from t4_ops.settings import Settings


class Part:
    """The entries of a revision at a path that are selected; keys are those of the whole package.

    Args:
        ref: The revision.
        settings: How to reach it.
        path: One logical key, or a directory with or without its `/`; None: all.
        selects: Which of them; None: all.
        is_proved: Whether to read and prove all of a large manifest that has an index.

    Raises:
        NotFoundError: There is no such revision, or nothing at the path.
        IntegrityError: The stored manifest is not the one of its hash.
    """

    def __init__(
        self,
        ref: PackageRef,
        settings: Settings,
        path: str | None = None,
        selects: SelectorFunction | None = None,
        *,
        is_proved: bool = True,
    ) -> None:
        self.ref = ref
        self._revision = Package.browse(ref.name, ref.registry, ref.top_hash, settings=settings)
        if is_proved:
            self._revision.check()
        self._selects = selects
        self._here: Any = self._revision
        key = (path or "").rstrip("/")
        if key:
            try:
                self._here = self._revision[key]
            except KeyError as exc:
                raise NotFoundError(f"{ref.uri} has no {path!r}", key=path) from exc
        # As lineage names it: a directory ends in a slash.
        is_entry = isinstance(self._here, PackageEntry)
        self.path = (key if is_entry else f"{key}/") if key else None

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in tree order."""
        if isinstance(self._here, PackageEntry):
            items: Iterator[PackageEntry] = iter((self._here,))
        elif self._here is self._revision and self._selects is None:
            yield from self._revision.entries()
            return
        else:
            items = (item for _, item in self._here.walk())
        for item in items:
            if self._selects is None or self._selects(item.entry.logical_key, item):
                yield item.entry

    def totals(self) -> tuple[int, int]:
        """Return the number of entries and their size."""
        if self._selects is None and not isinstance(self._here, PackageEntry):
            return self._here.count_files(), self._here.size_bytes()
        files = size_bytes = 0
        for entry in self.entries():
            files += 1
            size_bytes += entry.size_bytes or 0
        return files, size_bytes

    def keys(self, most: int) -> list[str]:
        """Return the first logical keys."""
        return [entry.logical_key for entry in itertools.islice(self.entries(), max(0, most))]

    def expect(self, expectations: Expectations | None) -> None:
        """Refuse the part if something expected of it is not so.

        Raises:
            ExpectationError: It lists all of it.
        """
        if expectations is not None:
            expect(self.unmet(expectations), self.ref, self.path)

    def unmet(self, expectations: Expectations) -> list[str]:
        """Return what is not so of what is expected, a sentence each."""
        return expectations.unmet(self.entries, self._revision.meta, self._has)

    def _has(self, key: str) -> bool:
        """Return whether an entry is in this part, or for a key with a slash anything below it."""
        if self._selects is None and self._here is self._revision:
            name = key.rstrip("/")
            return name in self._revision and (
                key.endswith("/") != isinstance(self._revision[name], PackageEntry)
            )
        return any(
            found.startswith(key) if key.endswith("/") else found == key
            for found in (entry.logical_key for entry in self.entries())
        )
