"""What a run costs the SeaweedFS server: requests, bytes and processor seconds, by its own account.

The server counts requests for Prometheus anyway, so they are counted in the timed runs themselves
and nothing stands between client and server.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import ProxyHandler, build_opener

from demo.seaweedfs import SeaweedFS

_REQUESTS: Final = "SeaweedFS_s3_request_total"
_SENT_BYTES: Final = "SeaweedFS_s3_bucket_traffic_sent_bytes_total"
_TIMEOUT_S: Final = 30
_SETTLE_S: Final = 0.05
_LOOKS: Final = 20
# Fields 14 and 15 of /proc/PID/stat (proc(5)), counted from the one after the name: user and
# system time in clock ticks.
_USER, _SYSTEM = 11, 12


@dataclass(frozen=True)
class ServerSide:
    """Totals since the server started.

    Attributes:
        cpu_s: Processor seconds.
        requests: Requests to its S3 side.
        sent_bytes: Bytes of bodies it sent.
    """

    cpu_s: float
    requests: int
    sent_bytes: int

    def since(self, before: ServerSide) -> ServerSide:
        """Return what was added after `before`."""
        return ServerSide(
            self.cpu_s - before.cpu_s,
            self.requests - before.requests,
            self.sent_bytes - before.sent_bytes,
        )


def settled(server: SeaweedFS) -> ServerSide:
    """Ask a server until it counts no more: it counts a request after it has answered it."""
    found = server_side(server)
    for _ in range(_LOOKS):
        time.sleep(_SETTLE_S)
        before, found = found, server_side(server)
        if found.requests == before.requests:
            break
    return found


def server_side(server: SeaweedFS) -> ServerSide:
    """Ask a server on this machine."""
    # No proxy: the environment's is not for this machine's own address.
    with build_opener(ProxyHandler({})).open(server.metrics_url, timeout=_TIMEOUT_S) as answer:
        text = answer.read().decode()
    return ServerSide(
        _cpu_s(server.pid), int(total(text, _REQUESTS)), int(total(text, _SENT_BYTES))
    )


def total(text: str, name: str) -> float:
    """Return the sum of a counter over all its labels, in Prometheus's text format.

    See https://prometheus.io/docs/instrumenting/exposition_formats/: one sample a line, the value
    behind the labels; names that only begin alike have no brace or space after `name`.
    """
    found = 0.0
    for line in text.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")):
            found += float(line.rpartition("}")[2].split()[0 if "{" in line else 1])
    return found


def _cpu_s(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    fields = stat.rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")
