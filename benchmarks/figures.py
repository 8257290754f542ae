"""What one run of one contender took, and what many runs say together."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

OURS: Final = "t4_ops"


@dataclass(frozen=True)
class Figure:
    """What one run took.

    Attributes:
        wall_s: Seconds on the clock.
        cpu_s: Processor seconds of the client.
        server_cpu_s: Processor seconds of the server meanwhile.
        peak_mb: The most memory the client held, in MB.
        grown_mb: The same above what it held when the clock started.
        round: Number of the round that it was part of, from 0.
        requests: Requests that reached the server's S3 side; None: there is no server.
        sent_bytes: Bytes of bodies that the server sent; None: not counted.
        manifest_bytes: Size of the manifest that was written or read; None: not looked at.
    """

    wall_s: float
    cpu_s: float
    server_cpu_s: float = 0.0
    peak_mb: float = 0.0
    grown_mb: float = 0.0
    round: int = 0
    requests: int | None = None
    sent_bytes: int | None = None
    manifest_bytes: int | None = None

    @property
    def total_cpu_s(self) -> float:
        """Processor seconds of both sides."""
        return self.cpu_s + self.server_cpu_s

    @property
    def above_manifest_mb(self) -> float:
        """The most memory the client held, interpreter included, above the manifest's bytes."""
        return self.peak_mb - (self.manifest_bytes or 0) / 1e6

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {name: value for name, value in asdict(self).items() if value is not None}


Figures = Sequence[Figure]
# Figures of a case by contender, and cases by name.
Case = Mapping[str, Figures]


def median(figures: Figures, name: str) -> float | None:
    """Return the median of an attribute, of the runs that have it."""
    values = [value for f in figures if (value := getattr(f, name)) is not None]
    return statistics.median(values) if values else None


def wall_s(figure: Figure) -> float:
    """Return seconds on the clock."""
    return figure.wall_s


def total_cpu_s(figure: Figure) -> float:
    """Return processor seconds of client and server."""
    return figure.total_cpu_s


def ratio(over: Figures, under: Figures, of: Callable[[Figure], float]) -> float | None:
    """Return the median of `over / under` within each round that both took part in.

    What else the machine did in a round slowed both, so these ratios are steadier than the ratio of
    the medians.
    """
    below = {figure.round: of(figure) for figure in under}
    found = [of(f) / below[f.round] for f in over if below.get(f.round)]
    return statistics.median(found) if found else None


def rounds_of(figures: Iterable[Figure]) -> int:
    """Return how many rounds there were."""
    return len({figure.round for figure in figures})
