"""Build and push: from a package under edit to a published revision."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from t4_ops.errors import FormatError, IntegrityError, InvalidInputError, NotFoundError
from t4_ops.keys import PhysicalKey, is_folder, validate_name
from t4_ops.manifest import Entry, Manifest, check_records, top_hash_of
from t4_ops.package.contents import Contents
from t4_ops.package.destinations import Destination, key_function
from t4_ops.package.hashing import hash_missing
from t4_ops.registry import Anything, Published, Registry
from t4_ops.settings import Settings
from t4_ops.storage import Store, open_store
from t4_ops.transfer import (
    OBJECT_SCHEME,
    Cancelled,
    Opener,
    Plan,
    Progress,
    Selector,
    check_hash_type,
    known_places,
    plan_moves,
    progress,
    run_all,
    upload_objects,
)

_log = logging.getLogger(__name__)


class Now:
    """The type of `NOW`."""


NOW: Final = Now()
"""As `expected`: what `latest` holds when the call begins."""

Expected = str | None | Anything | Now
"""What `latest` must hold: a top hash; None, no such package; ANYTHING; or NOW."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What a build or push left behind.

    Attributes:
        manifest: The manifest that stands in the registry.
        published: Where `latest` is now, and whether it moved.
        moved_files: Objects that were written.
        files: Entries of the revision.
        size_bytes: Their size.
    """

    manifest: Manifest
    published: Published
    moved_files: int
    files: int
    size_bytes: int

    @property
    def changed(self) -> bool:
        """Whether anything was written that was not there before."""
        return self.published.changed or self.moved_files > 0


class Publisher:
    """Publishes the contents of one package in one registry."""

    def __init__(
        self,
        contents: Contents,
        name: str,
        registry: str,
        settings: Settings,
        stop: threading.Event | None = None,
    ) -> None:
        self._contents = contents
        self._name = validate_name(name)
        self._settings = settings
        self._store: Store = open_store(registry, settings)
        self.registry = Registry(self._store, settings.limits)
        self._stop = stop or threading.Event()
        self._opener = Opener(settings, contents.payloads, self._stop, contents.roots)
        # Places inside the registry whose objects turned out to be gone.
        self._lost: set[str] = set()

    def build(self, header: Mapping[str, Any], expected: Expected) -> Publication:
        """Publish without moving what can stay where it is.

        Objects that have no place yet are stored by their content; on a bucket local files too.

        Raises:
            ConflictError: `latest` is not what is expected.
        """
        settled = self._settled(expected)
        to_bucket = not is_folder(self.registry.url)

        def must_move(entry: Entry) -> bool:
            url = entry.physical_key
            return url.startswith(OBJECT_SCHEME) or (to_bucket and url.startswith("file:"))

        with progress(f"building {self._name}", shown=self._settings.progress) as bar:
            self._hash_missing(bar)
            return self._publish(header, must_move, lambda _: None, settled, bar, is_pinned=False)

    def push(
        self,
        header: Mapping[str, Any],
        expected: Expected,
        dest: Destination | None,
        selector: Selector | None,
    ) -> Publication:
        """Publish with every selected entry inside the registry.

        Raises:
            ConflictError: `latest` is not what is expected; nothing was moved.
            InvalidInputError: A destination or an entry left out can't be.
        """
        settled = self._settled(expected)
        is_pinned = self._store.is_versioned
        key_of = key_function(dest, self._name, self.registry.url, is_pinned=is_pinned)

        def must_move(entry: Entry) -> bool:
            if selector is None:
                return not self.registry.manifests.holds(entry.physical_key)
            if not selector(entry.logical_key, entry):
                self._check_left_out(entry)
                return False
            key = key_of(entry)
            return not self.registry.manifests.holds(entry.physical_key) or (
                key is not None and PhysicalKey.parse(entry.physical_key).path != self._path(key)
            )

        with progress(f"pushing {self._name}", shown=self._settings.progress) as bar:
            self._hash_missing(bar)
            # A push that is going to lose is refused before it moves anything.
            top_hash = top_hash_of(header, self._contents.entries())
            self.registry.pointers.check_latest(self._name, settled, top_hash)
            return self._publish(header, must_move, key_of, settled, bar, is_pinned=is_pinned)

    def _settled(self, expected: Expected) -> str | Anything | None:
        if not isinstance(expected, Now):
            return expected
        latest = self.registry.pointers.latest(self._name)
        return None if latest is None else latest.top_hash

    def _hash_missing(self, bar: Progress) -> None:
        hash_missing(self._contents, "", self._opener, self._settings, bar, self._stop)

    def _publish(
        self,
        header: Mapping[str, Any],
        must_move: Callable[[Entry], bool],
        key_of: Callable[[Entry], str | None],
        expected: str | Anything | None,
        bar: Progress,
        *,
        is_pinned: bool,
    ) -> Publication:
        contents = self._contents
        top_hash = top_hash_of(header, contents.entries())
        wanted = [entry for entry in contents.entries() if must_move(entry)]
        stored = self._stored(top_hash)
        if stored is not None:
            self.registry.manifests.check_directories(stored, contents.directories())
        # Whoever forces a push does not take the registry's word for what it holds.
        is_forced = isinstance(expected, Anything)
        plan = self._plan(wanted, stored, key_of, is_pinned=is_pinned, check_places=is_forced)
        if plan.moves:
            # What would be refused afterwards is refused before anything is moved.
            check_records(header, contents.entries(), contents.directories(), contents.limits)
            for move in plan.moves:
                check_hash_type(move.entry)
            self._upload(plan, bar)
        if self._stop.is_set():
            raise Cancelled("stopped on request; nothing was published, a repeat goes on")
        if stored is None or not self._is_complete(stored, plan):
            manifest = Manifest.of(
                header,
                plan.placed(contents.entries()),
                contents.directories(),
                contents.limits,
            )
            stored = self.registry.manifests.put(manifest, self._lost)
        published = self.registry.pointers.publish(self._name, top_hash, expected=expected)
        size_bytes = sum(entry.size_bytes or 0 for entry in stored.entries())
        return Publication(stored, published, len(plan.moves), len(stored), size_bytes)

    def _stored(self, top_hash: str) -> Manifest | None:
        try:
            return self.registry.manifests.get(top_hash)
        except NotFoundError:
            return None

    def _is_complete(self, stored: Manifest, plan: Plan) -> bool:
        """Return whether a stored manifest has all that this push would give it."""
        if plan.moves:
            return False
        return all(
            stored_entry.physical_key == entry.physical_key
            or self.registry.manifests.holds(stored_entry.physical_key)
            for stored_entry, entry in zip(
                stored.entries(), plan.placed(self._contents.entries()), strict=True
            )
        )

    def _plan(
        self,
        wanted: list[Entry],
        stored: Manifest | None,
        key_of: Callable[[Entry], str | None],
        *,
        is_pinned: bool,
        check_places: bool,
    ) -> Plan:
        if not wanted:
            return Plan()
        holds = self.registry.manifests.holds
        if stored is not None:
            # The same package: whatever it has inside is that very entry, however it was hashed.
            settled = {
                entry.logical_key: held.physical_key
                for entry in wanted
                if (held := stored.get(entry.logical_key)) and holds(held.physical_key)
            }
            if check_places:
                sizes = {
                    settled[e.logical_key]: e.size_bytes for e in wanted if e.logical_key in settled
                }
                self._lost = self._gone(sizes)
                settled = {key: url for key, url in settled.items() if url not in self._lost}
            wanted = [entry for entry in wanted if entry.logical_key not in settled]
            plan = plan_moves(wanted, {}, key_of, is_pinned=is_pinned)
            plan.places.update(settled)
            return plan
        parent = self._parent()
        places = {} if parent is None else known_places(wanted, parent.entries(), holds)
        if check_places:
            gone = self._gone({url: content[2] for content, url in places.items()})
            places = {content: url for content, url in places.items() if url not in gone}
        return plan_moves(wanted, places, key_of, is_pinned=is_pinned)

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
        latest = self.registry.pointers.latest(self._name)
        try:
            return None if latest is None else self.registry.manifests.get(latest.top_hash)
        except (NotFoundError, IntegrityError, FormatError) as exc:
            # A damaged revision must not keep anybody from publishing a good one.
            _log.warning("%s: nothing of the revision before is used again: %s", self._name, exc)
            return None

    def _upload(self, plan: Plan, bar: Progress) -> None:
        bar.grow(plan.size_bytes)
        upload_objects(
            plan,
            self._store,
            self._opener,
            bar,
            workers=self._settings.workers,
            stop=self._stop,
        )

    def _check_left_out(self, entry: Entry) -> None:
        if entry.physical_key.startswith(OBJECT_SCHEME):
            raise InvalidInputError(
                f"{entry.logical_key!r} is an object without a place and not selected: select it,"
                " build the package first, or filter it out",
                key=entry.logical_key,
            )
        is_local = not entry.physical_key.startswith("s3://")
        if is_local and not is_folder(self.registry.url):
            raise InvalidInputError(
                f"{entry.logical_key!r} is local and not selected, so {self.registry.url} would"
                " refer to a file that others don't have: select it, or filter it out first",
                key=entry.logical_key,
            )

    def _path(self, key: str) -> str:
        """Return the path of a physical key for a key of the store."""
        return PhysicalKey.parse(f"{self.registry.url}/").join(key).path
