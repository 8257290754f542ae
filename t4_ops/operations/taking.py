"""What a function gets for the package it asks for: files in a folder, or a `Package`."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef, RegistryLike
from t4_ops.ledger import RunInfo, internal
from t4_ops.operations.looking import Part
from t4_ops.operations.reading import install
from t4_ops.operations.recording import result_of
from t4_ops.operations.results import PackageLike, StepResult, path_in, pinned
from t4_ops.package import Package, PackageEntry
from t4_ops.settings import Settings, load_settings

How: TypeAlias = Literal["install", "browse"]
_HASH_DIGITS = 16


@dataclass(frozen=True)
class Taken:
    """An input of a function, pinned.

    Attributes:
        result: The step's result: which revision it is.
        value: The folder with its files, or of a path that is one file that file; or the package,
            or what it has at the path.
    """

    result: StepResult
    value: Path | Package | PackageEntry


def take(
    package: PackageLike,
    how: How = "install",
    *,
    dest: str | os.PathLike[str] | None = None,
    path: str | None = None,
    registry: RegistryLike | None = None,
    run: RunInfo | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> Taken:
    """Pin a revision and bring it to the function that asked for it; the run has read it then.

    Args:
        package: The revision: a step's result, a package URI, or `ns/name[@hash]`.
        how: `install`: its files; `browse`: the package, whose files are read when they are asked
            for.
        dest: Folder of an install; None: one that is the revision's own, below `install_dir`, so
            that tasks with different revisions don't meet. Tasks with the same one share it, as
            long as none of them leaves a file there: after that the next one gets a fresh folder.
        path: Only this file, or what lies below this directory; None: what a package URI says.
        registry: Where `ns/name` is; None is the default registry.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        InvalidInputError: `how` is neither.
        NotFoundError: There is no such revision or path, or an object is gone.
        IntegrityError: An object is not what the revision promises.
    """
    if how not in get_args(How):
        raise InvalidInputError(f"how={how!r}: use one of {get_args(How)}")
    settings = settings or load_settings()
    path = path or path_in(package)
    ref = pinned(package, settings, registry)
    if how == "browse":
        # What is read of it later is noted by itself.
        value = Package.browse(ref.name, ref.registry, ref.top_hash, settings=settings)
        with internal():
            part = Part(ref, settings, path)
        result = result_of(ref, *part.totals(), changed=False, path=part.path)
        return Taken(result, value if path is None else value[path.rstrip("/")])
    with internal():
        folder = _own_folder(ref, path, settings) if dest is None else dest
    installed = install(ref, dest=folder, path=path, run=run, settings=settings, stop=stop)
    place = Path(installed["dest"])
    with internal():
        is_file = path and not str(Part(ref, settings, path, is_proved=False).path).endswith("/")
    return Taken(installed, place / path.split("/")[-1] if path and is_file else place)


def _own_folder(ref: PackageRef, path: str | None, settings: Settings) -> str:
    """Return a folder that no other revision, and no other part of this one, is installed in.

    What a task left beside its input, such as one that failed before it was done, is in none that
    another task gets: it would be taken for a part of the package.
    """
    own = f"{ref.name}@{ref.top_hash[:_HASH_DIGITS]}"
    part = path.strip("/") if path else ""
    suffix = f"-{hashlib.sha256(part.encode()).hexdigest()[:8]}" if part else ""
    place = os.path.join(settings.install_dir, own + suffix)
    if not os.path.isdir(place):
        return place
    package = Package.browse(ref.name, ref.registry, ref.top_hash, settings=settings)
    folders = (f"{place}.{number}" if number else place for number in itertools.count())
    return next(folder for folder in folders if not any(package.extra_files(folder, path)))
