"""The steps that read: install and browse."""

from __future__ import annotations

import os
import threading

from t4_ops.keys import RegistryLike
from t4_ops.ledger import RunInfo, internal
from t4_ops.operations.counting import note_files
from t4_ops.operations.expecting import Expectations, ExpectationsLike
from t4_ops.operations.hosts import host, stat_of
from t4_ops.operations.looking import Part
from t4_ops.operations.recording import result_of, was_read
from t4_ops.operations.results import (
    BrowseResult,
    InstallResult,
    PackageLike,
    path_in,
    pinned,
)
from t4_ops.operations.selecting import SelectorLike, selector_of
from t4_ops.package import Package
from t4_ops.settings import Settings, load_settings


def install(
    package: PackageLike,
    *,
    dest: str | os.PathLike[str] | None = None,
    path: str | None = None,
    expectations: ExpectationsLike | None = None,
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
        expectations: What must be so, of what lies at `path`, before anything is written.
        registry: Where `ns/name` is; None is the default registry.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        NotFoundError: There is no such revision or path, or an object is gone.
        ExpectationError: Something expected is not so; nothing was written.
        IntegrityError: An object is not what the revision promises.
    """
    settings, wanted = settings or load_settings(), Expectations.of(expectations)
    source = pinned(package, settings, registry)
    path = path or path_in(package)
    with internal():
        if wanted is not None:
            Part(source, settings, path).expect(wanted)
        installation = Package.install_revision(
            source.name, source.registry, source.top_hash, dest, path, settings=settings, stop=stop
        )
    was_read(source, () if installation.path is None else (installation.path,), run, settings)
    note_files(installation.files, installation.written_files)
    whole = installation.package
    result = result_of(
        source,
        whole.count_files(),
        whole.size_bytes(),
        changed=installation.written_files > 0,
        path=installation.path,
    )
    result["host"] = host()
    folder = installation.folder
    return InstallResult(**result, dest=folder, dest_stat=stat_of(folder))


def browse(
    package: PackageLike,
    *,
    path: str | None = None,
    selector: SelectorLike | None = None,
    expectations: ExpectationsLike | None = None,
    max_keys: int | None = None,
    registry: RegistryLike | None = None,
    run: RunInfo | None = None,
    settings: Settings | None = None,
) -> BrowseResult:
    """Pin a revision, prove its manifest, and look at what it holds, without its files.

    Args:
        package: A package URI, `ns/name[@hash]`, or a step's result.
        path: Look only at this file, or below this directory; None: what a package URI says.
        selector: Look only at these: patterns as in a `.gitignore`, or a function of logical key
            and entry; keys are those of the whole package.
        expectations: What must be so of what is looked at. Metadata is that of the package.
        max_keys: How many logical keys to return as `keys`; None: the result has none.
        registry: Where `ns/name` is; None is the default registry.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.

    Returns:
        A step's result; files and bytes are those of what is looked at.

    Raises:
        NotFoundError: There is no such revision, or nothing at `path`.
        ExpectationError: Something expected is not so.
        IntegrityError: The stored manifest is not the one of its hash.
    """
    settings, wanted = settings or load_settings(), Expectations.of(expectations)
    selects = selector_of(selector)
    source = pinned(package, settings, registry)
    path = path or path_in(package)
    with internal():
        part = Part(source, settings, path, selects)
        part.expect(wanted)
    was_read(source, () if part.path is None else (part.path,), run, settings)
    looked = result_of(source, *part.totals(), changed=False, path=part.path)
    result = BrowseResult(**looked)  # type: ignore[typeddict-item]
    if selects is not None:
        result["is_selected"] = True
    if max_keys is not None:
        result["keys"] = part.keys(max_keys)
    return result
