"""Manifests and their browsing as parts of `make bench`; the work is that of `manifests`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders import ROOT, TIMEOUT_S, Bench, Contender
from benchmarks.figures import OURS, Figure
from benchmarks.manifests import DELAY_S, NAME, run, write_manifest
from benchmarks.slow_proxy import slow_proxy

# Work in a case's name, and what does it for us and for quilt3.
_WORK: Final = (
    ("manifest-open", "t4_open", "quilt3_open"),
    ("manifest-prove", "t4_prove", "quilt3_prove"),
    ("manifest-dump", "t4_dump", "quilt3_dump"),
    ("manifest-edited-dump", "t4_edited_dump", "quilt3_edited_dump"),
    ("manifest-diff", "t4_diff", "quilt3_diff"),
)
# Every so many entries differ between the two manifests that are compared.
_CHANGED_EVERY: Final = 100
_FILES_A_FOLDER: Final = 1000
# In a process of its own: the manifest's memory is then not this process's.
_PUBLISH: Final = (
    "import sys; from pathlib import Path; from benchmarks.manifests import publish;"
    "print(publish(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))"
)


def manifests(bench: Bench, count: int) -> None:
    """Open, prove, write and compare manifests of `count` entries, and make the index."""
    one, other = bench.folder / f"{count}.jsonl", bench.folder / f"{count}-changed.jsonl"
    write_manifest(one, count)
    write_manifest(other, count, changed=_CHANGED_EVERY)
    found: dict[str, list[Any]] = {}
    for work, ours, theirs in _WORK:
        paths = [str(one), str(other)] if work == "manifest-diff" else [str(one)]
        answers = found.setdefault(work, [])
        both = {OURS: _local(bench, ours, paths, answers)}
        both["quilt3"] = _local(bench, theirs, paths, answers)
        bench.interleaved(f"{work} {count}", both)
    for work in ("manifest-prove", "manifest-dump", "manifest-edited-dump", "manifest-diff"):
        _same(work, found[work])
    other.unlink()
    index(bench, count, one)


def index(bench: Bench, count: int, path: Path | None = None) -> None:
    """Make the index of a manifest of `count` entries."""
    if path is None:
        path = bench.folder / f"{count}.jsonl"
        write_manifest(path, count)
    contender = _local(bench, "t4_index", [str(path)], [])
    bench.interleaved(f"manifest-index {count}", {OURS: contender})
    path.unlink()


def browse(bench: Bench, count: int) -> None:
    """Ask a package of `count` entries on the server, by way of a proxy that delays requests."""
    bucket = f"browse-{count}"
    bench.server.create_bucket(bucket, versioned=False)
    registry = f"s3://{bucket}"
    top_hash = _publish(bench, registry, count)
    last = (count - 1) // _FILES_A_FOLDER // 5 * 5
    questions: Mapping[str, tuple[str, str, str]] = {
        "browse-open": ("open", top_hash, ""),
        "browse-open-by-name": ("open", "", ""),
        "browse-folder": ("folder", top_hash, f"batch-{last:05}/images"),
        "browse-top": ("folder", top_hash, f"batch-{last:05}"),
        "browse-key": ("key", top_hash, f"batch-{last:05}/images/9/extra/0905.png"),
    }
    with slow_proxy(bench.server.endpoint_url, DELAY_S) as proxy:

        def ask(question: str, by_hash: str, what: str) -> Contender:
            def contender() -> Figure:
                environ = {**bench.environ("home"), "T4_S3_ENDPOINT_URL": proxy.url}
                asked = (question, registry, NAME, by_hash, what)
                result = run("t4_browse", *asked, environ=environ)
                requests, sent_bytes = proxy.taken()
                if result["found"][1] != "index":
                    raise SystemExit(f"{question} was not answered through the index: {result}")
                # One request opened the connection before the clock started.
                return replace(_figure(result), requests=requests - 1, sent_bytes=sent_bytes)

            return contender

        for work, (question, by_hash, what) in questions.items():
            bench.interleaved(f"{work} {count}", {OURS: ask(question, by_hash, what)})


def _local(bench: Bench, case: str, paths: list[str], answers: list[Any]) -> Contender:
    def contender() -> Figure:
        bench.warm_memory()
        result = run(case, *paths, environ=bench.environ("home"))
        answers.append(result["found"])
        size_bytes = sum(Path(path).stat().st_size for path in paths)
        return replace(_figure(result), manifest_bytes=size_bytes)

    return contender


def _figure(result: dict[str, Any]) -> Figure:
    memory_mb = result["memory_mb"]
    return Figure(result["wall_s"], result["cpu_s"], peak_mb=memory_mb, grown_mb=memory_mb)


def _publish(bench: Bench, registry: str, count: int) -> str:
    path = str(bench.folder / "published.jsonl")
    done = subprocess.run(
        [sys.executable, "-c", _PUBLISH, path, registry, str(count)],
        cwd=ROOT,
        env=bench.environ("home"),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        raise SystemExit(f"publishing {count} entries failed:\n{done.stderr[-3000:]}")
    return done.stdout.strip()


def _same(work: str, answers: list[Any]) -> None:
    if len({json.dumps(answer) for answer in answers}) != 1:
        raise SystemExit(f"{work}: the answers differ: {answers}")
