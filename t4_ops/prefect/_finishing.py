"""The end of a task: its log line, its result, and what waits for the end of its transaction."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger

from t4_ops import operations
from t4_ops.errors import T4Error
from t4_ops.prefect import assets, events
from t4_ops.prefect._moves import Outcome, Undo, at_end
from t4_ops.prefect.artifacts import show_revision
from t4_ops.prefect.revisions import Revision
from t4_ops.settings import Settings

if TYPE_CHECKING:
    from t4_ops.operations import Move

# Of these steps there is nothing to say when they change nothing: they never do.
_READING: Final = ("browsed", "verified", "found")
_log = logging.getLogger("t4_ops.prefect")


def built(result: Mapping[str, Any], undo: Undo | None) -> Revision:
    """End a task that made a revision whose files may lie anywhere: nobody is told of it yet."""
    at_end(Outcome(undo=undo))
    return finished("built", result)


def pushed(
    verb: str,
    result: Mapping[str, Any],
    undo: Undo | None,
    settings: Settings,
    *,
    is_news: bool,
) -> Revision:
    """End a task that brought `latest` to a revision that is all there.

    Args:
        verb: What was done.
        result: The step's result.
        undo: How to take it back.
        settings: How to reach the registry.
        is_news: Whether to tell it: not if all was so before.
    """
    if TaskRunContext.get() is not None:
        news = None
        if is_news:
            news = events.told(events.PUSHED, result, _move(result, settings))
        at_end(Outcome(news, assets.made(result), undo))
        if news is not None:
            show_revision(result, undo.before if undo else None, settings=settings)
    return finished(verb, result)


def was_read(verb: str, result: Mapping[str, Any], event: str | None = None) -> Revision:
    """End a task that read a revision.

    Args:
        verb: What was done.
        result: The step's result.
        event: The event that tells it, if one does.
    """
    if TaskRunContext.get() is not None:
        assets.read(result)
        at_end(Outcome(None if event is None else events.told(event, result)))
    return finished(verb, result)


def deleted(result: Mapping[str, Any]) -> None:
    """End a task that took a revision away."""
    if result["changed"]:
        at_end(Outcome(events.told(events.DELETED, result)))
    log("deleted %s: latest is %s", result["uri"], result["latest"] or "gone")


def finished(verb: str, result: Mapping[str, Any]) -> Revision:
    """Log a step's end, in the run's own log if there is a run, and return its result."""
    note = "" if result["changed"] or verb in _READING else ", all there already"
    log(
        "%s %s: %s files, %s bytes%s",
        verb,
        result["uri"],
        result["files"],
        result["size_bytes"],
        note,
    )
    return Revision.of(result)


def log(text: str, *values: object) -> None:
    """Write a line where the user looks for it."""
    in_run = TaskRunContext.get() is not None or FlowRunContext.get() is not None
    (get_run_logger() if in_run else _log).info(text, *values)


def _move(result: Mapping[str, Any], settings: Settings) -> Move | None:
    """Return the move under whose id watchers report it too; None: then it has an id of its own."""
    try:
        return operations.move_of(result, settings=settings)
    except T4Error as exc:
        _log.warning("%s: its pointer was not read again: %s", result["uri"], exc)
        return None
