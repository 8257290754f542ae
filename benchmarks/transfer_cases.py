"""The cases of transfers: what each contender does, on many small files or one large one.

A case's name is `<work> <count>x<bytes>`, e.g. `push 10000x4096`, so that floors find it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.contenders import Bench, Contender
from benchmarks.figures import OURS, Figure
from benchmarks.small_files import MIB

VERSIONED: Final = "s3://versioned"
# Of the files, so many are changed before the push of the case `changed`: 1 %.
_CHANGED: Final = 100
# For what takes less than 0.5 s, of which a moment of another program's is a large part.
_MANY_TIMES: Final = 3


@dataclass(frozen=True)
class Small:
    """A folder of small files.

    Attributes:
        folder: Its path.
        files: How many.
        size_bytes: Bytes of each.
    """

    folder: str
    files: int
    size_bytes: int

    @property
    def label(self) -> str:
        """Its part of a case's name."""
        return f"{self.files}x{self.size_bytes}"


def make_buckets(bench: Bench) -> None:
    """Make the buckets that the cases use; once for each server."""
    bench.server.create_bucket(VERSIONED.removeprefix("s3://"), versioned=True)


def build(bench: Bench, small: Small) -> None:
    """Build in a folder registry, of the same top hash as quilt3."""
    answers: list[str] = []

    def run(work: str) -> Contender:
        def contender() -> Figure:
            registry = bench.folder / bench.new("registry")
            place = {"name": "b/build", "registry": registry.as_uri()}
            figure, answer = bench.python(work, folder=small.folder, **place)
            answers.append(answer)
            _free(registry)
            return figure

        return contender

    case = f"build {small.label}"
    bench.interleaved(case, {OURS: run("t4_build"), "quilt3": run("quilt3_build")})
    _same(case, answers)


def push(
    bench: Bench, small: Small, *, with_quilt3: bool = True, case: str = "", times: int = 1
) -> tuple[list[str], list[str]]:
    """Push beside s5cmd's bare put; return the names of what we and quilt3 pushed.

    Args:
        bench: Where.
        small: What.
        with_quilt3: Let quilt3 push too.
        case: The case's name, if it is not `push <size>`.
        times: So many times the usual rounds.
    """
    ours: list[str] = []
    theirs: list[str] = []

    def run(work: str, names: list[str]) -> Contender:
        def contender() -> Figure:
            names.append(f"b/{bench.new('p')}")
            place = {"name": names[-1], "registry": VERSIONED}
            return bench.python(work, folder=small.folder, **place)[0]

        return contender

    contenders = {OURS: run("t4_push", ours)}
    if bench.s5cmd:
        contenders["s5cmd"] = lambda: bench.peer(
            "cp", f"{small.folder}/", f"{VERSIONED}/{bench.new('s')}/"
        )
    if with_quilt3:
        contenders["quilt3"] = run("quilt3_push", theirs)
    bench.interleaved(case or f"push {small.label}", contenders, times)
    return ours, theirs


def push_alone(bench: Bench, small: Small) -> str:
    """Push with nobody beside, once, unmeasured; return the name."""
    name = f"b/{bench.new('p')}"
    bench.python("t4_push", folder=small.folder, name=name, registry=VERSIONED)
    return name


def again(bench: Bench, small: Small, ours: str, theirs: str | None) -> None:
    """Push once more: nothing changed."""
    _on_top(bench, f"again {small.label}", small, 0, ours, theirs)


def changed(bench: Bench, small: Small, ours: str, theirs: str | None) -> None:
    """Push once more: 1 % changed. Beside it the 1 % alone, as a package of its own."""
    some = max(1, small.files // _CHANGED)
    _on_top(bench, f"changed {small.label}", small, some, ours, theirs)
    alone = bench.folder / bench.new("alone")
    alone.mkdir()
    for path in _paths(small)[:some]:
        shutil.copy(path, alone)
    alone_files = Small(str(alone), some, small.size_bytes)
    case = f"changed-alone {small.label}"
    push(bench, alone_files, with_quilt3=False, case=case, times=_MANY_TIMES)


def _on_top(
    bench: Bench, case: str, small: Small, some: int, ours: str, theirs: str | None
) -> None:
    paths = _paths(small)[:some]

    def run(work: str, name: str) -> Contender:
        def contender() -> Figure:
            for path in paths:
                path.write_bytes(os.urandom(small.size_bytes))
            place = {"name": name, "registry": VERSIONED}
            return bench.python(work, folder=small.folder, **place)[0]

        return contender

    contenders = {OURS: run("t4_push_again", ours)}
    if theirs is not None:
        contenders["quilt3"] = run("quilt3_push", theirs)
    bench.interleaved(case, contenders, _MANY_TIMES)


def install(
    bench: Bench, small: Small, name: str, *, with_quilt3: bool = True, case: str = ""
) -> None:
    """Install what we pushed, beside s5cmd's bare get. `case` is its name if given."""

    def run(work: str) -> Contender:
        def contender() -> Figure:
            dest, home = bench.folder / bench.new("dest"), bench.new("home")
            # A new home: from the second time on quilt3 would copy what it installed before.
            place = {"name": name, "registry": VERSIONED, "dest": str(dest)}
            figure = bench.python(work, home=home, **place)[0]
            _free(dest, bench.folder / home)
            return figure

        return contender

    contenders = {OURS: run("t4_install")}
    if with_quilt3:
        contenders["quilt3"] = run("quilt3_install")
    if bench.s5cmd:
        contenders["s5cmd"] = lambda: _get(bench, f"{VERSIONED}/{name}/*")
    bench.interleaved(case or f"install {small.label}", contenders)


def list_objects(bench: Bench, small: Small, name: str) -> None:
    """List what was pushed, in a new process and in one that has used the bucket before."""

    def ours(work: str) -> Contender:
        return lambda: bench.python(work, registry=VERSIONED, prefix=name)[0]

    peer: dict[str, Contender] = {}
    if bench.s5cmd:
        # We hand over what was found; its way to do so is to print it.
        peer["s5cmd"] = lambda: bench.peer("ls", f"{VERSIONED}/{name}/*", prints=True)
    bench.interleaved(f"list {small.label}", {OURS: ours("t4_list"), **peer}, _MANY_TIMES)
    # boto3's own start takes longer than the listing.
    connected = {OURS: ours("t4_list_connected"), **peer}
    bench.interleaved(f"list-connected {small.label}", connected, _MANY_TIMES)


def copy(bench: Bench, small: Small, name: str) -> None:
    """Copy what was pushed to another bucket: as a package, beside s5cmd's copy.

    Each copy goes to a bucket of its own: in one that keeps no versions, objects have their place
    by content, so that a second copy would find those of the first.
    """
    source = f"{VERSIONED}/{name}"

    def other() -> str:
        bucket = f"other-{bench.new('c')}"
        bench.server.create_bucket(bucket, versioned=False)
        return f"s3://{bucket}"

    def ours() -> Figure:
        return bench.python("t4_copy", source=source, name="b/copy", registry=other())[0]

    contenders: dict[str, Contender] = {OURS: ours}
    if bench.s5cmd:
        contenders["s5cmd"] = lambda: bench.peer("cp", f"{source}/*", f"{other()}/copy/")
    bench.interleaved(f"copy {small.label}", contenders)


def hash_large(bench: Bench, path: Path) -> None:
    """Build a package of one large file, beside the limit: its bytes hashed in memory."""

    def run(work: str) -> Contender:
        def contender() -> Figure:
            registry = bench.folder / bench.new("registry")
            place = {"name": "b/hash", "registry": registry.as_uri()}
            figure = bench.python(work, folder=str(path.parent), **place)[0]
            _free(registry)
            return figure

        return contender

    contenders: dict[str, Contender] = {OURS: run("t4_build"), "quilt3": run("quilt3_build")}
    contenders["limit"] = lambda: bench.python("memory_hash", path=str(path))[0]
    bench.interleaved(f"hash {large_label(path)}", contenders)


def large(bench: Bench, path: Path) -> None:
    """Push and install one large object, beside s5cmd."""
    names: list[str] = []

    def ours_push() -> Figure:
        names.append(f"b/{bench.new('l')}")
        place = {"name": names[-1], "registry": VERSIONED}
        return bench.python("t4_push", folder=str(path.parent), **place)[0]

    def ours_install() -> Figure:
        dest, home = bench.folder / bench.new("dest"), bench.new("home")
        place = {"name": names[-1], "registry": VERSIONED, "dest": str(dest)}
        figure = bench.python("t4_install", home=home, **place)[0]
        _free(dest, bench.folder / home)
        return figure

    pushes: dict[str, Contender] = {OURS: ours_push}
    installs: dict[str, Contender] = {OURS: ours_install}
    if bench.s5cmd:
        pushes["s5cmd"] = lambda: bench.peer("cp", str(path), f"{VERSIONED}/{bench.new('s')}")
        installs["s5cmd"] = lambda: _get(bench, f"{VERSIONED}/{names[-1]}/{path.name}")
    bench.interleaved(f"large-push {large_label(path)}", pushes)
    bench.interleaved(f"large-install {large_label(path)}", installs, 2)


def large_label(path: Path) -> str:
    """Return the part of a case's name that says the file's size."""
    return f"{path.stat().st_size // MIB}MiB"


def _get(bench: Bench, source: str) -> Figure:
    dest = bench.folder / bench.new("dest")
    figure = bench.peer("cp", source, f"{dest}/")
    _free(dest)
    return figure


def _paths(small: Small) -> list[Path]:
    return sorted(Path(small.folder).rglob("*.bin"))


def _free(*folders: Path) -> None:
    """Free the room of large files; small ones stay until the run is over.

    Without a journal ext4 looks, for each new file, at all that were removed in the last minutes
    (`recently_deleted`, fs/ext4/ialloc.c of Linux): right after 20,000 had been, an install of
    10,000 took 11.6 s instead of 4.0 s, and s5cmd's 7.5 s instead of 4.2 s.
    """
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_size > MIB:
                path.unlink()


def _same(case: str, answers: Iterable[str]) -> None:
    if len(set(answers)) != 1:
        raise SystemExit(f"{case}: the contenders have different answers: {sorted(set(answers))}")
