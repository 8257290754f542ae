"""Reading the ledger: which events name a revision, found by their markers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from t4_ops.errors import FormatError, NotFoundError
from t4_ops.keys import Dataset
from t4_ops.ledger.datasets import Input, Output
from t4_ops.ledger.events import EVENT_MAX_BYTES, PACKAGE_FACET, RUN_FACET
from t4_ops.ledger.layout import Role, event_id_of_marker, event_key, marker_prefix
from t4_ops.ledger.runs import JobRun, RunInfo
from t4_ops.storage import Store


@dataclass(frozen=True)
class Event:
    """A recorded event.

    Attributes:
        event_id: Its derived id.
        state: OpenLineage event type: `COMPLETE`, `FAIL`.
        event_time: When, ISO 8601.
        run: The run.
        inputs: What it read.
        outputs: The revisions it published.
        error: Why it failed.
    """

    event_id: str
    state: str
    event_time: str
    run: RunInfo
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    error: str | None = None

    @classmethod
    def parse(cls, data: bytes, key: str) -> Event:
        """Read an OpenLineage run event.

        Facets that are unknown are passed over and those that are missing leave their field empty.

        Args:
            data: The JSON text.
            key: Where it was read from: its last component is the event's id.

        Raises:
            FormatError: It is no run event.
        """
        try:
            document = json.loads(data)
            return cls._of(document, key.rpartition("/")[2].removesuffix(".json"))
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as exc:
            reason = f"{type(exc).__name__}: {exc}"[:200]
            raise FormatError(
                f"{key} is no OpenLineage run event ({reason}): restore it from a backup, or delete"
                " it and run its step again",
                key=key,
            ) from exc

    @classmethod
    def _of(cls, document: Any, event_id: str) -> Event:
        facets = _table(document["run"].get("facets"))
        outputs = (_output(item) for item in document.get("outputs") or ())
        return cls(
            event_id=event_id,
            state=str(document.get("eventType") or "OTHER"),
            event_time=str(document["eventTime"]),
            run=_run(document, facets),
            inputs=tuple(_input(item) for item in document.get("inputs") or ()),
            outputs=tuple(output for output in outputs if output is not None),
            error=_text(_table(facets.get("errorMessage")).get("message")),
        )


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _run(document: Mapping[str, Any], facets: Mapping[str, Any]) -> RunInfo:
    engine = _table(facets.get("processing_engine"))
    parent = _table(facets.get("parent"))
    root = _table(parent.get("root"))
    job = document["job"]
    return RunInfo(
        run_id=document["run"]["runId"],
        job_namespace=job["namespace"],
        job_name=job["name"],
        parent=_job_run(parent) if parent else None,
        root=_job_run(root) if root else None,
        nominal_time=_text(_table(facets.get("nominalTime")).get("nominalStartTime")),
        attempt=_count(_table(facets.get(RUN_FACET)).get("attempt")) or 1,
        engine=_text(engine.get("name")),
        engine_version=_text(engine.get("version")),
    )


def _job_run(facet: Mapping[str, Any]) -> JobRun:
    job = facet["job"]
    return JobRun(
        run_id=facet["run"]["runId"], job_namespace=job["namespace"], job_name=job["name"]
    )


def _input(item: Any) -> Input:
    version = _table(_table(item.get("facets")).get("version")).get("datasetVersion")
    return Input.from_dict(
        {"namespace": item["namespace"], "name": item["name"], "version": version}
    )


def _output(item: Any) -> Output | None:
    """Return an output, or None for a dataset that is no package: other writers may add some."""
    ref = _input(item).ref
    if ref is None:
        return None
    package = _table(_table(item.get("facets")).get(PACKAGE_FACET))
    statistics = _table(_table(item.get("outputFacets")).get("outputStatistics"))
    return Output(
        ref,
        files=_count(statistics.get("fileCount")),
        size_bytes=_count(statistics.get("size")),
        changed=package.get("changed") is not False,
        message=_text(package.get("message")),
        parent=_text(package.get("parentTopHash")),
    )


def read_event(store: Store, event_id: str) -> Event:
    """Return one event of a registry.

    Raises:
        NotFoundError: The registry has no such event.
        FormatError: What is stored is no run event.
    """
    key = event_key(event_id)
    return Event.parse(store.read(key, max_bytes=EVENT_MAX_BYTES).data, key)


def events_for(store: Store, role: Role, dataset: Dataset, top_hash: str | None) -> list[Event]:
    """Return the events that name one version of a dataset, oldest first.

    One listing and one read for each event found, whatever else the ledger holds.

    Args:
        store: The registry to ask.
        role: `outputs` for the runs that published it, `inputs` for those that read it.
        dataset: The dataset.
        top_hash: Its version; None for reads of a source without one.

    Raises:
        FormatError: An event is damaged.
    """
    found: list[Event] = []
    for info in store.list(marker_prefix(role, dataset, top_hash)):
        event_id = event_id_of_marker(info.key)
        if event_id is None:
            continue
        try:
            found.append(read_event(store, event_id))
        except NotFoundError:
            # Its writer is between marker and event, or died there.
            continue
    return sorted(found, key=_order)


def _order(event: Event) -> tuple[str, str]:
    return event.event_time, event.event_id


def merge_runs(events: Iterable[Event]) -> list[Event]:
    """Return one event for each run: the newest one, with what all of them read and published."""
    runs: dict[str, Event] = {}
    for event in sorted({event.event_id: event for event in events}.values(), key=_order):
        before = runs.pop(event.run.run_id, event)
        runs[event.run.run_id] = replace(
            event,
            inputs=tuple(dict.fromkeys(before.inputs + event.inputs)),
            outputs=tuple({o.ref: o for o in before.outputs + event.outputs}.values()),
        )
    return sorted(runs.values(), key=_order)
