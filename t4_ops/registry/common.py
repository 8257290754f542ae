"""What manifests and pointers share: places, patience, and giving up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from t4_ops.errors import ConflictError, StorageError

Result = TypeVar("Result")

PACKAGES: Final = ".quilt/packages/"
NAMED: Final = ".quilt/named_packages/"
LATEST: Final = "latest"
MAX_ROUNDS: Final = 200
"""Rounds of re-reading after a lost race. Each round lost is one that another writer won, so the
bound only guards against a store that refuses for ever."""
MAX_TRIES: Final = 4
"""Tries of one read, or of writes without an answer, above the retries inside the clients."""
_FIRST_PAUSE_S: Final = 0.2
# Waits after lost races, as multiples of how long the lost round took. Measured and simulated with
# 32 rivals: with longer ones the pointer waits for them, with shorter ones they meet again.
_LONGEST_WAIT_ROUNDS: Final = 32
_LONGEST_WAIT_S: Final = 1.0


def rounds(url: str, key: str, most: int = MAX_ROUNDS) -> Iterator[int]:
    """Yield the number of races lost so far; before each but the first wait a random moment.

    The waits grow fast until about one rival at a time comes back, who wins then. They are counted
    in rounds, not seconds, so that they suit a far or busy server as well as a near one; with full
    jitter, because rivals who wait equally long meet again.

    Args:
        url: The registry, for the message.
        key: What is raced for.
        most: Rounds.

    Raises:
        ConflictError: All rounds were lost.
    """
    for lost in range(most):
        started_s = time.monotonic()
        yield lost
        longest_s = (time.monotonic() - started_s) * min(_LONGEST_WAIT_ROUNDS, 4 ** (lost + 1))
        time.sleep(random.uniform(0, min(_LONGEST_WAIT_S, longest_s)))
    raise gives_up(url, key, most)


def gives_up(url: str, key: str, most: int = MAX_ROUNDS) -> ConflictError:
    """Return the error for a key that others changed in every round."""
    return ConflictError(
        f"{url}: {key} was changed by others {most} times in a row; try again later", name=key
    )


def patiently(read: Callable[[], Result]) -> Result:
    """Return what a read returns, trying again after storage errors that may pass.

    Raises:
        StorageError: The last try failed, or the error is final.
    """
    tries = Doubts()
    while True:
        try:
            return read()
        except StorageError as exc:
            tries.count(exc)


class Doubts:
    """Counts the requests of one call that ended without an answer; they are not endless."""

    def __init__(self) -> None:
        self._left = MAX_TRIES

    def count(self, error: StorageError) -> None:
        """Count a failed request and wait a random moment; a write must be read back then.

        Raises:
            StorageError: `error`, because it is final, or because it was one too many.
        """
        self._left -= 1
        if not error.retryable or not self._left:
            raise error
        time.sleep(random.uniform(0, _FIRST_PAUSE_S * 2 ** (MAX_TRIES - self._left)))
