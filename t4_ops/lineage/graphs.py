"""Both directions as one finite value: datasets, runs, and the edges between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeAlias

from t4_ops.keys import PackageRef
from t4_ops.ledger import Event, Input, Output, merge_runs, oldest_first
from t4_ops.lineage.walks import Node, Subject, begin, walk
from t4_ops.settings import Settings

Edge: TypeAlias = tuple[str, str]

GRAPH_VERSION: Final = 1
"""Version of the JSON form; it grows when a field changes its meaning or goes."""


@dataclass(frozen=True)
class GraphDataset:
    """One version of a dataset in a graph.

    Attributes:
        id: Its name in the graph's edges; the one asked about is `d0`.
        item: The revision, or another source.
        upstream: Runs between it and the one asked about, which was made from it; None: it was not.
        downstream: Runs between the one asked about and it, which was made from that; None: it was
            not. In a circle both are numbers.
        output: What the newest run that published it told of it; None: no such run is known.
    """

    id: str
    item: Input
    upstream: int | None = None
    downstream: int | None = None
    output: Output | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        ref, output = self.item.ref, self.output
        return {
            "id": self.id,
            "namespace": self.item.namespace,
            "name": self.item.name,
            "version": self.item.version,
            "registry": self.item.registry,
            "package": self.item.package,
            "uri": ref.uri if ref else None,
            "upstream": self.upstream,
            "downstream": self.downstream,
            "files": output.files if output else None,
            "size_bytes": output.size_bytes if output else None,
            "message": output.message if output else None,
            "parent": output.parent if output else None,
            "columns": [asdict(column) for column in output.columns] if output else [],
            "column_lineage": _column_lineage(output) if output else {},
        }


@dataclass(frozen=True)
class GraphRun:
    """One run in a graph, or a part of one that published one thing after the other.

    Such a run says after each publication what it has read until then. What it read later was not
    what the earlier revision was made from, so each of these statements is a node of its own; they
    have one run id. What a try says that another statement of its run says too is no node.

    Attributes:
        id: Its name in the graph's edges.
        event: All it read and published, also what is not in the graph.
    """

    id: str
    event: Event

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        event = self.event
        return {
            "id": self.id,
            **asdict(event.run),
            "event_id": event.event_id,
            "state": event.state,
            "event_time": event.event_time,
            "error": event.error,
            "inputs": len(event.inputs) + event.omitted_inputs,
            "outputs": len(event.outputs),
        }


@dataclass(frozen=True)
class Graph:
    """What a revision was made from and what came of it, each dataset version once.

    Attributes:
        datasets: The one asked about first, then upstream and downstream, each nearest first.
        runs: The runs between them, in the order they were found.
        edges: Pairs of ids: from a dataset to the run that read it, from a run to what it
            published. Circles are possible: a promotion and its way back.
        unread: Registries and damaged events that could not be read, registries beyond
            `MAX_REGISTRIES`, which were not asked, and why.
        paths: For an edge, the keys and directories that were read; not there if it was all, or
            nobody knows.
    """

    datasets: tuple[GraphDataset, ...]
    runs: tuple[GraphRun, ...]
    edges: tuple[Edge, ...]
    unread: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[Edge, tuple[str, ...]] = field(default_factory=dict)

    @property
    def root(self) -> GraphDataset:
        """The dataset asked about."""
        return self.datasets[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the graph as JSON values."""
        return {
            "version": GRAPH_VERSION,
            "root": self.root.id,
            "datasets": [dataset.to_dict() for dataset in self.datasets],
            "runs": [run.to_dict() for run in self.runs],
            "edges": [
                {"from": source, "to": target, "paths": list(self.paths.get((source, target), ()))}
                for source, target in self.edges
            ],
            "unread": dict(self.unread),
        }


def graph(
    ref: Subject,
    *,
    depth: int | None = None,
    settings: Settings | None = None,
    registries: Iterable[str] = (),
) -> Graph:
    """Return what a revision was made from and what came of it, as one graph.

    What else its runs read or published is not in the graph; each run's event names it. Arguments
    and errors are those of `upstream`; registries are asked as `downstream` does.
    """
    root, ledgers = begin(ref, depth, settings, registries)
    above, below = walk(ledgers, root, ("upstream", "downstream"), depth)
    return graph_of(above, below)


def graph_of(above: Node, below: Node) -> Graph:
    """Return the graph of two answers about one dataset.

    Args:
        above: Its upstream answer.
        below: Its downstream answer.
    """
    upstream = {node.item: depth for node, depth in above.walk_depths()}
    downstream = {node.item: depth for node, depth in below.walk_depths()}
    steps = [step for top in (above, below) for node in top.walk() for step in node.steps]
    events = _statements(event for step in steps for event in step.statements)
    ids = {item: f"d{number}" for number, item in enumerate({**upstream, **downstream})}
    told = _outputs(events)
    datasets = [
        GraphDataset(ids[item], item, upstream.get(item), downstream.get(item), told.get(item))
        for item in ids
    ]
    runs = [GraphRun(f"r{number}", event) for number, event in enumerate(events)]
    edges = [edge for run in runs for edge in _edges(run, ids)]
    paths = {
        (ids[item], run.id): item.paths
        for run in runs
        for item in run.event.inputs
        if item in ids and item.paths
    }
    unread = {**above.unread, **below.unread}
    return Graph(tuple(datasets), tuple(runs), tuple(edges), unread, paths)


def _column_lineage(output: Output) -> dict[str, list[dict[str, str]]]:
    return {
        column: [asdict(source) for source in sources] for column, sources in output.column_lineage
    }


def _statements(events: Iterable[Event]) -> list[Event]:
    """Return what runs say, in the order they were found, without what another statement covers."""
    runs: dict[str, list[Event]] = defaultdict(list)
    for event in {event.event_id: event for event in events}.values():
        runs[event.run.run_id].append(event)
    return [event for said in runs.values() for event in _uncovered(said)]


def _uncovered(said: list[Event]) -> list[Event]:
    """Merge each statement of a run into one that has its inputs and its outputs, if there is any.

    The largest come first, so that whatever covers a statement stands before it.
    """
    kept: list[tuple[frozenset[PackageRef], frozenset[Input], list[Event]]] = []
    for event in sorted(said, key=lambda one: -len(one.outputs) - len(one.inputs)):
        written = frozenset(output.ref for output in event.outputs)
        read = frozenset(event.inputs)
        for outputs, inputs, tries in kept:
            if written <= outputs and read <= inputs:
                tries.append(event)
                break
        else:
            kept.append((written, read, [event]))
    return oldest_first(merge_runs(tries)[0] for _, _, tries in kept)


def _outputs(events: Iterable[Event]) -> dict[Input, Output]:
    """Return what is told of each revision, by the newest run that changed something if any did."""
    told: dict[Input, Output] = {}
    for event in sorted(events, key=lambda event: event.event_time):
        for output in event.outputs:
            item = Input.of_ref(output.ref)
            if output.changed or item not in told:
                told[item] = output
    return told


def _edges(run: GraphRun, ids: Mapping[Input, str]) -> list[Edge]:
    read = [(ids[item], run.id) for item in run.event.inputs if item in ids]
    outputs = [Input.of_ref(output.ref) for output in run.event.outputs]
    return read + [(run.id, ids[item]) for item in outputs if item in ids]
