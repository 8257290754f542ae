"""A package from what a function returned."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from t4_ops import formats
from t4_ops.errors import InvalidInputError
from t4_ops.keys import Now, PackageRef, PackageUri, RegistryLike, normalize_registry
from t4_ops.ledger import ColumnLineageLike, Input, InputLike, RunInfo, internal
from t4_ops.operations.recording import published
from t4_ops.operations.results import StepResult, columns_of, inputs_of
from t4_ops.operations.sources import add_source, add_sources, is_result
from t4_ops.package import NOW, Expected, Package, source_inputs
from t4_ops.package.base import PackageBase
from t4_ops.settings import Settings, load_settings

_STEM: Final = "data"


def produce(
    value: Any,
    name: str,
    *,
    key: str | None = None,
    registry: RegistryLike | None = None,
    meta: Mapping[str, Any] | None = None,
    message: str | None = None,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
    expected: Expected = NOW,
    held: Expected = NOW,
    retry_conflicts: int = 0,
    run: RunInfo | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> StepResult:
    """Make a package of what a function returned, and push it: all objects are in the registry.

    Args:
        value: A `Package`; a path or URL of a file, folder or prefix, or a list of them; bytes, a
            data frame, an Arrow table, or another object that a format takes; or a mapping of
            logical keys to any of these. A package reference or a step's result stands for that
            revision's files. Text is a path or URL, as everywhere.
        name: Package name.
        key: Logical key of a single object, whose extension says the format; None:
            `data.` and what its type is written as, such as `data.parquet`.
        registry: Where to; None is the default registry.
        meta: Metadata of the package; None keeps that of a `Package`.
        message: What changed; None keeps that of a `Package`.
        inputs: What it was made from, besides what the run has read and the sources themselves.
        column_lineage: What the columns of its table were made from.
        expected: What `latest` must hold; unless given, for a `Package` of that name what it was
            browsed from, else what it held before.
        held: What `latest` held before the function ran, so that what somebody published while it
            did is not replaced unseen. NOW: what it holds when this call begins.
        retry_conflicts: How often to merge with what somebody else published meanwhile.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        InvalidInputError: The value can't be made a package; nothing was written.
        NotFoundError: A path leads nowhere, or not on this machine.
        ConflictError: Somebody moved `latest` meanwhile.
    """
    settings = settings or load_settings()
    made_from, given = columns_of(column_lineage), inputs_of(inputs)
    with internal():
        package, packages = _package_of(value, key, settings)
    if meta is not None:
        package.set_meta(meta)
    url = normalize_registry(registry or settings.registry)
    if isinstance(expected, Now):
        # An edited package replaces the revision it was made from, never one it has not seen.
        known_hash = package.known_latest(url, name)
        expected = held if known_hash is None else known_hash
    columns = package.table_columns()
    known = [*given, *packages, *source_inputs(package.sources)]
    with internal():
        publication = package.publish_push(
            name,
            registry,
            message=message,
            expected=expected,
            retry_conflicts=retry_conflicts,
            stop=stop,
        )
    ref = PackageRef(url, name, publication.published.top_hash)
    inputs_known = [item for item in dict.fromkeys(known) if item.ref != ref]
    return published(
        ref, publication, inputs_known, run, settings, columns=columns, made_from=made_from
    )


def _package_of(value: Any, key: str | None, settings: Settings) -> tuple[Package, list[Input]]:
    """Return a package of its own with what was returned, and the revisions in it."""
    if value is None:
        raise InvalidInputError(
            "the function returned nothing: return a data frame, a table, a path, a Package, or a"
            " mapping of logical keys to these"
        )
    if isinstance(value, PackageBase):
        if key is not None:
            raise InvalidInputError(f"key={key!r} is for a single object, not for a Package")
        assert isinstance(value, Package)
        return value, [Input.of_ref(ref, paths) for ref, paths in value.revisions.items()]
    package = Package(settings=settings)
    if _is_place(value):
        return package, add_source(package, key or "", value, settings)
    if key is None and isinstance(value, list | tuple):
        return package, add_sources(package, value, settings)
    if key is None and isinstance(value, Mapping):
        return package, _add_all(package, value, settings)
    package.set(key or _key_for(value), value)
    return package, []


def _add_all(package: Package, values: Mapping[Any, Any], settings: Settings) -> list[Input]:
    if not values:
        raise InvalidInputError("the function returned an empty mapping: a package needs a file")
    found: list[Input] = []
    for logical_key, value in values.items():
        if not isinstance(logical_key, str) or not logical_key.strip("/"):
            raise InvalidInputError(f"{logical_key!r} is no logical key: it must be text")
        if _is_place(value):
            found += add_source(package, logical_key, value, settings)
        elif value is None:
            raise InvalidInputError(f"{logical_key!r}: there is nothing (None)", key=logical_key)
        else:
            package.set(logical_key, value)
    return found


def _is_place(value: Any) -> bool:
    """Return whether a value names files, instead of being the content of one."""
    is_name = isinstance(value, str | os.PathLike | PackageRef | PackageUri)
    return is_name or (isinstance(value, Mapping) and is_result(value))


def _key_for(value: Any) -> str:
    """Return the logical key of a single object.

    Raises:
        InvalidInputError: No format of these takes it.
    """
    extension = formats.preferred_extension(value)
    if extension:
        return f"{_STEM}.{extension}"
    raise InvalidInputError(
        f"the function returned {type(value).__name__}, which says no format: give key='name.ext',"
        " or return a mapping of logical keys to objects"
    )
