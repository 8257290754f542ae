"""Proving that what a revision promises is there, byte for byte."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from typing import Final, NotRequired, TypedDict

from t4_ops.errors import FormatError, IntegrityError, InvalidInputError, NotFoundError
from t4_ops.keys import PackageRef, RegistryLike
from t4_ops.ledger import RunInfo, internal
from t4_ops.manifest import Entry
from t4_ops.operations.hosts import check_folder_is_here, host, stat_of
from t4_ops.operations.looking import Part
from t4_ops.operations.recording import result_of, was_read
from t4_ops.operations.results import PackageLike, StepResult, as_given, path_in, pinned
from t4_ops.package import Package
from t4_ops.settings import Settings, load_settings
from t4_ops.storage import NoStoreError
from t4_ops.transfer import Opener, check_hash_type, open_verified, progress, run_all
from t4_ops.transfer.reading import read_small

MAX_BAD_KEYS: Final = 100
"""Keys that a result or an error names, unless asked for another number."""


class BadKey(TypedDict):
    """One object or file that is not what the revision promises.

    Attributes:
        key: Logical key; in a folder the path.
        problem: `missing`, `extra` (no file of the package), `unknown hash`, or `different`.
    """

    key: str
    problem: str


class VerifyResult(StepResult):
    """A `StepResult` of the part that was looked at, and what was found.

    Attributes:
        ok: Whether all is as promised.
        bad: How many objects or files are not.
        bad_keys: The first of them.
        dest: The folder that was verified; None: the objects in the registry.
        dest_stat: As in the result of an install; only where there is a folder.
    """

    ok: bool
    bad: int
    bad_keys: list[BadKey]
    dest: str | None
    dest_stat: NotRequired[list[int]]


def verify(
    package: PackageLike,
    *,
    dest: str | os.PathLike[str] | None = None,
    path: str | None = None,
    extra_files_ok: bool = False,
    fail: bool = True,
    max_keys: int = MAX_BAD_KEYS,
    registry: RegistryLike | None = None,
    run: RunInfo | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> VerifyResult:
    """Prove a revision: its manifest, and the bytes of every object, or of every installed file.

    Args:
        package: The revision: a step's result, a package URI, or `ns/name[@hash]`.
        dest: A folder it was installed in; None: its objects, wherever its manifest says they are.
        path: Only this file, or what lies below this directory; None: what a package URI says.
        extra_files_ok: Whether the folder may hold other files too.
        fail: Whether to raise an error; else the result says what is wrong.
        max_keys: Most keys to name.
        registry: Where `ns/name` is; None is the default registry.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        NotFoundError: There is no such revision, path or folder.
        IntegrityError: The manifest is not the one of its hash; with `fail` also: something is not
            as promised, and the message lists it.
        StorageError: The storage does not answer, so nothing can be said.
    """
    if max_keys < 1:
        raise InvalidInputError(f"max_keys is {max_keys}; give 1 or more")
    settings = settings or load_settings()
    source = pinned(package, settings, registry)
    path = path or path_in(package)
    folder = None if dest is None else _folder(package, dest)
    with internal():
        part = Part(source, settings, path)
        if folder is None:
            problems = _bad_objects(part, settings, stop)
        else:
            problems = _bad_files(part, folder, settings, stop, extra_files_ok=extra_files_ok)
        found, count = _first(problems, max_keys)
    if fail and count:
        raise _broken(source, found, count, folder)
    was_read(source, () if part.path is None else (part.path,), run, settings)
    result = result_of(source, *part.totals(), changed=False, path=part.path)
    verified = VerifyResult(
        **result,  # type: ignore[typeddict-item]
        ok=not count,
        bad=count,
        bad_keys=found,
        dest=folder,
    )
    if folder is not None:
        verified["host"], verified["dest_stat"] = host(), stat_of(folder)
    return verified


def _folder(package: PackageLike, dest: str | os.PathLike[str]) -> str:
    folder = os.path.abspath(os.path.expanduser(os.fspath(dest)))
    given = as_given(package)
    if isinstance(given, Mapping):
        check_folder_is_here(given, folder)
    if not os.path.isdir(folder):
        raise NotFoundError(
            f"{folder!r} is no folder on this machine, {host()!r}: verify where it was installed",
            key=folder,
        )
    return folder


def _bad_objects(part: Part, settings: Settings, stop: threading.Event | None) -> Iterator[BadKey]:
    opener = Opener(settings, stop=stop)
    with progress(f"verifying {part.ref.name}", shown=settings.progress) as bar:
        bar.grow(part.totals()[1])

        def work(entry: Entry) -> BadKey | None:
            problem = _problem(entry, opener)
            bar.advance(entry.size_bytes or 0)
            return None if problem is None else BadKey(key=entry.logical_key, problem=problem)

        for bad in run_all(part.entries(), work, workers=settings.workers, stop=stop):
            if bad is not None:
                yield bad


def _problem(entry: Entry, opener: Opener) -> str | None:
    """Return what is wrong with an object, or None."""
    try:
        check_hash_type(entry)
    except (FormatError, InvalidInputError):
        return "unknown hash"
    try:
        if read_small(entry, opener) is None:
            with open_verified(entry, opener) as pieces:
                for _ in pieces:
                    pass
    except NoStoreError:
        raise  # the bucket is gone, or misspelt in the settings: nothing can be said
    except NotFoundError:
        return "missing"
    except IntegrityError:
        return "different"
    return None


def _bad_files(
    part: Part,
    folder: str,
    settings: Settings,
    stop: threading.Event | None,
    *,
    extra_files_ok: bool,
) -> Iterator[BadKey]:
    ref = part.ref
    revision = Package.browse(ref.name, ref.registry, ref.top_hash, settings=settings)
    wrong = revision.mismatched_files(folder, part.path, extra_files_ok=True, stop=stop)
    for path in sorted(wrong):
        is_there = os.path.lexists(os.path.join(folder, path))
        yield BadKey(key=path, problem="different" if is_there else "missing")
    # Last, so that many of them don't hide what the package lacks.
    if not extra_files_ok:
        for path in sorted(revision.extra_files(folder, part.path)):
            yield BadKey(key=path, problem="extra")


def _first(problems: Iterator[BadKey], most: int) -> tuple[list[BadKey], int]:
    found: list[BadKey] = []
    count = 0
    for problem in problems:
        count += 1
        if len(found) < most:
            found.append(problem)
    return found, count


def _broken(ref: PackageRef, found: list[BadKey], count: int, folder: str | None) -> IntegrityError:
    where = "objects of the registry" if folder is None else f"files in {folder!r}"
    told = ", ".join(f"{bad['key']!r} {bad['problem']}" for bad in found)
    more = f" and {count - len(found)} more" if count > len(found) else ""
    advice = (
        "restore them, or push the revision again with force=True from where it is whole"
        if folder is None
        else "install again"
    )
    return IntegrityError(
        f"{ref.uri}: {count} {where} are not what it promises: {told}{more}; {advice}",
        key=found[0]["key"],
    )
