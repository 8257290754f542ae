"""Where the ledger lies in a registry, and how an event's id is derived."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from typing import Final, Literal

from t4_ops.keys import Dataset, is_top_hash
from t4_ops.ledger.datasets import Input, Output
from t4_ops.ledger.runs import RunInfo

_ROOT: Final = ".t4/v1/lineage/"
_EVENT_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNVERSIONED: Final = "unversioned"

EVENTS_PREFIX: Final = f"{_ROOT}events/"
"""Where events are stored."""

Role = Literal["outputs", "inputs"]
"""On which side of a run a dataset stands."""


def event_key(event_id: str) -> str:
    """Return where an event is stored."""
    return f"{EVENTS_PREFIX}{event_id}.json"


def markers_prefix(role: Role) -> str:
    """Return where all markers of a role lie."""
    return f"{_ROOT}{role}/"


def marker_prefix(role: Role, dataset: Dataset, version: str | None) -> str:
    """Return where the markers of one version of a dataset lie.

    The dataset is the SHA-256 of namespace, newline, name: names may hold anything, keys may not. A
    version that is no top hash is hashed for the same reason.
    """
    place = _digest(f"{dataset.namespace}\n{dataset.name}")
    if version is None:
        part = _UNVERSIONED
    else:
        part = version if is_top_hash(version) else _digest(version)
    return f"{markers_prefix(role)}{place}/{part}/"


def _digest(text: str) -> str:
    # Folder names need not be UTF-8; Python carries their odd bytes as lone surrogates.
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def event_id_of_marker(key: str) -> str | None:
    """Return the event that a marker names, or None for a stray object."""
    name = key.rpartition("/")[2]
    return name if _EVENT_ID.fullmatch(name) else None


def marker_keys(event_id: str, inputs: Iterable[Input], outputs: Iterable[Output]) -> list[str]:
    """Return the markers of an event: one for each output and input."""
    sides: list[tuple[Role, Input]] = [("outputs", Input.of_ref(o.ref)) for o in outputs]
    sides += [("inputs", item) for item in inputs]
    keys = [marker_prefix(role, item.dataset, item.version) + event_id for role, item in sides]
    return list(dict.fromkeys(keys))


def derive_event_id(
    run: RunInfo, state: str, inputs: Iterable[Input], outputs: Iterable[Output]
) -> str:
    """Return the id of the event that says: this run, in this attempt, made these from those.

    The same statement has the same id, in any order and at any time, so a repeat is a no-op. Inputs
    count too: a second publication of the same revision with another input is another edge, and
    readers merge events by run. So do the paths of an input of which a part was read.
    """
    read = sorted({(i.namespace, i.name, i.version or "", *i.paths) for i in inputs})
    written = sorted({(o.ref.registry, o.ref.name, o.ref.top_hash) for o in outputs})
    statement = json.dumps([run.attempt, state, written, read], separators=(",", ":"))
    return str(uuid.uuid5(uuid.UUID(run.run_id), statement))
