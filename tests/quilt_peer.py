"""Runs quilt3 in a process of its own: `python quilt_peer.py COMMAND JSON`, one JSON line back.

quilt3 reads its places and settings when it is imported and caches what it reads, so sharing a
process would test neither it nor us.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def ask_quilt3(home: Path, command: str, **arguments: Any) -> Any:
    """Run a command of this file with quilt3 in a home of its own and return its answer."""
    environ = {
        **os.environ,
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "QUILT_DISABLE_USAGE_METRICS": "true",
        "QUILT_MINIMIZE_STDOUT": "true",
    }
    done = subprocess.run(
        [sys.executable, __file__, command, json.dumps(arguments)],
        env=environ,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"quilt3 {command} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _described(package: Any) -> dict[str, Any]:
    entries = {key: [e.get(), e.size, e.hash, e._meta] for key, e in package.walk()}
    return {"top_hash": package.top_hash, "meta": package.meta, "entries": entries}


def publish(
    folder: str,
    name: str,
    registry: str,
    message: str | None,
    meta: dict[str, Any] | None,
    entry_meta: dict[str, dict[str, Any]],
) -> Any:
    """Package a folder; push to a bucket, build in a folder."""
    import quilt3

    package = quilt3.Package().set_dir("/", folder, meta=meta)
    for key, value in entry_meta.items():
        package[key].set_meta(value)
    if registry.startswith("s3://"):
        pushed = package.push(name, registry=registry, message=message, force=True)
        return _described(pushed)
    package.build(name, registry=registry, message=message)
    return _described(package)


def browse(name: str, registry: str, top_hash: str | None) -> Any:
    """Describe a package and every object in it that it can deserialise or read."""
    import quilt3

    return _described(quilt3.Package.browse(name, registry=registry, top_hash=top_hash))


def install(name: str, registry: str, top_hash: str | None, dest: str) -> Any:
    """Install a package, verify the folder, and describe what is in the local registry then."""
    import quilt3

    quilt3.Package.install(name, registry=registry, top_hash=top_hash, dest=dest)
    installed = quilt3.Package.browse(name)
    return {**_described(installed), "verified": installed.verify(dest)}


def versions(name: str, registry: str) -> Any:
    """List packages and the revisions of one."""
    import quilt3

    return {
        "packages": sorted(quilt3.list_packages(registry)),
        "versions": sorted(quilt3.list_package_versions(name, registry)),
    }


def read_objects(name: str, registry: str, keys: list[str]) -> Any:
    """Return what quilt3 deserialises, as text."""
    import quilt3

    package = quilt3.Package.browse(name, registry=registry)
    return {key: repr(package[key].deserialize()) for key in keys}


if __name__ == "__main__":
    # The tests' folder must not stand before installed packages.
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).parent]
    commands = {f.__name__: f for f in (publish, browse, install, versions, read_objects)}
    print(json.dumps(commands[sys.argv[1]](**json.loads(sys.argv[2]))))
