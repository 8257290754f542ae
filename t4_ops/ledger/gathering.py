"""What one run has read and published so far."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from t4_ops.keys import PackageRef
from t4_ops.ledger.columns import ColumnLineage
from t4_ops.ledger.credentials import secrets_of
from t4_ops.ledger.datasets import MAX_INPUTS, Input, Output, merged_inputs
from t4_ops.ledger.runs import RunInfo
from t4_ops.settings import Settings

MAX_PATHS: Final = 100
"""Most paths of one revision that an event names; of more it says nothing."""
MAX_RUN_PATHS: Final = 50_000
"""Most paths that one run remembers; some 10 MB. Revisions read after that count as read whole."""


class _ForkLock:
    """A lock that is free in a forked child, whichever thread held it at the fork."""

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


LOCK: Final = _ForkLock()
"""Guards all that is gathered, for moments; one for all, so that a fork has one to free."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run had gathered when it ended.

    Attributes:
        inputs: What it read, and what was named as inputs.
        outputs: What it published.
        omitted_inputs: How many inputs more there were.
        unused_columns: Names for which column lineage was given, but nothing was published.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    omitted_inputs: int
    unused_columns: tuple[str, ...]


class Gathered:
    """What one run has read and published so far; safe for threads and forks.

    Args:
        run: The run.
        has_end: Whether somebody sees its end and records it then. Otherwise each publication is
            recorded at once.

    Attributes:
        run: The run.
        has_end: See above; False again once the end is over.
        secrets: Credentials of the settings that were used in it.
    """

    def __init__(self, run: RunInfo, *, has_end: bool) -> None:
        self.run = run
        self.has_end = has_end
        self.secrets: set[str] = set()
        self._pid = os.getpid()
        self._in_child: Gathered | None = None
        # The paths read of each, none for the manifest alone; None: all of it, or nobody knows.
        self._reads: dict[Input, set[str] | None] = {}
        self._path_count = 0
        # Entries are read by the thousand; making an input each time would be most of the cost.
        self._of_ref: dict[PackageRef, Input] = {}
        # Named by hand for one publication: those say nothing about the other ones of the run.
        self._given: dict[Input, Input] = {}
        self._omitted: set[Input] = set()
        self._outputs: dict[PackageRef, Output] = {}
        self._column_lineage: dict[str, ColumnLineage] = {}
        self._settings: dict[str, Settings] = {}
        self._last_settings: Settings | None = None
        self._marker_count = 0

    @property
    def is_of_parent(self) -> bool:
        """Whether this was made before a fork: whoever made it sees to the run's end, not we."""
        return self._pid != os.getpid()

    def of_this_process(self) -> Gathered:
        """Return this, or in a forked child what takes its place there.

        That knows what was read before the fork, and records each publication at once: nobody will
        ask the child when the run ends.
        """
        if not self.is_of_parent:
            return self
        with LOCK:
            child = self._in_child
            if child is None or child.is_of_parent:
                before, child = child or self, Gathered(self.run, has_end=False)
                child.take(before)
                child._column_lineage.update(before._column_lineage)
                self._in_child = child
            return child

    def read(self, item: Input) -> None:
        """Note an input; its paths are added to those noted before."""
        with LOCK:
            self._read(item, item.paths, is_whole=True)

    def read_ref(
        self, ref: PackageRef, settings: Settings, paths: Iterable[str] = (), *, is_whole: bool
    ) -> None:
        """Note a revision as an input.

        Args:
            ref: The revision.
            settings: How its registry was reached.
            paths: Keys and directories of it, if not all of it.
            is_whole: Whether without paths all of it was read, or a part that nobody knows; else
                only its manifest was.
        """
        with LOCK:
            self._settings.setdefault(ref.registry, settings)
            self._use(settings)
            item = self._of_ref.get(ref) or Input.of_ref(ref)
            if self._read(item, tuple(paths), is_whole=is_whole):
                self._of_ref[ref] = item

    def _use(self, settings: Settings) -> None:
        if settings is not self._last_settings:
            self._last_settings = settings
            self.secrets.update(secrets_of(settings))

    def _read(self, item: Input, paths: tuple[str, ...], *, is_whole: bool) -> bool:
        """Note an input; return False if there is no room for it."""
        if item not in self._reads:
            if len(self._reads) >= MAX_INPUTS:
                self._omit(item)
                return False
            self._reads[item] = set()
        known = self._reads[item]
        if known is None or not (paths or is_whole):
            return True
        before = len(known)
        known.update(paths)
        self._path_count += len(known) - before
        if not paths or len(known) > MAX_PATHS or self._path_count > MAX_RUN_PATHS:
            self._path_count -= len(known)
            self._reads[item] = None
        return True

    def _omit(self, item: Input) -> None:
        if len(self._omitted) < MAX_INPUTS:
            self._omitted.add(item)

    def publish(self, output: Output, inputs: Iterable[Input], settings: Settings) -> bool:
        """Note an output, and what is said to be its inputs besides what the run reads.

        Returns:
            False if the run has ended meanwhile, so that nobody would record it.
        """
        with LOCK:
            if not self.has_end:
                return False
            for item in inputs:
                self._give(item)
            before = self._outputs.get(output.ref, output)
            # What was new in this run stays so, whatever a second publication found.
            self._outputs[output.ref] = output if output.changed else before
            # Whoever wrote there knows how to.
            self._settings[output.ref.registry] = settings
            self._use(settings)
            return True

    def _give(self, item: Input) -> None:
        if item in self._given:
            (item,) = merged_inputs((self._given[item], item))
        elif len(self._given) >= MAX_INPUTS:
            self._omit(item)
            return
        self._given[item] = item

    def end(self) -> Ended:
        """End the run and return what it gathered; what is published later is recorded at once."""
        with LOCK:
            self.has_end = False
            inputs = self._all_inputs()
            named = {ref.name for ref in self._outputs}
            return Ended(
                inputs[:MAX_INPUTS],
                self.outputs(),
                len(self._omitted) + len(inputs[MAX_INPUTS:]),
                tuple(name for name in self._column_lineage if name not in named),
            )

    def take(self, other: Gathered) -> None:
        """Note what another run has read as read by this one too."""
        with LOCK:
            for item, paths in other._reads.items():
                self._read(item, tuple(paths or ()), is_whole=paths is None)
            for item in other._omitted:
                self._omit(item)
            self._settings = {**other._settings, **self._settings}
            self.secrets.update(other.secrets)

    def inputs(self) -> tuple[Input, ...]:
        """Return what was read, in order."""
        with LOCK:
            # Only copied here: making inputs takes long, and the lock is everybody's.
            reads = [(item, tuple(paths or ())) for item, paths in self._reads.items()]
        return tuple(
            replace(item, paths=tuple(sorted(paths))) if paths or item.paths else item
            for item, paths in reads
        )

    def all_inputs(self) -> tuple[Input, ...]:
        """Return what was named as inputs of single publications, and what was read."""
        return self._all_inputs()[:MAX_INPUTS]

    def _all_inputs(self) -> tuple[Input, ...]:
        with LOCK:
            given = tuple(self._given.values())
        return self.inputs_with(given)

    def inputs_with(self, given: Iterable[Input]) -> tuple[Input, ...]:
        """Return what is named as inputs, then what else was read, each once."""
        named = tuple(given)
        with LOCK:
            # Of what was only looked into, the name says more: which paths were taken from it.
            looked_into = {item for item in named if self._reads.get(item) == set()}
        read = (item for item in self.inputs() if item not in looked_into)
        return merged_inputs((*named, *read))

    def outputs(self) -> tuple[Output, ...]:
        """Return what was published, in order."""
        with LOCK:
            return tuple(map(self.with_columns, self._outputs.values()))

    def set_column_lineage(self, name: str, column_lineage: ColumnLineage) -> None:
        """Note what the columns of an output, named by its package, were made from."""
        with LOCK:
            self._column_lineage[name] = column_lineage

    def with_columns(self, output: Output) -> Output:
        """Return an output with the column lineage that was noted for it, if there is some."""
        named = self._column_lineage.get(output.ref.name)
        return replace(output, column_lineage=named) if named else output

    @property
    def read_count(self) -> int:
        """How many inputs, and paths of them, it remembers."""
        child = self._in_child
        return len(self._reads) + self._path_count + (0 if child is None else child.read_count)

    @property
    def omitted_inputs(self) -> int:
        """How many inputs more there were than an event takes, counted up to as many again."""
        return len(self._omitted)

    def add_markers(self, count: int) -> tuple[int, int]:
        """Count markers written for it; return how many there were and are."""
        with LOCK:
            before = self._marker_count
            self._marker_count += count
            return before, self._marker_count

    def settings_of(self, registry: str, default: Settings) -> Settings:
        """Return how a registry was reached in this run."""
        return self._settings.get(registry, default)


def made_from(inputs: Iterable[Input], outputs: Iterable[Output]) -> tuple[Input, ...]:
    """Return what outputs were made from: a revision was not made from itself alone."""
    written = {output.ref for output in outputs}
    return tuple(item for item in inputs if len(written) != 1 or item.ref not in written)
