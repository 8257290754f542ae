"""Reading the ledger: which events name a revision, found by their markers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from t4_ops.keys import Dataset, PackageRef
from t4_ops.ledger.datasets import Output, merged_inputs
from t4_ops.ledger.events import EVENT_MAX_BYTES
from t4_ops.ledger.layout import Role, event_id_of_marker, event_key, marker_prefix
from t4_ops.ledger.parsing import Event
from t4_ops.storage import Store


def read_event(store: Store, event_id: str) -> Event:
    """Return one event of a registry.

    Raises:
        NotFoundError: The registry has no such event.
        FormatError: What is stored is no run event.
    """
    key = event_key(event_id)
    return Event.parse(store.read(key, max_bytes=EVENT_MAX_BYTES).data, key)


def event_ids_for(store: Store, role: Role, dataset: Dataset, top_hash: str | None) -> list[str]:
    """Return the ids of the events that name one version of a dataset: one listing.

    An id may have no event: its writer is between marker and event, or died there.

    Args:
        store: The registry to ask.
        role: `outputs` for the runs that published it, `inputs` for those that read it.
        dataset: The dataset.
        top_hash: Its version; None for reads of a source without one.
    """
    found = (
        event_id_of_marker(info.key) for info in store.list(marker_prefix(role, dataset, top_hash))
    )
    return [event_id for event_id in found if event_id is not None]


def oldest_first(events: Iterable[Event]) -> list[Event]:
    """Return events in the order of their times, each once."""
    return sorted({event.event_id: event for event in events}.values(), key=_order)


def _order(event: Event) -> tuple[str, str]:
    return event.event_time, event.event_id


def merge_runs(events: Iterable[Event]) -> list[Event]:
    """Return one event for each run: the newest one, with what all of them read and published."""
    runs: dict[str, Event] = {}
    for event in oldest_first(events):
        before = runs.pop(event.run.run_id, event)
        runs[event.run.run_id] = replace(
            event,
            inputs=merged_inputs(before.inputs + event.inputs),
            outputs=_merged_outputs(before.outputs + event.outputs),
            omitted_inputs=max(before.omitted_inputs, event.omitted_inputs),
        )
    return sorted(runs.values(), key=_order)


def _merged_outputs(outputs: Iterable[Output]) -> tuple[Output, ...]:
    """Return each revision once; one that a try published is not unchanged for a later try."""
    found: dict[PackageRef, Output] = {}
    for output in outputs:
        before = found.get(output.ref)
        if before is None or output.changed or not before.changed:
            found[output.ref] = output
    return tuple(found.values())
