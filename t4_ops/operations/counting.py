"""How many files a step wrote and how many it left as they were, for who tells of its end.

A step's result does not say so: it names the revision, and is the same whether the work was done by
this try or by the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """What the last step that ended inside `count_files` did, of those that move files.

    Attributes:
        written_files: Objects that it wrote to the registry, or files to the folder; None: none of
            these steps has ended.
        kept_files: Those that were there, or stay where they are; None likewise.
    """

    written_files: int | None = None
    kept_files: int | None = None


_counts: ContextVar[Counts | None] = ContextVar("t4_counts", default=None)


@contextmanager
def count_files() -> Iterator[Counts]:
    """Yield what the steps inside a block, in its thread, fill in as they end."""
    counts = Counts()
    token = _counts.set(counts)
    try:
        yield counts
    finally:
        _counts.reset(token)


def note_files(files: int, written_files: int) -> None:
    """Tell whoever counts, if anybody does, what a step did.

    Args:
        files: Files that the step was about.
        written_files: Those of them that it wrote. More than `files` where it published twice,
            because somebody else was faster.
    """
    counts = _counts.get()
    if counts is not None:
        counts.written_files = written_files
        counts.kept_files = max(0, files - written_files)
