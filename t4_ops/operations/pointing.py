"""Steps that move pointers and nothing else: roll back, undo, delete a revision."""

from __future__ import annotations

from typing import TypedDict

from t4_ops.errors import ConflictError, FormatError, InvalidInputError, NotFoundError
from t4_ops.keys import Now, PackageRef, PackageUri, RegistryLike, is_top_hash, normalize_registry
from t4_ops.manifest import Manifest
from t4_ops.operations.recording import result_of
from t4_ops.operations.results import PackageLike, StepResult, as_given, pinned, uri_of
from t4_ops.package import NOW, Expected, open_registry
from t4_ops.registry import ANYTHING, Anything, Registry, rounds
from t4_ops.settings import Settings, load_settings


class RollbackResult(StepResult):
    """A `StepResult` of the revision that `latest` points at now.

    Attributes:
        previous: The top hash it pointed at before; None: it was damaged.
    """

    previous: str | None


class PointerResult(TypedDict):
    """What became of a revision whose pointers were taken away.

    Attributes:
        uri: Package URI of the revision.
        registry: Normalised registry.
        name: Package name.
        top_hash: Its top hash.
        latest: What `latest` points at now; None: there is no such package any more.
        changed: False if the step found its work done.
    """

    uri: str
    registry: str
    name: str
    top_hash: str
    latest: str | None
    changed: bool


def latest(
    name: str, *, registry: RegistryLike | None = None, settings: Settings | None = None
) -> PackageRef | None:
    """Return the revision that `latest` points at; None: there is no such package.

    Args:
        name: Package name.
        registry: Where; None is the default registry.
        settings: Settings; None loads the user's.

    Raises:
        FormatError: The pointer is damaged: roll back.
    """
    source = open_registry(registry, settings or load_settings())
    pointer = source.pointers.latest(name)
    return None if pointer is None else PackageRef(source.url, name, pointer.top_hash)


def held(
    name: str, *, registry: RegistryLike | None = None, settings: Settings | None = None
) -> Expected:
    """Return what `latest` holds now, to be expected by whoever publishes later.

    Args:
        name: Package name.
        registry: Where; None is the default registry.
        settings: Settings; None loads the user's.

    Returns:
        The top hash; None: there is no package yet. NOW: what is there is damaged, which the one
        who publishes says or mends.
    """
    try:
        found = latest(name, registry=registry, settings=settings)
    except FormatError:
        return NOW
    return None if found is None else found.top_hash


def rollback(
    name: str,
    to: PackageLike,
    *,
    registry: RegistryLike | None = None,
    expected: Expected = NOW,
    force: bool = False,
    settings: Settings | None = None,
) -> RollbackResult:
    """Move `latest` back to an earlier revision of the same package, by compare-and-swap.

    Nothing is removed: what it pointed at before stays a revision. A repeat finds it done.

    Args:
        name: Package name.
        to: The revision: its top hash or the first digits of it, a package URI, `ns/name@hash`, or
            a step's result.
        registry: Where; None is that of `to`, or the default registry.
        expected: What `latest` must hold: give the top hash you want to get away from, so that a
            newer revision is never rolled back unseen. NOW: what it holds when the call begins.
        force: Move it whatever it holds.
        settings: Settings; None loads the user's.

    Raises:
        NotFoundError: It is no revision of this package, or its manifest is gone.
        ConflictError: `latest` holds something else than expected.
        InvalidInputError: `to` is a revision of another package or registry.
    """
    settings = settings or load_settings()
    place, wanted = _target(name, to, registry, settings)
    source = open_registry(place, settings)
    top_hash = source.pointers.resolve(name, wanted)
    # A pointer may outlive its manifest: `latest` must not come to lead nowhere.
    manifest = source.manifests.get(top_hash)
    held = ANYTHING if force else _settled(source, name, expected)
    published = source.pointers.rollback(name, top_hash, expected=held)
    result = _result(PackageRef(source.url, name, top_hash), manifest, changed=published.changed)
    return RollbackResult(**result, previous=published.previous)


def _target(
    name: str, to: PackageLike, registry: RegistryLike | None, settings: Settings
) -> tuple[str, str]:
    """Return the registry, and what names the revision in it: a top hash or a prefix."""
    given = as_given(to)
    url = None if registry is None else normalize_registry(registry)
    if isinstance(given, str) and "/" not in given:
        return url or settings.registry, given.strip()
    if isinstance(given, str):
        given = uri_of(given.strip(), settings, url)
    if isinstance(given, PackageUri):
        place, owner, top_hash = normalize_registry(given.registry), given.name, given.top_hash
    else:
        ref = pinned(given, settings)
        place, owner, top_hash = ref.registry, ref.name, ref.top_hash
    if owner != name or (url is not None and place != url) or top_hash is None:
        raise InvalidInputError(
            f"{to!r} names no revision of {name!r} in {url or place}: give its top hash", key=name
        )
    return place, top_hash


def _settled(source: Registry, name: str, expected: Expected) -> str | Anything | None:
    if not isinstance(expected, Now):
        return expected
    try:
        pointer = source.pointers.latest(name)
    except FormatError:
        return None  # a damaged pointer holds no top hash
    return None if pointer is None else pointer.top_hash


def _result(ref: PackageRef, manifest: Manifest, *, changed: bool) -> StepResult:
    return result_of(ref, len(manifest), manifest.files_size_bytes(), changed=changed)


def undo(
    package: PackageLike, before: str | None, *, settings: Settings | None = None
) -> PointerResult:
    """Take back a publication: `latest` goes back to what it held before, by compare-and-swap.

    The revision stays listed, so nobody who pinned it loses it, unless the package was new: then
    it goes away with its pointers. A repeat finds it done.

    Args:
        package: What was published: the step's result.
        before: The top hash that `latest` held before; None: there was no such package.
        settings: Settings; None loads the user's.

    Raises:
        ConflictError: Somebody has moved `latest` since, or for a new package published another
            revision of it; his revision stays.
    """
    settings = settings or load_settings()
    ref = pinned(package, settings)
    source = open_registry(ref.registry, settings)
    pointer = source.pointers.latest(ref.name)
    held = None if pointer is None else pointer.top_hash
    if before in {held, ref.top_hash}:
        return _outcome(ref, held, changed=False)
    if held != ref.top_hash:
        raise _not_taken_back(ref, held)
    try:
        if before is None:
            source.pointers.unpublish(ref.name, ref.top_hash)
        else:
            source.manifests.get(before)
            source.pointers.rollback(ref.name, before, expected=ref.top_hash)
    except ConflictError as exc:  # moved since it was looked at
        raise _not_taken_back(ref, exc.actual) from exc
    return _outcome(ref, before, changed=True)


def _not_taken_back(ref: PackageRef, actual: str | None) -> ConflictError:
    return ConflictError(
        f"{ref.uri} is not taken back: somebody else has published or moved since, and the newest"
        f" is {actual or 'gone'}; what is there stays",
        name=ref.name,
        expected=ref.top_hash,
        actual=actual,
    )


def delete_revision(
    package: PackageLike, *, registry: RegistryLike | None = None, settings: Settings | None = None
) -> PointerResult:
    """Take a revision away from its package: its pointers go, manifest and objects stay.

    Other packages and pinned references may need those. Where `latest` points at it, `latest`
    first moves to the newest revision left whose manifest is there; with the last revision the
    package's name goes too. A repeat finds it done.

    Args:
        package: The revision, its hash told: a step's result, a package URI or `ns/name@hash`.
        registry: Where `ns/name` is; None is the default registry.
        settings: Settings; None loads the user's.

    Raises:
        InvalidInputError: No hash is given: `latest` may be another one at the next try.
        NotFoundError: The first digits of a hash, and no revision begins with them; or `latest`
            would lead nowhere, as no other revision has its manifest.
    """
    settings = settings or load_settings()
    ref = _named_in_full(package, registry, settings)
    source = open_registry(ref.registry, settings)
    for _ in rounds(source.url, ref.name):
        try:
            source.pointers.delete(ref.name, ref.top_hash, is_readable=source.manifests.exists)
        except ConflictError:
            continue  # `latest` moved meanwhile; where to is not this step's business
        except NotFoundError:
            if _is_listed(source, ref):
                raise
            return _after(ref, source, changed=False)
        return _after(ref, source)
    raise AssertionError("unreachable")


def _named_in_full(
    package: PackageLike, registry: RegistryLike | None, settings: Settings
) -> PackageRef:
    given = as_given(package)
    if isinstance(given, str):
        given = uri_of(given.strip(), settings, registry)
    if isinstance(given, PackageUri):
        if given.top_hash is None:
            raise InvalidInputError(
                f"{given}: say which revision, as in ns/name@hash", key=str(given)
            )
        if is_top_hash(given.top_hash):
            return PackageRef(given.registry, given.name, given.top_hash)
    return pinned(given, settings, registry)


def _is_listed(source: Registry, ref: PackageRef) -> bool:
    try:
        pointers = source.pointers.revisions(ref.name)
    except NotFoundError:
        return False
    if any(pointer.top_hash == ref.top_hash for pointer in pointers):
        return True
    pointer = source.pointers.latest(ref.name)
    return pointer is not None and pointer.top_hash == ref.top_hash


def _after(ref: PackageRef, source: Registry, *, changed: bool = True) -> PointerResult:
    pointer = source.pointers.latest(ref.name)
    return _outcome(ref, None if pointer is None else pointer.top_hash, changed=changed)


def _outcome(ref: PackageRef, held: str | None, *, changed: bool) -> PointerResult:
    return PointerResult(
        uri=ref.uri,
        registry=ref.registry,
        name=ref.name,
        top_hash=ref.top_hash,
        latest=held,
        changed=changed,
    )
