"""What the tests of recording share: packages to read, and the events of a registry."""

from __future__ import annotations

from typing import Any

import t4_ops as t4
from tests.ledger_support import check_event, stored_events


def raw_packages() -> str:
    """Make the packages `raw/a` and `raw/b`, outside any run; return the default registry."""
    for name in ("a", "b"):
        package = t4.Package().set("x.json", {"from": name}).set("deep/y.bin", b"text")
        package.build(f"raw/{name}")
    return t4.load_settings().registry


def events(registry: str) -> list[Any]:
    """Return the events of a folder registry, each checked, in the order of their time."""
    found = list(stored_events(registry.removeprefix("file://")).values())
    for event in found:
        check_event(event)
    return sorted(found, key=lambda event: event["eventTime"])


def the_event(registry: str) -> Any:
    (event,) = events(registry)
    return event


def names(datasets: list[Any]) -> list[str]:
    return ["/".join(dataset["name"].split("/")[-2:]) for dataset in datasets]


def told(event: Any) -> tuple[list[str], list[str]]:
    """Return the packages an event has as inputs and outputs, without their namespace."""
    return names(event["inputs"]), names(event["outputs"])


def read_by(event: Any) -> dict[str, list[str]]:
    """Return the inputs of an event, each with the paths that were read."""
    return {
        name: dataset.get("inputFacets", {})
        .get("subset", {})
        .get("inputCondition", {})
        .get("locations", [])
        for dataset in event["inputs"]
        for name in names([dataset])
    }


def inputs_of(registry: str) -> dict[str, list[str]]:
    """Return `read_by` of the only event."""
    return read_by(the_event(registry))


def make(name: str = "made/c") -> str:
    return t4.Package().set("z.bin", b"made").build(name)
