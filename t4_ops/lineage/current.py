"""Which inputs of a revision count today: those of the newest run that came to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from t4_ops.ledger import Event, Input
from t4_ops.lineage.asking import Ledgers


@dataclass(frozen=True)
class Current:
    """What counts of a revision's lineage.

    Attributes:
        inputs: The inputs that count, and theirs, nearest first, each with the runs between it and
            the revision.
        omitted_inputs: How many inputs more the runs read that count, which their events had no
            room for.
    """

    inputs: dict[Input, int]
    omitted_inputs: int


def current_inputs(root: Input, ledgers: Ledgers, depth: int | None) -> Current:
    """Return the inputs that count, and theirs.

    `depth` bounds the answer only. Where several runs came to one revision, the way is looked at to
    its end: what leads back there may be further away.

    Args:
        root: The revision.
        ledgers: Whom to ask. A registry met late may know more about a revision met early, so it is
            asked until no new one is met.
        depth: Runs to go back at most; None for all.

    Raises:
        T4Error: A required registry can't be read.
    """
    while True:
        known = ledgers.known
        found = _inputs(root, ledgers, depth)
        if ledgers.known == known:
            return found


def _inputs(root: Input, ledgers: Ledgers, depth: int | None) -> Current:
    found: dict[Input, int] = {}
    # By run: each of its events counts anew what had no room.
    omitted: dict[str, int] = {}
    level, number = [root], 0
    while level and number != depth:
        number += 1
        published = ledgers.events(level, "outputs")
        below: list[Input] = []
        for item in level:
            for event in _that_count(item, published[item], ledgers):
                run_id = event.run.run_id
                omitted[run_id] = max(omitted.get(run_id, 0), event.omitted_inputs)
                for one in event.inputs:
                    # A revision of the same package was only carried on.
                    if one != root and one not in found and one.dataset != item.dataset:
                        found[one] = number
                        below.append(one)
        level = below
    return Current(found, sum(omitted.values()))


def _that_count(item: Input, published: Sequence[Event], ledgers: Ledgers) -> list[Event]:
    """Return the newest event, and the newest one that read nothing made from the item.

    Publishing a revision again in place reads nothing else, so such an event names no inputs; it
    does not hide what the revision was made from. Nor does a failure, where another run succeeded.
    """
    told = [event for event in published if event.inputs or event.omitted_inputs]
    done = [event for event in told if event.state == "COMPLETE"] or told
    if len(done) < 2:
        return done
    for event in reversed(done):
        if not _leads_to(item, event.inputs, ledgers):
            return [done[-1]] if event is done[-1] else [done[-1], event]
    return [done[-1]]


def _leads_to(item: Input, inputs: Iterable[Input], ledgers: Ledgers) -> bool:
    """Return whether something was made from a dataset: whether a way back reaches it."""
    level = list(dict.fromkeys(inputs))
    seen = set(level)
    while level:
        if item in seen:
            return True
        events = ledgers.events(level, "outputs").values()
        before = (one for published in events for event in published for one in event.inputs)
        level = [one for one in dict.fromkeys(before) if one not in seen]
        seen.update(level)
    return False
