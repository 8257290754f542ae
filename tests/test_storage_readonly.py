"""Registries that nothing may be changed in: no way leads around it, and reading goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

import t4_ops as t4
from t4_ops import operations as ops
from t4_ops.settings import load_settings
from t4_ops.storage import open_store
from tests.ledger_support import stored_events
from tests.package_support import objects_of

READS = {
    "can_copy_from",
    "head",
    "leftovers",
    "list",
    "list_folder",
    "list_level",
    "list_versions",
    "open",
    "read",
    "stored",
    "user_metadata",
}


def closed(registry: str) -> t4.Settings:
    settings = load_settings()
    return replace(settings, read_only=(registry,))


def test_every_method_that_is_none_of_reading_is_refused(registry: str) -> None:
    """Whoever adds a method to a store says here that it reads, or closes it."""
    store = open_store(registry, closed(registry))
    kind = type(store)
    names = [
        name
        for name in dir(kind)
        if not name.startswith("_") and callable(getattr(kind, name)) and name not in READS
    ]
    assert {"write", "upload", "delete"} <= set(names)
    for name in names:
        with pytest.raises(t4.InvalidInputError, match="read-only"):
            getattr(store, name)()


def test_steps_read_and_change_nothing(
    registry: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    local = folder.parent / "local"
    (folder / "a.txt").write_text("1")
    first = ops.push(ops.build("team/raw", folder, registry=registry), registry=registry)
    (folder / "a.txt").write_text("2")
    second = ops.push(ops.build("team/raw", folder, registry=registry), registry=registry)
    before, events = objects_of(registry), stored_events(registry)
    settings = closed(registry)
    assert ops.browse(second, settings=settings)["files"] == 1
    ops.install(second, dest=tmp_path_factory.mktemp("in"), settings=settings)
    ops.install(
        second,
        dest=tmp_path_factory.mktemp("in"),
        settings=replace(settings, local_registry=str(local), read_only=(registry, str(local))),
    )
    assert not local.exists()
    assert ops.verify(first, settings=settings)["ok"]
    assert ops.diff(first, second, settings=settings)["modified"] == 1
    assert ops.poll(registry, "team/raw", since=0, settings=settings).moves
    refused = [
        lambda: ops.build("team/raw", folder, registry=registry, message="x", settings=settings),
        lambda: ops.push(first, name="team/other", registry=registry, settings=settings),
        lambda: ops.rollback("team/raw", first, registry=registry, settings=settings),
        lambda: ops.undo(second, first["top_hash"], settings=settings),
        lambda: ops.delete_revision(first, settings=settings),
        lambda: ops.promote(first, name="team/other", settings=settings),
        lambda: ops.plan_shards(folder, registry=registry, settings=settings),
    ]
    for step in refused:
        with pytest.raises(t4.InvalidInputError, match="read-only"):
            step()
    assert objects_of(registry) == before
    assert stored_events(registry) == events
