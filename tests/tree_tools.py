"""What the tests of trees share: looking at folders without a tree."""

from __future__ import annotations

import os
from pathlib import Path

from t4_ops.storage import Tree


def read(tree: Tree, relative: str) -> bytes:
    fd, found = tree.open_file(relative)
    with open(fd, "rb") as file:
        data = file.read()
    assert len(data) == found.st_size
    return data


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """Return relative path -> bytes of each file; None for anything else but folders."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            is_file = path.is_file() and not path.is_symlink()
            found[str(path.relative_to(folder))] = path.read_bytes() if is_file else None
    return found


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))
