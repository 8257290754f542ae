"""Files for the benchmarks: many small ones, or one large one, of random bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
_FILES_A_FOLDER: Final = 1000
_PIECE_BYTES: Final = 16 * MIB


def make_files(folder: Path, files: int, size_bytes: int) -> str:
    """Write files of random bytes, a thousand to a folder, and return the path."""
    for number in range(files):
        below = folder / f"d{number // _FILES_A_FOLDER:04d}"
        if number % _FILES_A_FOLDER == 0:
            below.mkdir(parents=True)
        (below / f"f{number:07d}.bin").write_bytes(os.urandom(size_bytes))
    return str(folder)


def make_large(path: Path, size_bytes: int) -> str:
    """Write one file of random bytes and return the path of its folder."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for start in range(0, size_bytes, _PIECE_BYTES):
            file.write(os.urandom(min(_PIECE_BYTES, size_bytes - start)))
    return str(path.parent)
