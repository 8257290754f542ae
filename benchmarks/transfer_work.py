"""One timed piece of work in a process of its own: `python -m benchmarks.transfer_work`.

Its arguments: the case, that case's own as JSON, and the bytes of memory to touch before the clock.

Imports come before the clock starts, for us and for quilt3 alike: `import quilt3` loads boto3 at
once, we load the libraries of others only when they are needed, so those that a case is going to
need are loaded first (`LIBRARIES`). Nothing else is: no client is made, no connection opened, and
our own modules that are loaded late count as work. What our own import takes is a case of its own
(`import_cost`). The last line of output is JSON: wall and processor seconds of the work, and the
process's memory before it and at its highest, with that of processes it started.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benchmarks.children import Children
from benchmarks.warm_memory import warm_memory

MIB: Final = 1024 * 1024
# Bytes of one part of a large file: the first chunk size of `sha2-256-chunked`.
_PART_BYTES: Final = 8 * MIB


def t4_build(folder: str, name: str, registry: str) -> Callable[[], str]:
    """Package a folder and build it in a folder registry."""
    from t4_ops import Package

    return lambda: Package().set_dir("/", folder).build(name, registry)


def quilt3_build(folder: str, name: str, registry: str) -> Callable[[], str]:
    """Do the same with quilt3."""
    import quilt3

    return lambda: str(quilt3.Package().set_dir("/", folder).build(name, registry))


def t4_push(folder: str, name: str, registry: str) -> Callable[[], str]:
    """Package a folder and push it; hashes, checksums and manifest included."""
    from t4_ops import Package

    def work() -> str:
        package = Package().set_dir("/", folder)
        return package.push(name, registry, message=name).top_hash

    return work


def t4_push_again(folder: str, name: str, registry: str) -> Callable[[], str]:
    """Push a folder on top of the revision that is there."""
    from t4_ops import Package

    def work() -> str:
        package = Package.browse(name, registry)
        return package.set_dir("/", folder).push(name, registry).top_hash

    return work


def quilt3_push(folder: str, name: str, registry: str) -> Callable[[], str]:
    """Package a folder and push it with quilt3."""
    import quilt3

    def work() -> str:
        package = quilt3.Package().set_dir("/", folder)
        return str(package.push(name, registry=registry, message=name, force=True).top_hash)

    return work


def t4_install(name: str, registry: str, dest: str) -> Callable[[], str]:
    """Install a package, every byte verified."""
    from t4_ops import Package

    return lambda: Package.install(name, registry, dest=dest).top_hash


def quilt3_install(name: str, registry: str, dest: str) -> Callable[[], str]:
    """Install a package with quilt3, which verifies nothing."""
    import quilt3

    def work() -> str:
        return str(quilt3.Package.install(name, registry=registry, dest=dest))

    return work


def t4_list(registry: str, prefix: str) -> Callable[[], str]:
    """List a prefix."""
    from t4_ops import Bucket

    return lambda: str(len(Bucket(registry).ls(prefix, recursive=True)[1]))


def t4_list_connected(registry: str, prefix: str) -> Callable[[], str]:
    """List a prefix in a process that has used the bucket before."""
    from t4_ops import Bucket

    bucket = Bucket(registry)
    bucket.ls("no/such/folder")
    return lambda: str(len(bucket.ls(prefix, recursive=True)[1]))


def t4_copy(source: str, name: str, registry: str) -> Callable[[], str]:
    """Package an S3 prefix and push it into another bucket."""
    from t4_ops import Package

    return lambda: Package().set_dir("/", source).push(name, registry, message=name).top_hash


def memory_hash(path: str) -> Callable[[], str]:
    """Hash bytes that are in memory with all processors: the limit for hashing a file."""
    data = memoryview(Path(path).read_bytes())
    parts = [data[start : start + _PART_BYTES] for start in range(0, len(data), _PART_BYTES)]

    def work() -> str:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            digests = pool.map(lambda part: hashlib.sha256(part).digest(), parts)
            return hashlib.sha256(b"".join(digests)).hexdigest()

    return work


WORK: Final[dict[str, Callable[..., Callable[[], str]]]] = {
    work.__name__: work
    for work in (
        t4_build,
        quilt3_build,
        t4_push,
        t4_push_again,
        quilt3_push,
        t4_install,
        quilt3_install,
        t4_list,
        t4_list_connected,
        t4_copy,
        memory_hash,
    )
}

_FOLDER: Final = ("platformdirs",)
_LISTING: Final = (*_FOLDER, "boto3")
_OBJECTS: Final = (*_LISTING, "obstore.store")
LIBRARIES: Final[dict[str, tuple[str, ...]]] = {
    "t4_build": _FOLDER,
    "t4_list": _LISTING,
    "t4_list_connected": _LISTING,
    "t4_push": _OBJECTS,
    "t4_push_again": _OBJECTS,
    "t4_install": _OBJECTS,
    "t4_copy": _OBJECTS,
}
"""The libraries of others that a case of ours loads while it works. quilt3 has loaded its own."""


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes() -> int:
    # Not `ru_maxrss`, which counts the memory of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM:")) * 1024


def main() -> int:
    """Do the work that the arguments name and print what it took."""
    case, arguments, warm_bytes = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    for library in LIBRARIES.get(case, ()):
        import_module(library)
    work = WORK[case](**arguments)
    warm_memory(warm_bytes)
    before_bytes, cpu_s, start_s = _resident_bytes(), _cpu_s(), time.perf_counter()
    with Children() as children:
        answer = work()
        wall_s = time.perf_counter() - start_s
    figures: dict[str, Any] = {
        "wall_s": wall_s,
        "cpu_s": _cpu_s() - cpu_s,
        "before_mb": before_bytes / 1e6,
        "peak_mb": (_peak_bytes() + children.peak_bytes) / 1e6,
        "answer": answer,
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
