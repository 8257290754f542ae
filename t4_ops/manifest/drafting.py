"""A manifest that is written while its entries come to be known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from t4_ops.errors import T4Error
from t4_ops.keys import Limits
from t4_ops.manifest.entry import Directory, Entry
from t4_ops.manifest.lines import Spool
from t4_ops.manifest.making import Writer
from t4_ops.manifest.model import Manifest
from t4_ops.manifest.proving import Proof, digest_of_header, hashed_blocks


class Draft:
    """Writes and hashes entries as they come, in a `with` block.

    Whoever waits for others' hashes has time for it. It only ever saves work: where entries do not
    come in tree order, or can't be written, there is no manifest in the end, and `Manifest.of`
    makes it, or says what is wrong.

    Args:
        header: The header.
        directories: Metadata of directories.
        limits: Bounds on keys and records.

    Raises:
        InvalidInputError: The header or a directory's record is too long, or not valid Unicode.
        FormatError: The header can't be hashed.
    """

    def __init__(
        self, header: Mapping[str, Any], directories: Iterable[Directory], limits: Limits
    ) -> None:
        self._limits = limits
        self._digest = digest_of_header(header)
        self._count = 0
        self._spool: Spool | None = Spool()
        try:
            self._writer = Writer(self._spool, header, directories, limits)
        except BaseException:
            self._drop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._drop()

    def add(self, entries: Sequence[Entry]) -> None:
        """Add entries, at least one, that have size and hash and come after those added before."""
        if self._spool is None:
            return
        try:
            for block in hashed_blocks(entries):
                self._digest.update(block.text)
            self._writer.add(entries)
        except T4Error:
            # Told when the manifest is made by plainer means.
            self._drop()
            return
        self._count += len(entries)
        if not self._writer.is_in_order:
            self._drop()

    def manifest(self, count: int) -> Manifest | None:
        """Return the manifest of what was added; the draft ends with it.

        Args:
            count: How many entries the package has. Added in order and as many as there are, they
                are all of them.
        """
        if self._spool is None or self._count != count:
            return None
        try:
            made = self._writer.composed()
            assert made.files_size_bytes is not None  # nothing was kept of another manifest
            proof = Proof(self._digest.hexdigest(), made.local_key, made.files_size_bytes)
            return Manifest(made.lines(), self._limits, first_entry=made.first_entry, proof=proof)
        except T4Error:
            return None
        finally:
            self._drop()

    def _drop(self) -> None:
        if self._spool is not None:
            self._spool.__exit__()
            self._spool = None
