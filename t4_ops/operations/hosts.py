"""Which machine a local folder is on: workers share names of folders, not folders."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any, Final

from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import PackageRef, PhysicalKey, is_folder

HOST: Final = "host"
"""Key of a result that names the machine its local paths are on."""
DEST_STAT: Final = "dest_stat"
"""Key of a result that tells its folder from others of the same path, see `stat_of`."""


def host() -> str:
    """Return the name of this machine, as results carry it."""
    return socket.gethostname()


def stat_of(folder: str) -> list[int]:
    """Return what tells a folder from one of the same path on another machine.

    That is its inode number, which a file server gives all machines alike, and when it last
    changed, in nanoseconds: a later look at the same folder never finds an earlier time. Disks of
    machines that were set up alike may have the same numbers.
    """
    # Opened, because clients of NFS may otherwise tell what they saw up to a minute ago.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return [found.st_ino, found.st_mtime_ns]


def check_registry_is_here(given: Mapping[str, Any], ref: PackageRef, *, is_there: bool) -> None:
    """Refuse a step's result whose registry is a folder of another machine.

    A folder that both machines share is none of another machine: what counts is whether the
    revision is there.

    Args:
        given: The result.
        ref: The revision it names.
        is_there: Whether the revision's manifest is.

    Raises:
        NotFoundError: It is not, and the result was made elsewhere.
    """
    maker = given.get(HOST)
    if is_folder(ref.registry) and maker and maker != host() and not is_there:
        path = PhysicalKey.parse(ref.registry).path
        raise _elsewhere(f"the registry {path!r} of {ref.name}@{ref.top_hash[:12]}", path, maker)


def check_folder_is_here(given: Mapping[str, Any], path: str) -> None:
    """Refuse the folder that a step filled on another machine.

    Workers that are set up alike have folders of the same paths, with what they installed
    themselves, perhaps of another revision.

    Args:
        given: The step's result.
        path: The folder.

    Raises:
        NotFoundError: It is not here, or another one is, and the result was made elsewhere.
    """
    maker = given.get(HOST)
    if not maker or maker == host():
        return
    if not os.path.isdir(path):
        raise _elsewhere(f"the folder {path!r}", path, maker)
    is_dest = given.get("dest") == path and DEST_STAT in given
    if is_dest and not _is_same(given[DEST_STAT], stat_of(path)):
        raise _elsewhere(f"the folder {path!r}, not the one of that path here,", path, maker)


def _is_same(before: Any, now: list[int]) -> bool:
    """Return whether what a result says of its folder may have become what it is now.

    Raises:
        InvalidInputError: It says nothing of that kind.
    """
    try:
        inode, changed_ns = map(int, before)
    except (TypeError, ValueError) as exc:
        raise InvalidInputError(f"{DEST_STAT}={before!r}: two numbers are expected") from exc
    return inode == now[0] and changed_ns <= now[1]


def _elsewhere(what: str, path: str, maker: object) -> NotFoundError:
    return NotFoundError(
        f"{what} is on the machine {str(maker)!r}, this is {host()!r}: workers share no folders."
        " Push to a bucket (registry='s3://...') and go on with that result, or let both steps use"
        " a folder that every worker mounts",
        key=path,
    )
