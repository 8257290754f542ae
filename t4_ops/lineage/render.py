"""Answers as text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from t4_ops.keys import PhysicalKey
from t4_ops.ledger import Event, Input
from t4_ops.lineage.walks import Node, Subject, begin, walk
from t4_ops.settings import Settings

_ARROWS: Final = {"upstream": "<-", "downstream": "->"}
# As in git's own listings.
_SHORT_HASH: Final = 8
_INDENT: Final = "   "


def render(node: Node) -> str:
    """Return an answer as text: the dataset, then below it runs and datasets, indented in turn."""
    return "\n".join([label(node.item), *_below(node), *notes(node.unread)])


def tree(
    ref: Subject,
    *,
    depth: int | None = None,
    settings: Settings | None = None,
    registries: Iterable[str] = (),
) -> str:
    """Return the lineage above (`<-`) and below (`->`) a revision as text.

    Arguments and errors are those of `upstream`.
    """
    root, ledgers = begin(ref, depth, settings, registries)
    answers = walk(ledgers, root, ("upstream", "downstream"), depth)
    lines = [line for answer in answers for line in _below(answer)]
    if not lines and depth != 0:
        lines = ["  (no lineage recorded)"]
    return "\n".join([label(root), *lines, *notes(ledgers.unread)])


def label(item: Input) -> str:
    """Return a dataset in one line: its address and the beginning of its version."""
    if item.namespace == "file":
        address = str(PhysicalKey(None, item.name))
    else:
        address = f"{item.namespace}/{item.name}"
    version = "" if item.version is None else f"@{short(item.version)}"
    return printable(address + version)


def short(version: str | None) -> str:
    """Return the beginning of a version, enough to tell a package's revisions apart by eye."""
    return (version or "")[:_SHORT_HASH]


def run_line(event: Event) -> str:
    """Return a run in one line: engine, job, run id, time."""
    run = event.run
    facts = [f"run {run.run_id}", event.event_time]
    if run.attempt > 1:
        facts.append(f"attempt {run.attempt}")
    if event.state != "COMPLETE":
        facts.append(event.state.lower())
    return printable(f"{run.engine or run.job_namespace}: {run.job_name} ({', '.join(facts)})")


def counted(number: int, noun: str) -> str:
    """Return a number with a noun that has its plural in s."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _below(root: Node) -> Iterator[str]:
    """Yield the lines below a node, without recursion: a chain of runs may be long."""
    arrow = _ARROWS[root.direction]
    waiting = list(_children(root, 0, arrow))[::-1]
    while waiting:
        line, node, level = waiting.pop()
        yield line
        if node is not None:
            waiting.extend(list(_children(node, level, arrow))[::-1])


def _children(node: Node, level: int, arrow: str) -> Iterator[tuple[str, Node | None, int]]:
    pad = "  " + _INDENT * level
    for step in node.steps:
        yield f"{pad}{arrow} {run_line(step.event)}", None, level
        for child in step.nodes:
            again = " (shown elsewhere)" if child.is_repeat else ""
            line = f"{pad}{_INDENT}{arrow} {label(child.item)}{again}"
            yield line, child, level + 2


def notes(unread: Mapping[str, str]) -> list[str]:
    """Return a line for each registry, revision or event that could not be read."""
    return [printable(f"note: {what} can't be read: {why}") for what, why in unread.items()]


def printable(text: str) -> str:
    """Return text that can't steer a terminal: names in events are other people's."""
    return "".join(char if char.isprintable() else "?" for char in text)
