"""The parts of `make bench`, and the sizes they are run at.

Each part gets a server of its own that holds nothing yet, so that a part costs the same whether it
is run alone or after others. What small files a part made stays until all have run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks import import_cost, manifest_part, pointer_part
from benchmarks import transfer_cases as cases
from benchmarks.bench_run import Run
from benchmarks.contenders import Bench
from benchmarks.small_files import MIB, make_files, make_large

# Larger than what a server that tells no hash is sent as bytes instead of being asked to copy it
# (256 KiB, storage/_s3_large.py).
_COPIED_BYTES: Final = 512 * 1024
# Files that are read whole, and sent in one request as large as they get: what takes most memory.
MIDDLE: Final = ((300, MIB), (60, 8 * MIB))
_WORKS: Final = ("push", "install")


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        files: Numbers of small files and bytes of each, growing.
        main: The one of them that pushes and installs are judged at.
        large_mib: MiB of the large file.
        objects: Objects that are listed and copied.
        copied: Larger objects that are copied.
        middle: Numbers of files between small and large, and their bytes.
        entries: Entries of manifests, growing.
        index: Entries of manifests of which only the index is made.
        browse: Entries of packages that are browsed on S3.
        rivals: Processes that move one pointer.
        moves: Moves of each.
        quilt3_files: quilt3 pushes and installs no more files than these.
    """

    files: tuple[tuple[int, int], ...] = ((1000, 4096), (10_000, 4096), (100_000, 1024))
    main: tuple[int, int] = (10_000, 4096)
    large_mib: int = 2048
    objects: int = 3000
    copied: int = 600
    middle: tuple[tuple[int, int], ...] = MIDDLE
    entries: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    index: tuple[int, ...] = (5_000_000,)
    browse: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    rivals: int = 32
    moves: int = 32
    quilt3_files: int = 10_000


QUICK: Final = Sizes(
    files=((100, 4096), (300, 4096)),
    main=(300, 4096),
    large_mib=32,
    objects=200,
    copied=40,
    middle=((20, MIB), (4, 8 * MIB)),
    entries=(1000, 20_000),
    index=(),
    browse=(40_000,),
    rivals=4,
    moves=8,
)


def imports(bench: Bench, _: Sizes, __: Run) -> None:
    """Import the library in a bare interpreter and beside Airflow."""
    import_cost.measure(bench)


def build(bench: Bench, sizes: Sizes, _: Run) -> None:
    """Build packages of each number of files."""
    for files, size_bytes in sizes.files:
        cases.build(bench, _files(bench, files, size_bytes))


def push(bench: Bench, sizes: Sizes, _: Run) -> None:
    """Push, and push again with nothing and 1 % changed."""
    cases.make_buckets(bench)
    small = _files(bench, *sizes.main)
    ours, theirs = cases.push(bench, small)
    cases.again(bench, small, ours[-1], theirs[-1])
    cases.changed(bench, small, ours[-1], theirs[-1])


def install(bench: Bench, sizes: Sizes, _: Run) -> None:
    """Install what was pushed."""
    cases.make_buckets(bench)
    small = _files(bench, *sizes.main)
    cases.install(bench, small, cases.push_alone(bench, small))


def growth(bench: Bench, sizes: Sizes, _: Run) -> None:
    """Push and install the other numbers of files."""
    cases.make_buckets(bench)
    for files, size_bytes in sizes.files:
        if (files, size_bytes) != sizes.main:
            small = _files(bench, files, size_bytes)
            with_quilt3 = files <= sizes.quilt3_files
            ours = cases.push(bench, small, with_quilt3=with_quilt3)[0]
            cases.install(bench, small, ours[-1], with_quilt3=with_quilt3)


def large(bench: Bench, sizes: Sizes, _: Run) -> None:
    """Hash, push and install one large file."""
    cases.make_buckets(bench)
    path = bench.folder / "large" / "one.bin"
    make_large(path, sizes.large_mib * MIB)
    cases.hash_large(bench, path)
    cases.large(bench, path)


def objects(bench: Bench, sizes: Sizes, _: Run) -> None:
    """List objects, and copy them."""
    cases.make_buckets(bench)
    small = _files(bench, sizes.objects, 4096)
    name = cases.push_alone(bench, small)
    cases.list_objects(bench, small, name)
    cases.copy(bench, small, name)


def copies(bench: Bench, sizes: Sizes, _: Run) -> None:
    """Copy objects that the server copies itself: it is sent the bytes of tiny ones."""
    cases.make_buckets(bench)
    small = _files(bench, sizes.copied, _COPIED_BYTES)
    cases.copy(bench, small, cases.push_alone(bench, small))


def middle(bench: Bench, sizes: Sizes, _: Run) -> None:
    """Push and install files between small and large, for their memory above all."""
    cases.make_buckets(bench)
    for files, size_bytes in sizes.middle:
        files_here = _files(bench, files, size_bytes)
        # Names of their own: `push` and `install` are drawn as growing with the number of files.
        push_case, install_case = (f"middle-{work} {files_here.label}" for work in _WORKS)
        ours = cases.push(bench, files_here, with_quilt3=False, case=push_case)[0]
        cases.install(bench, files_here, ours[-1], with_quilt3=False, case=install_case)


def manifests(bench: Bench, sizes: Sizes, _: Run) -> None:
    """Open, prove, write and compare manifests, and make indexes."""
    for count in sizes.entries:
        manifest_part.manifests(bench, count)
    for count in sizes.index:
        manifest_part.index(bench, count)


def browse(bench: Bench, sizes: Sizes, _: Run) -> None:
    """Browse large packages on S3."""
    for count in sizes.browse:
        manifest_part.browse(bench, count)


def pointers(bench: Bench, sizes: Sizes, run: Run) -> None:
    """Let rivals move one pointer."""
    run.pointers = pointer_part.measure(bench, sizes.rivals, sizes.moves)


PARTS: Final[dict[str, Callable[[Bench, Sizes, Run], None]]] = {
    "import": imports,
    "build": build,
    "push": push,
    "install": install,
    "large": large,
    "objects": objects,
    "copies": copies,
    "middle": middle,
    "manifests": manifests,
    "pointers": pointers,
    "browse": browse,
    "growth": growth,
}


def _files(bench: Bench, files: int, size_bytes: int) -> cases.Small:
    folder = make_files(bench.folder / bench.new("files"), files, size_bytes)
    return cases.Small(folder, files, size_bytes)
