"""Become a machine of one's own, then run a command: `enter.py NAME DISK HERE HIDDEN COMMAND...`.

For a process that was given namespaces of its own (`servers.namespaces`). DISK appears at HERE,
the same path on every machine, as on machines that are set up alike, and HIDDEN, where the others'
disks are, is empty.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys


def main() -> None:
    """Set the host name and the mounts, which end with this process, and become the command."""
    name, disk, here, hidden, *command = sys.argv[1:]
    socket.sethostname(name)
    for words in (["--bind", disk, here], ["-t", "tmpfs", "none", hidden]):
        subprocess.run(["mount", *words], check=True)  # noqa: S607 (found by servers.check)
    os.chdir(here)
    os.execvp(command[0], command)  # noqa: S606 (there is no shell to want)


if __name__ == "__main__":
    main()
