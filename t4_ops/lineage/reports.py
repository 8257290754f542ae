"""Answers about freshness and origin as text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from t4_ops.ledger import Event, Input
from t4_ops.lineage.freshness import Found, Impact, Staleness
from t4_ops.lineage.origins import Holder, Origin
from t4_ops.lineage.render import counted, label, notes, printable, run_line, short

# States in which `latest` is another revision.
_MOVED: Final = ("newer", "rolled back", "other")


def render_stale(answer: Staleness) -> str:
    """Return what is stale as text: a line for each input, nearest first."""
    stale = counted(len(answer.inputs), "stale input")
    lines = [f"{label(answer.item)}: {stale} of {answer.checked:,} checked"]
    lines += _found(answer.inputs)
    lines += [f"  not checked: {label(item)}" for item in answer.unchecked]
    if answer.omitted_inputs:
        left_out = counted(answer.omitted_inputs, "input")
        lines.append(f"  not checked: {left_out} that events had no room to name")
    return "\n".join([*lines, *notes(answer.unread)])


def render_impact(answer: Impact) -> str:
    """Return what depends on a revision as text: revisions nearest first, then runs."""
    depends = "depends" if len(answer.revisions) == 1 else "depend"
    lines = [f"{label(answer.item)}: {counted(len(answer.revisions), 'revision')} {depends} on it"]
    lines += _found(answer.revisions)
    lines += [f"  read by {run_line(event)}" for event in answer.readers]
    return "\n".join([*lines, *notes(answer.unread)])


def render_origin(answer: Origin) -> str:
    """Return where bytes come from as text: the way back, then where they appeared."""
    start = answer.holders[0]
    size_bytes = answer.entry.size_bytes
    size = "" if size_bytes is None else f" ({counted(size_bytes, 'byte')})"
    lines = [f"{_place(start)}{size}"]
    lines += [f"  <- {_way(holder)} {_place(holder)}" for holder in answer.holders[1:]]
    first = answer.first
    lines.append(f"appeared in {_place(first)}")
    lines += [line for event in first.runs for line in _publication(event)]
    if not first.runs:
        lines.append("  (no run recorded)")
    return "\n".join([*lines, *notes(answer.unread)])


def _found(revisions: Iterable[Found]) -> Iterator[str]:
    for found in revisions:
        standing = found.standing
        now = f": latest is {short(standing.latest)}" if standing.state in _MOVED else ""
        item = label(Input.of_ref(found.ref))
        yield f"  {item} ({_runs(found.depth)}) {standing.state}{now}"


def _runs(depth: int) -> str:
    return counted(depth, "run")


def _way(holder: Holder) -> str:
    return f"{_runs(holder.depth)}{', carried on from' if holder.is_carried else ''}"


def _place(holder: Holder) -> str:
    return printable(f"{label(Input.of_ref(holder.ref))}: {', '.join(holder.logical_keys)}")


def _publication(event: Event) -> Iterator[str]:
    yield f"  by {run_line(event)}"
    for item in event.inputs:
        yield f"     from {label(item)}"
