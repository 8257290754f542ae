"""A build that several workers share, first part: what each of them is to hash.

`plan_shards` lists the sources once and cuts the list into parts of about equal size; each worker
takes one to `hash_shard`; `merge_shards` publishes. What passes between them is small: the lists
wait in the registry, which all workers must reach.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from typing import Any, Final, NotRequired, TypedDict

from t4_ops.errors import InvalidInputError
from t4_ops.keys import RegistryLike, is_folder, normalize_registry
from t4_ops.ledger import internal
from t4_ops.manifest import Entry, canonical_json
from t4_ops.operations.hosts import host
from t4_ops.operations.recording import check_stop
from t4_ops.operations.scratch import Scratch
from t4_ops.operations.sources import Sources, add_sources
from t4_ops.package import Package, source_inputs
from t4_ops.settings import Settings, load_settings

MAX_SHARDS: Final = 1_000
"""Airflow maps a task at most 1,024 times unless told otherwise (`max_map_length`)."""
MIN_SHARD_BYTES: Final = 64 * 1024 * 1024
"""Least work worth a task of its own, which takes an orchestrator about a second to start."""
_FILE_BYTES: Final = 64 * 1024
# What a file costs besides its bytes: a request of 30 ms, 16 at a time, at 300 Mbit/s.


class Shard(TypedDict):
    """One worker's part of a build.

    Attributes:
        plan: Id of the plan.
        registry: Normalised registry, where the list of files is, too.
        number: Which part, from 0.
        of: How many there are.
        files: Files in it.
        size_bytes: Their size as far as it is known before they are read.
        host: The machine that made the plan; only where the registry is a local folder.
    """

    plan: str
    registry: str
    number: int
    of: int
    files: int
    size_bytes: int
    host: NotRequired[str]


class PlanResult(TypedDict):
    """A build in parts.

    Attributes:
        plan: Id of the plan.
        registry: Normalised registry.
        shards: The parts: map `hash_shard` over them.
        files: Files of the package.
        size_bytes: Their size as far as it is known before they are read.
        host: The machine that made the plan; only where the registry is a local folder.
    """

    plan: str
    registry: str
    shards: list[Shard]
    files: int
    size_bytes: int
    host: NotRequired[str]


def plan_shards(
    source: Sources,
    *,
    registry: RegistryLike | None = None,
    max_shards: int = 100,
    min_shard_bytes: int = MIN_SHARD_BYTES,
    token: str | None = None,
    settings: Settings | None = None,
    stop: threading.Event | None = None,
) -> PlanResult:
    """List the sources of a package and cut the list into shards of about equal work.

    Nothing is read but names and sizes. A shard is a run of neighbouring keys, so the largest one
    is at most one file larger than the average.

    Args:
        source: As `build` takes it; every worker must reach it by the same name.
        registry: Where the package is going to be; None is the default registry. Every worker must
            reach it: a bucket, or a folder that all mount.
        max_shards: Most shards, 1 to 1,000.
        min_shard_bytes: Least work of a shard; less is not worth a task of its own.
        token: What tells this build from others of the same files, such as the run's id: a plan
            that is made again then is the same one, and goes on with what was hashed. None: new.
        settings: Settings; None loads the user's.
        stop: Set from another thread to give up.

    Raises:
        InvalidInputError: An argument breaks a rule; nothing was written.
        NotFoundError: A source is not there.
        IntegrityError: A package among the sources is not what its top hash promises.
    """
    if not 1 <= max_shards <= MAX_SHARDS:
        raise InvalidInputError(f"max_shards is {max_shards}; give 1 to {MAX_SHARDS}")
    if min_shard_bytes < 1:
        raise InvalidInputError(f"min_shard_bytes is {min_shard_bytes}; give 1 or more")
    settings = settings or load_settings()
    url = normalize_registry(registry or settings.registry)
    package = Package(settings=settings)
    with internal():
        packages = add_sources(package, source, settings)
        # What came by way of an index is proved here, where it is known which manifest it is from.
        package.check()
    header = next(package.manifest)
    weight = sum(_weight(entry) for entry in package.entries())
    count = max(1, min(max_shards, package.count_files(), -(-weight // min_shard_bytes)))
    plan = _plan_id(package, [url, token or str(uuid.uuid4()), header, count])
    scratch = Scratch(url, plan, settings)
    shards: list[Shard] = []
    for entries in _runs(package.entries(), weight, count):
        check_stop(stop)
        number = len(shards)
        scratch.put(f"todo/{number:05}", entries, create_only=True)
        shards.append(
            Shard(
                plan=scratch.plan,
                registry=url,
                number=number,
                of=0,
                files=len(entries),
                size_bytes=sum(entry.size_bytes or 0 for entry in entries),
            )
        )
    for shard in shards:
        shard["of"] = len(shards)
    known = [*packages, *source_inputs(package.sources)]
    scratch.write(
        "plan",
        {
            "header": header,
            "roots": package.roots,
            "inputs": [item.to_dict() for item in known],
            "shards": len(shards),
            "files": package.count_files(),
        },
    )
    return _result(scratch, shards, package)


def _result(scratch: Scratch, shards: list[Shard], package: Package) -> PlanResult:
    result = PlanResult(
        plan=scratch.plan,
        registry=scratch.registry,
        shards=shards,
        files=package.count_files(),
        size_bytes=package.size_bytes(),
    )
    if is_folder(scratch.registry):
        result["host"] = host()
        for shard in shards:
            shard["host"] = host()
    return result


def _plan_id(package: Package, build: list[Any]) -> str:
    """Return an id of these files and this build.

    Another list of files, or one that is cut at other places, is another plan: their lists would be
    mixed up.

    Args:
        package: The files.
        build: What else makes the plan another one, as JSON values.
    """
    digest = hashlib.sha256(canonical_json(build).encode())
    for entry in package.entries():
        digest.update(f"{entry.logical_key}\0{entry.physical_key}\0{entry.size_bytes}\n".encode())
        if entry.hash is not None or entry.meta:
            known = entry.hash and [entry.hash.type, entry.hash.value]
            digest.update(f"\0{canonical_json([known, dict(entry.meta)])}\n".encode())
    return digest.hexdigest()[:32]


def _weight(entry: Entry) -> int:
    """Return what an entry costs; one that has its hash is not read."""
    return _FILE_BYTES + (0 if entry.hash is not None else entry.size_bytes or 0)


def _runs(entries: Iterator[Entry], weight: int, count: int) -> Iterator[list[Entry]]:
    """Yield runs of entries of about equal weight, none empty unless all are.

    Each entry goes to the shard in which its middle lies, were all laid end to end.
    """
    run: list[Entry] = []
    number = before = 0
    for entry in entries:
        own = _weight(entry)
        shard = min(count - 1, (2 * before + own) * count // (2 * weight))
        before += own
        if shard != number and run:
            yield run
            run = []
        number = shard
        run.append(entry)
    if run or not before:
        yield run
