"""Disks that are full, read-only, or take no large file: nothing is lost, a repeat completes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import t4_ops as t4
from tests.package_support import NAME, ROOT, bytes_below, write_files

NAMESPACE = ["unshare", "--mount", "--map-root-user"]


def test_a_full_and_a_read_only_disk(tmp_path: Path) -> None:
    allowed = (
        shutil.which("unshare")
        and not subprocess.run(
            [*NAMESPACE, "mount", "-t", "tmpfs", "t4-tests", str(tmp_path)],
            capture_output=True,
            check=False,
        ).returncode
    )
    if not allowed:
        pytest.skip("this system lets nobody mount; files that may not grow are tested below")
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-m", "tests.full_disk", str(tmp_path)],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.split() == ["all", "of", "them"], done.stdout + done.stderr


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    files = {"a.bin": b"small", "large.bin": bytes(200_000)}
    folder, registry = write_files(tmp_path / "files", files), tmp_path / "registry"
    old = t4.Package().set("old.bin", b"old").push(NAME, registry)
    package = t4.Package().set_dir("/", folder)
    source = t4.Package().set_dir("/", folder).push(NAME, tmp_path / "source")
    dest = tmp_path / "dest"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(t4.StorageError, match="too large"):
            package.push(NAME, registry, force=True)
        with pytest.raises(t4.StorageError, match="too large"):
            t4.Package.install(NAME, tmp_path / "source", dest=dest)
        assert t4.Package.browse(NAME, registry).top_hash == old.top_hash
        assert bytes_below(dest).items() <= files.items()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert package.push(NAME, registry, force=True).top_hash == source.top_hash
    assert t4.Package.install(NAME, registry, dest=dest).verify(dest)
    assert t4.Package.browse(NAME, registry, old.top_hash)["old.bin"].get_bytes() == b"old"
