"""One run of `make bench` as a file: what ran, where, and every figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import pointers
from benchmarks.figures import Figure

_VERSION: Final = 1


@dataclass(frozen=True)
class Part:
    """What is known of a part that ran.

    Attributes:
        took_s: Seconds it took.
        load: The machine's load average of the last minute when it began.
    """

    took_s: float
    load: float


@dataclass
class Run:
    """One run.

    Attributes:
        started: When it began, UTC, in ISO 8601.
        machine: The machine and the versions of what ran.
        options: Sizes and rounds.
        parts: The parts that are done.
        cases: Figures by case (`<work> <size>`) and contender.
        pointers: What the rivals did, by `<registry>: <way>`.
    """

    started: str
    machine: dict[str, str]
    options: dict[str, Any]
    parts: dict[str, Part] = field(default_factory=dict)
    cases: dict[str, dict[str, list[Figure]]] = field(default_factory=dict)
    pointers: dict[str, list[pointers.Figure]] = field(default_factory=dict)

    def case(self, work: str, size: str) -> tuple[Mapping[str, Sequence[Figure]], str] | None:
        """Return a case and its size: the wanted one, else the last of this work, else None."""
        if (found := self.cases.get(f"{work} {size}")) is not None:
            return found, size
        others = [name for name in self.cases if name.partition(" ")[0] == work]
        return (self.cases[others[-1]], others[-1].partition(" ")[2]) if others else None

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        cases = {
            case: {who: [f.to_dict() for f in figures] for who, figures in contenders.items()}
            for case, contenders in self.cases.items()
        }
        told = {
            "version": _VERSION,
            "started": self.started,
            "machine": self.machine,
            "options": self.options,
            "parts": {name: asdict(part) for name, part in self.parts.items()},
            "cases": cases,
            "pointers": {name: [asdict(f) for f in fs] for name, fs in self.pointers.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".tmp")
        beside.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        beside.replace(path)


def load(path: Path) -> Run:
    """Read a run.

    Raises:
        ValueError: The file is of another version of this program.
    """
    told = json.loads(path.read_text(encoding="utf-8"))
    if told.get("version") != _VERSION:
        raise ValueError(f"{path} is not a run of this version of the benchmarks: move it away")
    return Run(
        started=told["started"],
        machine=told["machine"],
        options=told["options"],
        parts={name: Part(**part) for name, part in told["parts"].items()},
        cases={
            case: {who: [Figure(**f) for f in figures] for who, figures in contenders.items()}
            for case, contenders in told["cases"].items()
        },
        pointers={
            name: [pointers.Figure(**f) for f in figures]
            for name, figures in told["pointers"].items()
        },
    )


def newest(folder: Path, count: int) -> list[Path]:
    """Return the newest runs of a folder, oldest of them first; their names are their dates."""
    return sorted(folder.glob("*.json"))[-count:]
