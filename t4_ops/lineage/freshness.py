"""What should be made again: stale inputs of a revision, and what depends on one that was wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from t4_ops.keys import PackageRef
from t4_ops.ledger import Event, Input, merge_runs
from t4_ops.lineage.asking import Ledgers
from t4_ops.lineage.current import current_inputs
from t4_ops.lineage.standing import Standing, standings
from t4_ops.lineage.walks import Subject, begin, walk
from t4_ops.settings import Settings


@dataclass(frozen=True)
class Found:
    """A revision in an answer about freshness.

    Attributes:
        standing: The revision, and where it stands today.
        depth: Runs between it and the one asked about; 1 is a direct input or output.
    """

    standing: Standing
    depth: int

    @property
    def ref(self) -> PackageRef:
        """The revision."""
        return self.standing.ref

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**self.standing.to_dict(), "depth": self.depth}


@dataclass(frozen=True)
class Staleness:
    """Which inputs of a revision are not today's.

    Attributes:
        item: The revision asked about.
        inputs: Inputs that `latest` has left, nearest first: it holds another revision now, or
            the package was deleted.
        checked: How many input revisions were compared with `latest`.
        unchecked: Inputs that could not be: sources that are no packages, and packages whose
            registry can't be read.
        unread: Registries and damaged events that could not be read, and why.
        omitted_inputs: How many inputs more the runs that count have read: their events had no room
            to name them, so they were not compared.
    """

    item: Input
    inputs: tuple[Found, ...]
    checked: int
    unchecked: tuple[Input, ...]
    unread: Mapping[str, str] = field(default_factory=dict)
    omitted_inputs: int = 0

    @property
    def is_stale(self) -> bool:
        """Whether an input is not today's."""
        return bool(self.inputs)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return {
            "about": self.item.to_dict(),
            "stale": [found.to_dict() for found in self.inputs],
            "checked": self.checked,
            "unchecked": [item.to_dict() for item in self.unchecked],
            "omitted_inputs": self.omitted_inputs,
            "unread": dict(self.unread),
        }


@dataclass(frozen=True)
class Impact:
    """What depends on a revision.

    Attributes:
        item: The revision, or other source, asked about.
        revisions: What was made from it, nearest first: what is still `latest` of its package or
            can't be checked; everything, where that was asked for.
        readers: Runs that read it, or what was made from it, and published nothing: installs,
            reports, failures; oldest first.
        unread: Registries and damaged events that could not be read, registries beyond
            `MAX_REGISTRIES`, which were not asked, and why.
    """

    item: Input
    revisions: tuple[Found, ...]
    readers: tuple[Event, ...]
    unread: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return {
            "about": self.item.to_dict(),
            "revisions": [found.to_dict() for found in self.revisions],
            "readers": [
                {
                    "run_id": event.run.run_id,
                    "job_namespace": event.run.job_namespace,
                    "job_name": event.run.job_name,
                    "state": event.state,
                    "event_time": event.event_time,
                }
                for event in self.readers
            ],
            "unread": dict(self.unread),
        }


def stale(
    ref: Subject,
    *,
    depth: int | None = None,
    settings: Settings | None = None,
    registries: Iterable[str] = (),
) -> Staleness:
    """Return the inputs of a revision, and their inputs, that `latest` has left since.

    What counts is what the newest successful run read that came to a revision: made again from
    today's inputs, the same bytes are fresh. What leads back to the revision itself, such as a
    promotion and its way back, does not hide what it was made from at first; nor does a run that
    published it again and read nothing else.

    A revision that was read to make the next one of its own package does not count, nor what that
    was made from: a job that adds to what was there yesterday would be stale for ever.

    Args:
        ref: As for `upstream`.
        depth: Runs to go back at most; None for all, 1 for direct inputs. It bounds the answer:
            what leads back to a revision that several runs came to is looked for without bounds.
        settings: How to reach the registries; read from the environment unless given.
        registries: Further registries to ask.

    Raises:
        T4Error: As for `upstream`.
    """
    root, ledgers = begin(ref, depth, settings, registries)
    current = current_inputs(root, ledgers, depth)
    found, unchecked = _stand(current.inputs, ledgers)
    return Staleness(
        root,
        tuple(one for one in found if one.standing.state != "latest"),
        len(found),
        unchecked,
        ledgers.unread,
        current.omitted_inputs,
    )


def _stand(wanted: Mapping[Input, int], ledgers: Ledgers) -> tuple[list[Found], tuple[Input, ...]]:
    refs = {item: item.ref for item in wanted}
    known = standings([ref for ref in refs.values() if ref is not None], ledgers)
    found, unchecked = [], []
    for item, level in wanted.items():
        ref = refs[item]
        if ref is None or known[ref].state == "unknown":
            unchecked.append(item)
        else:
            found.append(Found(known[ref], level))
    return found, tuple(unchecked)


def impact(
    ref: Subject,
    *,
    everything: bool = False,
    depth: int | None = None,
    settings: Settings | None = None,
    registries: Iterable[str] = (),
) -> Impact:
    """Return what was made from a revision, directly or not, and still is `latest`.

    That is what has to be made again if the revision was wrong. Superseded revisions on the way are
    followed: what was made from them may still be in use. A use that an event had no room to name
    can't be found.

    Args:
        ref: As for `upstream`.
        everything: Return superseded revisions too.
        depth: Runs to follow at most; None for all.
        settings: How to reach the registries; read from the environment unless given.
        registries: Registries to look for uses in. A registry records what was published in it, so
            a use elsewhere is found only if an event on the way, the settings or this names it.

    Raises:
        T4Error: As for `upstream`.
    """
    root, ledgers = begin(ref, depth, settings, registries)
    (below,) = walk(ledgers, root, ("downstream",), depth)
    made = {node.item: level for node, level in below.walk_depths() if level}
    refs = {item.ref: level for item, level in made.items() if item.ref is not None}
    known = standings(refs, ledgers, ordered=everything)
    kept = ("latest", "unknown")
    found = [
        Found(known[ref], level)
        for ref, level in refs.items()
        if everything or known[ref].state in kept
    ]
    runs = merge_runs(step.event for node in below.walk() for step in node.steps)
    readers = tuple(event for event in runs if not event.outputs)
    return Impact(root, tuple(found), readers, ledgers.unread)
