"""Build and push: from a package under edit to a published revision."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from t4_ops.errors import (
    ConflictError,
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
)
from t4_ops.keys import Now, PhysicalKey, is_folder, validate_name
from t4_ops.manifest import Draft, Entry, Manifest, check_records
from t4_ops.package.contents import Contents
from t4_ops.package.destinations import Destination, key_function
from t4_ops.package.hashing import hash_missing
from t4_ops.package.jobs import Job
from t4_ops.package.merging import OwnChanges
from t4_ops.package.placing import must_move_on_build
from t4_ops.package.planning import Planner
from t4_ops.registry import Anything, Published, Registry, rounds
from t4_ops.settings import Settings
from t4_ops.storage import NoStoreError, Store, open_store
from t4_ops.transfer import (
    KEPT_BYTES,
    OBJECT_SCHEME,
    Cancelled,
    Opener,
    Plan,
    Progress,
    Selector,
    check_hash_type,
    progress,
    upload_objects,
)

_log = logging.getLogger(__name__)


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
        is_merged: Whether it holds changes that others published meanwhile, too.
    """

    manifest: Manifest
    published: Published
    moved_files: int
    files: int
    size_bytes: int
    is_merged: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything was written that was not there before."""
        return self.published.changed or self.moved_files > 0


def _check_retries(retry_conflicts: int, expected: Expected) -> None:
    if isinstance(retry_conflicts, bool) or not isinstance(retry_conflicts, int):
        raise InvalidInputError(f"retry_conflicts is a number, not {retry_conflicts!r}")
    if retry_conflicts < 0:
        raise InvalidInputError(f"retry_conflicts is {retry_conflicts}; give 0 or more")
    if retry_conflicts and isinstance(expected, Anything):
        raise InvalidInputError(
            "force replaces whatever is there, retry_conflicts keeps it: give one of them"
        )


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
        # A folder registry is sent little, most of it never; and of a package that came from a
        # revision most is there already. For those it would be for nothing.
        keeps = contents.base is None and not is_folder(self.registry.url)
        kept_bytes = KEPT_BYTES if keeps else 0
        self._opener = Opener(
            settings, contents.payloads, self._stop, contents.roots, kept_bytes=kept_bytes
        )
        self._planner = Planner(self._name, self.registry, self._opener, settings, self._stop)
        # Where entries were brought, or found inside the registry, until now.
        self._places: dict[str, str] = {}
        self._moved_files = 0
        # The manifest of these contents, if it came to be while they were hashed.
        self._drafted: Manifest | None = None

    def build(
        self, header: Mapping[str, Any], expected: Expected, retry_conflicts: int = 0
    ) -> Publication:
        """Publish without moving what can stay where it is.

        Objects that have no place yet are stored by their content; on a bucket local files too.

        Raises:
            ConflictError: `latest` is not what is expected.
        """
        _check_retries(retry_conflicts, expected)
        self._contents.prove()
        settled = self._settled(expected)
        must_move = must_move_on_build(self.registry.url)
        with progress(f"building {self._name}", shown=self._settings.progress) as bar:
            self._hash_and_draft(header, bar)
            job = Job(must_move, lambda _: None, bar, is_pinned=False)
            return self._publish_merging(job, header, settled, retry_conflicts)

    def push(
        self,
        header: Mapping[str, Any],
        expected: Expected,
        dest: Destination | None,
        selector: Selector | None,
        retry_conflicts: int = 0,
    ) -> Publication:
        """Publish with every selected entry inside the registry.

        Raises:
            ConflictError: `latest` is not what is expected; nothing was moved.
            InvalidInputError: A destination or an entry left out can't be.
        """
        _check_retries(retry_conflicts, expected)
        self._contents.prove()
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
            job = Job(must_move, key_of, bar, is_pinned=is_pinned, checks_first=True)
            return self._publish_merging(job, header, settled, retry_conflicts)

    def _settled(self, expected: Expected) -> str | Anything | None:
        if not isinstance(expected, Now):
            return expected
        latest = self.registry.pointers.latest(self._name)
        return None if latest is None else latest.top_hash

    def _hash_missing(self, bar: Progress, draft: Draft | None = None) -> None:
        hash_missing(self._contents, "", self._opener, self._settings, bar, self._stop, draft)

    def _hash_and_draft(self, header: Mapping[str, Any], bar: Progress) -> None:
        """Hash what lacks it, and write the manifest meanwhile if files stay where they are."""
        contents = self._contents
        if contents.base is not None or contents.payloads or not is_folder(self.registry.url):
            self._hash_missing(bar)
            return
        with Draft(header, contents.directories(), contents.limits) as draft:
            self._hash_missing(bar, draft)
            self._drafted = draft.manifest(contents.count())

    def _publish_merging(
        self,
        job: Job,
        header: Mapping[str, Any],
        expected: str | Anything | None,
        retry_conflicts: int,
    ) -> Publication:
        """Publish; where somebody else was faster, apply the changes to what is there, and again.

        Raises:
            ConflictError: Somebody changed the same thing, or was faster too often.
        """
        base, own = expected, None
        job = replace(job, may_merge=retry_conflicts > 0)
        # One round more than retries: the last conflict is raised, not that of the rounds.
        for lost in rounds(self.registry.url, self._name, retry_conflicts + 1):
            try:
                return self._publish(job, header, expected, is_merged=own is not None)
            except ConflictError as conflict:
                now = self.registry.pointers.latest(self._name)
                held = None if now is None else now.top_hash
                # It may be about something else, which no repeat mends.
                if lost >= retry_conflicts or held is None or held == expected:
                    raise
                own = own or self._own_changes(base, header, conflict)
            theirs = self.registry.manifests.get(held)
            self._drafted = None
            self._contents = own.applied(theirs, self._places, self._name)
            header, expected = self._contents.header, held
            job = replace(job, only=own.keys)
        raise AssertionError("unreachable")

    def _own_changes(
        self, base: str | Anything | None, header: Mapping[str, Any], conflict: ConflictError
    ) -> OwnChanges:
        """Return what this publication changes in the revision it came from.

        Raises:
            ConflictError: That revision can't be read any more.
        """
        assert not isinstance(base, Anything)
        try:
            manifest = None if base is None else self.registry.manifests.get(base)
        except (NotFoundError, IntegrityError, FormatError) as exc:
            raise conflict from exc
        return OwnChanges(manifest, header, self._contents)

    def _publish(
        self,
        job: Job,
        header: Mapping[str, Any],
        expected: str | Anything | None,
        *,
        is_merged: bool,
    ) -> Publication:
        contents, drafted = self._contents, self._drafted
        top_hash = contents.top_hash(header) if drafted is None else drafted.top_hash
        if job.checks_first:
            # A push that is going to lose is refused before it moves anything.
            self.registry.pointers.check_latest(self._name, expected, top_hash)
        wanted = [entry for entry in contents.entries() if job.moves(entry)]
        stored = self._stored(top_hash)
        if stored is not None:
            self.registry.manifests.check_directories(stored, contents.directories())
        # Whoever forces a push does not take the registry's word for what it holds.
        is_forced = isinstance(expected, Anything)
        plan = self._planner.plan(wanted, stored, job, check_places=is_forced)
        moved_files = len(plan.moves)
        if moved_files:
            # What would be refused afterwards is refused before anything is moved.
            check_records(header, contents.entries(), contents.directories(), contents.limits)
            for move in plan.moves:
                check_hash_type(move.entry)
            self._upload(plan, job.bar)
        self._places = {**self._places, **plan.places} if self._places else plan.places
        self._moved_files += moved_files
        if self._stop.is_set():
            raise Cancelled("stopped on request; nothing was published, a repeat goes on")
        if stored is None or not self._is_complete(stored, plan, moved_files):
            manifest = self._manifest(header, plan, top_hash)
            if not job.may_merge:
                # The manifest has them, and is going to be sent in large parts.
                plan.places.clear()
            stored = self.registry.manifests.put(manifest, self._planner.lost)
        published = self.registry.pointers.publish(self._name, top_hash, expected=expected)
        size_bytes = stored.files_size_bytes()
        return Publication(stored, published, self._moved_files, len(stored), size_bytes, is_merged)

    def _manifest(self, header: Mapping[str, Any], plan: Plan, top_hash: str) -> Manifest:
        """Return the manifest with every entry where the plan brought or found it."""
        if self._drafted is not None:
            assert not plan.places  # there is a draft only where nothing moves
            return self._drafted
        contents = self._contents
        placed = plan.placed(contents.entries())
        directories, limits = contents.directories(), contents.limits
        # Moving changes places only, which are not hashed.
        return Manifest.of(header, placed, directories, limits, top_hash=top_hash)

    def _stored(self, top_hash: str) -> Manifest | None:
        try:
            return self.registry.manifests.get(top_hash)
        except NoStoreError:
            raise
        except NotFoundError:
            return None

    def _is_complete(self, stored: Manifest, plan: Plan, moved_files: int) -> bool:
        """Return whether a stored manifest has all that this push would give it."""
        if moved_files:
            return False
        if len(plan.places) == len(stored):
            return True  # the plan found each of its entries inside the registry
        return all(
            stored_entry.physical_key == entry.physical_key
            or self.registry.manifests.holds(stored_entry.physical_key)
            for stored_entry, entry in zip(
                stored.entries(), plan.placed(self._contents.entries()), strict=True
            )
        )

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
