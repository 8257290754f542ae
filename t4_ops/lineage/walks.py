"""Questions about lineage: what a revision was made from, and what was made from it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef, PackageUri, normalize_registry
from t4_ops.ledger import Event, Input, Role, merge_runs, parse_inputs
from t4_ops.lineage.asking import Ledgers
from t4_ops.registry import Registry
from t4_ops.settings import Settings, load_settings
from t4_ops.storage import open_store

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
        unread: Registries and damaged events that could not be read, registries beyond
            `MAX_REGISTRIES`, which were not asked, and why; on the root only.
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
        """Yield this node and all below it, each version of a dataset once, nearest first."""
        return (node for node, _ in self.walk_depths())

    def walk_depths(self) -> Iterator[tuple[Node, int]]:
        """Yield the same nodes, each with the number of runs between it and this one."""
        waiting = deque([(self, 0)])
        while waiting:
            node, depth = waiting.popleft()
            yield node, depth
            found = (child for step in node.steps for child in step.nodes)
            waiting.extend((child, depth + 1) for child in found if not child.is_repeat)


@dataclass(frozen=True, eq=False)
class Step:
    """One run between a node and the next ones.

    Attributes:
        event: The run, with all it read and published.
        nodes: The inputs (upstream) or outputs (downstream) of the run.
        statements: The events of the run that say so, oldest first: its tries, and what it said
            after each of several publications.
    """

    event: Event
    nodes: tuple[Node, ...] = field(repr=False)
    statements: tuple[Event, ...] = field(default=(), repr=False)


def upstream(
    ref: Subject,
    *,
    depth: int | None = None,
    settings: Settings | None = None,
    registries: Iterable[str] = (),
) -> Node:
    """Return what a revision was made from, back to the sources.

    The registry of each revision on the way is asked. If it can't be read, the default and the
    lineage registry of the settings, those given and those that events name are asked instead.

    Args:
        ref: A `PackageRef`; a step's result; a package URI (`latest` unless it has a hash); or a
            mapping with `namespace` and `name` for a source that is no package.
        depth: Runs to follow at most, one after the other; None for all.
        settings: How to reach the registries; read from the environment unless given.
        registries: Further registries to ask.

    Raises:
        InvalidInputError: `ref` is none of these, or `depth` is negative.
        NotFoundError: A URI without a full hash names no revision.
        FormatError: A URI has no hash, and `latest` of its package holds no top hash.
        StorageError: The registry of `ref`, or one of `registries`, can't be read. Others that
            can't, and damaged events, are named in the answer's `unread`.
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

    A registry records what was published in it, so uses are looked for in the registry of the
    revision, the default and the lineage registry of the settings, those given, and the first
    `MAX_REGISTRIES` that events on the way name. Arguments and errors are those of `upstream`.
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
        item = found[0]
        # One that was made by hand may be a package without saying so.
        return item if item.ref else Input.of_dataset(item.namespace, item.name, item.version)
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
    root, ledgers = begin(ref, depth, settings, registries)
    (answer,) = walk(ledgers, root, (direction,), depth)
    return answer


def begin(
    ref: Subject, depth: int | None, settings: Settings | None, registries: Iterable[str]
) -> tuple[Input, Ledgers]:
    """Return what a question is about, and whom to ask. Errors are those of `upstream`."""
    if depth is not None and depth < 0:
        raise InvalidInputError(f"depth is {depth}: it must be 0 or more")
    settings = settings or load_settings()
    root = pinned(ref, settings)
    wanted = [root.registry] if root.registry else []
    wanted += [normalize_registry(registry) for registry in registries]
    return root, Ledgers(settings, wanted)


def walk(
    ledgers: Ledgers, root: Input, directions: Iterable[Direction], depth: int | None
) -> list[Node]:
    """Return the answer in each direction.

    A registry met late may know more about a dataset met early, so the walks are repeated until
    they meet no new registry; what was answered is not asked again.
    """
    wanted = tuple(directions)
    while True:
        known = ledgers.known
        answers = [_walk_once(ledgers, root, direction, depth) for direction in wanted]
        if ledgers.known == known:
            for answer in answers:
                answer.unread = dict(ledgers.unread)
            return answers


def _walk_once(ledgers: Ledgers, root: Input, direction: Direction, depth: int | None) -> Node:
    """Walk level by level, so that a dataset is expanded where it is nearest to the root."""
    top = Node(root, direction)
    seen = {root}
    level, number = [top], 0
    while level and number != depth:
        found = ledgers.events([node.item for node in level], _ROLES[direction])
        below: list[Node] = []
        for node in level:
            said: dict[str, list[Event]] = defaultdict(list)
            for event in found[node.item]:
                said[event.run.run_id].append(event)
            for event in merge_runs(found[node.item]):
                children = [
                    Node(item, direction, is_repeat=not _is_new(item, seen))
                    for item in _onward(event, direction)
                ]
                statements = tuple(said[event.run.run_id])
                node.steps.append(Step(event, tuple(children), statements))
                below += [child for child in children if not child.is_repeat]
        level, number = below, number + 1
    return top


def _is_new(item: Input, seen: set[Input]) -> bool:
    is_new = item not in seen
    seen.add(item)
    return is_new


def _onward(event: Event, direction: Direction) -> Iterable[Input]:
    if direction == "upstream":
        return event.inputs
    return [Input.of_ref(output.ref) for output in event.outputs]
