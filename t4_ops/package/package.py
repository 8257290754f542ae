"""`Package`: the T4 API."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef, RegistryLike, normalize_registry, validate_name
from t4_ops.ledger import note_read
from t4_ops.manifest import Manifest
from t4_ops.package.destinations import Destination
from t4_ops.package.entry import PackageEntry, local_path
from t4_ops.package.files import PackageFiles
from t4_ops.package.installing import (
    fetch_entries,
    install_targets,
    note_install,
    read_path,
)
from t4_ops.package.publishing import NOW, Expected, Publication, Publisher
from t4_ops.package.recording import (
    Origins,
    note_publication,
    origins_of,
)
from t4_ops.registry import ANYTHING, Registry
from t4_ops.settings import Settings, load_settings
from t4_ops.storage import open_store
from t4_ops.transfer import Opener, progress

_MESSAGE = "message"


def open_registry(registry: RegistryLike | None, settings: Settings) -> Registry:
    """Return a registry; None is the default one."""
    url = normalize_registry(registry or settings.registry)
    return Registry(open_store(url, settings), settings.limits)


@dataclass(frozen=True, slots=True)
class Installation:
    """What an install left behind.

    Attributes:
        package: The package.
        folder: Absolute path of the folder.
        written_files: Files that were not there already.
        path: What was installed of it, a directory with its `/`; None: all of it.
    """

    package: Package
    folder: str
    written_files: int
    path: str | None = None


class Package(PackageFiles):
    """A group of files under logical keys, with metadata, under edit.

    It behaves like a nested dictionary: `p["a"]["b"]` and `p["a/b"]` are the same entry, `p["a"]`
    is a view of the directory. Building or pushing it makes an immutable revision.
    """

    # Finding

    @classmethod
    def browse(
        cls,
        name: str,
        registry: RegistryLike | None = None,
        top_hash: str | None = None,
        *,
        settings: Settings | None = None,
    ) -> Package:
        """Return a package without its files: the manifest is read and proved, nothing else.

        Args:
            name: Package name.
            registry: Where; None is the default registry.
            top_hash: Full top hash, a prefix of one of this package's revisions, or None: latest.
            settings: Settings; None loads the user's.

        Raises:
            NotFoundError: There is no such package or revision.
            IntegrityError: The stored manifest is not the one of its hash.
        """
        settings = settings or load_settings()
        source = open_registry(registry, settings)
        full_hash = source.pointers.resolve(name, top_hash)
        package = cls._of(source.manifests.get(full_hash), settings)
        package._know(source.url, name, full_hash)
        package._contents.origin = package._origin
        note_read(package._origin, settings, is_whole=False)
        return package

    @classmethod
    def install(
        cls,
        name: str,
        registry: RegistryLike | None = None,
        top_hash: str | None = None,
        dest: str | os.PathLike[str] | None = None,
        path: str | None = None,
        *,
        settings: Settings | None = None,
        stop: threading.Event | None = None,
    ) -> Package:
        """Bring a package's files into a folder and note it in the local registry.

        Every byte is verified. Files that are right already are kept, others are replaced once
        their new bytes are complete, files of others stay; after a failure the same call goes on.

        Args:
            name: Package name.
            registry: Where it is; None is the default registry.
            top_hash: Full top hash, a prefix, or None: latest.
            dest: Folder; None is `<install_dir>/<ns>/<name>`.
            path: Only this file, or what lies below this directory; it loses the directory's name.
            settings: Settings; None loads the user's.
            stop: Set from another thread to give up.

        Returns:
            The package; its entries say where the objects are in the registry.

        Raises:
            NotFoundError: There is no such package, revision, path or object.
            IntegrityError: An object is not what the package promises.
        """
        return cls.install_revision(
            name, registry, top_hash, dest, path, settings=settings, stop=stop
        ).package

    @classmethod
    def install_revision(
        cls,
        name: str,
        registry: RegistryLike | None = None,
        top_hash: str | None = None,
        dest: str | os.PathLike[str] | None = None,
        path: str | None = None,
        *,
        settings: Settings | None = None,
        stop: threading.Event | None = None,
    ) -> Installation:
        """Install, and say what was done; arguments and errors are those of `install`."""
        settings = settings or load_settings()
        package = cls.browse(name, registry, top_hash, settings=settings)
        folder = local_path(os.path.join(settings.install_dir, name) if dest is None else dest)
        targets = install_targets(package._contents, path)
        stop = stop or threading.Event()
        opener = Opener(settings, stop=stop)
        with progress(f"installing {name}", shown=settings.progress) as bar:
            written = fetch_entries(targets, folder, opener, settings, bar, stop)
        read = read_path(package._contents, path)
        note_read(package._origin, settings, paths=() if read is None else (read,))
        manifest = package._contents.frozen()
        local = open_registry(settings.local_registry, settings)
        if manifest is not None and package._origin is not None:
            note_install(manifest, package._origin, local)
        return Installation(package, folder, written, read)

    @classmethod
    def load(cls, readable_file: IO[bytes], *, settings: Settings | None = None) -> Package:
        """Return the package of a manifest file opened for reading bytes.

        Raises:
            FormatError: It is no manifest.
        """
        settings = settings or load_settings()
        pieces = iter(lambda: readable_file.read(1024 * 1024), b"")
        return cls._of(Manifest.read(pieces, settings.limits), settings)

    @staticmethod
    def resolve_hash(
        name: str,
        registry: RegistryLike | None,
        hash_prefix: str,
        *,
        settings: Settings | None = None,
    ) -> str:
        """Return the full top hash that a prefix stands for among a package's revisions.

        Raises:
            NotFoundError: None begins with it.
            InvalidInputError: Several do.
        """
        settings = settings or load_settings()
        return open_registry(registry, settings).pointers.resolve(name, hash_prefix)

    @staticmethod
    def rollback(
        name: str, registry: RegistryLike | None, top_hash: str, *, settings: Settings | None = None
    ) -> str:
        """Move `latest` back to an earlier revision of this package and return its top hash.

        Raises:
            NotFoundError: No pointer of this package holds such a hash, or its manifest is gone.
        """
        settings = settings or load_settings()
        source = open_registry(registry, settings)
        # A pointer may outlive its manifest: `latest` must not come to lead nowhere.
        source.manifests.get(source.pointers.resolve(name, top_hash))
        return source.pointers.rollback(name, top_hash, expected=ANYTHING).top_hash

    # Publishing

    def build(
        self,
        name: str,
        registry: RegistryLike | None = None,
        message: str | None = None,
        *,
        stop: threading.Event | None = None,
    ) -> str:
        """Make a revision in a registry and return its top hash.

        Files stay where they are, except on a bucket, which gets the local ones, and objects that
        have no place yet. `latest` moves from what it is when this call begins.

        Args:
            name: Package name.
            registry: Where; None is the default registry.
            message: What changed; part of the top hash.
            stop: Set from another thread to give up.

        Raises:
            ConflictError: Somebody moved `latest` meanwhile.
            IntegrityError: A file changed while it was read.
        """
        origins = origins_of(self._contents, self._prefix, self._settings)
        publication = self.publish_build(name, registry, message, stop=stop)
        self._note_publication(origins, name, registry, publication)
        return publication.published.top_hash

    def _note_publication(
        self,
        origins: Origins | None,
        name: str,
        registry: RegistryLike | None,
        publication: Publication,
    ) -> None:
        url = normalize_registry(registry or self._settings.registry)
        ref = PackageRef(url, name, publication.published.top_hash)
        note_publication(origins, ref, publication, self._settings)

    def publish_build(
        self,
        name: str,
        registry: RegistryLike | None = None,
        message: str | None = None,
        *,
        expected: Expected = NOW,
        stop: threading.Event | None = None,
    ) -> Publication:
        """Build, and say what was done; `expected` is what `latest` must hold."""
        package = self._root_of_view()
        publisher = package._publisher(name, registry, stop)
        header = {**package._contents.header, _MESSAGE: _checked_message(message)}
        publication = publisher.build(header, expected)
        package._contents.rebase(publication.manifest)
        package._know(publisher.registry.url, name, publication.published.top_hash)
        # For a view this is not the contents of `self`.
        package._contents.origin = PackageRef(
            publisher.registry.url, name, publication.published.top_hash
        )
        return publication

    def push(
        self,
        name: str,
        registry: RegistryLike | None = None,
        dest: Destination | None = None,
        message: str | None = None,
        selector_fn: Callable[[str, PackageEntry], bool] | None = None,
        force: bool = False,
        *,
        stop: threading.Event | None = None,
    ) -> Package:
        """Make a revision in a registry with its objects inside, and return the package there.

        Args:
            name: Package name.
            registry: Where; None is the default registry.
            dest: Prefix or folder inside the registry for new objects, or a function of logical
                key and entry that returns a URL in it. Default: `<name>/<logical key>`, pinned, on
                a bucket that keeps versions, else a place named by the content.
            message: What changed; None keeps the package's own.
            selector_fn: Which entries to bring, by logical key and entry; the others keep their
                places. Default: those that are not in the registry.
            force: Replace whatever `latest` holds, instead of only what this object was browsed
                from or pushed as. It also looks whether objects that the registry should have are
                there, and brings those that are lost.
            stop: Set from another thread to give up.

        Raises:
            ConflictError: `latest` is not what this package came from; nothing was moved.
            IntegrityError: A source is not what it was when it was hashed.
        """
        expected: Expected = ANYTHING
        if not force:
            url = normalize_registry(registry or self._settings.registry)
            expected = self._known.get((url, validate_name(name)))
        origins = origins_of(self._contents, self._prefix, self._settings)
        publication = self.publish_push(
            name, registry, dest, message, selector_fn, expected=expected, stop=stop
        )
        self._note_publication(origins, name, registry, publication)
        pushed = Package._of(publication.manifest, self._settings)
        url = normalize_registry(registry or self._settings.registry)
        pushed._know(url, name, publication.published.top_hash)
        pushed._contents.origin = pushed._origin
        return pushed

    def publish_push(
        self,
        name: str,
        registry: RegistryLike | None = None,
        dest: Destination | None = None,
        message: str | None = None,
        selector_fn: Callable[[str, PackageEntry], bool] | None = None,
        *,
        expected: Expected,
        stop: threading.Event | None = None,
    ) -> Publication:
        """Push, and say what was done; `expected` is what `latest` must hold."""
        package = self._root_of_view()
        publisher = package._publisher(name, registry, stop)
        header = dict(package._contents.header)
        if package._contents.frozen() is None:
            # A manifest that is made anew always has a message; a loaded one keeps its keys.
            header.setdefault(_MESSAGE, None)
        if message is not None:
            header[_MESSAGE] = _checked_message(message)
        publication = publisher.push(
            header, expected, _bound(package, dest), _bound(package, selector_fn)
        )
        self._know(publisher.registry.url, name, publication.published.top_hash)
        return publication

    def _publisher(
        self, name: str, registry: RegistryLike | None, stop: threading.Event | None
    ) -> Publisher:
        url = normalize_registry(registry or self._settings.registry)
        return Publisher(self._contents, name, url, self._settings, stop)

    def _know(self, registry: str, name: str, top_hash: str) -> None:
        self._known[registry, name] = top_hash
        self._origin = PackageRef(registry, name, top_hash)


def _checked_message(message: str | None) -> str | None:
    if message is not None and not isinstance(message, str):
        raise InvalidInputError(f"a message is text or None, not {type(message).__name__}")
    return message


def _bound(package: Package, function: Any) -> Any:
    """Let a user's function of logical key and `PackageEntry` be called with plain records."""
    if not callable(function):
        return function
    return lambda key, entry: function(
        key, PackageEntry(package._contents, entry, package._settings)
    )
