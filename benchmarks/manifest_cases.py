"""One case in a process of its own: `python -m benchmarks.manifest_cases CASE ARGUMENT...`.

The last line it prints is JSON: seconds on the clock, CPU seconds, peak memory above what the
imports took, and what was found, so that the caller can compare the two libraries' answers.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

PIECE_BYTES: Final = 1024 * 1024
_UTF8: Final = {True: "utf-8", False: None}


def _dumped(dump: Callable[[Any], object], *, is_text: bool = False) -> dict[str, Any]:
    """Return what writing a manifest to a file takes; what was written is hashed afterwards.

    Args:
        dump: Writes it to the file it is given.
        is_text: Whether the file takes text, which quilt3 writes.
    """
    with tempfile.NamedTemporaryFile("w+" if is_text else "w+b", encoding=_UTF8[is_text]) as file:
        measure = Measure()
        dump(file)
        file.flush()
        report = measure.report(None)
        with open(file.name, "rb") as written:
            return {**report, "found": hashlib.file_digest(written, "sha256").hexdigest()}


class Measure:
    """Seconds and memory from its making on."""

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = _cpu_s(), time.perf_counter()
        self._memory_mb = _peak_mb()

    def report(self, found: object) -> dict[str, Any]:
        """Return what was used since."""
        return {
            "wall_s": time.perf_counter() - self._wall_s,
            "cpu_s": _cpu_s() - self._cpu_s,
            "memory_mb": _peak_mb() - self._memory_mb,
            "found": found,
        }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_mb() -> float:
    # Not `ru_maxrss`, which counts the memory of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM:")) / 1024


def _pieces(path: str) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _edit(package: Any, keys: Iterable[str]) -> None:
    """Set metadata of an entry in a thousand; both libraries take these calls."""
    for key in list(islice(keys, None, None, 1000)):
        package[key].set_meta({"label": "edited"})


# Ours


def t4_open(path: str) -> dict[str, Any]:
    """Open a manifest: every key checked, in order."""
    from t4_ops.manifest import Manifest

    measure = Measure()
    return measure.report(len(Manifest.read(_pieces(path))))


def t4_prove(path: str) -> dict[str, Any]:
    """Open a manifest and compute its top hash: every record decoded."""
    from t4_ops.manifest import Manifest

    measure = Measure()
    return measure.report(Manifest.read(_pieces(path), proves=True).top_hash)


def t4_dump(path: str) -> dict[str, Any]:
    """Write a loaded manifest."""
    import t4_ops as t4

    with Path(path).open("rb") as file:
        package = t4.Package.load(file)
    return _dumped(package.dump)


def t4_edited_dump(path: str) -> dict[str, Any]:
    """Write a loaded manifest after edits: metadata of an entry in a thousand."""
    import t4_ops as t4

    with Path(path).open("rb") as file:
        package = t4.Package.load(file)
    _edit(package, (key for key, _ in package.walk()))
    return _dumped(package.dump)


def t4_rewritten(path: str) -> dict[str, Any]:
    """Write a manifest anew, as after a push that gave every entry another place."""
    from t4_ops.keys import DEFAULT_LIMITS
    from t4_ops.manifest import Manifest

    loaded = Manifest.read(_pieces(path))

    def dump(file: IO[bytes]) -> None:
        made = Manifest.of(loaded.header, loaded.entries(), loaded.directories(), DEFAULT_LIMITS)
        file.writelines(made.chunks())

    return _dumped(dump)


def t4_diff(old: str, new: str) -> dict[str, Any]:
    """Open two manifests and compare them."""
    import t4_ops as t4

    measure = Measure()
    packages = []
    for path in (old, new):
        with Path(path).open("rb") as file:
            packages.append(t4.Package.load(file))
    return measure.report([len(part) for part in packages[0].diff(packages[1])])


def t4_index(path: str) -> dict[str, Any]:
    """Make the index of a manifest that was loaded and proved."""
    import tempfile

    from t4_ops.manifest import Manifest, write_index

    manifest = Manifest.read(_pieces(path))
    _ = manifest.top_hash
    measure = Measure()
    with tempfile.TemporaryFile() as file:
        return measure.report(write_index(manifest, "etag", None, file))


def t4_browse(question: str, registry: str, name: str, top_hash: str, asked: str) -> dict[str, Any]:
    """Open a package and ask one question; the connection to the server is not there before."""
    import t4_ops as t4
    from t4_ops.package import open_registry
    from t4_ops.settings import load_settings

    # What a process loads once is not what browsing costs.
    open_registry(registry, load_settings()).pointers.latest("no/package")
    measure = Measure()
    package = t4.Package.browse(name, registry, top_hash or None)
    found: object = (package.count_files(), package.size_bytes())
    if question == "folder":
        found = len(package[asked].keys())
    elif question == "key":
        found = package[asked].hash
    return measure.report([found, package.verified])


# quilt3


def _quilt3_load(path: str) -> Any:
    from quilt3 import Package

    file: IO[bytes]
    with Path(path).open("rb") as file:
        return Package.load(file)


def _with_quilt3(act: Callable[[], object]) -> dict[str, Any]:
    import quilt3  # noqa: F401 (its import is not what is measured)

    measure = Measure()
    return measure.report(act())


def quilt3_open(path: str) -> dict[str, Any]:
    """Load a manifest."""
    return _with_quilt3(lambda: _quilt3_load(path) is not None)


def quilt3_prove(path: str) -> dict[str, Any]:
    """Load a manifest and compute its top hash."""
    return _with_quilt3(lambda: _quilt3_load(path).top_hash)


def quilt3_dump(path: str) -> dict[str, Any]:
    """Write a loaded manifest."""
    return _dumped(_quilt3_load(path)._dump, is_text=True)


def quilt3_edited_dump(path: str) -> dict[str, Any]:
    """Write a loaded manifest after the same edits."""
    package = _quilt3_load(path)
    _edit(package, (key for key, _ in package.walk()))
    return _dumped(package._dump, is_text=True)


def quilt3_diff(old: str, new: str) -> dict[str, Any]:
    """Load two manifests and compare them."""

    def act() -> list[int]:
        added, modified, deleted = _quilt3_load(old).diff(_quilt3_load(new))
        return [len(added), len(modified), len(deleted)]

    return _with_quilt3(act)


CASES: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    case.__name__: case
    for case in (
        *(t4_open, t4_prove, t4_dump, t4_edited_dump, t4_rewritten, t4_diff, t4_index, t4_browse),
        *(quilt3_open, quilt3_prove, quilt3_dump, quilt3_edited_dump, quilt3_diff),
    )
}

if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[1]](*sys.argv[2:])))
