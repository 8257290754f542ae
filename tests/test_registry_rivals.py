"""Many processes at one package: nobody's revision is lost, nobody reads half a one.

| row | case | test |
|---|---|---|
| 13 | processes browse one manifest at once | `test_row_13_...` |
| 15 | two push from one parent | `test_rows_15_and_16_...` |
| 16 | many push new content to one package | `test_rows_15_and_16_...` |
"""

from __future__ import annotations

import t4_ops as t4
from demo.seaweedfs import SeaweedFS
from tests.package_support import NAME, contents_of
from tests.rivals import run_rivals

RIVALS = 32


def test_rows_15_and_16_rivals_lose_nothing(registry: str) -> None:
    start = t4.Package().set("start.bin", b"start").push(NAME, registry).top_hash

    processes = RIVALS if registry.startswith("file:") else 8
    answers = run_rivals("push", RIVALS, processes=processes, registry=registry, name=NAME)

    (winner,) = [answer["won"] for answer in answers if "won" in answer]
    conflicts = [answer["conflict"] for answer in answers if "conflict" in answer]
    assert len(conflicts) == RIVALS - 1
    assert all("latest of 'team/data' is" in text for text in conflicts)
    landed = [answer["landed"] for answer in answers]
    versions = t4.list_package_versions(NAME, registry)
    assert versions[-1][0] == "latest"
    # No time was taken twice, no loser is listed, everybody who landed is.
    assert len({pointer for pointer, _ in versions}) == len(versions) == 1 + 1 + RIVALS + 1
    assert sorted(top_hash for _, top_hash in versions[:-1]) == sorted([start, winner, *landed])
    latest = contents_of(t4.Package.browse(NAME, registry))
    numbers = {f"{number}.bin": b"%d" % number for number in range(RIVALS)}
    assert latest == {"start.bin": b"start", "again.bin": b"again", **numbers}
    for _, top_hash in versions:
        package = t4.Package.browse(NAME, registry, top_hash)  # which proves the manifest
        assert package["start.bin"].get_bytes() == b"start"


def test_row_13_one_manifest_is_browsed_by_many_at_once(
    s3_env: SeaweedFS, versioned_bucket: str
) -> None:
    registry = f"s3://{versioned_bucket}"
    # One object for each content: the manifest is large, the upload is not.
    first = t4.Package().set("0", b"0").set("1", b"1").set("2", b"2").push(NAME, registry)
    many = t4.Package.browse(NAME, registry)
    for number in range(600):
        many.set(f"{number}.bin", first[f"{number % 3}"])
    pushed = many.push(NAME, registry)

    answers = run_rivals("browse", 8, processes=4, registry=registry, name=NAME)

    assert answers == [{"top_hash": pushed.top_hash, "bytes": 1}] * 8
