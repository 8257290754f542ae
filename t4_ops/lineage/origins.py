"""Where a file comes from: the revisions on its way that hold the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from t4_ops.errors import InvalidInputError, NotFoundError, T4Error
from t4_ops.keys import PackageRef, PackageUri, is_top_hash
from t4_ops.ledger import Event, Input, merge_runs
from t4_ops.lineage.asking import Ledgers, gather
from t4_ops.lineage.samebytes import same_bytes
from t4_ops.lineage.standing import moment_of
from t4_ops.lineage.walks import Subject, begin
from t4_ops.manifest import Entry, Manifest
from t4_ops.settings import Settings

# Each manifest may take 64 MiB of memory while it is looked through.
_MANIFESTS_AT_ONCE: Final = 4
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Holder:
    """A revision that holds the bytes.

    Attributes:
        ref: The revision.
        logical_keys: Where in it; the name asked about first, if it is there.
        depth: Runs between it and the revision asked about, which has 0.
        runs: The runs that published it, oldest first.
        published: When a run first said that it had; None: no such run is known.
        is_first: Whether nothing before it is known to hold the bytes: here they appeared, or came
            in from a source that is no package.
        is_carried: Whether it is here only because the next revision of its own package kept what
            it held: no run is known to have read it for that.
    """

    ref: PackageRef
    logical_keys: tuple[str, ...]
    depth: int
    runs: tuple[Event, ...]
    is_first: bool
    is_carried: bool = False
    published: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            **self.ref.to_dict(),
            "logical_keys": list(self.logical_keys),
            "depth": self.depth,
            "is_first": self.is_first,
            "is_carried": self.is_carried,
            "published": self.published.isoformat() if self.published else None,
            "runs": [
                {
                    "run_id": event.run.run_id,
                    "job_namespace": event.run.job_namespace,
                    "job_name": event.run.job_name,
                    "event_time": event.event_time,
                    "inputs": [item.to_dict() for item in event.inputs],
                }
                for event in self.runs
            ],
        }


@dataclass(frozen=True)
class Origin:
    """Where the bytes of one entry come from.

    Attributes:
        entry: The entry asked about.
        holders: The revision asked about, then those on the way back that hold the same bytes,
            nearest first: moved unchanged, perhaps under another key or name.
        unread: Registries, events, pointers and revisions that could not be read, and why: the way
            may go on there.
    """

    entry: Entry
    holders: tuple[Holder, ...]
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> Holder:
        """Where the bytes appeared: of the ends of the way, the one that was published first."""
        ends = [holder for holder in self.holders if holder.is_first] or list(self.holders)
        return min(ends, key=lambda end: (_since(end.published), -end.depth))

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        checksum = self.entry.hash
        return {
            "logical_key": self.entry.logical_key,
            "size_bytes": self.entry.size_bytes,
            "hash": {"type": checksum.type, "value": checksum.value} if checksum else None,
            "first": self.first.ref.to_dict(),
            "holders": [holder.to_dict() for holder in self.holders],
            "unread": dict(self.unread),
        }


def _since(published: datetime | None) -> datetime:
    # A revision that no run is known of lies before all recorded history.
    return published or _BEFORE_ALL


def _first_published(events: Iterable[Event]) -> datetime | None:
    moments = (moment_of(event.event_time) for event in events)
    return min((moment for moment in moments if moment), default=None)


def origin(
    ref: Subject,
    logical_key: str | None = None,
    *,
    depth: int | None = None,
    settings: Settings | None = None,
    registries: Iterable[str] = (),
) -> Origin:
    """Return where an entry's bytes come from: which revisions on the way back hold them too.

    The way goes from a revision to those it was made from, and to the one its package held before
    it, as long as they hold the bytes. So the manifests read are those of the holders and of what
    stands directly before them, whatever else there is.

    Args:
        ref: The revision, as for `upstream`; a package URI may name the entry by its `path=`.
        logical_key: The entry.
        depth: Runs to go back at most; None for all.
        settings: How to reach the registries; read from the environment unless given.
        registries: Further registries to ask.

    Raises:
        InvalidInputError: `ref` is no revision, no entry is named, or `depth` is negative.
        NotFoundError: There is no such revision or entry.
        StorageError: The registry of `ref`, or one of `registries`, can't be read.
        IntegrityError: The revision's manifest is damaged.
    """
    root, ledgers = begin(ref, depth, settings, registries)
    asked = root.ref
    if logical_key is None and isinstance(ref, str) and PackageUri.is_uri(ref):
        logical_key = PackageUri.parse(ref).path
    if asked is None or not logical_key:
        raise InvalidInputError(
            f"the origin of {ref!r} can't be told: give a revision and one of its logical keys"
        )
    manifest = manifest_of(asked, ledgers)
    entry = manifest.get(logical_key)
    if entry is None:
        raise NotFoundError(f"{asked.uri} has no entry {logical_key!r}", key=logical_key)
    return Way(ledgers, entry).origin(asked, manifest, depth)


def manifest_of(ref: PackageRef, ledgers: Ledgers) -> Manifest:
    """Return the manifest of a revision, proved to be it."""
    return ledgers.registry(ref.registry).manifests.get(ref.top_hash)


class Way:
    """The way back of one entry's bytes.

    Args:
        ledgers: Whom to ask.
        entry: The entry.
    """

    def __init__(self, ledgers: Ledgers, entry: Entry) -> None:
        self._ledgers = ledgers
        self._entry = entry
        # By top hash, which says what a manifest holds wherever it is.
        self._keys: dict[str, tuple[str, ...]] = {}
        self._unread: dict[PackageRef, str] = {}

    def origin(self, ref: PackageRef, manifest: Manifest, depth: int | None) -> Origin:
        """Walk until no new registry is met: one met late may know more of an early revision."""
        self._keys[ref.top_hash] = self._keys_in(manifest)
        while True:
            known = self._ledgers.known
            holders = self._walk(ref, depth)
            if self._ledgers.known == known:
                unread = {
                    ref.uri: why
                    for ref, why in self._unread.items()
                    if ref.top_hash not in self._keys
                }
                return Origin(self._entry, holders, {**self._ledgers.unread, **unread})

    def _walk(self, ref: PackageRef, depth: int | None) -> tuple[Holder, ...]:
        steps: dict[PackageRef, _Step] = {}
        # Revisions to look at, and whether each was only carried on.
        level, number = {ref: False}, 0
        while level:
            items = {item: Input.of_ref(item) for item in level}
            found = self._ledgers.events(items.values(), "outputs")
            is_last = number == depth
            for at, is_carried in level.items():
                events = found[items[at]]
                runs = tuple(merge_runs(events))
                # Merged, a run has the time of its last try, which may have brought nothing.
                published = _first_published(events)
                steps[at] = _Step(number, is_carried, runs, is_last, published)
            if is_last:
                break
            self._look(one for at in level for one in steps[at].before(at))
            below: dict[PackageRef, bool] = {}
            for at in level:
                for one, is_carried in steps[at].before(at).items():
                    if one not in steps and self._keys.get(one.top_hash):
                        below[one] = is_carried and below.get(one, True)
            level, number = below, number + 1
        return tuple(self._holder(at, steps) for at in steps)

    def _holder(self, at: PackageRef, steps: Mapping[PackageRef, _Step]) -> Holder:
        step = steps[at]
        since = _since(step.published)
        earlier = [one for one in step.before(at) if self._is_earlier(one, since, steps)]
        # Where the walk was told to end, nobody has looked further.
        is_first = not earlier and not (step.is_last and step.before(at))
        keys = self._keys[at.top_hash]
        return Holder(at, keys, step.depth, step.runs, is_first, step.is_carried, step.published)

    def _is_earlier(
        self, ref: PackageRef, since: datetime, steps: Mapping[PackageRef, _Step]
    ) -> bool:
        """Return whether bytes were held before; what is younger got them back in a circle."""
        if not self._keys.get(ref.top_hash):
            return False
        return ref not in steps or _since(steps[ref].published) <= since

    def _look(self, refs: Iterable[PackageRef]) -> None:
        """Note under which keys revisions hold the bytes; of equal ones, one has to be read."""
        refs = list(refs)
        workers = min(_MANIFESTS_AT_ONCE, self._ledgers.settings.workers)
        while unlike := {ref.top_hash: ref for ref in refs if self._is_unknown(ref)}:
            for ref, answer in gather(list(unlike.values()), self._read, workers):
                if isinstance(answer, T4Error):
                    self._unread[ref] = str(answer)
                else:
                    self._keys[ref.top_hash] = answer

    def _is_unknown(self, ref: PackageRef) -> bool:
        is_silent = ref in self._unread or ref.registry in self._ledgers.failed
        return ref.top_hash not in self._keys and not is_silent

    def _read(self, ref: PackageRef) -> tuple[str, ...]:
        return self._keys_in(manifest_of(ref, self._ledgers))

    def _keys_in(self, manifest: Manifest) -> tuple[str, ...]:
        keys = [one.logical_key for one in manifest.entries() if same_bytes(one, self._entry)]
        return tuple(sorted(keys, key=lambda key: key != self._entry.logical_key))


@dataclass(frozen=True)
class _Step:
    """One revision on the way back."""

    depth: int
    is_carried: bool
    runs: tuple[Event, ...]
    is_last: bool
    published: datetime | None

    def before(self, at: PackageRef) -> dict[PackageRef, bool]:
        """Return what stands directly before a revision, and whether it was only carried on."""
        read = (item.ref for event in self.runs for item in event.inputs)
        outputs = (output for event in self.runs for output in event.outputs if output.ref == at)
        held = [output.parent for output in outputs]
        found = {
            PackageRef(at.registry, at.name, parent): True
            for parent in held
            if parent is not None and is_top_hash(parent)
        }
        found.update((ref, False) for ref in read if ref is not None)
        found.pop(at, None)
        return found
