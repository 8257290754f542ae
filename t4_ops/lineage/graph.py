"""Questions about lineage: what a revision was made from, and what was made from it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from t4_ops.errors import InvalidInputError, T4Error
from t4_ops.keys import PackageRef, PackageUri, normalize_registry
from t4_ops.ledger import Event, Input, Role, events_for, merge_runs, parse_inputs
from t4_ops.registry import Registry
from t4_ops.settings import Settings, load_settings
from t4_ops.storage import Store, open_store

_log = logging.getLogger("t4_ops.lineage")

Direction = Literal["upstream", "downstream"]
# The side of a run on which a dataset stands whose lineage is followed in a direction.
_ROLES: Final[Mapping[Direction, Role]] = {"upstream": "outputs", "downstream": "inputs"}

Subject: TypeAlias = PackageRef | Input | str | Mapping[str, object]
"""What a question is about: see `upstream`."""


@dataclass(eq=False)
class Node:
    """One version of a dataset in an answer.

    Attributes:
        item: The revision, or another source.
        direction: Where the answer goes from here.
        steps: The runs on that side, oldest first; empty if none is recorded, at the depth asked
            for, and where `is_repeat`.
        is_repeat: It stands elsewhere in the same answer with its steps, nearer to the root or
            earlier: so answers about shared or circular lineage are finite.
        unread: Registries that could not be asked, and why; on the root only.
    """

    item: Input
    direction: Direction
    steps: list[Step] = field(default_factory=list, repr=False)
    is_repeat: bool = False
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> PackageRef | None:
        """The revision, when it is one."""
        return self.item.ref

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, each version of a dataset once."""
        waiting = deque([self])
        while waiting:
            node = waiting.popleft()
            yield node
            found = (child for step in node.steps for child in step.nodes)
            waiting.extend(child for child in found if not child.is_repeat)


@dataclass(frozen=True, eq=False)
class Step:
    """One run between a node and the next ones.

    Attributes:
        event: The run, with all it read and published.
        nodes: The inputs (upstream) or outputs (downstream) of the run.
    """

    event: Event
    nodes: tuple[Node, ...] = field(repr=False)


def upstream(
    ref: Subject,
    *,
    depth: int | None = None,
    settings: Settings | None = None,
    registries: Iterable[str] = (),
) -> Node:
    """Return what a revision was made from, back to the sources.

    Asked are the registry of the revision, the default and the lineage registry of the settings,
    those given, and every registry that an event on the way names.

    Args:
        ref: A `PackageRef`; a step's result; a package URI (`latest` unless it has a hash); or a
            mapping with `namespace` and `name` for a source that is no package.
        depth: Runs to follow at most, one after the other; None for all.
        settings: How to reach the registries; read from the environment unless given.
        registries: Further registries to ask.

    Raises:
        InvalidInputError: `ref` is none of these, or `depth` is negative.
        NotFoundError: A URI without a full hash names no revision.
        StorageError: The registry of `ref`, or one of `registries`, can't be read. Others that
            can't are named in the answer's `unread`.
        FormatError: An event is damaged.
    """
    return _ask(ref, "upstream", depth, settings, registries)


def downstream(
    ref: Subject,
    *,
    depth: int | None = None,
    settings: Settings | None = None,
    registries: Iterable[str] = (),
) -> Node:
    """Return what was made from a revision, and from that, to the end.

    A registry records what was published in it. So a use of the revision in a registry that no
    event on the way names is found only if `registries` names it. Arguments and errors are those of
    `upstream`.
    """
    return _ask(ref, "downstream", depth, settings, registries)


def runs_of(
    ref: Subject, *, settings: Settings | None = None, registries: Iterable[str] = ()
) -> list[Event]:
    """Return the runs that published a revision, oldest first, each with all it read.

    Several runs published it when they came to the same content. Arguments and errors are those of
    `upstream`.
    """
    return [step.event for step in _ask(ref, "upstream", 1, settings, registries).steps]


def pinned(ref: Subject, settings: Settings) -> Input:
    """Return what a question is about, with its top hash.

    Raises:
        InvalidInputError: It is nothing that lineage is recorded for.
        NotFoundError: A URI without a full hash names no revision.
    """
    if not isinstance(ref, str) or not PackageUri.is_uri(ref):
        found = parse_inputs(ref)
        if len(found) != 1:
            raise InvalidInputError(f"a question is about one revision, not {len(found)}")
        return found[0]
    uri = PackageUri.parse(ref)
    if uri.tag not in (None, "latest"):
        raise InvalidInputError(f"{ref!r}: there is no tag but latest; give a hash", key=ref)
    registry = Registry(open_store(uri.registry, settings), settings.limits)
    top_hash = registry.pointers.resolve(uri.name, uri.top_hash)
    return Input.of_ref(PackageRef(uri.registry, uri.name, top_hash))


def _ask(
    ref: Subject,
    direction: Direction,
    depth: int | None,
    settings: Settings | None,
    registries: Iterable[str],
) -> Node:
    if depth is not None and depth < 0:
        raise InvalidInputError(f"depth is {depth}: it must be 0 or more")
    settings = settings or load_settings()
    root = pinned(ref, settings)
    wanted = [root.registry] if root.registry else []
    wanted += [normalize_registry(registry) for registry in registries]
    return _Search(settings, direction, wanted).tree(root, depth)


class _Search:
    """One question: the registries it asks, and what they answered."""

    def __init__(self, settings: Settings, direction: Direction, wanted: Iterable[str]) -> None:
        self._settings = settings
        self._direction = direction
        self._required = frozenset(wanted)
        # A dict, for the order: what the caller named is asked first.
        self._known = dict.fromkeys(wanted)
        self._meet([settings.registry, settings.lineage_registry])
        self._stores: dict[str, Store] = {}
        self._answers: dict[tuple[Input, str], list[Event]] = {}
        self._unread: dict[str, str] = {}

    def tree(self, root: Input, depth: int | None) -> Node:
        """Return the answer.

        A registry met late may know more about a dataset met early, so the walk is repeated until
        it meets no new registry; what was answered is not asked again.
        """
        while True:
            known = len(self._known)
            node = self._walk(root, depth)
            if len(self._known) == known:
                node.unread = dict(self._unread)
                return node

    def _walk(self, root: Input, depth: int | None) -> Node:
        """Walk level by level, so that a dataset is expanded where it is nearest to the root."""
        top = Node(root, self._direction)
        seen = {root}
        waiting = deque([(top, 0)])
        while waiting:
            node, level = waiting.popleft()
            if level == depth:
                continue
            for event in self._events(node.item):
                children = []
                for item in self._onward(event):
                    child = Node(item, self._direction, is_repeat=item in seen)
                    children.append(child)
                    if not child.is_repeat:
                        seen.add(item)
                        waiting.append((child, level + 1))
                node.steps.append(Step(event, tuple(children)))
        return top

    def _onward(self, event: Event) -> Iterable[Input]:
        if self._direction == "upstream":
            return event.inputs
        return [Input.of_ref(output.ref) for output in event.outputs]

    def _meet(self, registries: Iterable[str | None]) -> None:
        self._known.update(dict.fromkeys(registry for registry in registries if registry))

    def _events(self, item: Input) -> list[Event]:
        """Return the runs next to a dataset, from every registry known so far."""
        found = [event for registry in tuple(self._known) for event in self._answer(item, registry)]
        for event in found:
            self._meet(read.registry for read in event.inputs)
            self._meet(output.ref.registry for output in event.outputs)
        return merge_runs(found)

    def _answer(self, item: Input, registry: str) -> list[Event]:
        if (item, registry) not in self._answers:
            self._answers[item, registry] = self._read(item, registry)
        return self._answers[item, registry]

    def _read(self, item: Input, registry: str) -> list[Event]:
        if registry in self._unread:
            return []
        try:
            if registry not in self._stores:
                self._stores[registry] = open_store(registry, self._settings)
            role = _ROLES[self._direction]
            return events_for(self._stores[registry], role, item.dataset, item.version)
        except T4Error as exc:
            if registry in self._required:
                raise
            _log.warning("lineage: %s can't be read and is passed over: %s", registry, exc)
            self._unread[registry] = str(exc)
            return []
