"""Registries, and the one identity of a package."""

from __future__ import annotations

import os
from typing import Final, NamedTuple, TypeAlias

from t4_ops.errors import InvalidInputError
from t4_ops.keys.names import validate_name
from t4_ops.keys.physical import PhysicalKey

_FOLDER: Final = "file://"


RegistryLike: TypeAlias = str | os.PathLike[str]
"""What names a registry: `s3://bucket`, a `file://` URL, or a folder's path."""


def normalize_registry(registry: RegistryLike) -> str:
    """Return the one spelling of a registry: `s3://bucket` or `file:///absolute/path`.

    Args:
        registry: `s3://bucket` (a bucket root), a `file://` URL, or a folder's path.

    Raises:
        InvalidInputError: It is something else, or a place below a bucket's root.
    """
    text = os.fspath(registry)
    if text.lower().startswith("quilt+s3://"):
        raise InvalidInputError(
            f"{text!r} is a package URI, no registry: give s3://bucket, or resolve the URI",
            key=text,
        )
    key = PhysicalKey.of(text)
    if key.is_local:
        return str(key)
    if key.path or key.version_id is not None:
        raise InvalidInputError(
            f"{text!r} is no registry: a registry is a whole bucket, s3://{key.bucket};"
            " to place objects below a prefix use dest=",
            key=text,
        )
    return f"s3://{key.bucket}"


def is_folder(registry: str) -> bool:
    """Return whether a normalised registry is a local folder."""
    return registry.startswith(_FOLDER)


class Dataset(NamedTuple):
    """A package in OpenLineage's words.

    Attributes:
        namespace: `s3://bucket`, or `file`.
        name: `ns/name`, or the absolute path `/registry/ns/name`.
    """

    namespace: str
    name: str


def dataset_of(registry: str, name: str) -> Dataset:
    """Return the OpenLineage dataset of a package; the top hash is its version, never its name.

    Source: OpenLineage's naming rules for S3 and local files.
    """
    validate_name(name)
    registry = normalize_registry(registry)
    if is_folder(registry):
        return Dataset("file", PhysicalKey.parse(registry).join(name).path)
    return Dataset(registry, name)


def asset_uri(registry: str, name: str) -> str:
    """Return the identity of a package: `s3://bucket/ns/name` or `file:///registry/ns/name`.

    The same string names the Airflow asset and the Prefect asset, and it is the dataset's namespace
    and name put together.
    """
    return str(PhysicalKey.parse(normalize_registry(registry)).join(validate_name(name)))


def package_of_asset(uri: str) -> tuple[str, str]:
    """Return the registry and the name of the package whose identity this is.

    Raises:
        InvalidInputError: It is no package's identity.
    """
    registry, mark, name = uri.rpartition("/")
    registry, slash, namespace = registry.rpartition("/")
    is_url = registry.startswith(("s3://", "file:///"))
    if not (mark and slash and is_url):
        raise InvalidInputError(f"{uri!r} is no package: an asset is <registry>/ns/name", key=uri)
    return normalize_registry(registry), validate_name(f"{namespace}/{name}")
