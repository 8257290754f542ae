"""Where the entries of a package under edit came from, as far as it still holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from t4_ops.keys import PackageRef
from t4_ops.manifest import Entry


class Taken(NamedTuple):
    """Where an entry of another package was taken from.

    Attributes:
        ref: The revision.
        logical_key: Its logical key there.
    """

    ref: PackageRef
    logical_key: str


class Provenance:
    """What is known of entries that are not the base manifest's own.

    By logical key, because objects that are named by their content are shared by packages. An
    entry that was replaced since is told by its physical key.
    """

    def __init__(self) -> None:
        self._taken: dict[str, tuple[str, Taken]] = {}
        # URL to whether it is a folder or prefix.
        self._sources: dict[str, bool] = {}

    def forget_entries(self) -> None:
        """Forget the revisions: a manifest holds those entries now."""
        self._taken.clear()

    def take(self, entry: Entry, taken: Taken) -> None:
        """Remember where an entry is from."""
        self._taken[entry.logical_key] = (entry.physical_key, taken)

    def taken(self, entry: Entry) -> Taken | None:
        """Return where an entry is from; None if that is not known, or it was replaced."""
        physical_key, taken = self._taken.get(entry.logical_key, (None, None))
        return taken if physical_key == entry.physical_key else None

    def taken_keys(self, prefix: str) -> Iterator[str]:
        """Yield the logical keys below a directory that once were another package's."""
        return (key for key in self._taken if key.startswith(prefix))

    def add_source(self, url: str, *, is_folder: bool) -> None:
        """Remember a folder, prefix or object that entries were set from."""
        self._sources.setdefault(url, is_folder)

    def add_sources_of(self, physical_key: str, other: Provenance) -> None:
        """Remember the sources that another package knows an entry to be from."""
        for url in other._around(physical_key):
            self.add_source(url, is_folder=other._sources[url])

    def sources_of(self, physical_keys: Iterable[str]) -> list[str]:
        """Return the sources that any of these lies in, in the order they were set."""
        found: set[str] = set()
        for physical_key in physical_keys:
            if len(found) == len(self._sources):
                break
            found.update(self._around(physical_key))
        return [url for url in self._sources if url in found]

    def _around(self, physical_key: str) -> Iterator[str]:
        if physical_key in self._sources:
            yield physical_key
        for url, is_folder in self._sources.items():
            if is_folder and physical_key.startswith(url if url.endswith("/") else f"{url}/"):
                yield url
