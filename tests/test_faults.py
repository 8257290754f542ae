"""Broken networks and servers during build, push and install: nothing is lost, a repeat completes.

Row 19 (a multipart upload that failed stays open for ever) is the last test.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from tests.fault_proxy import (
    EXPIRED,
    SLOW_DOWN,
    VANISHED,
    Hurt,
    Rule,
    from_request,
    hurt,
    once_each,
    sometimes,
)
from tests.package_support import bytes_below, write_files
from tests.s3_support import MIB, Fault, Relay, Request, client_of, run_relay, s3_fault

STEPS: dict[str, Callable[[Hurt, int], None]] = {
    "build": Hurt.build,
    "push": Hurt.push,
    "install": Hurt.install,
}
EVERY_STEP = pytest.mark.parametrize("step", STEPS)
DROPPED = Fault(drop=True)


@pytest.fixture(scope="module")
def ground(s3_server: SeaweedFS) -> Iterator[tuple[Relay, dict[str, str]]]:
    """A relay and two buckets: new ones for each test would cost more than the tests."""
    buckets = {kind: f"faults-{kind}" for kind in ("versioned", "unversioned")}
    for kind, bucket in buckets.items():
        s3_server.create_bucket(bucket, kind == "versioned")
    with run_relay(s3_server.endpoint_url) as relay:
        yield relay, buckets
    for bucket in buckets.values():
        s3_server.delete_bucket(bucket)


@pytest.fixture
def world(
    s3_env: SeaweedFS,
    ground: tuple[Relay, dict[str, str]],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> Hurt:
    relay, buckets = ground
    bucket = buckets[getattr(request, "param", "unversioned")]
    return hurt(relay, f"s3://{bucket}", f"team/{secrets.token_hex(4)}", tmp_path / "world")


BOTH_KINDS = pytest.mark.parametrize("world", ["versioned", "unversioned"], indirect=True)


@BOTH_KINDS
@EVERY_STEP
def test_passing_faults_are_outlived(world: Hurt, step: str) -> None:
    rules: list[Rule] = [
        sometimes(Fault(delay_s=0.05), seed=1),
        sometimes(Fault(reset=True), seed=2),
        sometimes(SLOW_DOWN, seed=3),
        once_each(DROPPED, method="GET"),
        once_each(Fault(truncate_bytes=10), method="GET"),
    ]
    for number, rule in enumerate(rules):
        world.relay.rule = rule
        STEPS[step](world, number)
    world.check()


@BOTH_KINDS
@pytest.mark.parametrize("step", ["build", "push"])
def test_replies_of_writes_that_succeeded_get_lost(world: Hurt, step: str) -> None:
    before = len(t4.list_package_versions(world.name, world.registry))
    rules: list[Rule] = [
        once_each(DROPPED, method="PUT"),
        once_each(DROPPED, method="PUT", part="/latest"),
        once_each(DROPPED, method="PUT", part="named_packages"),
        once_each(Fault(truncate_bytes=0), method="PUT"),
    ]
    for number, rule in enumerate(rules):
        world.relay.rule = rule
        STEPS[step](world, number)
        assert t4.resolve(world.name, world.registry).top_hash == list(world.revisions)[-1]
    # One pointer for each, not one for each try.
    assert len(t4.list_package_versions(world.name, world.registry)) == before + len(rules)
    world.check()


@EVERY_STEP
@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (EXPIRED, t4.StorageError, "expired: log in again"),
        (VANISHED, t4.NotFoundError, "does not exist"),
        (SLOW_DOWN, t4.StorageError, "try again later"),
    ],
    ids=["expired credentials", "vanished bucket", "endless throttling"],
)
def test_lasting_faults_fail_clearly_and_a_repeat_completes(
    world: Hurt, step: str, fault: Fault, error: type[t4.T4Error], text: str
) -> None:
    # The shortest of them, an install, sends four requests.
    for number, passing in enumerate((2,) if fault is SLOW_DOWN else (0, 1, 2, 3)):
        world.relay.rule = from_request(passing, fault)
        with pytest.raises(error, match=text):
            STEPS[step](world, number)
        world.check()
        world.relay.rule = lambda _: None
        STEPS[step](world, number)
    world.check()


@EVERY_STEP
def test_names_that_change_on_the_way_are_never_taken(world: Hurt, step: str) -> None:
    # A top hash does not cover physical keys: one that is changed must not get into a revision.
    for number, part in enumerate(("/latest", "named_packages", ".quilt/packages/")):
        world.relay.rule = once_each(Fault(corrupt=True), method="GET", part=part)
        STEPS[step](world, number)
        world.check()


def test_bytes_that_change_on_the_way_are_never_taken(world: Hurt) -> None:
    latest = t4.resolve(world.name, world.registry).top_hash
    world.relay.rule = lambda r: Fault(corrupt=True) if ".t4/v1/objects/" in r.target else None
    with pytest.raises(t4.IntegrityError):
        world.install(0)
    assert bytes_below(world.root / "install-0") == {}
    with pytest.raises(t4.IntegrityError):
        t4.Package.browse(world.name, world.registry, settings=world.settings).fetch(world.root)
    world.relay.rule = lambda _: None
    world.install(0)
    assert bytes_below(world.root / "install-0") == world.revisions[latest]
    world.check()


def only_part_2(fault: Fault) -> Rule:
    return lambda request: fault if "partNumber=2" in request.target else None


def test_row_19_a_failed_push_of_a_large_object_leaves_no_parts(
    world: Hurt, s3_env: SeaweedFS
) -> None:
    large = {"large.bin": bytes(10 * MIB)}
    folder = write_files(world.root / "large", large)
    package = t4.Package(settings=world.settings).set_dir("/", folder)
    bucket = world.registry.removeprefix("s3://")
    for fault in (s3_fault(500, "InternalError"), s3_fault(403, "AccessDenied"), DROPPED):
        world.relay.rule = only_part_2(fault)
        with pytest.raises(t4.StorageError, match="UploadPart"):
            package.push(world.name, world.registry, force=True)
        uploads = client_of(s3_env).list_multipart_uploads(Bucket=bucket)
        assert not uploads.get("Uploads")
        world.check()
    world.relay.rule = lambda _: None
    pushed = package.push(world.name, world.registry, force=True)
    assert pushed["large.bin"].get_bytes() == large["large.bin"]


def large_package(world: Hurt) -> tuple[t4.Package, dict[str, bytes]]:
    """Return a package of an object of three parts and a small one, and its bytes."""
    files = {"large.bin": secrets.token_bytes(17 * MIB), "small.bin": secrets.token_bytes(999)}
    folder = write_files(world.root / "large", files)
    return t4.Package(settings=world.settings).set_dir("/", folder), files


def check_repeated(world: Hurt, server: SeaweedFS, package: t4.Package, files: object) -> None:
    """Look at the registry, push again without faults, and look at what came of it."""
    world.relay.rule = lambda _: None
    world.check()
    pushed = package.push(world.name, world.registry, force=True)
    dest = world.root / "repeated"
    installed = t4.Package.install(world.name, world.registry, dest=dest)
    assert installed.top_hash == pushed.top_hash
    assert installed.verify(dest)
    assert bytes_below(dest) == files
    world.check()
    bucket = world.registry.removeprefix("s3://")
    assert not client_of(server).list_multipart_uploads(Bucket=bucket).get("Uploads")


@BOTH_KINDS
@pytest.mark.parametrize("lost", [1, 99], ids=["the first", "all"])
def test_replies_of_uploads_that_were_completed_get_lost(
    world: Hurt, lost: int, s3_env: SeaweedFS
) -> None:
    package, files = large_package(world)
    dropped: list[str] = []

    def rule(request: Request) -> Fault | None:
        # Parts are sent with PUT, and an upload begins without an id.
        if request.method != "POST" or "uploadId=" not in request.target or len(dropped) == lost:
            return None
        dropped.append(request.target)
        return DROPPED

    world.relay.rule = rule
    try:
        package.push(world.name, world.registry, force=True)
    except t4.T4Error as exc:
        # Nobody can know then whether the object is there.
        assert "CompleteMultipartUpload" in str(exc)  # noqa: PT017 - it may succeed as well
    assert dropped
    check_repeated(world, s3_env, package, files)


@BOTH_KINDS
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("part", ["partNumber=", "small", ".quilt/packages/", "named_packages"])
def test_bytes_that_change_on_their_way_up_are_never_published(
    world: Hurt, part: str, lasting: bool, s3_env: SeaweedFS
) -> None:
    package, files = large_package(world)
    fault = Fault(corrupt_sent=True)
    changed: set[str] = set()

    def rule(request: Request) -> Fault | None:
        # In a bucket without versions an object's key does not have its name.
        where = request.target if part != "small" or request.body != files["small.bin"] else part
        is_it = request.method == "PUT" and part in where and request.body
        if not is_it or (request.target in changed and not lasting):
            return None
        changed.add(request.target)
        return fault

    world.relay.rule = rule
    if lasting:
        with pytest.raises(t4.T4Error):
            package.push(world.name, world.registry, force=True)
    else:
        try:
            package.push(world.name, world.registry, force=True)
        except t4.T4Error:
            assert t4.resolve(world.name, world.registry).top_hash in world.revisions
    assert changed
    check_repeated(world, s3_env, package, files)
