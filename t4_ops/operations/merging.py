"""A build that several workers share, last part: putting theirs together, and publishing."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from t4_ops.errors import IntegrityError, InvalidInputError, NotFoundError
from t4_ops.keys import PackageRef, RegistryLike, normalize_registry, validate_name
from t4_ops.ledger import ColumnLineageLike, Input, InputLike, RunInfo, internal
from t4_ops.manifest import Entry, Manifest, canonical_json
from t4_ops.operations.counting import note_files
from t4_ops.operations.recording import check_stop, published
from t4_ops.operations.results import StepResult, columns_of, inputs_of, literal
from t4_ops.operations.scratch import (
    Scratch,
    scratch_of,
    sha256_of,
    shard_like,
    whole_number,
)
from t4_ops.operations.shards import ShardResult
from t4_ops.operations.stamps import changed_sources, unstamped
from t4_ops.package import NOW, Expected, Package, open_registry
from t4_ops.settings import Settings, load_settings

_MOST_TOLD: Final = 10


def merge_shards(
    results: Iterable[ShardResult | Mapping[str, Any]] | str,
    name: str,
    *,
    registry: RegistryLike | None = None,
    meta: Mapping[str, Any] | None = None,
    message: str | None = None,
    inputs: InputLike | Iterable[InputLike] | None = None,
    column_lineage: ColumnLineageLike | None = None,
    expected: Expected = NOW,
    run: RunInfo | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> StepResult:
    """Publish the package whose shards were hashed: the top hash is that of `build`.

    What the shards left in the registry is removed. A repeat, also after that, finds its work done,
    unless the revision was taken back since.

    Args:
        results: What `hash_shard` returned for every shard, in any order.
        name: Package name.
        registry: Where the caller takes the plan to be; None: wherever it is.
        meta: Metadata of the package.
        message: What changed; part of the top hash.
        inputs: What the files were made from, besides the sources themselves.
        column_lineage: What the columns of the package's table were made from.
        expected: What `latest` must hold.
        run: The run to record, unless a `lineage.run` is open; None is the current one.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        InvalidInputError: A result is missing, or they are of several plans, or of one in another
            registry.
        IntegrityError: A file changed since it was hashed: hash its shard again.
        NotFoundError: A part is not there (any more), or not on this machine.
        ConflictError: Somebody moved `latest` meanwhile.
    """
    settings = settings or load_settings()
    made_from, given = columns_of(column_lineage), inputs_of(inputs)
    parts = _complete(results)
    scratch = scratch_of(parts[0], settings)
    if registry is not None and normalize_registry(registry) != scratch.registry:
        raise InvalidInputError(
            f"the plan {scratch.plan} is in {scratch.registry}, not in {registry}: give both the"
            " same registry",
            key=scratch.plan,
        )
    request = _request(parts, validate_name(name), meta, message)
    if (before := _merged(scratch, request, settings)) is not None:
        return before
    try:
        plan, manifest = _put_together(scratch, parts, settings, stop)
    except NotFoundError:
        # Another try of this merge may have ended just now, and taken the parts away.
        if (before := _merged(scratch, request, settings)) is not None:
            return before
        raise
    package = Package.of_manifest(manifest, settings=settings)
    if meta is not None:
        package.set_meta(meta)
    columns = package.table_columns()
    with internal():
        publication = package.publish_build(
            name, scratch.registry, message, expected=expected, stop=stop
        )
    ref = PackageRef(scratch.registry, name, publication.published.top_hash)
    known = list(dict.fromkeys([*given, *map(Input.from_dict, plan["inputs"])]))
    result = published(ref, publication, known, run, settings, columns=columns, made_from=made_from)
    # Before the parts go: a repeat that finds neither would not know what was done.
    scratch.write("merged", {"request": request, "result": result})
    scratch.clear(keep="merged")
    return result


def registry_of_shards(results: Iterable[ShardResult | Mapping[str, Any]] | str) -> str:
    """Return the registry in which shards are going to be published: that of their plan.

    Args:
        results: What `hash_shard` returned for every shard, in any order.

    Raises:
        InvalidInputError: A result is missing, or they are of several plans.
    """
    return normalize_registry(str(_complete(results)[0].get("registry")))


def _complete(results: Iterable[Any] | str) -> list[Mapping[str, Any]]:
    """Return the results in the order of their shards.

    Raises:
        InvalidInputError: One is missing or none, or they are of several plans.
    """
    given = literal(results) if isinstance(results, str) else results
    parts = {whole_number(part, "number"): part for part in map(shard_like, given)}
    if not parts:
        raise InvalidInputError("no shards were hashed: give the results of hash_shard")
    plans = {(str(part.get("registry")), str(part.get("plan"))) for part in parts.values()}
    if len(plans) > 1:
        raise InvalidInputError(f"the shards are of {len(plans)} plans: {sorted(plans)}")
    of = whole_number(next(iter(parts.values())), "of")
    missing = [number for number in range(of) if number not in parts]
    if missing or len(parts) != of:
        raise InvalidInputError(
            f"{len(missing)} of {of} shards were not hashed: {missing[:_MOST_TOLD]}; hash them all,"
            " else the package would lack their files"
        )
    return [parts[number] for number in range(of)]


def _merged(scratch: Scratch, request: str, settings: Settings) -> StepResult | None:
    """Return the result of this merge if it was done before and was not taken back since."""
    note = scratch.read("merged")
    if note is None or note["request"] != request or _is_taken_back(note["result"], settings):
        return None
    scratch.clear(keep="merged")  # whoever merged may have died here
    before: StepResult = note["result"]
    note_files(before["files"], 0)
    return {**before, "changed": False}


def _is_taken_back(result: StepResult, settings: Settings) -> bool:
    """Return whether a revision was removed, or `latest` moved back from it to an older one.

    A newer one that somebody else published since is another matter: that one stays.
    """
    pointers = open_registry(result["registry"], settings).pointers
    held = pointers.latest(result["name"])
    if held is not None and held.top_hash == result["top_hash"]:
        return False
    is_newer = False
    for pointer in pointers.newest_first(result["name"], {}):
        if pointer.top_hash == result["top_hash"]:
            return not is_newer
        is_newer = is_newer or (held is not None and pointer.top_hash == held.top_hash)
    return True


def _put_together(
    scratch: Scratch,
    parts: list[Mapping[str, Any]],
    settings: Settings,
    stop: threading.Event | None,
) -> tuple[dict[str, Any], Manifest]:
    """Return the plan, and the manifest of all its parts.

    Raises:
        NotFoundError: The plan or a part is not there (any more).
        IntegrityError: A file changed, or the parts are not all that was planned.
    """
    plan = scratch.read("plan")
    if plan is None:
        raise NotFoundError(
            f"{scratch.registry}: the plan {scratch.plan} was merged or cleaned: plan again",
            key=scratch.plan,
        )
    entries = _entries(scratch, parts, settings, stop)
    manifest = Manifest.of(plan["header"], entries, (), settings.limits)
    if (len(parts), len(manifest)) != (plan["shards"], plan["files"]):
        raise IntegrityError(
            f"{scratch.registry}: the plan {scratch.plan} has {plan['files']} files in"
            f" {plan['shards']} shards, what was hashed {len(manifest)} in {len(parts)}: plan and"
            " hash again",
            key=scratch.plan,
        )
    return plan, manifest


def _entries(
    scratch: Scratch,
    parts: list[Mapping[str, Any]],
    settings: Settings,
    stop: threading.Event | None,
) -> Iterator[Entry]:
    """Yield the entries of all parts in tree order, which is that of the shards."""
    for number, part in enumerate(parts):
        check_stop(stop)
        done = scratch.get(f"done/{number:05}")
        if done is None:
            raise NotFoundError(
                f"{scratch.registry}: shard {number} of the plan {scratch.plan} is gone: hash it"
                " again",
                key=scratch.plan,
            )
        if sha256_of(done) != part.get("sha256"):
            raise IntegrityError(
                f"{scratch.registry}: shard {number} of the plan {scratch.plan} was hashed again"
                " since this result: merge the newest results",
                key=scratch.plan,
            )
        changed = changed_sources(done, settings)
        if changed:
            raise IntegrityError(
                f"{len(changed)} files of shard {number} changed since they were hashed:"
                f" {', '.join(map(repr, changed[:_MOST_TOLD]))}; hash it again when nothing writes"
                " to them",
                key=changed[0],
            )
        yield from unstamped(done.entries())


def _request(
    parts: list[Mapping[str, Any]], name: str, meta: Mapping[str, Any] | None, message: str | None
) -> str:
    digests = [part.get("sha256") for part in parts]
    text = canonical_json([digests, name, dict(meta) if meta is not None else None, message])
    return hashlib.sha256(text.encode()).hexdigest()
