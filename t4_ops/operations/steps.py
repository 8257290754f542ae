"""The steps: build, push, install, browse.

One function each: plain arguments in, a small JSON-able result out, lineage recorded, no
orchestrator in sight. Steps are idempotent: the same inputs give the same top hash, and a step that
finds its work done says so.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import PackageRef, PhysicalKey, RegistryLike, normalize_registry
from t4_ops.ledger import (
    ColumnLineageLike,
    Input,
    InputLike,
    Output,
    RunInfo,
    internal,
    note_fetched,
    note_published,
)
from t4_ops.operations.results import (
    MAX_RESULT_INPUTS,
    InstallResult,
    PackageLike,
    StepResult,
    as_given,
    carried_inputs,
    columns_of,
    inputs_of,
    path_in,
    pinned,
)
from t4_ops.package import NOW, Expected, Package, output_of, source_inputs
from t4_ops.registry import ANYTHING
from t4_ops.settings import Settings, load_settings
from t4_ops.storage import open_store

Source = str | os.PathLike[str]
Sources = Source | Mapping[str, Source]


def build(
    name: str,
    source: Sources,
    *,
    registry: RegistryLike | None = None,
    meta: Mapping[str, Any] | None = None,
    message: str | None = None,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
    expected: Expected = NOW,
    retry_conflicts: int = 0,
    run: RunInfo | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> StepResult:
    """Make a revision from files.

    Args:
        name: Package name.
        source: A folder, `s3://` prefix, file or object; or a mapping of logical keys to such. A
            folder's or prefix's files go below its key (`""` is the root).
        registry: Where; None is the default registry.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What the files were made from: results of earlier steps, package URIs, or
            OpenLineage namespace and name. The sources themselves are noted too, and what the run
            has read.
        column_lineage: What the columns of the package's table were made from: column to one or
            several `(input, column)` pairs.
        expected: What `latest` must hold.
        retry_conflicts: How often, when somebody else was faster, to apply what this step changes
            in the expected revision to what he published, and publish that.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        InvalidInputError: An argument breaks a rule; nothing was written.
        NotFoundError: A source is not there.
        ConflictError: Somebody moved `latest` meanwhile; with `retry_conflicts`: and changed the
            same key to something else, or was faster too often.
    """
    settings = settings or load_settings()
    package = Package(settings=settings)
    for logical_key, place in _sources(source).items():
        _add(package, logical_key, place)
    if meta is not None:
        package.set_meta(meta)
    known = [*inputs_of(inputs), *source_inputs(package.sources)]
    columns, made_from = package.table_columns(), columns_of(column_lineage)
    with internal():
        publication = package.publish_build(
            name,
            registry,
            message,
            expected=expected,
            retry_conflicts=retry_conflicts,
            stop=stop,
        )
    url = normalize_registry(registry or settings.registry)
    ref = PackageRef(url, name, publication.published.top_hash)
    return _published(output_of(ref, publication, columns, made_from), known, run, settings)


def _sources(source: Sources) -> dict[str, Source]:
    if isinstance(source, Mapping):
        if not source:
            raise InvalidInputError("source is empty: name at least one file or folder")
        return dict(source)
    if not os.fspath(source):
        raise InvalidInputError("source is empty: name a file or folder")
    return {"": source}


def _add(package: Package, logical_key: str, source: Source) -> None:
    key = PhysicalKey.of(source)
    is_folder = os.path.isdir(key.path) if key.is_local else not key.path or key.path.endswith("/")
    if is_folder:
        package.set_dir(logical_key, source)
        return
    folder = logical_key.strip("/")
    if not logical_key or logical_key.endswith("/"):
        name = key.path.rstrip("/").split("/")[-1]
        logical_key = f"{folder}/{name}" if folder else name
    try:
        package.set(logical_key, source)
    except NotFoundError:
        if key.is_local or key.version_id is not None:
            raise
        # No object has this key, but it may be a prefix without its slash.
        package.set_dir(folder, source)


def push(
    package: PackageLike,
    *,
    registry: RegistryLike | None = None,
    name: str | None = None,
    message: str | None = None,
    dest: str | None = None,
    force: bool = False,
    expected: Expected = NOW,
    retry_conflicts: int = 0,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
    run: RunInfo | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> StepResult:
    """Bring a revision with all its objects into a registry.

    Args:
        package: The revision: a step's result, a package URI, or `ns/name[@hash]` in the default
            registry.
        registry: Where to; None is the default registry.
        name: Its name there; None keeps it.
        message: What changed; None keeps the package's own, and with it the top hash.
        dest: Folder or prefix inside the registry for new objects; None: the usual places.
        force: Replace whatever `latest` holds, and bring objects again that the registry lost.
        expected: What `latest` must hold otherwise.
        retry_conflicts: How often, when somebody else was faster, to apply what this step changes
            in the expected revision to what he published, and publish that; not with `force`.
        inputs: What it was made from, besides what the given step's result says and what the run
            has read.
        column_lineage: What the columns of its table were made from, as `build` takes it.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        NotFoundError: There is no such revision, or one of its objects is gone.
        ConflictError: `latest` is not what is expected; with `retry_conflicts`: and somebody
            changed the same key to something else, or was faster too often.
        IntegrityError: An object is not what the revision promises.
    """
    settings = settings or load_settings()
    source = pinned(package, settings)
    target, name = normalize_registry(registry or settings.registry), name or source.name
    known = list(dict.fromkeys([*inputs_of(inputs), *_carried_inputs(package)]))
    made_from = columns_of(column_lineage)
    with internal():
        revision = Package.browse(source.name, source.registry, source.top_hash, settings=settings)
        columns = revision.table_columns()
        publication = revision.publish_push(
            name,
            target,
            dest,
            message,
            expected=ANYTHING if force else expected,
            retry_conflicts=retry_conflicts,
            stop=stop,
        )
    if source.identity != PackageRef(target, name, source.top_hash).identity:
        known.insert(0, Input.of_ref(source))
    ref = PackageRef(target, name, publication.published.top_hash)
    return _published(output_of(ref, publication, columns, made_from), known, run, settings)


def _carried_inputs(package: PackageLike) -> tuple[Input, ...]:
    """Return the inputs in a step's result, so that they reach the push on any worker."""
    given = as_given(package)
    return carried_inputs(given.get("inputs")) if isinstance(given, Mapping) else ()


def install(
    package: PackageLike,
    *,
    dest: str | os.PathLike[str] | None = None,
    path: str | None = None,
    registry: RegistryLike | None = None,
    run: RunInfo | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> InstallResult:
    """Bring a revision's files into a folder, every byte verified.

    Args:
        package: The revision: a step's result, a package URI, or `ns/name[@hash]`.
        dest: Folder; None is `<install_dir>/<ns>/<name>`.
        path: Only this file, or what lies below this directory; None: what a package URI says.
        registry: Where `ns/name` is; None is the default registry.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        NotFoundError: There is no such revision or path, or an object is gone.
        IntegrityError: An object is not what the revision promises.
    """
    settings = settings or load_settings()
    source = pinned(package, settings, registry)
    path = path or path_in(package)
    with internal():
        installation = Package.install_revision(
            source.name, source.registry, source.top_hash, dest, path, settings=settings, stop=stop
        )
    changed = installation.written_files > 0
    result = _read(source, installation.package, changed, run, settings, installation.path)
    return InstallResult(**result, dest=installation.folder)


def browse(
    package: PackageLike,
    *,
    registry: RegistryLike | None = None,
    run: RunInfo | None = None,
    settings: Settings | None = None,
) -> StepResult:
    """Pin a revision and prove its manifest, without its files.

    Args:
        package: A package URI, `ns/name[@hash]`, or a step's result.
        registry: Where `ns/name` is; None is the default registry.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.

    Raises:
        NotFoundError: There is no such revision.
        IntegrityError: The stored manifest is not the one of its hash.
    """
    settings = settings or load_settings()
    source = pinned(package, settings, registry)
    with internal():
        revision = Package.browse(source.name, source.registry, source.top_hash, settings=settings)
        revision.check()
    return _read(source, revision, False, run, settings)


def _published(
    output: Output, inputs: list[Input], run: RunInfo | None, settings: Settings
) -> StepResult:
    """Record what a step published and return its result."""
    known = note_published(
        output, inputs, settings=settings, open_store=open_store, run=run, needs_run=False
    )
    files, size_bytes = output.files or 0, output.size_bytes or 0
    return _result(output.ref, known, files, size_bytes, output.changed)


def _read(
    ref: PackageRef,
    package: Package,
    changed: bool,
    run: RunInfo | None,
    settings: Settings,
    path: str | None = None,
) -> StepResult:
    """Record what a step read and return its result."""
    paths = () if path is None else (path,)
    note_fetched(ref, paths, settings=settings, open_store=open_store, run=run)
    return _result(ref, (), package.count_files(), package.size_bytes(), changed)


def _result(
    ref: PackageRef, inputs: Iterable[Input], files: int, size_bytes: int, changed: bool
) -> StepResult:
    return StepResult(
        uri=ref.uri,
        registry=ref.registry,
        name=ref.name,
        top_hash=ref.top_hash,
        inputs=[item.to_dict() for item in itertools.islice(inputs, MAX_RESULT_INPUTS)],
        files=files,
        size_bytes=size_bytes,
        changed=changed,
    )
