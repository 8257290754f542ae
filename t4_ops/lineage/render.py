"""Answers as text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from t4_ops.keys import PhysicalKey
from t4_ops.ledger import Event, Input
from t4_ops.lineage.graph import Node, Subject, downstream, pinned, upstream
from t4_ops.settings import Settings, load_settings

_ARROWS: Final = {"upstream": "<-", "downstream": "->"}
# As in git: enough digits to tell revisions of one package apart by eye.
_SHORT_HASH: Final = 8
_INDENT: Final = "   "


def render(node: Node) -> str:
    """Return an answer as text: the dataset, then below it runs and datasets, indented in turn."""
    return "\n".join([label(node.item), *_below(node), *_notes([node])])


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
    settings = settings or load_settings()
    item = pinned(ref, settings)
    wanted = list(registries)
    answers = [
        ask(item, depth=depth, settings=settings, registries=wanted)
        for ask in (upstream, downstream)
    ]
    lines = [line for answer in answers for line in _below(answer)]
    if not lines and depth != 0:
        lines = ["  (no lineage recorded)"]
    return "\n".join([label(item), *lines, *_notes(answers)])


def label(item: Input) -> str:
    """Return a dataset in one line: its address and the beginning of its version."""
    if item.namespace == "file":
        address = str(PhysicalKey(None, item.name))
    else:
        address = f"{item.namespace}/{item.name}"
    version = "" if item.version is None else f"@{item.version[:_SHORT_HASH]}"
    return _printable(address + version)


def _run_line(event: Event) -> str:
    run = event.run
    facts = [f"run {run.run_id}", event.event_time]
    if run.attempt > 1:
        facts.append(f"attempt {run.attempt}")
    if event.state != "COMPLETE":
        facts.append(event.state.lower())
    return _printable(f"{run.engine or run.job_namespace}: {run.job_name} ({', '.join(facts)})")


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
        yield f"{pad}{arrow} {_run_line(step.event)}", None, level
        for child in step.nodes:
            again = " (shown elsewhere)" if child.is_repeat else ""
            line = f"{pad}{_INDENT}{arrow} {label(child.item)}{again}"
            yield line, child, level + 2


def _notes(answers: Iterable[Node]) -> list[str]:
    unread = {registry: why for answer in answers for registry, why in answer.unread.items()}
    return [
        _printable(f"note: {registry} can't be read: {why}") for registry, why in unread.items()
    ]


def _printable(text: str) -> str:
    """Return text that can't steer a terminal: names in events are other people's."""
    return "".join(char if char.isprintable() else "?" for char in text)
