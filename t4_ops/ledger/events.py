"""One OpenLineage run event, built with the OpenLineage client's own classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from t4_ops.errors import InvalidInputError
from t4_ops.ledger.dataset_facets import input_dataset, output_dataset
from t4_ops.ledger.datasets import Input, Output
from t4_ops.ledger.producing import PACKAGE_FACET, RUN_FACET, producer
from t4_ops.ledger.run_facets import job_facets, run_facets
from t4_ops.ledger.runs import RunInfo

__all__ = [
    "EVENT_MAX_BYTES",
    "PACKAGE_FACET",
    "RUN_FACET",
    "BuiltEvent",
    "State",
    "Statement",
    "build_event",
    "fitted",
]

State = Literal["COMPLETE", "FAIL", "ABORT"]

EVENT_MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest event written or read; 10,000 inputs take about 4 MB."""
# What an input takes besides its names, at most: version facet, producer and schema URLs.
_INPUT_BYTES: Final = 400


class TooLargeError(InvalidInputError):
    """An event is larger than `EVENT_MAX_BYTES`."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What an event says of a run.

    Attributes:
        inputs: What it read.
        outputs: What it published.
        omitted_inputs: How many inputs more there were than it names.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    omitted_inputs: int = 0


@dataclass(frozen=True, slots=True)
class BuiltEvent:
    """An event in both its forms.

    Attributes:
        event: The OpenLineage client's `RunEvent`, for transports.
        data: The same as JSON, for the ledger.
    """

    event: Any
    data: bytes


def build_event(
    run: RunInfo,
    statement: Statement,
    *,
    state: State,
    error: BaseException | str | None,
    event_time: datetime | None,
    secrets: Iterable[str] = (),
) -> BuiltEvent:
    """Return an OpenLineage RunEvent.

    Args:
        run: The run.
        statement: What it read and published.
        state: How it ended.
        error: Why it failed.
        event_time: When; now unless given. It needs an offset from UTC.
        secrets: Credentials in use, hidden in messages.

    Raises:
        InvalidInputError: The time has no offset.
        TooLargeError: The event is larger than `EVENT_MAX_BYTES`.
    """
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.serde import Serde

    moment = event_time or datetime.now(UTC)
    if moment.tzinfo is None:
        raise InvalidInputError(f"event time {moment.isoformat()} needs an offset from UTC")
    hidden = tuple(secrets)
    event = RunEvent(
        eventTime=moment.astimezone(UTC).isoformat(),
        eventType=RunState[state],
        producer=producer(),
        run=Run(runId=run.run_id, facets=run_facets(run, error, hidden, statement.omitted_inputs)),
        job=Job(namespace=run.job_namespace, name=run.job_name, facets=job_facets(run)),
        inputs=[input_dataset(item) for item in statement.inputs],
        outputs=[output_dataset(item, hidden) for item in statement.outputs],
    )
    text = json.dumps(Serde.to_dict(event), sort_keys=True, separators=(",", ":"), allow_nan=False)
    data = text.encode("ascii")
    if len(data) > EVENT_MAX_BYTES:
        raise TooLargeError(
            f"the lineage event of run {run.run_id} is {len(data)} bytes, more than"
            f" {EVENT_MAX_BYTES}: name fewer inputs"
        )
    return BuiltEvent(event, data)


def fitted(
    build: Callable[[Statement], BuiltEvent], statement: Statement
) -> list[tuple[Statement, BuiltEvent]]:
    """Return the event of a statement, or where it would be too large, what comes closest to it.

    That is, in this order: without the columns of tables, without paths and column lineage, as
    several events of the same run for some of the outputs each, with fewer inputs.

    Args:
        build: Builds the event of a statement, or raises `TooLargeError`.
        statement: What there is to say.

    Raises:
        TooLargeError: Nothing of it fits, not even a single output.
    """
    try:
        return [(statement, build(statement))]
    except TooLargeError:
        smaller = _smaller(statement)
        if not smaller:
            raise
    return [event for part in smaller for event in fitted(build, part)]


def _smaller(statement: Statement) -> list[Statement]:
    inputs, outputs = statement.inputs, statement.outputs
    if any(output.columns for output in outputs):
        return [replace(statement, outputs=tuple(replace(o, columns=()) for o in outputs))]
    if any(item.paths for item in inputs) or any(output.column_lineage for output in outputs):
        bare = tuple(replace(item, paths=()) for item in inputs)
        bare_outputs = tuple(replace(output, column_lineage=()) for output in outputs)
        return [replace(statement, inputs=bare, outputs=bare_outputs)]
    half = len(outputs) // 2
    # Each of several events names all inputs: not where those are what takes the space.
    if half and _size_bytes(inputs) < EVENT_MAX_BYTES // 2:
        return [replace(statement, outputs=part) for part in (outputs[:half], outputs[half:])]
    kept = inputs[: len(inputs) // 2]
    omitted = statement.omitted_inputs + len(inputs) - len(kept)
    return [Statement(kept, outputs, omitted)] if inputs else []


def _size_bytes(inputs: Sequence[Input]) -> int:
    """Return about how much of an event inputs without paths take."""
    return sum(_INPUT_BYTES + len(json.dumps((i.namespace, i.name, i.version))) for i in inputs)
