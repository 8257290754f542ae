"""Noting what was published: at once, or for the end of the run around it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from t4_ops.keys import PackageRef
from t4_ops.ledger.current import current
from t4_ops.ledger.datasets import MAX_INPUTS, Input, Output, merged_inputs
from t4_ops.ledger.events import State
from t4_ops.ledger.gathering import Gathered, made_from
from t4_ops.ledger.runs import RunInfo
from t4_ops.ledger.writing import RecordedEvent, StoreOpener, record
from t4_ops.settings import Settings
from t4_ops.storage import Store

MANY_MARKERS: Final = 10_000
"""From so many markers of one run on, a warning says how to write fewer."""

_log = logging.getLogger("t4_ops.lineage")


def note_published(
    output: Output,
    inputs: Iterable[Input],
    *,
    settings: Settings,
    open_store: StoreOpener,
    run: RunInfo | None = None,
    needs_run: bool = True,
) -> tuple[Input, ...]:
    """Note that a revision was published.

    Inside a run whose end is seen it is kept for the event at that end. In any other run it is
    recorded now, with all that the run has read until now.

    Args:
        output: The revision.
        inputs: What it was made from, besides what the run has read.
        settings: How its registry was reached.
        open_store: Opens a registry's store.
        run: The run this is known to be, unless somebody sees to the end of the one around it.
        needs_run: Whether nothing is noted outside a run; else it is recorded as one of its own.

    Returns:
        What the revision was made from, all that is known of it.

    Raises:
        StorageError: `settings.lineage` is `required`, and a registry did not take the event, or
            an orchestrator can't tell its run.
    """
    given = merged_inputs(inputs)
    if settings.lineage == "off":
        return given[:MAX_INPUTS]
    gathered = current(run, mode=settings.lineage)
    if gathered is None:
        if needs_run:
            return given[:MAX_INPUTS]
        gathered = Gathered(RunInfo.here(), has_end=False)
    known = made_from(gathered.inputs_with(given), [output])
    if not (gathered.has_end and gathered.publish(output, given, settings)):
        record(
            gathered.run,
            known,
            [gathered.with_columns(output)],
            settings=settings,
            open_store=open_store,
            omitted_inputs=gathered.omitted_inputs,
            secrets=gathered.secrets,
        )
        _count_markers(gathered, len(known) + 1)
    return known[:MAX_INPUTS]


def _count_markers(gathered: Gathered, count: int) -> None:
    before, now = gathered.add_markers(count)
    if before <= MANY_MARKERS < now:
        _log.warning(
            "run %s has written more than %d lineage markers, because each publication is recorded"
            " with all that the run has read until then: put `with lineage.run(job=...)` around"
            " each item of its loop",
            gathered.run.run_id,
            MANY_MARKERS,
        )


def note_fetched(
    ref: PackageRef,
    paths: Iterable[str] = (),
    *,
    settings: Settings,
    open_store: StoreOpener,
    run: RunInfo | None = None,
) -> None:
    """Note that a step read a revision; unless the end of its run is seen, record it now.

    Arguments are those of `note_published`; `paths` are the keys and directories that were read, if
    not all was.

    Raises:
        StorageError: `settings.lineage` is `required`, a lineage registry is set, and it did not
            take the event.
    """
    if settings.lineage == "off":
        return
    gathered = current(run, mode=settings.lineage) or Gathered(RunInfo.here(), has_end=False)
    read = Input.of_ref(ref, paths)
    gathered.read_ref(ref, settings, read.paths, is_whole=True)
    if not gathered.has_end:
        record(
            gathered.run,
            [read],
            [],
            settings=settings,
            open_store=open_store,
            secrets=gathered.secrets,
        )


def close(
    gathered: Gathered,
    *,
    settings: Settings,
    open_store: StoreOpener,
    state: State = "COMPLETE",
    error: BaseException | None = None,
) -> RecordedEvent:
    """Record the end of a run, with all that it read and published.

    What threads of the run publish after it is recorded at once.

    Args:
        gathered: The run.
        settings: How to record, and how to reach registries that the run did not reach itself.
        open_store: Opens a registry's store.
        state: How it ended.
        error: Why the run failed; None: it did not.

    Raises:
        StorageError: As `record`.
    """
    ended = gathered.end()
    for name in ended.unused_columns:
        _log.warning(
            "column lineage of %r was given, but run %s did not publish it",
            name,
            gathered.run.run_id,
        )

    def opener(registry: str, _: Settings) -> Store:
        return open_store(registry, gathered.settings_of(registry, settings))

    return record(
        gathered.run,
        made_from(ended.inputs, ended.outputs),
        ended.outputs,
        settings=settings,
        open_store=opener,
        state=state,
        error=error,
        omitted_inputs=ended.omitted_inputs,
        secrets=gathered.secrets,
    )
