"""Manifests, stored by their top hash."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from t4_ops.errors import ConflictError, FormatError, InvalidInputError, NotFoundError, StorageError
from t4_ops.keys import Limits, PhysicalKey, is_folder, validate_top_hash
from t4_ops.manifest import (
    Directory,
    Entry,
    IndexedManifest,
    Manifest,
    ManifestFacts,
    View,
)
from t4_ops.registry.common import PACKAGES, Doubts, patiently, rounds
from t4_ops.registry.indexes import Indexes, fits
from t4_ops.registry.wire import Fingerprint, read_safely
from t4_ops.storage import NoStoreError, ObjectInfo, PreconditionFailedError, Store


class Manifests:
    """The manifests of one store."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._indexes = Indexes(store)

    @property
    def url(self) -> str:
        """The normalised registry URL."""
        return self._store.url

    def holds(self, physical_key: str) -> bool:
        """Return whether a physical key lies inside this registry."""
        root = f"{self.url.rstrip('/')}/"
        if not physical_key.startswith(root):
            return False
        # Parsed, a file's `..` goes; only such a key is worth the time.
        has_parent = is_folder(self.url) and ".." in physical_key.lower().replace("%2e", ".")
        return not has_parent or str(PhysicalKey.parse(physical_key)).startswith(root)

    def exists(self, top_hash: str) -> bool:
        """Return whether the registry has something stored as a top hash; it is not read."""
        try:
            patiently(lambda: self._store.head(PACKAGES + validate_top_hash(top_hash)))
        except NoStoreError:
            raise
        except NotFoundError:
            return False
        return True

    def get(self, top_hash: str) -> Manifest:
        """Return the manifest of a top hash, proved to be it.

        Raises:
            NotFoundError: The registry has none.
            IntegrityError: What is stored is another package.
            FormatError: What is stored is no manifest, or a remote one names local files.
        """
        return self._read(top_hash)[0]

    def browse(self, top_hash: str) -> View:
        """Return what answers questions about a manifest: its index if it is large, else itself.

        A large one that has no index, or one of an older state, is read, proved and given one if
        the registry can be written.

        Raises:
            NotFoundError: The registry has no such manifest.
            IntegrityError: What is stored is another package.
            FormatError: What is stored is no manifest, or a remote one names local files.
        """
        index = self._indexes.find(validate_top_hash(top_hash))
        if index is None:
            return self._load(top_hash, None)
        facts = index.root.manifest
        return IndexedManifest(
            index.root,
            index.ranges,
            lambda: self._load(top_hash, facts),
            self._limits,
            allow_files=is_folder(self.url),
        )

    def _load(self, top_hash: str, facts: ManifestFacts | None) -> Manifest:
        """Read and prove a manifest, and index it unless `facts`, of its index, fit it."""
        manifest, held = self._read(top_hash)
        if facts is None or not fits(facts, held):
            self._indexes.write(manifest, held)
        return manifest

    def _read(self, top_hash: str) -> tuple[Manifest, ObjectInfo]:
        validate_top_hash(top_hash)
        try:
            manifest, held = patiently(lambda: self._read_key(PACKAGES + top_hash))
        except NoStoreError:
            raise
        except NotFoundError as exc:
            raise NotFoundError(
                f"{self.url} has no manifest {top_hash}: check the hash and the registry",
                key=top_hash,
            ) from exc
        manifest.verify(top_hash, allow_files=is_folder(self.url))
        return manifest, held

    def _read_key(self, key: str) -> tuple[Manifest, ObjectInfo]:
        """Return a manifest as it is stored, and the facts of its object."""

        def read() -> tuple[tuple[Manifest, ObjectInfo] | FormatError, Fingerprint]:
            with self._store.open(key) as reader:
                fingerprint = Fingerprint(reader, reader.info)
                pieces = iter(fingerprint)
                try:
                    manifest = Manifest.read(pieces, self._limits, proves=True)
                    return (manifest, reader.info), fingerprint
                except FormatError as exc:
                    deque(pieces, maxlen=0)
                    return exc, fingerprint

        return read_safely(read, f"{self.url}/{key}")

    def put(self, manifest: Manifest, lost: Collection[str] = ()) -> Manifest:
        """Store a manifest and return the one that stands afterwards.

        A stored one is replaced only by one of the same top hash that keeps every physical key
        already inside this registry and brings further entries into it: otherwise readers of the
        older one would lose objects. Entries that only the new one has inside are merged in.
        In a folder, files outside of it follow the newest build.

        Args:
            manifest: The manifest.
            lost: Physical keys inside this registry whose objects are known to be gone; entries
                may leave them.

        Raises:
            ConflictError: The stored one has other metadata of directories.
            InvalidInputError: An entry is a local file, and the registry is a bucket.
            IntegrityError: What is stored under the top hash is another package; it stays.
            FormatError: What is stored is no manifest.
        """
        top_hash = manifest.top_hash
        key = PACKAGES + top_hash
        if manifest.local_key is not None and not is_folder(self.url):
            raise InvalidInputError(
                f"{manifest.local_key!r} is a local file, which {self.url} can't refer to: push it"
                " too, or delete the entry",
                key=manifest.local_key,
            )
        doubts = Doubts()
        for _ in rounds(self.url, key):
            try:
                held = self._store.upload(
                    key, manifest.chunks(), manifest.size_bytes, create_only=True
                )
            except PreconditionFailedError:
                pass
            except StorageError as exc:
                doubts.count(exc)
                continue
            else:
                self._indexes.write(manifest, held)
                return manifest
            try:
                stored, info = patiently(lambda: self._read_key(key))
            except NoStoreError:
                raise
            except NotFoundError:
                continue
            stored.verify(top_hash, allow_files=is_folder(self.url))
            self.check_directories(stored, manifest.directories())
            merged = self._merged(stored, manifest, lost)
            if merged is stored:
                return stored
            try:
                held = self._store.write(key, merged.to_bytes(), if_match=info.etag)
            except PreconditionFailedError:
                continue
            except StorageError as exc:
                doubts.count(exc)
                continue
            self._indexes.write(merged, held)
            return merged
        raise AssertionError("unreachable")

    def _merged(self, stored: Manifest, new: Manifest, lost: Collection[str]) -> Manifest:
        """Return `stored`, or a manifest that has more of its entries inside this registry.

        In a folder, files that lie outside of it (a local build refers to the files it read) take
        the place the newest build has just read: the older files may be gone by now.

        Args:
            stored: What is stored.
            new: What was built now.
            lost: Physical keys inside this registry whose objects are known to be gone.
        """
        changes = 0
        entries: list[Entry] = []
        for old, other in zip(stored.entries(), new.entries(), strict=True):
            was_file = is_folder(self.url) and old.physical_key.startswith("file:")
            stands = self.holds(old.physical_key) and old.physical_key not in lost
            if stands or not (self.holds(other.physical_key) or was_file):
                entries.append(old)
            else:
                entries.append(other)
                changes += other.physical_key != old.physical_key
        if not changes:
            return stored
        return Manifest.of(stored.header, entries, stored.directories(), self._limits)

    def check_directories(self, stored: Manifest, directories: Iterable[Directory]) -> None:
        """Refuse to drop metadata of directories that is not in the stored manifest.

        It is not part of the top hash, so what is stored stands; nobody's edit is lost silently.

        Raises:
            ConflictError: The stored manifest has other metadata of one of them.
        """
        known = {directory.key: directory.meta for directory in stored.directories()}
        for directory in directories:
            if known.get(directory.key) != directory.meta:
                raise ConflictError(
                    f"{self.url} holds {stored.top_hash} with other metadata of {directory.key!r}."
                    " Metadata of directories is not part of the top hash, so what is stored"
                    " stands: change the message or the package's metadata too",
                    name=directory.key,
                    actual=stored.top_hash,
                )
