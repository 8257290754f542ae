"""What a publication has to move, and what the registry has already: looked at where unsure."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping

from t4_ops.checksums import Checksum
from t4_ops.errors import FormatError, IntegrityError, NotFoundError
from t4_ops.manifest import Entry, Manifest
from t4_ops.package.jobs import Job
from t4_ops.registry import Registry
from t4_ops.settings import Settings
from t4_ops.transfer import (
    OBJECTS_PREFIX,
    Opener,
    Plan,
    known_places,
    moved,
    plan_moves,
    run_all,
    still_holds,
)

_log = logging.getLogger(__name__)


class Planner:
    """Plans the moves of one publication.

    Args:
        name: Package name.
        registry: Where to.
        opener: Opens what is looked at.
        settings: How many at a time.
        stop: Set to give up.

    Attributes:
        lost: Places inside the registry whose objects turned out to be gone or changed.
    """

    def __init__(
        self,
        name: str,
        registry: Registry,
        opener: Opener,
        settings: Settings,
        stop: threading.Event,
    ) -> None:
        self._name = name
        self._registry = registry
        self._opener = opener
        self._settings = settings
        self._stop = stop
        self.lost: set[str] = set()

    def plan(
        self, wanted: list[Entry], stored: Manifest | None, job: Job, *, check_places: bool
    ) -> Plan:
        """Return what is to be moved, and where what is in the registry already is.

        Args:
            wanted: Entries that shall be in the registry.
            stored: The manifest of the same top hash that the registry has.
            job: Says where to.
            check_places: Whether to look if objects of the revision before are still there.
        """
        if not wanted:
            return Plan()
        holds = self._registry.manifests.holds
        key_of, is_pinned = job.key_of, job.is_pinned
        if stored is not None:
            # The same package: whatever it has inside is that very entry, however it was hashed.
            keys = {entry.logical_key for entry in wanted}
            settled = {
                held.logical_key: held.physical_key
                for held in stored.entries()
                if held.logical_key in keys and holds(held.physical_key)
            }
            if check_places:
                sizes = {
                    settled[e.logical_key]: e.size_bytes for e in wanted if e.logical_key in settled
                }
                self.lost = self._gone(sizes)
            at = (moved(e, settled[e.logical_key]) for e in wanted if e.logical_key in settled)
            self.lost |= self._changed(e for e in at if e.physical_key not in self.lost)
            settled = {key: url for key, url in settled.items() if url not in self.lost}
            wanted = [entry for entry in wanted if entry.logical_key not in settled]
            plan = plan_moves(wanted, {}, key_of, is_pinned=is_pinned)
            plan.places.update(settled)
            return plan
        parent = self._parent()
        places = {} if parent is None else known_places(wanted, parent.entries(), holds)
        if check_places:
            gone = self._gone({url: content[2] for content, url in places.items()})
            places = {content: url for content, url in places.items() if url not in gone}
        changed = self._changed(
            Entry("", url, size_bytes, Checksum(kind, value))
            for (kind, value, size_bytes), url in places.items()
        )
        places = {content: url for content, url in places.items() if url not in changed}
        return plan_moves(wanted, places, key_of, is_pinned=is_pinned)

    def _changed(self, entries: Iterable[Entry]) -> set[str]:
        """Return the places, of these entries, that hold something else than they promise.

        Only those that anybody may overwrite are looked at: not what is pinned by its version, nor
        what is named by its content.
        """
        own = f"{self._registry.url.rstrip('/')}/{OBJECTS_PREFIX}"

        def work(entry: Entry) -> str | None:
            return None if still_holds(entry, self._opener) else entry.physical_key

        unsure = (
            e
            for e in entries
            if "?versionId=" not in e.physical_key and not e.physical_key.startswith(own)
        )
        checked = run_all(unsure, work, workers=self._settings.workers, stop=self._stop)
        return {url for url in checked if url is not None}

    def _gone(self, sizes: Mapping[str, int | None]) -> set[str]:
        """Return the places, of these with these sizes, that hold no such object any more."""

        def work(item: tuple[str, int | None]) -> str | None:
            url, size_bytes = item
            try:
                with self._opener.open(url) as opened:
                    return None if opened.size_bytes == size_bytes else url
            except NotFoundError:
                return url

        workers = self._settings.workers
        checked = run_all(sizes.items(), work, workers=workers, stop=self._stop)
        return {url for url in checked if url is not None}

    def _parent(self) -> Manifest | None:
        """Return the manifest of `latest`, whose objects need not be sent again."""
        latest = self._registry.pointers.latest(self._name)
        try:
            return None if latest is None else self._registry.manifests.get(latest.top_hash)
        except (NotFoundError, IntegrityError, FormatError) as exc:
            # A damaged revision must not keep anybody from publishing a good one.
            _log.warning("%s: nothing of the revision before is used again: %s", self._name, exc)
            return None
