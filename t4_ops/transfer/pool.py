"""Many pieces of work at once: bounded, retried where that helps, stopped at the first failure."""

from __future__ import annotations

import contextvars
import random
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import islice
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

from t4_ops.errors import StorageError

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_TRIES: Final = 4
"""Tries of one piece of work, above the retries of a single request inside the clients."""
_FIRST_PAUSE_S: Final = 0.2
_MAX_PAUSE_S: Final = 5.0
_READ_AHEAD: Final = 4
_SMALL_BYTES: Final = 256 * 1024
_MOST_AT_ONCE: Final = 8


def small_batch(sizes_bytes: Sequence[int | None], workers: int) -> int:
    """Return how many pieces of work of these sizes a thread should take at once.

    More than one only where all are small and there are many for every thread.
    """
    if not sizes_bytes or max(size or 0 for size in sizes_bytes) > _SMALL_BYTES:
        return 1
    return max(1, min(_MOST_AT_ONCE, len(sizes_bytes) // (_READ_AHEAD * workers)))


class Cancelled(Exception):
    """Work was given up because other work failed or the caller stopped."""


def with_retries(
    work: Callable[[], Result],
    stop: threading.Event | None = None,
    failure: StorageError | None = None,
) -> Result:
    """Return what `work` returns, trying again after retryable storage errors.

    Args:
        work: What to do; it must be safe to repeat.
        stop: Set when nobody wants the result any more.
        failure: How a first try, made elsewhere, failed.

    Raises:
        StorageError: The last try failed, or the error is not retryable.
        Cancelled: `stop` was set while waiting.
    """
    for attempt in range(1 if failure is None else 2, MAX_TRIES + 1):
        if attempt > 1:
            # Full jitter: throttled clients must not come back in step.
            pause_s = random.uniform(0, min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2 ** (attempt - 1)))
            if stop is None:
                time.sleep(pause_s)
            elif stop.wait(pause_s):
                raise Cancelled
        try:
            return work()
        except StorageError as exc:
            if not exc.retryable:
                raise
            failure = exc
    assert failure is not None
    raise failure


def run_all(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    workers: int,
    stop: threading.Event | None = None,
    batch: int = 1,
) -> Generator[Result]:
    """Yield the result of `work` for every item, in the order of the items.

    At most `workers` items are worked on at a time and a few more are read ahead, so that memory
    does not grow with their number. After a failure nothing new is started, what runs is waited
    for, and the first failure is raised.

    Args:
        items: What to work on; read by the caller's thread.
        work: Called in a worker thread with a copy of the caller's context.
        workers: Threads.
        stop: Set from outside to give up, as when a task is killed; set here after a failure, so
            that large pieces of work which watch it end soon.
        batch: How many items a thread takes at once: more than one for small work, where handing
            it over costs as much as doing it.

    Raises:
        Cancelled: `stop` was set.
    """
    crew = _Crew(work, workers, stop)
    rest = iter(items)
    try:
        while group := list(islice(rest, batch)):
            crew.submit(group)
            if crew.waiting >= _READ_AHEAD * workers:
                yield from crew.oldest()
        while crew.waiting:
            yield from crew.oldest()
    except BaseException:
        # What runs is waited for below; work that watches `stop` ends at its next piece.
        if stop is not None:
            stop.set()
        raise
    finally:
        crew.dismiss()


class _Crew(Generic[Item, Result]):
    """Threads that take groups of items from one queue and put results into another.

    Two plain queues instead of an executor's futures: for small objects these took half of the
    interpreter's time in an upload.
    """

    def __init__(
        self, work: Callable[[Item], Result], workers: int, stop: threading.Event | None
    ) -> None:
        self._work, self._workers, self._stop = work, workers, stop
        self._giving_up = threading.Event()
        self._failing = threading.Lock()
        self._tasks: SimpleQueue[tuple[int, contextvars.Context, list[Item]] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[int, list[Result], BaseException | None]] = SimpleQueue()
        # Results that came before those of earlier groups.
        self._early: dict[int, list[Result]] = {}
        self._submitted = self._yielded = 0
        self._threads: list[threading.Thread] = []

    @property
    def waiting(self) -> int:
        """Groups that were submitted and not yet asked for."""
        return self._submitted - self._yielded

    def submit(self, group: list[Item]) -> None:
        """Hand a group over, to a new thread while there are few."""
        self._tasks.put((self._submitted, contextvars.copy_context(), group))
        self._submitted += 1
        if len(self._threads) < self._workers:
            name = f"t4-transfer-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            # Noted once it runs: one that can't be started is not to be waited for.
            thread.start()
            self._threads.append(thread)

    def oldest(self) -> list[Result]:
        """Return the results of the oldest group; a failure of any group comes at once."""
        while self._yielded not in self._early:
            number, results, failure = self._done.get()
            if failure is not None:
                raise failure
            self._early[number] = results
        self._yielded += 1
        return self._early.pop(self._yielded - 1)

    def dismiss(self) -> None:
        """Start nothing more and wait for what runs."""
        with self._failing:
            self._giving_up.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            number, context, group = task
            try:
                results = context.run(self._results, group)
            except BaseException as exc:  # noqa: BLE001 - raised by the caller's thread
                self._fail(exc)
            else:
                self._done.put((number, results, None))

    def _results(self, group: list[Item]) -> list[Result]:
        results = []
        for item in group:
            if self._giving_up.is_set() or (self._stop is not None and self._stop.is_set()):
                raise Cancelled("given up, because other work failed or a stop was asked for")
            try:
                results.append(self._work(item))
            except StorageError as exc:
                if not exc.retryable:
                    raise
                results.append(self._again(item, exc))
        return results

    def _again(self, item: Item, failure: StorageError) -> Result:
        return with_retries(lambda: self._work(item), self._giving_up, failure)

    def _fail(self, exc: BaseException) -> None:
        with self._failing:
            # Only the first: those that gave up because of it have nothing to say.
            if not self._giving_up.is_set():
                self._done.put((-1, [], exc))
                self._giving_up.set()
