"""Runs contenders side by side, each in a process of its own, on one SeaweedFS.

Wall and processor seconds of the Python contenders begin after their imports; s5cmd's are those of
its whole process. What the server spends and receives meanwhile is asked of the server.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure
from benchmarks.server_side import ServerSide, server_side, settled
from benchmarks.small_files import MIB
from benchmarks.warm_memory import warm_memory
from demo.seaweedfs import REGION, SeaweedFS

ROOT: Final = Path(__file__).resolve().parents[1]
# Longest run of one contender; quilt3 takes some minutes for 100,000 files.
TIMEOUT_S: Final = 1800
_LOOK_S: Final = 0.01
_TOP_HASH: Final = re.compile(r"[0-9a-f]{64}")
_MANIFESTS: Final = ".quilt/packages"

Contender = Callable[[], Figure]


@dataclass
class Limits:
    """How often the contenders of a case run.

    Attributes:
        rounds: Rounds at most; of cases that take a moment some times as many.
        peer_rounds: Rounds at most for quilt3, which takes many times as long.
        case_s: No new round of a case begins after so many seconds, quilt3's not counted.
        warm_mib: MiB of free memory that are touched before each contender, see `warm_memory`.
    """

    rounds: int = 3
    peer_rounds: int = 2
    case_s: float = 150.0
    warm_mib: int = 0

    def of(self, contender: str, times: int) -> int:
        """Return a contender's rounds in a case that has so many times the usual ones."""
        if contender == "quilt3":
            return min(self.rounds, self.peer_rounds)
        return self.rounds * times


@dataclass
class Bench:
    """Where the runs happen, and what they took.

    Attributes:
        server: The S3 server.
        folder: Room for files.
        s5cmd: The peer's program; None leaves it out.
        limits: How often contenders run.
        found: Figures by case and contender.
    """

    server: SeaweedFS
    folder: Path
    s5cmd: str | None
    limits: Limits = field(default_factory=Limits)
    found: dict[str, dict[str, list[Figure]]] = field(default_factory=dict)
    _names: Iterator[int] = field(default_factory=count, repr=False)

    def new(self, kind: str) -> str:
        """Return a name that was not used before."""
        return f"{kind}{next(self._names)}"

    def python(self, case: str, *, home: str = "home", **arguments: Any) -> tuple[Figure, str]:
        """Run a case of `transfer_work` and return what it took and what it answered.

        Args:
            case: Its name.
            home: Name of the home folder: a new one has no cache.
            **arguments: The case's own.

        Raises:
            SystemExit: It failed.
        """
        # It touches the memory itself, when its libraries are loaded.
        given = json.dumps(arguments), str(self._warm_bytes)
        command = [sys.executable, "-m", "benchmarks.transfer_work", case, *given]
        before = server_side(self.server)
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environ(home),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        if done.returncode:
            raise SystemExit(f"{case} failed:\n{done.stderr[-3000:]}")
        spent = settled(self.server).since(before)
        took = json.loads(done.stdout.splitlines()[-1])
        answer: str = took["answer"]
        figure = Figure(
            took["wall_s"],
            took["cpu_s"],
            peak_mb=took["peak_mb"],
            grown_mb=took["peak_mb"] - took["before_mb"],
            manifest_bytes=self._manifest_bytes(arguments.get("registry"), answer),
        )
        return _with_server(figure, spent), answer

    def peer(self, *arguments: str, prints: bool = False) -> Figure:
        """Run s5cmd.

        Args:
            *arguments: The command and its own.
            prints: Let it print what it found or did, to nowhere.

        Raises:
            SystemExit: It failed.
        """
        assert self.s5cmd is not None
        self.warm_memory()
        before, start_s = server_side(self.server), time.perf_counter()
        process = subprocess.Popen(
            [self.s5cmd, *(() if prints else ("--log", "error")), *arguments],
            env=self.environ("home"),
            stdout=subprocess.DEVNULL,
        )
        peak_mb = 0.0
        ended: Any = (0, 0, None)
        while not ended[0]:
            peak_mb = max(peak_mb, _peak_mb(process.pid))
            time.sleep(_LOOK_S)
            ended = os.wait4(process.pid, os.WNOHANG)
            if time.perf_counter() - start_s > TIMEOUT_S:
                process.kill()
        wall_s = time.perf_counter() - start_s
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        if process.returncode:
            raise SystemExit(f"s5cmd {arguments} ended with {process.returncode}")
        usage = ended[2]
        figure = Figure(wall_s, usage.ru_utime + usage.ru_stime, peak_mb=peak_mb, grown_mb=peak_mb)
        return _with_server(figure, settled(self.server).since(before))

    def warm_memory(self) -> None:
        """Touch free memory, right before a contender's process starts."""
        warm_memory(self._warm_bytes)

    def note(self, case: str, contender: str, figure: Figure) -> None:
        """Keep a figure and show it."""
        self.found.setdefault(case, {}).setdefault(contender, []).append(figure)
        asked = "" if not figure.requests else f", {figure.requests} requests"
        print(
            f"{case:>24} {contender:8} wall {figure.wall_s:7.3f} s, cpu {figure.cpu_s:6.2f} +"
            f" {figure.server_cpu_s:6.2f} s, peak {figure.peak_mb:5.0f} MB{asked}",
            flush=True,
        )

    def interleaved(self, case: str, contenders: Mapping[str, Contender], times: int = 1) -> None:
        """Run all contenders in every round, each round in another order.

        A round begins only while the case has time left, so that a slow machine ends in time too.

        Args:
            case: Its name.
            contenders: Who runs.
            times: So many times the usual rounds, for cases that take a moment and vary; not
                quilt3's.
        """
        names, spent_s = list(contenders), 0.0
        for number in range(self.limits.rounds * times):
            if number and spent_s > self.limits.case_s:
                return
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                if number >= self.limits.of(name, times):
                    continue
                start_s = time.monotonic()
                self.note(case, name, replace(contenders[name](), round=number))
                # quilt3's minutes would leave the others two rounds.
                spent_s += 0 if name == "quilt3" else time.monotonic() - start_s

    def environ(self, home_name: str) -> dict[str, str]:
        """Return the environment of a contender: this server, and a home of its own."""
        home = self.folder / home_name
        return {
            **clean_environ(),
            **self.server.environ(),
            "S3_ENDPOINT_URL": self.server.endpoint_url,
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "QUILT_DISABLE_USAGE_METRICS": "true",
            "QUILT_MINIMIZE_STDOUT": "true",
            # quilt3 records no lineage.
            "T4_LINEAGE": "off",
        }

    def _manifest_bytes(self, registry: str | None, answer: str) -> int | None:
        if registry is None or not _TOP_HASH.fullmatch(answer):
            return None
        key = f"{_MANIFESTS}/{answer}"
        if registry.startswith("s3://"):
            bucket = registry.removeprefix("s3://")
            return int(self._client.head_object(Bucket=bucket, Key=key)["ContentLength"])
        return (Path(registry.removeprefix("file://")) / key).stat().st_size

    @property
    def _warm_bytes(self) -> int:
        return self.limits.warm_mib * MIB

    @cached_property
    def _client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.server.endpoint_url,
            region_name=REGION,
            aws_access_key_id=self.server.access_key,
            aws_secret_access_key=self.server.secret_key,
        )


def clean_environ() -> dict[str, str]:
    """Return this process's environment without what would lead a contender elsewhere.

    `PYTHONDONTWRITEBYTECODE` would make each run compile what it imports.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "T4_")) and name != "PYTHONDONTWRITEBYTECODE"
    }


def _with_server(figure: Figure, spent: ServerSide) -> Figure:
    return replace(
        figure,
        server_cpu_s=spent.cpu_s,
        requests=spent.requests,
        sent_bytes=spent.sent_bytes,
    )


def _peak_mb(pid: int) -> float:
    """Return the most memory a process has held; `ru_maxrss` would count the parent's too."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 / 1e6 if lines else 0.0
