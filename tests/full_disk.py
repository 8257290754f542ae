"""A full and a read-only disk, as a script in a mount namespace: `python -m tests.full_disk DIR`.

It mounts a file system of some MiB in memory, which nobody else sees and which goes with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

import t4_ops as t4
from tests.package_support import NAME, bytes_below, contents_of, write_files

SIZE_BYTES: Final = 4 * 1024 * 1024
LARGE: Final = b"l" * (SIZE_BYTES // 4)


def mount(*options: str) -> None:
    subprocess.run(
        [shutil.which("mount") or "mount", *options], check=True, capture_output=True, text=True
    )


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill the disk up to its last byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    yield
    filler.unlink()


@contextmanager
def nearly_full(disk: Path) -> Iterator[None]:
    """Leave room for what is small: a large object fails in its middle, after others."""
    filler = disk / "filler"
    filler.write_bytes(bytes(SIZE_BYTES - used(disk) - len(LARGE) // 2))
    yield
    filler.unlink()


def used(disk: Path) -> int:
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let nobody write."""
    mount("-o", "remount,ro", str(disk))
    yield
    mount("-o", "remount,rw", str(disk))


def main() -> None:
    root = Path(sys.argv[1])
    disk = root / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "t4-tests", str(disk))
    registry, elsewhere = disk / "registry", root / "elsewhere"
    old = {"a.bin": b"old", "d/b.bin": b"b"}
    first = t4.Package().set_dir("/", write_files(root / "old", old)).push(NAME, registry)
    files = write_files(root / "new", {"a.bin": b"new", "large.bin": LARGE})
    source = t4.Package().set_dir("/", files).push(NAME, elsewhere)

    def build() -> None:
        t4.Package().set_dir("/", files).set("o.bin", LARGE[1:]).build(NAME, registry)

    def push() -> None:
        package = t4.Package.browse(NAME, registry)
        package.set("large.bin", files / "large.bin").push(NAME, registry)

    def install() -> None:
        t4.Package.install(NAME, elsewhere, dest=disk / "installed")

    steps: tuple[Callable[[], None], ...] = (build, push, install)
    troubles = ((full, "no space left"), (nearly_full, "no space left"), (read_only, "read-only"))
    for trouble, text in troubles:
        for step in steps:
            known = t4.list_package_versions(NAME, registry)
            with trouble(disk):
                with pytest.raises(t4.StorageError, match=f"(?i){text}") as caught:
                    step()
                assert not caught.value.retryable
                assert t4.list_package_versions(NAME, registry) == known
                dest = root / f"{trouble.__name__}-{step.__name__}"
                installed = t4.Package.install(NAME, registry, first.top_hash, dest=dest)
                assert installed.verify(dest)
                assert bytes_below(dest) == old
            step()
            # What was left behind takes no room, and the next step needs it.
            shutil.rmtree(disk / "installed", ignore_errors=True)
            t4.delete_package(NAME, registry)
            shutil.rmtree(registry)
            again = t4.Package().set_dir("/", root / "old").push(NAME, registry)
            assert again.top_hash == first.top_hash
            assert contents_of(t4.Package.browse(NAME, elsewhere)) == contents_of(source)
    print("all of them")


if __name__ == "__main__":
    main()
