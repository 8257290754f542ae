"""Rivals at one pointer as a part of `make bench`; the work is that of `pointers`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import pointers
from benchmarks.contenders import Bench, clean_environ
from demo.seaweedfs import SeaweedFS


def measure(bench: Bench, rivals: int, moves: int) -> dict[str, list[pointers.Figure]]:
    """Let the rivals move `latest`: as we do, and as quilt3 does it."""
    ways = ["latest alone", "check, then put"]
    with _environ(bench.server):
        rounds = min(bench.limits.rounds, 3)
        kinds = list(pointers.FLOORS)
        return pointers.measure(bench.server, ways, kinds, rivals, moves, rounds)


@contextmanager
def _environ(server: SeaweedFS) -> Iterator[None]:
    """Lead the rivals to the server: they are forks, and have this process's environment."""
    before, wanted = dict(os.environ), {**clean_environ(), **server.environ()}
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
