"""The table of the floors itself; how each is judged is in `floors`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks import floors
from benchmarks.figures import total_cpu_s
from benchmarks.floors import LARGE, MANY, MILLION, OBJECTS, SMALL, TEN_MILLION, TIE, Floor


def _small_files() -> Iterator[Floor]:
    faster, at_most = floors.faster, floors.at_most
    yield Floor(
        "build of 10,000 x 4 KiB files",
        "≥ 5x quilt3, same top hash",
        faster("build", SMALL, "quilt3", 5),
    )
    yield Floor(
        "build of 100,000 x 1 KiB files",
        "≥ 8x quilt3, same top hash",
        faster("build", MANY, "quilt3", 8),
    )
    yield Floor(
        "hash of one 2 GiB file",
        "≥ 75 % of in-memory hashlib on all cores",
        faster("hash", LARGE, "limit", 0.75),
    )
    yield Floor(
        "hash of one 2 GiB file",
        "not slower than quilt3",
        faster("hash", LARGE, "quilt3", 1 / TIE),
    )
    yield Floor(
        "push of 10,000 x 4 KiB",
        "≥ 4x quilt3",
        faster("push", SMALL, "quilt3", 4),
    )
    yield Floor(
        "push of 10,000 x 4 KiB",
        "total CPU ≤ 1.0x s5cmd's bare put",
        at_most("push", SMALL, "s5cmd", 1, total_cpu_s),
    )
    yield Floor(
        "push again, nothing changed",
        "≥ 30x quilt3",
        faster("again", SMALL, "quilt3", 30),
    )
    yield Floor(
        "push again, nothing changed",
        "no request per file",
        floors.no_request_per_file,
    )
    yield Floor(
        "push again, 1 % changed",
        "the cost of the 1 %",
        floors.cost_of_changes,
    )
    yield Floor(
        "install of 10,000 x 4 KiB, every byte verified",
        "≥ 4x quilt3",
        faster("install", SMALL, "quilt3", 4),
    )
    yield Floor(
        "install of 10,000 x 4 KiB, every byte verified",
        "total CPU ≤ 1.0x s5cmd's bare get",
        at_most("install", SMALL, "s5cmd", 1, total_cpu_s),
    )


def _objects() -> Iterator[Floor]:
    at_most = floors.at_most
    yield Floor(
        "push of one object of 2 GiB",
        "≤ 1.0x s5cmd",
        at_most("large-push", LARGE, "s5cmd", 1),
    )
    yield Floor(
        "verified install of one object of 2 GiB",
        "≤ 1.75x s5cmd",
        floors.verified_install,
    )
    yield Floor(
        "memory, any object size, any number of files",
        "≤ 150 MB above the manifest's bytes, interpreter included",
        floors.memory,
    )
    yield Floor(
        "list 3,000 objects",
        "not slower than s5cmd",
        at_most("list", OBJECTS, "s5cmd", TIE),
    )
    yield Floor(
        "copy 3,000 x 4 KiB to another bucket, every byte verified",
        "≤ 2.5x s5cmd",
        at_most("copy", OBJECTS, "s5cmd", 2.5),
    )


def _manifests() -> Iterator[Floor]:
    within, faster = floors.within, floors.faster
    yield Floor(
        "open a manifest of 1,000,000 entries",
        "≤ 0.7 s",
        within("manifest-open", MILLION, {"wall_s": 0.7}),
    )
    yield Floor(
        "the same: decode and top hash",
        "≤ 3 s, ≤ 100 MB",
        within("manifest-prove", MILLION, {"wall_s": 3, "grown_mb": 100}),
    )
    yield Floor(
        "the same: dump",
        "≥ 10x quilt3, byte-identical",
        faster("manifest-dump", MILLION, "quilt3", 10),
    )
    yield Floor(
        "diff of two such manifests, opening included",
        "≥ 5x quilt3",
        faster("manifest-diff", MILLION, "quilt3", 5),
    )


def _browsing() -> Iterator[Floor]:
    def cheap(work: str, size: str, requests: int) -> floors.Judge:
        limits = {"wall_s": 0.25, "requests": requests, "sent_bytes": 1e6}
        return floors.within(work, size, limits, scale=1000, unit="ms")

    for size in (MILLION, TEN_MILLION):
        where = f"at 30 ms a request, {int(size):,} entries"
        yield Floor(
            f"browse {where}: open by top hash; by name",
            "1 request; 2 requests",
            floors.all_of(cheap("browse-open", size, 1), cheap("browse-open-by-name", size, 2)),
        )
        for question, words in (("browse-folder", "a folder"), ("browse-key", "a key")):
            yield Floor(
                f"browse {where}: {words}",
                "≤ 4 requests, < 250 ms, ≤ 1 MB",
                cheap(question, size, 4),
            )
    yield Floor("browse 10,000,000 entries instead of 1,000,000", "flat (≤ 1.5x)", floors.flat)


def _others() -> Iterator[Floor]:
    yield Floor("`import t4_ops`", "< 50 ms above bare Python", floors.import_alone)
    yield Floor(
        "`import t4_ops` in a process that has Airflow",
        "< 20 ms",
        floors.within("import-in-airflow", "1", {"wall_s": 0.02}, scale=1000, unit="ms"),
    )
    yield Floor("32 rivals move one pointer", "0 lost", floors.lost)
    for kind, rate in (("unversioned bucket", 100), ("versioned bucket", 60), ("folder", 1000)):
        yield Floor(f"32 rivals, {kind}", f"≥ {rate:,} moves/s", floors.moves(kind))


FLOORS: Final = (*_small_files(), *_objects(), *_manifests(), *_browsing(), *_others())
