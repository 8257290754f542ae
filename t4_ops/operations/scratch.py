"""Where the parts of a build that several workers share wait for each other, in the registry.

```
.t4/v1/scratch/<plan>/plan            what belongs to all shards
.t4/v1/scratch/<plan>/todo/<number>   entries of a shard, without hashes: a manifest
.t4/v1/scratch/<plan>/done/<number>   the same, hashed and in their places
.t4/v1/scratch/<plan>/merged          the result, once the rest is removed
```
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import PhysicalKey, RegistryLike, is_folder, normalize_registry
from t4_ops.manifest import Entry, Manifest
from t4_ops.operations.hosts import check_folder_is_here
from t4_ops.operations.results import literal
from t4_ops.settings import Settings, load_settings
from t4_ops.storage import NoStoreError, PreconditionFailedError, open_store
from t4_ops.transfer import run_all

SCRATCH: Final = ".t4/v1/scratch/"
"""Below it each plan has a folder of its own."""
WEEK_S: Final = 7 * 24 * 3600.0
"""Longer than any build lasts."""
_DOCUMENT_MAX_BYTES: Final = 16 * 1024 * 1024
_PLAN_LENGTH: Final = 32
_HEADER: Final = {"version": "v0"}


class Scratch:
    """The folder of one plan.

    Args:
        registry: Normalised registry.
        plan: Id of the plan.
        settings: How to reach it.

    Raises:
        InvalidInputError: It is no such id.
    """

    def __init__(self, registry: str, plan: str, settings: Settings) -> None:
        if not _is_plan(plan):
            raise InvalidInputError(f"{plan!r} is no id of a plan")
        self.registry = registry
        self.plan = plan
        self._limits = settings.limits
        self._workers = settings.workers
        self._store = open_store(registry, settings)
        self._prefix = f"{SCRATCH}{plan}/"

    def put(self, name: str, entries: Iterable[Entry], *, create_only: bool) -> None:
        """Store entries, which may lack hashes."""
        manifest = Manifest.of(_HEADER, entries, (), self._limits)
        try:
            self._store.upload(
                self._prefix + name,
                manifest.chunks(),
                manifest.size_bytes,
                create_only=create_only,
            )
        except PreconditionFailedError:
            if not create_only:
                raise

    def get(self, name: str) -> Manifest | None:
        """Return entries that were stored; None: there are none."""
        try:
            with self._store.open(self._prefix + name) as reader:
                return Manifest.read(iter(reader), self._limits)
        except NoStoreError:
            raise
        except NotFoundError:
            return None

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Store a small document of JSON values."""
        self._store.write(self._prefix + name, json.dumps(document).encode())

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a document that was stored; None: there is none."""
        try:
            content = self._store.read(self._prefix + name, max_bytes=_DOCUMENT_MAX_BYTES)
        except NoStoreError:
            raise
        except NotFoundError:
            return None
        document: dict[str, Any] = json.loads(content.data)
        return document

    def clear(self, keep: str | None = None) -> None:
        """Remove all that is stored, but perhaps one document."""
        keys = [info.key for info in self._store.list(self._prefix)]
        doomed = [key for key in keys if key != f"{self._prefix}{keep}"]
        for _ in run_all(doomed, self._store.delete, workers=self._workers):
            pass


def _is_plan(text: str) -> bool:
    return len(text) == _PLAN_LENGTH and set(text) <= set("0123456789abcdef")


def scratch_of(shard: Mapping[str, Any], settings: Settings) -> Scratch:
    """Return the scratch folder of a shard or of its result.

    Raises:
        InvalidInputError: It is neither.
        NotFoundError: It is in a folder of another machine.
    """
    try:
        registry, plan = normalize_registry(str(shard["registry"])), str(shard["plan"])
    except KeyError as exc:
        raise InvalidInputError(f"{shard!r} is no shard of a plan: {exc} is missing") from exc
    if is_folder(registry):
        check_folder_is_here(shard, PhysicalKey.parse(registry).path)
    return Scratch(registry, plan, settings)


def sha256_of(manifest: Manifest) -> str:
    """Return the SHA-256 of a manifest's bytes, its places included."""
    digest = hashlib.sha256()
    for chunk in manifest.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def shard_like(value: Any) -> Mapping[str, Any]:
    """Return a shard or result, also from the text that templates make of it.

    Raises:
        InvalidInputError: It is neither.
    """
    if isinstance(value, str):
        value = literal(value)
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{json.dumps(value, default=repr)[:200]} is no shard")
    return value


def whole_number(value: Mapping[str, Any], name: str) -> int:
    """Return a number of a shard.

    Raises:
        InvalidInputError: It is none.
    """
    number = value.get(name)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise InvalidInputError(f"no shard of a plan: {name} is {number!r}")
    return number


def clean_shards(
    registry: RegistryLike | None = None,
    older_than_s: float = WEEK_S,
    *,
    settings: Settings | None = None,
) -> int:
    """Remove what plans that were never merged, and results of merged ones, left in a registry.

    Args:
        registry: Where; None is the default registry.
        older_than_s: Seconds in which nothing of a plan was written.
        settings: Settings; None loads the user's.

    Returns:
        How many plans were removed.
    """
    if not older_than_s >= 0:
        raise InvalidInputError(f"older_than_s is {older_than_s}: it must be 0 or more")
    settings = settings or load_settings()
    url = normalize_registry(registry or settings.registry)
    newest_s: dict[str, float] = {}
    for info in open_store(url, settings).list(SCRATCH):
        plan = info.key[len(SCRATCH) :].split("/")[0]
        if not _is_plan(plan):
            continue  # not ours
        # What has no time was perhaps written just now.
        written_s = time.time() if info.mtime_s is None else info.mtime_s
        newest_s[plan] = max(newest_s.get(plan, 0.0), written_s)
    old = [plan for plan, s in newest_s.items() if s < time.time() - older_than_s]
    for plan in old:
        Scratch(url, plan, settings).clear()
    return len(old)
