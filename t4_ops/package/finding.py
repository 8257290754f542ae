"""Finding packages in a registry, and bringing them here."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import IO, Generic, Self, TypeVar

from t4_ops.keys import PackageRef, RegistryLike
from t4_ops.ledger import note_read
from t4_ops.manifest import Manifest
from t4_ops.package.entry import local_path
from t4_ops.package.files import PackageFiles
from t4_ops.package.installing import (
    fetch_entries,
    install_targets,
    note_install,
    read_path,
)
from t4_ops.package.opening import open_registry
from t4_ops.registry import ANYTHING
from t4_ops.settings import Settings, load_settings
from t4_ops.transfer import Opener, open_cache, progress

Found = TypeVar("Found", bound="FoundPackage")


@dataclass(frozen=True, slots=True)
class Installation(Generic[Found]):
    """What an install left behind.

    Attributes:
        package: The package.
        folder: Absolute path of the folder.
        files: Files of what was installed.
        written_files: Those that were not there already.
        path: What was installed of it, a directory with its `/`; None: all of it.
    """

    package: Found
    folder: str
    files: int
    written_files: int
    path: str | None = None


class FoundPackage(PackageFiles):
    """A package that is, or can be, a revision of a registry."""

    @classmethod
    def browse(
        cls,
        name: str,
        registry: RegistryLike | None = None,
        top_hash: str | None = None,
        *,
        settings: Settings | None = None,
    ) -> Self:
        """Return a package without its files.

        A manifest is read and proved. Of a large one only the index is read, and the parts that are
        asked for; `verified` says so then, and `check` reads and proves all of it.

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
        package = cls._of(source.manifests.browse(full_hash), settings)
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
    ) -> Self:
        """Bring a package's files into a folder and note it in the local registry.

        Every byte is verified. Files that are right already are kept, others are replaced once
        their new bytes are complete, files of others stay; after a failure the same call goes on.

        Args:
            name: Package name.
            registry: Where it is; None is the default registry.
            top_hash: Full top hash, a prefix, or None: latest.
            dest: Folder; None is `<install_dir>/<ns>/<name>`.
            path: Only this file, or what lies below this directory; it loses the directory's name.
                Of a large package only the index is read then, as `browse` does; `verified` says
                so, and the local registry, which takes proved manifests only, does not note it.
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
    ) -> Installation[Self]:
        """Install, and say what was done; arguments and errors are those of `install`."""
        settings = settings or load_settings()
        package = cls.browse(name, registry, top_hash, settings=settings)
        if path is None:
            package.check()
        folder = local_path(os.path.join(settings.install_dir, name) if dest is None else dest)
        targets = install_targets(package._contents, path)
        stop = stop or threading.Event()
        opener = Opener(settings, stop=stop, cache=open_cache(settings))
        with progress(f"installing {name}", shown=settings.progress) as bar:
            written = fetch_entries(targets, folder, opener, settings, bar, stop)
        read = read_path(package._contents, path)
        note_read(package._origin, settings, paths=() if read is None else (read,))
        package._note_install()
        return Installation(package, folder, len(targets), written, read)

    @classmethod
    def load(cls, readable_file: IO[bytes], *, settings: Settings | None = None) -> Self:
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

    def _note_install(self) -> None:
        """Note in the local registry what was installed, if its manifest was proved."""
        manifest = self._contents.frozen() if self.verified == "top_hash" else None
        if manifest is not None and self._origin is not None:
            url = self._settings.local_registry
            if url not in self._settings.read_only:
                note_install(manifest, self._origin, open_registry(url, self._settings))

    def _know(self, registry: str, name: str, top_hash: str) -> None:
        self._known[registry, name] = top_hash
        self._origin = PackageRef(registry, name, top_hash)
