"""Package names, top hashes and references that are none, at every door of the library.

Each row is a case that was tried on another client of this format; the tests show that here it is
refused, with nothing written, or survived, with nothing lost.

| row | case | tests |
|---|---|---|
| 31 | references nested 100,000 levels deep | `test_rows_31_37_...` |
| 37 | 64 characters that are no hash | `test_rows_37_38_...`, `test_rows_31_37_...` |
| 38 | another package's hash | `test_row_38_...`, `test_rows_37_38_...` |
| 40 | names with a newline, Unicode letters | `test_row_40_...` |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import t4_ops as t4
from t4_ops import operations
from tests.doors_support import (
    NAME,
    PLAIN,
    World,
    hostile,
    plant,
    record,
    refused,
)

BAD_NAMES = (
    "team/data\n",
    "team/data\r",
    "\nteam/data",
    "té/data",
    "team/дата",
    "team/data/..",
    "../team/data",
    "../data",
    "team/..",
    "/team/data",
    "team",
    "team/",
    "",
    "team/da ta",
    "team/data\0",
    "team\\data",
    "team/data@",
    ".quilt/packages",
    "team/\ud800",
)


NAME_DOORS: dict[str, Callable[[str, World], Any]] = {
    "build": lambda name, w: t4.Package().set_text("a", "x").build(name, w.outside.url),
    "push": lambda name, w: t4.Package().set_text("a", "x").push(name, w.outside.url),
    "push forced": lambda name, w: t4.Package().push(name, w.outside.url, force=True),
    "browse": lambda name, w: t4.Package.browse(name, w.outside.url),
    "browse hash": lambda name, w: t4.Package.browse(name, w.outside.url, "0" * 64),
    "install": lambda name, w: t4.Package.install(name, w.outside.url),
    "install to": lambda name, w: t4.Package.install(name, w.outside.url, dest=w.dest),
    "rollback": lambda name, w: t4.Package.rollback(name, w.outside.url, "0" * 64),
    "resolve_hash": lambda name, w: t4.Package.resolve_hash(name, w.outside.url, "0" * 8),
    "list versions": lambda name, w: t4.list_package_versions(name, w.outside.url),
    "delete": lambda name, w: t4.delete_package(name, w.outside.url),
    "resolve": lambda name, w: t4.resolve(name, w.outside.url),
    "resolve mapping": lambda name, w: t4.resolve(
        {"registry": w.outside.url, "name": name, "top_hash": "0" * 64}
    ),
    "PackageRef": lambda name, w: t4.PackageRef(w.outside.url, name, "0" * 64),
    "PackageUri": lambda name, w: t4.PackageUri(w.outside.url, name),
    "operations.build": lambda name, w: operations.build(name, w.dest, registry=w.outside.url),
    "operations.push": lambda name, w: operations.push(name, registry=w.outside.url),
    "operations.push as": lambda name, w: operations.push(
        NAME, name=name or "\n", registry=w.outside.url
    ),
    "operations.install": lambda name, w: operations.install(name, registry=w.outside.url),
    "operations.browse": lambda name, w: operations.browse(name, registry=w.outside.url),
}


# What they take is text that names a package, where white space around it means nothing.
STRIPPING_DOORS = ("resolve", "operations.push", "operations.install", "operations.browse")


@pytest.mark.parametrize("door", NAME_DOORS)
def test_row_40_a_bad_name_is_refused(
    local: World, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile(local.outside)
    monkeypatch.setenv("T4_REGISTRY", local.outside.url)
    before = local.state()
    for name in BAD_NAMES:
        if door in STRIPPING_DOORS and name.strip() == NAME:
            continue
        refused(lambda n=name: NAME_DOORS[door](n, local), t4.InvalidInputError)
        assert local.state() == before, name


NO_HASHES = (
    "../" * 21 + "x",
    "A" * 64,
    "g" * 64,
    "0" * 63 + "\n",
    "0" * 65,
    "0" * 5,
    "",
    "/" + "0" * 63,
    "0" * 63 + "\u0660",
    "latest",
    "*" * 64,
)


HASH_DOORS: dict[str, Callable[[World, str], Any]] = {
    "browse": lambda w, h: t4.Package.browse(NAME, w.outside.url, h),
    "install": lambda w, h: t4.Package.install(NAME, w.outside.url, h, dest=w.dest),
    "rollback": lambda w, h: t4.Package.rollback(NAME, w.outside.url, h),
    "resolve_hash": lambda w, h: t4.Package.resolve_hash(NAME, w.outside.url, h),
    "delete": lambda w, h: t4.delete_package(NAME, w.outside.url, h),
    "PackageRef": lambda w, h: t4.PackageRef(w.outside.url, NAME, h),
    "resolve": lambda w, h: t4.resolve(f"{NAME}@{h}", w.outside.url),
    "resolve mapping": lambda w, h: t4.resolve(
        {"registry": w.outside.url, "name": NAME, "top_hash": h}
    ),
    "operations.browse": lambda w, h: operations.browse(f"{NAME}@{h}", registry=w.outside.url),
    "operations.install": lambda w, h: operations.install(
        {"registry": w.outside.url, "name": NAME, "top_hash": h}, dest=w.dest
    ),
    "operations.push": lambda w, h: operations.push(
        {"registry": w.outside.url, "name": NAME, "top_hash": h}, registry=w.other.url
    ),
}


@PLAIN
def test_rows_37_38_what_is_no_hash_reaches_no_file(world: World) -> None:
    planted = hostile(world.outside)
    before = world.state()
    for name, door in HASH_DOORS.items():
        for text in NO_HASHES:
            if "\n" in text and name in ("resolve", "operations.browse"):
                continue  # text that names a package loses white space at its end
            refused(lambda d=door, t=text: d(world, t), t4.InvalidInputError)
    assert world.state() == before
    assert t4.resolve(NAME, planted.url).top_hash == planted.top_hash


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 100_000,
        "{'a':" * 100_000,
        "{" * 100_000,
        "[1]",
        '{"registry": 5, "name": [], "top_hash": {}}',
        "{'registry': 'x', 'name': ().__class__, 'top_hash': 1}",
        "{1: 9**9**9}",
        f"{NAME}@",
        f"{NAME}@{'../' * 30}",
        f"{NAME}@{'0' * 64}@{'0' * 64}",
        "quilt+s3://bucket/../other#package=team/data",
        "t4+file:///etc/../#package=../../etc",
    ],
)
def test_rows_31_37_text_that_names_no_package_is_refused(local: World, text: str) -> None:
    hostile(local.outside)
    before = local.state()
    for action in (
        lambda: t4.resolve(text, local.outside.url),
        lambda: operations.browse(text, registry=local.outside.url),
        lambda: operations.install(text, registry=local.outside.url, dest=local.dest),
        lambda: operations.push(text, registry=local.outside.url),
    ):
        refused(action, t4.InvalidInputError)
    assert local.state() == before


@PLAIN
def test_row_38_another_packages_hash_is_not_this_packages_revision(world: World) -> None:
    url = world.outside.url
    own = hostile(world.outside)
    foreign = plant(
        world.outside,
        record("foreign", world.outside.put("objects/f", b"foreign"), b"foreign"),
        name="team/foreign",
    )
    prefix = foreign.top_hash[:12]
    before = world.state()
    for action in (
        lambda: t4.Package.rollback(NAME, url, foreign.top_hash),
        lambda: t4.Package.rollback(NAME, url, prefix),
        lambda: t4.Package.browse(NAME, url, prefix),
        lambda: t4.Package.install(NAME, url, prefix, dest=world.dest),
        lambda: t4.Package.resolve_hash(NAME, url, prefix),
        lambda: t4.resolve(f"{NAME}@{prefix}", url),
        lambda: t4.delete_package(NAME, url, foreign.top_hash),
        lambda: t4.delete_package(NAME, url, prefix),
        lambda: operations.browse(f"{NAME}@{prefix}", registry=url),
        lambda: operations.install(f"{NAME}@{prefix}", registry=url, dest=world.dest),
    ):
        refused(action, t4.NotFoundError)
    assert world.state() == before
    assert t4.Package.browse(NAME, url).top_hash == own.top_hash
