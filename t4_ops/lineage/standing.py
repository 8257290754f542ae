"""Where a revision stands today: is it still `latest`, and if not, how was it superseded?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal

from t4_ops.errors import T4Error
from t4_ops.keys import PackageRef
from t4_ops.ledger import Event, Input
from t4_ops.lineage.asking import Ledgers, gather

# Of more revisions than these between two, the ledger tells which is newer, without reading them.
_POINTERS_READ: Final = 100

State = Literal["latest", "newer", "rolled back", "other", "gone", "unknown"]
"""What `latest` of a revision's package holds:

* `latest`: this revision;
* `newer`: one that was published after it;
* `rolled back`: one that was published before it;
* `other`: another one, and nothing tells which of the two is newer;
* `gone`: nothing, the package was deleted;
* `unknown`: its registry can't be read, or is a folder that is not on this machine.
"""


@dataclass(frozen=True)
class Standing:
    """Where a revision stands.

    Attributes:
        ref: The revision.
        state: How it compares with `latest`.
        latest: Top hash that `latest` holds; None where the state is `gone` or `unknown`.
    """

    ref: PackageRef
    state: State
    latest: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**self.ref.to_dict(), "state": self.state, "latest": self.latest}


def standings(
    refs: Collection[PackageRef], ledgers: Ledgers, *, ordered: bool = True
) -> dict[PackageRef, Standing]:
    """Return where revisions stand.

    One read for each package. For a revision that is not `latest`, its package's pointers are
    listed too: whatever was published later sorts after it, whenever its run ended. The ledger is
    asked only where they don't tell the order.

    Args:
        refs: Revisions.
        ledgers: Whom to ask.
        ordered: Whether `newer` and `rolled back` are told apart; else both are `other`.

    Raises:
        T4Error: A required registry can't be read.
    """
    packages = list(
        dict.fromkeys((r.registry, r.name) for r in refs if r.registry not in ledgers.failed)
    )
    latest: dict[tuple[str, str], str | None] = {}
    for package, answer in gather(
        packages, lambda package: _latest(package, ledgers), ledgers.settings.workers
    ):
        if isinstance(answer, T4Error):
            ledgers.give_up(package[0], answer)
        else:
            latest[package] = answer
    found = {ref: _compared(ref, latest) for ref in refs}
    if ordered:
        unordered = [standing for standing in found.values() if standing.state == "other"]
        found.update((standing.ref, standing) for standing in _ordered(unordered, ledgers))
    return found


def _latest(package: tuple[str, str], ledgers: Ledgers) -> str | None:
    registry, name = package
    pointer = ledgers.registry(registry).pointers.latest(name)
    return None if pointer is None else pointer.top_hash


def _compared(ref: PackageRef, latest: dict[tuple[str, str], str | None]) -> Standing:
    package = (ref.registry, ref.name)
    if package not in latest:
        return Standing(ref, "unknown")
    top_hash = latest[package]
    if top_hash is None:
        return Standing(ref, "gone")
    return Standing(ref, "latest" if top_hash == ref.top_hash else "other", top_hash)


def _ordered(unordered: list[Standing], ledgers: Ledgers) -> list[Standing]:
    """Tell newer from rolled back: by the pointers, and by the ledger where those are silent."""
    ordered: list[Standing] = []
    silent: list[Standing] = []
    for standing, answer in gather(
        unordered, lambda standing: _by_pointers(standing, ledgers), ledgers.settings.workers
    ):
        if isinstance(answer, T4Error):
            silent.append(standing)
        else:
            (silent if answer.state == "other" else ordered).append(answer)
    return ordered + _by_ledger(silent, ledgers)


def _by_pointers(standing: Standing, ledgers: Ledgers) -> Standing:
    pointers = ledgers.registry(standing.ref.registry).pointers
    damaged: dict[str, str] = {}
    for pointer in islice(pointers.newest_first(standing.ref.name, damaged), _POINTERS_READ):
        if damaged:
            # It may have been either of the two.
            break
        if pointer.top_hash == standing.latest:
            return Standing(standing.ref, "newer", standing.latest)
        if pointer.top_hash == standing.ref.top_hash:
            return Standing(standing.ref, "rolled back", standing.latest)
    return standing


def _by_ledger(unordered: list[Standing], ledgers: Ledgers) -> list[Standing]:
    pairs = {s: (_item(s.ref, s.ref.top_hash), _item(s.ref, s.latest)) for s in unordered}
    events = ledgers.events(dict.fromkeys(i for pair in pairs.values() for i in pair), "outputs")
    times = {item: _published(item, found) for item, found in events.items()}
    ordered = []
    for standing, (pinned, now) in pairs.items():
        ours, theirs = times[pinned], times[now]
        if ours is not None and theirs is not None and ours != theirs:
            state: State = "newer" if theirs > ours else "rolled back"
            ordered.append(Standing(standing.ref, state, standing.latest))
    return ordered


def _item(ref: PackageRef, top_hash: str | None) -> Input:
    return Input.of_ref(PackageRef(ref.registry, ref.name, top_hash or ref.top_hash))


def _published(item: Input, events: list[Event]) -> datetime | None:
    """Return when a revision was last made `latest`, by the ledger; a repeat does not count."""
    moments = [
        moment_of(event.event_time)
        for event in events
        for output in event.outputs
        if output.changed and Input.of_ref(output.ref) == item
    ]
    return max((moment for moment in moments if moment is not None), default=None)


def moment_of(event_time: str) -> datetime | None:
    """Return a time that can be compared with others, or None: other writers may give anything."""
    try:
        moment = datetime.fromisoformat(event_time)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
