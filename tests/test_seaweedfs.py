"""The S3 server of the tests and of the demonstration is a real one, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError

from demo import seaweedfs as module
from demo.seaweedfs import SeaweedFS, ServerError, seaweedfs, weed_binary

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pytest_mock import MockerFixture

OWNER = """
import sys, time
from pathlib import Path
from demo.seaweedfs import SeaweedFS
server = SeaweedFS(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(100)
"""


@pytest.fixture
def client(s3_env: SeaweedFS) -> S3Client:
    """A client that knows the server only from the environment."""
    return boto3.client("s3")


def error_code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return caught.value.response["Error"]["Code"]


def gone(pid: int) -> bool:
    """Tell whether a process has ended, a zombie counting as ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_a_versioned_bucket_keeps_both_bodies(client: S3Client, versioned_bucket: str) -> None:
    first = client.put_object(Bucket=versioned_bucket, Key="a", Body=b"1")["VersionId"]
    second = client.put_object(Bucket=versioned_bucket, Key="a", Body=b"2")["VersionId"]
    assert first != second
    old = client.get_object(Bucket=versioned_bucket, Key="a", VersionId=first)
    assert old["Body"].read() == b"1"
    assert client.get_bucket_versioning(Bucket=versioned_bucket)["Status"] == "Enabled"


def test_an_unversioned_bucket_keeps_the_last_body(
    client: S3Client, unversioned_bucket: str
) -> None:
    assert "VersionId" not in client.put_object(Bucket=unversioned_bucket, Key="a", Body=b"1")
    client.put_object(Bucket=unversioned_bucket, Key="a", Body=b"2")
    assert client.get_object(Bucket=unversioned_bucket, Key="a")["Body"].read() == b"2"
    assert "Status" not in client.get_bucket_versioning(Bucket=unversioned_bucket)


def test_conditional_writes_are_honoured(client: S3Client, unversioned_bucket: str) -> None:
    etag = client.put_object(Bucket=unversioned_bucket, Key="a", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=unversioned_bucket, Key="a", Body=b"2", IfNoneMatch="*")
    assert error_code(caught) == "PreconditionFailed"
    client.put_object(Bucket=unversioned_bucket, Key="a", Body=b"3", IfMatch=etag)
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=unversioned_bucket, Key="a", Body=b"4", IfMatch=etag)
    assert error_code(caught) == "PreconditionFailed"
    assert client.get_object(Bucket=unversioned_bucket, Key="a")["Body"].read() == b"3"


def test_a_wrong_secret_is_refused(s3_server: SeaweedFS, unversioned_bucket: str) -> None:
    stranger = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key="wrong",
    )
    with pytest.raises(ClientError) as caught:
        stranger.list_objects_v2(Bucket=unversioned_bucket)
    assert error_code(caught) == "SignatureDoesNotMatch"


def test_a_deleted_bucket_is_gone_with_its_objects(client: S3Client, s3_env: SeaweedFS) -> None:
    s3_env.create_bucket("short-lived", versioned=True)
    client.put_object(Bucket="short-lived", Key="a", Body=b"1")
    s3_env.delete_bucket("short-lived")
    with pytest.raises(ClientError) as caught:
        client.list_objects_v2(Bucket="short-lived")
    assert error_code(caught) == "NoSuchBucket"


def test_the_secret_is_not_shown(s3_server: SeaweedFS) -> None:
    assert s3_server.secret_key not in repr(s3_server)
    command = Path(f"/proc/{s3_server.pid}/cmdline").read_text()
    assert s3_server.secret_key not in command
    assert (s3_server.data_dir / "s3.json").stat().st_mode & 0o077 == 0
    assert s3_server.secret_key not in s3_server.log_path.read_text()


def listening_addresses(pid: int) -> set[str]:
    """Return the hex addresses of the TCP sockets on which a process listens."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # A file that the server closed since the listing is none that it listens on.
        with contextlib.suppress(FileNotFoundError):
            if match := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())):
                inodes.add(match[1])
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    # Columns of proc(5): local address, state (0A: LISTEN), inode.
    return {row[1] for row in rows if row[3] == "0A" and row[9] in inodes}


def test_it_listens_on_the_loopback_address_only(s3_server: SeaweedFS) -> None:
    addresses = listening_addresses(s3_server.pid)
    assert len(addresses) == 9  # master, volume, filer and S3, each HTTP and gRPC; and metrics
    assert {address.partition(":")[0] for address in addresses} == {"0100007F"}


def test_it_stops_and_leaves_no_socket(tmp_path: Path) -> None:
    with seaweedfs(tmp_path / "data") as server:
        pid, url = server.pid, server.endpoint_url
        port = int(url.rpartition(":")[2])
        assert list(Path("/tmp").glob(f"seaweedfs-*-{port}.sock"))
    assert gone(pid)
    assert not list(Path("/tmp").glob(f"seaweedfs-*-{port}.sock"))
    assert not list(Path("/tmp").glob(f"seaweedfs-*-{port + 10_000}.sock"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with pytest.raises(ServerError, match="not running"):
        _ = server.pid


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as owner:
        try:
            assert owner.stdout is not None
            pid = int(owner.stdout.readline())
            assert not gone(pid)
        finally:
            owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(pid)


def test_a_server_that_ends_tells_the_end_of_its_log(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "filerldb2").write_text("a file where the filer wants its folder")
    server = SeaweedFS(data)
    with pytest.raises(ServerError, match="filerldb2"):
        server.start()
    with pytest.raises(ServerError, match="not running"):
        _ = server.pid


def test_a_port_lost_to_another_process_is_tried_again(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    good = module._free_ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        taken = {**good, "s3": other.getsockname()[1]}
        # The fault: between the look at the ports and their use, somebody takes one.
        choose = mocker.patch.object(module, "_free_ports", autospec=True)
        choose.side_effect = [taken, good]
        with seaweedfs(tmp_path / "data") as server:
            assert server.endpoint_url == f"http://127.0.0.1:{good['s3']}"
    assert choose.call_count == 2


def test_a_server_that_stays_silent_is_given_up(tmp_path: Path, mocker: MockerFixture) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\necho still thinking\nexec sleep 100\n")
    sleeper.chmod(0o755)
    mocker.patch.object(module, "weed_binary", autospec=True, return_value=sleeper)
    mocker.patch.object(module, "START_TIMEOUT_S", 1.0)
    with pytest.raises(ServerError, match=r"did not answer in time(.|\n)*still thinking"):
        SeaweedFS(tmp_path / "data").start()


def test_the_binary_is_the_one_the_package_ships() -> None:
    assert weed_binary().name == "weed"
    assert os.access(weed_binary(), os.X_OK)
