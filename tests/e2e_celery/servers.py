"""A Redis and a PostgreSQL of our own, from Debian's packages; run as a script: are they there?

Both listen on 127.0.0.1 only, with a password made for them, keep everything in one folder, and
end with the process that started them.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

HOST: Final = "127.0.0.1"
_START_S: Final = 60.0
_STOP_S: Final = 20.0
# Debian keeps the servers of PostgreSQL's versions here, outside of PATH.
_POSTGRES: Final = "/usr/lib/postgresql"
_NEEDED: Final = {
    "redis-server": "redis-server",
    "initdb": "postgresql",
    "postgres": "postgresql",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
}
"""Programs, and the packages of Debian that have them."""


class MissingError(RuntimeError):
    """A program is not installed; the message says how to get it."""


def program(name: str) -> str:
    """Return the path of a program.

    Raises:
        MissingError: It is not installed.
    """
    path = shutil.which(name)
    if path is None and name in ("initdb", "postgres"):
        found = Path(_POSTGRES).glob(f"*/bin/{name}")
        newest = sorted(found, key=lambda place: int(place.parts[-3].split(".")[0]))
        path = str(newest[-1]) if newest else None
    if path is None:
        raise MissingError(f"{name} is missing: apt-get install {_NEEDED[name]}")
    return path


def check() -> None:
    """See that all that is needed is here.

    Raises:
        MissingError: Something is not; all of it is named.
    """
    missing = []
    for name in _NEEDED:
        try:
            program(name)
        except MissingError as exc:
            missing.append(str(exc))
    if sys.platform != "linux":
        missing.append(f"namespaces of Linux are needed, this is {sys.platform}")
    elif not missing:
        # As the machines of the workers are made; some systems forbid it to all but root.
        tried = subprocess.run(
            [*namespaces(), "true"], capture_output=True, text=True, check=False, timeout=30
        )
        if tried.returncode:
            missing.append(f"this user may make no namespaces: {tried.stderr.strip()}; try root")
    if missing:
        raise MissingError("\n".join(missing))


def namespaces() -> list[str]:
    """Return the words before a command that give it a name, mounts and processes of its own."""
    own = ["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid():
        own = ["--user", "--map-root-user", *own]
    return [program("unshare"), *own, "--"]


@contextmanager
def redis(folder: Path, port: int) -> Iterator[str]:
    """Run a Redis inside a `with` block, and say its URL.

    Raises:
        RuntimeError: It did not start; the message has the end of its log.
    """
    password = secrets.token_hex(16)
    folder.mkdir()
    rules = [
        *(f"bind {HOST}", f"port {port}", f"dir {folder}", f"requirepass {password}"),
        *('save ""', "appendonly no", "daemonize no"),
    ]
    log = folder / "redis.log"
    # Rules come through stdin: arguments would show the password to everybody.
    process = _started([program("redis-server"), "-"], log, stdin="\n".join(rules))
    try:
        _wait(process, "Ready to accept connections", log)
        yield f"redis://:{password}@{HOST}:{port}/0"
    finally:
        _end(process)


@contextmanager
def postgres(port: int) -> Iterator[str]:
    """Run a PostgreSQL inside a `with` block, and say where: `user:password@host:port/database`.

    It refuses to run as root, so root runs it as the user `postgres`, or else `nobody`. So its
    folder is one of its own, which that user can reach.

    Raises:
        RuntimeError: It did not start; the message has the end of its log.
    """
    password = secrets.token_hex(16)
    folder = Path(tempfile.mkdtemp(prefix="t4-e2e-postgres-"))
    user = _unprivileged()
    try:
        data, secret, log = folder / "data", folder / "password", folder / "postgres.log"
        secret.touch(mode=0o600)
        secret.write_text(password)
        for path in (folder, secret) if user else ():
            os.chown(path, user["user"], user["group"])
        make = [program("initdb"), "-D", str(data), "-U", "airflow", f"--pwfile={secret}"]
        make += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        made = subprocess.run(
            make, cwd=folder, capture_output=True, text=True, timeout=120, check=False, **user
        )
        if made.returncode:
            raise RuntimeError(f"initdb: {made.stdout}{made.stderr}")
        rules = [f"listen_addresses={HOST}", f"port={port}", "unix_socket_directories="]
        rules += ["fsync=off", "max_connections=200"]  # nothing here outlives the test
        words = [word for rule in rules for word in ("-c", rule)]
        process = _started([program("postgres"), "-D", str(data), *words], log, **user)
        try:
            _wait(process, "ready to accept connections", log)
            yield f"airflow:{password}@{HOST}:{port}/postgres"
        finally:
            _end(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged() -> dict[str, Any]:
    """Return who runs what root may not, as arguments of a subprocess."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def _started(command: list[str], log: Path, stdin: str = "", **who: Any) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            # Killed, we can stop nothing: then the kernel does.
            [program("setpriv"), "--pdeathsig", "KILL", "--", *command],
            cwd=log.parent,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for us
            **who,
        )
    assert process.stdin is not None
    with process.stdin as rules:
        rules.write(stdin.encode())
    return process


def _wait(process: subprocess.Popen[bytes], ready: str, log: Path) -> None:
    end_s = time.monotonic() + _START_S
    while ready not in (said := log.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"{log.stem} did not start: {said[-2000:]}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    try:
        check()
    except MissingError as exc:
        sys.exit(f"make e2e-celery needs more than there is here:\n{exc}")
