"""Assistants: processes that read and hash small files beside this one.

Threads don't help there: reading and hashing a small file is so much interpreter for so few bytes
that they wait for each other's lock (two threads took 1.5 times as long as one). An assistant is an
interpreter of its own that runs one file of the standard library's means, started when many files
are to be hashed and gone afterwards. It only ever helps. Nobody waits until it listens or answers:
what it has not answered when there is nothing else to do, for whatever reason, is done here, and
here errors are worded.
"""

from __future__ import annotations

import marshal
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

from t4_ops.checksums import checksum_of_digest
from t4_ops.manifest import Entry
from t4_ops.storage import SMALL_BYTES, whole
from t4_ops.transfer.pool import Cancelled
from t4_ops.transfer.smallfiles import SmallReader

if TYPE_CHECKING:
    from subprocess import Popen

HELPED_FROM_FILES: Final = 5000
"""Fewest files that assistants are started for: one is there after some 20 ms."""
# More take longer to be told what to do than they save.
_MOST: Final = 3
# One that it works on, and some that wait: between two looks at its answers a batch is hashed here,
# and what came is written. With 2 it idles half of the time, with more than 4 little is won.
_OPEN_QUESTIONS: Final = 4
_PIECE_BYTES: Final = 64 * 1024
# Far above the answer to any batch; what claims to be longer is none.
_MOST_ANSWER_BYTES: Final = 1024 * 1024
_DIGEST_BYTES: Final = 32

_SCRIPT: Final = Path(whole.__file__ or "")

HashBatch = Callable[[list[Entry]], list[Entry]]


class _GoneError(Exception):
    """An assistant has ended, or it is none: what it says is no answer."""


@dataclass(slots=True, eq=False)
class _Turn:
    """A batch in its place of the order.

    Attributes:
        batch: Entries of small local files that lack a hash.
        hashed: The entries with it, once they are known.
    """

    batch: list[Entry]
    hashed: list[Entry] | None = None


class Assistant:
    """One process.

    Raises:
        OSError: No more processes are allowed.
    """

    def __init__(self) -> None:
        from subprocess import DEVNULL, PIPE, Popen

        # Isolated, so that nothing of the user's runs in it.
        command = [sys.executable, "-I", "-S", str(_SCRIPT)]
        self._process: Popen[bytes] = Popen(
            command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, bufsize=0
        )
        for pipe in self._pipes():
            os.set_blocking(pipe.fileno(), False)
        self._unsent, self._received = bytearray(), bytearray()
        self.turns: deque[_Turn] = deque()

    def ask(self, turn: _Turn, reader: SmallReader) -> None:
        """Give it a batch.

        Raises:
            _GoneError: It is gone.
        """
        self.turns.append(turn)
        self._unsent += marshal.dumps(_questions(turn.batch, reader))
        self._send()

    def answers(self) -> Iterator[tuple[_Turn, whole.Answer]]:
        """Yield the batches that it has hashed by now.

        Raises:
            _GoneError: It is gone.
        """
        self._send()
        out = self._process.stdout
        assert out is not None
        while self.turns:
            piece: bytes | None = out.read(_PIECE_BYTES)
            if piece is None:
                return  # it has said nothing more yet
            if not piece:
                raise _GoneError
            self._received += piece
            while self.turns and (answer := self._next(len(self.turns[0].batch))) is not None:
                yield self.turns.popleft(), answer

    def _send(self) -> None:
        """Send as much of what it is to be told as the pipe takes."""
        assert self._process.stdin is not None
        try:
            while self._unsent and (count := self._process.stdin.write(self._unsent)):
                del self._unsent[:count]
        except OSError as exc:
            raise _GoneError from exc

    def _next(self, files: int) -> whole.Answer | None:
        """Return the next answer, about so many files, if all of it is here."""
        end = whole.LENGTH_BYTES + int.from_bytes(self._received[: whole.LENGTH_BYTES], "big")
        if end > _MOST_ANSWER_BYTES:
            raise _GoneError
        if not whole.LENGTH_BYTES < end <= len(self._received):
            return None
        text = self._received[whole.LENGTH_BYTES : end]
        del self._received[:end]
        return _checked(text, files)

    def _pipes(self) -> list[IO[bytes]]:
        return [pipe for pipe in (self._process.stdin, self._process.stdout) if pipe is not None]

    def dismiss(self) -> None:
        """End it, whatever it does: it has only read."""
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes():
            pipe.close()


class Assistants:
    """The assistants of one piece of work, in a `with` block.

    Args:
        reader: Knows where small files are.
        hash_batch: Hashes a batch here.
        advance: Is told how many bytes assistants have hashed.
        files: How many files there are to hash.
    """

    def __init__(
        self,
        reader: SmallReader,
        hash_batch: HashBatch,
        advance: Callable[[int], None],
        files: int,
    ) -> None:
        self._reader, self._hash_batch, self._advance = reader, hash_batch, advance
        self._wanted = min(_MOST, processors() - 1) if files >= HELPED_FROM_FILES else 0
        self._present: list[Assistant] = []

    def __enter__(self) -> Self:
        with suppress(OSError):  # no more processes allowed, or no way to the script
            while len(self._present) < self._wanted and _can_start():
                self._present.append(Assistant())
        return self

    def __exit__(self, *exc_info: object) -> None:
        for assistant in self._present:
            assistant.dismiss()

    def hashed(
        self, batches: Iterator[list[Entry]], stop: threading.Event | None
    ) -> Iterator[list[Entry]]:
        """Yield the batches hashed, in their order, some by assistants and some here.

        Raises:
            Cancelled: `stop` was set.
        """
        turns: deque[_Turn] = deque()
        while True:
            if stop is not None and stop.is_set():
                raise Cancelled
            self._hand_out(batches, turns)
            own = self._own(batches, turns)
            if own is None:
                return
            own.hashed = self._hash_batch(own.batch)
            self._collect()
            while turns and (found := turns[0].hashed) is not None:
                turns.popleft()
                yield found

    def _hand_out(self, batches: Iterator[list[Entry]], turns: deque[_Turn]) -> None:
        """Give assistants what they have time for."""
        for assistant in list(self._present):
            while len(assistant.turns) < _OPEN_QUESTIONS:
                batch = next(batches, None)
                if batch is None:
                    return
                turns.append(_Turn(batch))
                try:
                    assistant.ask(turns[-1], self._reader)
                except _GoneError:
                    self._do_without(assistant)
                    break

    @staticmethod
    def _own(batches: Iterator[list[Entry]], turns: deque[_Turn]) -> _Turn | None:
        """Return what to do here: the next batch, at last what is not answered yet; None: nothing.

        At most a few batches are done twice, which costs less than to wait, and to wait in vain.
        """
        batch = next(batches, None)
        if batch is None:
            # What was asked last is least likely to be in work.
            return next((turn for turn in reversed(turns) if turn.hashed is None), None)
        turns.append(_Turn(batch))
        return turns[-1]

    def _collect(self) -> None:
        for assistant in list(self._present):
            try:
                for turn, answer in assistant.answers():
                    if turn.hashed is None:
                        turn.hashed = self._merged(turn.batch, answer)
            except _GoneError:
                self._do_without(assistant)

    def _merged(self, batch: list[Entry], answer: whole.Answer) -> list[Entry]:
        left = [entry for entry, found in zip(batch, answer, strict=True) if found is None]
        rest = iter(self._hash_batch(left) if left else ())
        self._advance(sum([found[0] for found in answer if found is not None]))
        return [
            next(rest) if found is None else _filled(entry, *found)
            for entry, found in zip(batch, answer, strict=True)
        ]

    def _do_without(self, assistant: Assistant) -> None:
        """Let go of an assistant that is gone; what it was asked for is done here at last."""
        self._present.remove(assistant)
        assistant.dismiss()


def _can_start() -> bool:
    """Return whether there is a Python to run the script with, and the script.

    In an archive the script is no file. Where Python is embedded, or frozen with its program,
    `sys.executable` may be missing, or be a server or the program itself: that is not to run again.
    """
    name = os.path.basename(sys.executable or "").lower()
    is_python = "python" in name or "pypy" in name
    return is_python and not getattr(sys, "frozen", False) and _SCRIPT.is_file()


def _checked(text: bytes | bytearray, files: int) -> whole.Answer:
    """Return the answer that a text is, about so many files.

    Raises:
        _GoneError: It is none.
    """
    try:
        answer: whole.Answer = marshal.loads(text)  # noqa: S302 - from our own process
        for found in answer:
            if found is not None:
                size_bytes, digest = found
                if not 0 <= size_bytes <= SMALL_BYTES or len(digest) != _DIGEST_BYTES:
                    raise _GoneError
    except (EOFError, TypeError, ValueError) as exc:
        raise _GoneError from exc
    if len(answer) != files:
        raise _GoneError
    return answer


def _filled(entry: Entry, size_bytes: int, digest: bytes) -> Entry:
    checksum = checksum_of_digest(digest)
    return Entry(entry.logical_key, entry.physical_key, size_bytes, checksum, entry.meta)


def _questions(batch: list[Entry], reader: SmallReader) -> list[whole.Question]:
    """Return what to ask of a batch: for each run of files in one folder their names."""
    asked: list[whole.Question] = []
    last: str | None = None
    for entry in batch:
        url, name = reader.located(entry.physical_key)
        if url != last or not asked:
            root, folder = reader.folder(url)
            root_name = None if root is None else os.fsencode(root)
            asked.append((root_name, os.fsencode(folder), [], SMALL_BYTES))
            last = url
        asked[-1][2].append(os.fsencode(name))
    return asked


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
