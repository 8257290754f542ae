"""`Bucket`: the T4 API for single objects of an S3 bucket, and `copy`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from t4_ops import formats
from t4_ops.errors import FormatError, InvalidInputError, NotFoundError
from t4_ops.keys import PhysicalKey, normalize_registry
from t4_ops.manifest import plain_meta
from t4_ops.settings import Settings, load_settings
from t4_ops.storage import ObjectInfo, Tree, open_bucket, open_source, scan_folder
from t4_ops.transfer import check_paths, progress, refuse_twins, run_all

META_KEY: Final = "helium"
"""The S3 metadata entry that holds an object's metadata as JSON. Source: T4 0.1.4."""
_USER_META: Final = "user_meta"
# S3's bound on user metadata of one object is 2 KB over all names and values.
_META_MAX_BYTES: Final = 2048 - len(META_KEY)


class Bucket:
    """The objects of one S3 bucket.

    Keys are S3 keys. Objects are Python values, serialised by the key's extension.

    Args:
        uri: `s3://bucket`.
        settings: Settings; None loads the user's.
    """

    def __init__(self, uri: str, *, settings: Settings | None = None) -> None:
        self._settings = settings or load_settings()
        url = normalize_registry(uri)
        if not url.startswith("s3://"):
            raise InvalidInputError(f"{uri!r} is no bucket: give s3://bucket", key=uri)
        self._store = open_bucket(url, self._settings)

    def __repr__(self) -> str:
        return f"Bucket({self._store.url!r})"

    # Objects

    def put(self, key: str, obj: object, meta: Mapping[str, Any] | None = None) -> None:
        """Serialise an object by the key's extension and store it.

        Raises:
            InvalidInputError: No format takes such an object for this key, or the metadata is not
                JSON or larger than S3 takes.
        """
        serialized = formats.serialize(obj, _object_key(key))
        document: dict[str, Any] = dict(serialized.meta)
        if meta is not None:
            document[_USER_META] = plain_meta(meta, key)
        encoded = _encoded_meta(document, key)
        self._store.write(key, serialized.data)
        if document:
            self._store.set_user_metadata(key, encoded)

    def get(self, key: str) -> Any:
        """Return the object that is stored at a key.

        Raises:
            NotFoundError: There is none.
            FormatError: The bytes are not of the key's format.
        """
        content = self._store.read(_object_key(key))
        limits = self._settings.limits
        return formats.deserialize(
            content.data, key, self._document(key), max_size_bytes=limits.decompressed_bytes
        )

    def deserialize(self, key: str) -> Any:
        """Return what `get` does."""
        return self.get(key)

    def __call__(self, key: str) -> Any:
        """Return what `get` does."""
        return self.get(key)

    # Metadata

    def get_meta(self, key: str) -> dict[str, Any]:
        """Return the user metadata of an object.

        Raises:
            NotFoundError: There is no such object.
            FormatError: Its metadata is no JSON.
        """
        meta = self._document(key).get(_USER_META)
        return dict(meta) if isinstance(meta, Mapping) else {}

    def set_meta(self, key: str, meta: Mapping[str, Any]) -> None:
        """Set the user metadata of an object, which S3 rewrites in place.

        Raises:
            NotFoundError: There is no such object.
            InvalidInputError: It is not JSON, or larger than S3 takes.
        """
        document = {**self._document(key), _USER_META: plain_meta(meta, key)}
        self._store.set_user_metadata(key, _encoded_meta(document, key))

    def _document(self, key: str) -> dict[str, Any]:
        text = self._store.user_metadata(_object_key(key)).get(META_KEY)
        if text is None:
            return {}
        try:
            document = json.loads(text)
        except ValueError as exc:
            raise FormatError(f"the metadata of {key!r} is no JSON: {exc}", key=key) from exc
        return document if isinstance(document, dict) else {}

    # Files and folders

    def put_file(self, key: str, path: str | os.PathLike[str]) -> None:
        """Store a local file.

        Raises:
            NotFoundError: There is no such file.
        """
        with open_source(os.fspath(path)) as source:
            self._store.upload(_object_key(key), source, source.size_bytes)

    def put_dir(self, key: str, directory: str | os.PathLike[str]) -> None:
        """Store every file of a local folder below a prefix.

        Raises:
            NotFoundError: There is no such folder.
            InvalidInputError: A link leaves the folder.
        """
        folder = PhysicalKey.of_path(directory).path
        if not os.path.isdir(folder):
            raise NotFoundError(f"{folder!r} is no folder: check the path", key=folder)
        files = list(scan_folder(folder))
        prefix = _folder_key(key)
        total_bytes = sum(file.size_bytes for file in files)
        with progress(f"storing {key}", total_bytes, shown=self._settings.progress) as bar:

            def work(index: int) -> None:
                file = files[index]
                self.put_file(prefix + file.relative_key, file.path)
                bar.advance(file.size_bytes)

            for _ in run_all(range(len(files)), work, workers=self._settings.workers):
                pass

    def fetch(self, key: str, path: str | os.PathLike[str]) -> None:
        """Bring an object to a local file, or with a key that ends in `/` a prefix to a folder.

        Raises:
            NotFoundError: There is no such object, or nothing below the prefix.
            InvalidInputError: A key below the prefix is no legal path.
        """
        place = PhysicalKey.of_path(path).path
        if key and not key.endswith("/"):
            folder, name = os.path.split(place)
            if os.path.isdir(place) or str(path).endswith("/"):
                folder, name = place, key.rsplit("/", maxsplit=1)[-1]
            self._fetch_all([(self._store.head(key), name)], folder)
            return
        found = [(i, i.key[len(key) :]) for i in self._store.list(key) if not i.key.endswith("/")]
        if not found:
            raise NotFoundError(f"{self._store.url}/{key} holds nothing", key=key)
        self._fetch_all(found, place)

    def _fetch_all(self, found: list[tuple[ObjectInfo, str]], folder: str) -> None:
        files = {relative for _, relative in found}
        check_paths(files, folds_case=False)
        for relative in files:
            if not files.isdisjoint(map(str, PurePosixPath(relative).parents)):
                raise InvalidInputError(
                    f"{relative!r} lies below another object, which would be both file and folder;"
                    " fetch the objects one by one",
                    key=relative,
                )
        total_bytes = sum(info.size_bytes for info, _ in found)
        shown = self._settings.progress
        with Tree(folder) as tree, progress(f"fetching {folder}", total_bytes, shown=shown) as bar:
            refuse_twins(files, tree)

            def work(item: tuple[ObjectInfo, str]) -> None:
                info, relative = item
                with self._store.open(info.key, version_id=info.version_id) as reader:
                    tree.write(relative, reader, durable=False)
                bar.advance(info.size_bytes)

            for _ in run_all(found, work, workers=self._settings.workers):
                pass

    # Listing and removing

    def keys(self) -> list[str]:
        """Return the keys of all objects."""
        return [info.key for info in self._store.list()]

    def ls(
        self, path: str | None = None, recursive: bool = False
    ) -> tuple[list[str], list[ObjectInfo]]:
        """Return what is below a folder: prefixes that end in `/`, and objects.

        Args:
            path: The folder; None is the root.
            recursive: All levels; there are no prefixes then.
        """
        prefix = _folder_key(path or "")
        if recursive:
            return [], list(self._store.list(prefix))
        listing = self._store.list_folder(prefix)
        return list(listing.folders), list(listing.objects)

    def delete(self, key: str) -> None:
        """Remove an object; on a bucket that keeps versions its versions stay.

        Raises:
            NotFoundError: There is none.
        """
        self._store.head(_object_key(key))
        self._store.delete(key)

    def delete_dir(self, path: str) -> None:
        """Remove all objects below a folder.

        Raises:
            InvalidInputError: The folder is the whole bucket.
        """
        prefix = _folder_key(path)
        if not prefix:
            raise InvalidInputError("delete_dir takes a folder, not the whole bucket", key=path)
        self._store.delete_many(info.key for info in self._store.list(prefix))


def _object_key(key: str) -> str:
    if not key or key.endswith("/"):
        raise InvalidInputError(f"{key!r} is no key of an object", key=key)
    return key


def _folder_key(path: str) -> str:
    stripped = path.strip("/")
    return f"{stripped}/" if stripped else ""


def _encoded_meta(document: Mapping[str, Any], key: str) -> dict[str, str]:
    text = json.dumps(document)
    if len(text) > _META_MAX_BYTES:
        raise InvalidInputError(
            f"the metadata of {key!r} takes {len(text)} bytes, S3 holds {_META_MAX_BYTES}", key=key
        )
    return {META_KEY: text}


def copy(
    src: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
) -> None:
    """Copy one file or S3 object to a file or S3 key.

    Args:
        src: Path or URL; an S3 URL may name a version.
        dest: Path or URL.
        settings: Settings; None loads the user's.

    Raises:
        NotFoundError: There is no such source.
        InvalidInputError: One of them is a folder, or `dest` names a version.
        IntegrityError: The source changed while it was read; `dest` stays as it was.
    """
    settings = settings or load_settings()
    source, target = PhysicalKey.of(src), PhysicalKey.of(dest)
    if target.version_id is not None or target.path.endswith("/"):
        raise InvalidInputError(f"{dest!s} is no place for a file", key=str(dest))
    if source.bucket is None:
        with open_source(source.path) as opened:
            _store_at(target, opened, opened.size_bytes, settings)
        return
    store = open_bucket(f"s3://{source.bucket}", settings)
    with store.open(_object_key(source.path), version_id=source.version_id) as reader:
        _store_at(target, reader, reader.info.size_bytes, settings)


def _store_at(target: PhysicalKey, pieces: Any, size_bytes: int, settings: Settings) -> None:
    if target.bucket is not None:
        key = _object_key(target.path)
        open_bucket(f"s3://{target.bucket}", settings).upload(key, pieces, size_bytes)
        return
    folder, name = os.path.split(target.path)
    Tree(folder).write(name, pieces, durable=False)
