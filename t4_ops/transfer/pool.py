"""Many pieces of work at once: bounded, retried where that helps, stopped at the first failure."""

from __future__ import annotations

import contextvars
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final, TypeVar

from t4_ops.errors import StorageError

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_TRIES: Final = 4
"""Tries of one piece of work, above the retries of a single request inside the clients."""
_FIRST_PAUSE_S: Final = 0.2
_MAX_PAUSE_S: Final = 5.0
_READ_AHEAD: Final = 4


class Cancelled(Exception):
    """Work was given up because other work failed or the caller stopped."""


def with_retries(work: Callable[[], Result], stop: threading.Event | None = None) -> Result:
    """Return what `work` returns, trying again after retryable storage errors.

    Args:
        work: What to do; it must be safe to repeat.
        stop: Set when nobody wants the result any more.

    Raises:
        StorageError: The last try failed, or the error is not retryable.
        Cancelled: `stop` was set while waiting.
    """
    for attempt in range(1, MAX_TRIES + 1):
        try:
            return work()
        except StorageError as exc:
            if not exc.retryable or attempt == MAX_TRIES:
                raise
        # Full jitter: throttled clients must not come back in step.
        pause_s = random.uniform(0, min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2**attempt))
        if stop is None:
            time.sleep(pause_s)
        elif stop.wait(pause_s):
            raise Cancelled
    raise AssertionError("unreachable")


def run_all(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    workers: int,
    stop: threading.Event | None = None,
) -> Iterator[Result]:
    """Yield the result of `work` for every item, in the order of the items.

    At most `workers` items are worked on at a time and a few more are read ahead, so that memory
    does not grow with their number. After a failure nothing new is started, what runs is waited
    for, and the first failure is raised.

    Args:
        items: What to work on.
        work: Called in a worker thread with a copy of the caller's context.
        workers: Threads.
        stop: Set from outside to give up, as when a task is killed; set here after a failure, so
            that large pieces of work which watch it end soon.

    Raises:
        Cancelled: `stop` was set.
    """
    giving_up = threading.Event()
    # Failed by the first piece of work that fails, so that a failure never waits behind slow work.
    failure: Future[None] = Future()
    pending: deque[Future[Result]] = deque()

    def one(context: contextvars.Context, item: Item) -> Result:
        if giving_up.is_set() or (stop is not None and stop.is_set()):
            raise Cancelled("given up, because other work failed or a stop was asked for")
        try:
            return context.run(with_retries, lambda: work(item), giving_up)
        except BaseException as exc:
            with failing:
                if not giving_up.is_set():
                    # The failure first: others must not be seen giving up before it is known.
                    failure.set_exception(exc)
                    giving_up.set()
            raise

    def oldest() -> Result:
        watched: list[Future[Any]] = [pending[0], failure]
        wait(watched, return_when=FIRST_COMPLETED)
        if failure.done():
            failure.result()
        return pending.popleft().result()

    failing = threading.Lock()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="t4-transfer")
    try:
        for item in items:
            pending.append(pool.submit(one, contextvars.copy_context(), item))
            if len(pending) >= _READ_AHEAD * workers:
                yield oldest()
        while pending:
            yield oldest()
    except BaseException:
        # What runs is waited for below; work that watches `stop` ends at its next piece.
        if stop is not None:
            stop.set()
        raise
    finally:
        with failing:
            giving_up.set()
        pool.shutdown(wait=True, cancel_futures=True)
