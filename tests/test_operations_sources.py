"""What steps build from: several sources, packages, and folders that are on another machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import t4_ops as t4
from t4_ops import operations as ops
from tests.package_support import contents_of, write_files


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write_files(tmp_path / "a", {"x.csv": b"x", "d/y": b"y"})


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return write_files(tmp_path / "b", {"z": b"z", "d/w": b"w"})


def files_of(result: ops.StepResult) -> dict[str, bytes]:
    return contents_of(t4.Package.browse(result["name"], result["registry"], result["top_hash"]))


def test_a_list_of_sources_goes_below_the_root(a: Path, b: Path, registry: str) -> None:
    made = ops.build("team/all", [a, b], registry=registry)
    assert files_of(made) == {"x.csv": b"x", "d/y": b"y", "z": b"z", "d/w": b"w"}
    assert [item["name"] for item in made["inputs"]] == [str(a), str(b)]
    again = ops.build("team/all", str([str(a), str(b)]), registry=registry)
    assert (again["top_hash"], again["changed"]) == (made["top_hash"], False)


def test_sources_of_a_list_that_have_the_same_file_are_refused(
    a: Path, b: Path, tmp_path: Path
) -> None:
    write_files(b, {"d/y": b"other"})
    for sources in ([a, b], [a, b / "d" / "y", a / "d" / "y"], [a / "x.csv", a / "x.csv"]):
        with pytest.raises(t4.InvalidInputError, match="already"):
            ops.build("team/all", sources, registry=str(tmp_path / "r"))
    for nothing in ([], [""], [a, None], {"k": 7}):
        with pytest.raises(t4.InvalidInputError):
            ops.build("team/all", nothing, registry=str(tmp_path / "r"))  # type: ignore[arg-type]
    assert not (tmp_path / "r").exists()
    # By logical key a later one replaces an earlier one: there the user has said where.
    made = ops.build("team/all", {"": a, "d/y": b / "d" / "y"})
    assert files_of(made)["d/y"] == b"other"


def test_packages_are_sources_too(a: Path, b: Path, registry: str, tmp_path: Path) -> None:
    one = ops.push(ops.build("team/one", a), registry=registry)
    two = ops.push(ops.build("team/two", b), registry=registry)
    made = ops.build(
        "team/both",
        {"one": one, "two/": t4.PackageRef.from_dict(two), "y": f"{one['uri']}&path=d%2Fy"},
        registry=registry,
    )
    assert files_of(made) == {
        "one/x.csv": b"x",
        "one/d/y": b"y",
        "two/z": b"z",
        "two/d/w": b"w",
        "y": b"y",
    }
    assert [item["top_hash"] for item in made["inputs"]] == [one["top_hash"], two["top_hash"]]
    # The result of an install stands for its folder, also as the text a template makes of it.
    installed = ops.install(one, dest=tmp_path / "installed")
    write_files(tmp_path / "installed", {"more": b"m"})
    as_text = str(installed)
    nested: list[Any] = [[as_text], {"": as_text}, str((as_text,))]
    for given in (installed, as_text, json.dumps(installed), *nested):
        more = ops.build("team/more", given, registry=registry)
        assert files_of(more) == {"x.csv": b"x", "d/y": b"y", "more": b"m"}
        assert more["inputs"][0]["top_hash"] == one["top_hash"]
    with pytest.raises(t4.NotFoundError, match="nothing"):
        ops.build("team/none", f"{one['uri']}&path=nothing", registry=registry)


def test_names_that_look_like_rendered_values_are_names(
    a: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(a)
    for name in ("[old]", "{draft}", "(copy) of"):
        write_files(a / name, {"here": b"h"})
        assert files_of(ops.build("team/odd", name, registry=registry)) == {"here": b"h"}


def test_a_push_brings_what_its_selector_names(a: Path, tmp_path: Path) -> None:
    built = ops.build("team/raw", a)
    target = (tmp_path / "target").as_uri()
    pushed = ops.push(built, registry=target, selector="*.csv")
    assert pushed["top_hash"] == built["top_hash"]
    package = t4.Package.browse("team/raw", target)
    assert package.get("x.csv").startswith(target)
    assert package.get("d/y").startswith((a / "d").as_uri())
    whole = ops.push(built, registry=target, selector=lambda key, entry: entry.size == 1)
    assert whole["changed"]
    assert t4.Package.browse("team/raw", target).get("d/y").startswith(target)
    for bad in ("", [], ["a", 7], "[z-", "# note", "!"):
        with pytest.raises(t4.InvalidInputError):
            ops.push(built, registry=target, selector=bad)  # type: ignore[arg-type]


def made_elsewhere(result: Any) -> Any:
    """Return a result as another machine would have made it."""
    assert result["host"] == ops.host()
    return {**result, "host": "worker-7"}


def test_a_folder_of_another_machine_is_named_with_what_to_do(
    a: Path, tmp_path: Path, bucket_registry: str
) -> None:
    place = tmp_path / "elsewhere"
    built = made_elsewhere(ops.build("team/raw", a, registry=place))
    # A folder that both machines mount is no other machine's.
    assert ops.browse(built)["top_hash"] == built["top_hash"]
    shutil.rmtree(place)
    steps: list[Any] = [
        lambda: ops.push(built, registry=bucket_registry),
        lambda: ops.push(str(built), registry=bucket_registry),
        lambda: ops.install(built, dest=tmp_path / "x"),
        lambda: ops.browse(built),
        lambda: ops.verify(built),
        lambda: ops.diff(built, built),
        lambda: ops.build("team/x", built),
        lambda: ops.take(built),
        lambda: ops.produce(built, "team/x"),
    ]
    for step in steps:
        with pytest.raises(t4.NotFoundError, match=r"worker-7.*bucket") as caught:
            step()
        assert not caught.value.retryable
    # Another registry of the same path, without this revision, is none either.
    ops.build("team/other", a / "d", registry=place)
    with pytest.raises(t4.NotFoundError, match="worker-7"):
        ops.browse(built)
    # On the machine that made it the folder is simply gone.
    with pytest.raises(t4.NotFoundError, match="no manifest"):
        ops.browse({**built, "host": ops.host()})


def test_an_install_of_another_machine_is_named_with_what_to_do(a: Path, tmp_path: Path) -> None:
    installed = made_elsewhere(ops.install(ops.build("team/raw", a), dest=tmp_path / "there"))
    # A folder that both machines mount, of which what was brought may have been changed since.
    write_files(tmp_path / "there", {"more": b"3"})
    assert ops.build("team/x", installed)["files"] == 3
    assert ops.build(
        "team/x", {**installed, "dest_stat": str(installed["dest_stat"])[1:-1].split(",")}
    )
    # Workers that are set up alike: one of the same path, with what this machine installed once.
    (tmp_path / "there").rename(tmp_path / "theirs")
    (tmp_path / "there").mkdir()
    refused(installed)
    # What this machine has elsewhere may be held against it all the same.
    assert ops.verify(installed, dest=a)["ok"]
    ours = {**installed, "dest_stat": [(tmp_path / "there").stat().st_ino, 2**62]}
    refused(ours)
    with pytest.raises(t4.InvalidInputError, match="two numbers"):
        ops.build("team/x", {**installed, "dest_stat": "nonsense"})
    shutil.rmtree(tmp_path / "there")
    refused(installed)
    # Of a mere path only this machine's name is known.
    with pytest.raises(t4.NotFoundError, match=ops.host()):
        ops.build("team/x", installed["dest"])


def refused(installed: Any) -> None:
    """A folder of another machine is refused wherever a step would read it."""
    for source in (installed, {"in": installed}, [installed]):
        with pytest.raises(t4.NotFoundError, match="worker-7"):
            ops.build("team/x", source)
    with pytest.raises(t4.NotFoundError, match="worker-7"):
        ops.verify(installed, dest=installed["dest"])


def test_what_is_in_a_bucket_has_no_machine(a: Path, bucket_registry: str, tmp_path: Path) -> None:
    pushed = ops.push(ops.build("team/raw", a), registry=bucket_registry)
    assert "host" not in pushed
    assert ops.install(pushed, dest=tmp_path / "x")["host"] == ops.host()


def test_somebody_may_watch_how_far_a_step_is(
    a: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(a, {"big": bytes(3_000_000)})
    told: list[tuple[str, int, int]] = []
    caplog.set_level("INFO", "t4_ops")
    with ops.watch_progress(lambda *state: told.append(state), every_s=0):
        built = ops.build("team/raw", a)
        pushed = ops.push(built, registry=tmp_path / "other")
    assert [what for what, _, _ in told if what.startswith("pushing")]
    assert told[-1] == ("pushing team/raw", 3_000_002, 3_000_002)
    assert f"{pushed['uri']}: 3 files, 3000002 bytes; 3 objects written" in caplog.text
    count = len(told)
    ops.push(built, registry=tmp_path / "third")
    assert len(told) == count

    def broken(*_: object) -> None:
        raise RuntimeError("no display")

    with ops.watch_progress(broken):
        assert ops.push(built, registry=tmp_path / "fourth")["changed"]
    assert "no display" in caplog.text
