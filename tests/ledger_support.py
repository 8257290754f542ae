"""What the tests of ledger and lineage share: revisions, stores that count or fail, validation."""

from __future__ import annotations

import hashlib
import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry as Schemas
from referencing import Resource

import t4_ops.ledger
from t4_ops.errors import NotFoundError, StorageError
from t4_ops.keys import Dataset, PackageRef
from t4_ops.ledger import (
    Event,
    Gathered,
    Input,
    Output,
    RecordedEvent,
    Role,
    RunInfo,
    enter,
    event_ids_for,
    leave,
    oldest_first,
    read_event,
    record,
)
from t4_ops.settings import S3Settings, Settings
from t4_ops.storage import ObjectInfo, Store, open_store

SCHEMAS = Path(__file__).parent / "openlineage_schemas"
OWN_SCHEMAS = Path(t4_ops.ledger.__file__).parent / "schemas"
EVENTS = ".t4/v1/lineage/events/"


def top_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def revision(registry: str | Path, name: str, content: str = "") -> PackageRef:
    return PackageRef(str(registry), name, top_hash(content or name))


def note(
    inputs: list[PackageRef | Input],
    outputs: list[PackageRef],
    *,
    run: RunInfo | None = None,
    **settings: Any,
) -> RecordedEvent:
    """Record a run of a script that read `inputs` and published `outputs`."""
    return record(
        run or RunInfo.here("script"),
        [item if isinstance(item, Input) else Input.of_ref(item) for item in inputs],
        [Output(ref) for ref in outputs],
        settings=Settings(**settings),
        open_store=open_store,
    )


def events_for(store: Store, role: Role, dataset: Dataset, version: str | None) -> list[Event]:
    """Return the events that name a version of a dataset; markers without one are passed over."""
    found = []
    for event_id in event_ids_for(store, role, dataset, version):
        with suppress(NotFoundError):
            found.append(read_event(store, event_id))
    return oldest_first(found)


def stored_events(registry: str | Path) -> dict[str, Any]:
    """Return the events of a registry, by id, as any JSON reader sees them."""
    store = open_store(str(registry), Settings())
    return {
        info.key.removeprefix(EVENTS).removesuffix(".json"): json.loads(store.read(info.key).data)
        for info in store.list(EVENTS)
    }


@contextmanager
def no_server() -> Iterator[S3Settings]:
    """Lead S3 to a port of this machine that is taken, but where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield S3Settings(
            endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}",
            region="us-east-1",
            access_key_id="key-id",
            secret_access_key="secret",
            max_attempts=1,
        )


class CountingStore:
    """A real store that counts the calls that reach it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("is_") and name != "url":
            self.calls[name] += 1
        return getattr(self._store, name)


class FaultyStore:
    """A real store whose next `faults` calls of head and write fail; None: all of them."""

    def __init__(self, store: Store, faults: int | None, *, retryable: bool) -> None:
        self._store = store
        self._faults = faults
        self._retryable = retryable
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _maybe_fail(self, key: str) -> None:
        if self._faults is None or self.failed < self._faults:
            self.failed += 1
            raise StorageError(f"no answer for {key}", key=key, retryable=self._retryable)

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo:
        self._maybe_fail(key)
        return self._store.head(key, version_id=version_id)

    def write(
        self, key: str, data: bytes, *, create_only: bool = False, if_match: str | None = None
    ) -> ObjectInfo:
        self._maybe_fail(key)
        return self._store.write(key, data, create_only=create_only, if_match=if_match)


@cache
def _schemas() -> Schemas[Any]:
    paths = [*SCHEMAS.rglob("*.json"), *OWN_SCHEMAS.glob("*.json")]
    contents = [json.loads(path.read_text()) for path in paths]
    return Schemas().with_resources(
        (content["$id"], Resource.from_contents(content)) for content in contents
    )


@cache
def _validator(schema_url: str) -> Draft202012Validator:
    return Draft202012Validator(
        {"$ref": schema_url}, registry=_schemas(), format_checker=FormatChecker()
    )


def check_schema(value: Any, schema_url: str) -> None:
    """Fail unless `value` is valid by a schema that lies in the repository."""
    _validator(schema_url).validate(value)


def check_event(event: Any) -> int:
    """Validate an event and each of its facets by its own schema; return how many facets it has."""
    check_schema(event, event["schemaURL"])
    facets = [*event["run"]["facets"].items(), *event["job"]["facets"].items()]
    for dataset in event["inputs"] + event["outputs"]:
        for kind in ("facets", "inputFacets", "outputFacets"):
            facets += dataset.get(kind, {}).items()
    for name, facet in facets:
        schema, _, _ = facet["_schemaURL"].partition("#")
        # The whole schema says under which name its facet stands, the fragment what is in it.
        check_schema({name: facet}, schema)
        check_schema(facet, facet["_schemaURL"])
    return len(facets)


def record_one(registry: str, run_id: str) -> RecordedEvent:
    """Record an event that is the same in every process."""
    run = RunInfo(run_id=run_id, job_namespace="test", job_name="job")
    sources = [revision(registry, f"in/p{number}") for number in range(20)]
    return note(list(sources), [revision(registry, "out/p")], run=run)


@contextmanager
def use_run(run: RunInfo) -> Iterator[RunInfo]:
    """Make a run whose end nobody sees the current one of this context, as in a plain task."""
    token = enter(Gathered(run, has_end=False))
    try:
        yield run
    finally:
        leave(token)
