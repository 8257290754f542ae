"""Prefect events about packages, and the trigger that starts a deployment by them.

`t4.package.pushed` of a task says that `latest` leads to a revision whose objects are all in the
registry; that of the watcher tells a move, whoever made it. The resource of each event is the
package, by the key of its asset; the payload is the step's result, with the pinned revision in
`package`. Outside of a run nothing is sent and no server is started.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import DeploymentEventTrigger, emit_event

from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef, RegistryLike, validate_name
from t4_ops.prefect.assets import registry_key, resource_id
from t4_ops.settings import load_settings

if TYPE_CHECKING:
    from t4_ops.operations import Move

PUSHED: Final = "t4.package.pushed"
"""`latest` leads to another revision now."""
INSTALLED: Final = "t4.package.installed"
"""A folder was filled."""
VERIFIED: Final = "t4.package.verified"
"""Every byte of a whole revision was read and is as promised."""
DELETED: Final = "t4.package.deleted"
"""A revision was taken from the list of its package."""

# Any fixed value does; this one is random.
_IDS: Final = UUID("6e0b2f0e-5d0c-4d2b-9a0d-2f8c3a4c7a11")
# What a payload leaves out: it may be long, and lineage has it all.
_LEFT_OUT: Final = frozenset({"inputs", "keys", "bad_keys"})
_log = logging.getLogger("t4_ops.prefect")


@dataclass(frozen=True)
class Announcement:
    """One event that is to be sent.

    Attributes:
        event: Its name.
        result: What it tells: a step's result, or a move in a registry.
        id: Its id. The same thing told twice has the same one, and Prefect's server passes over
            what it has seen.
        task_run_id: The task run that did it.
    """

    event: str
    result: Mapping[str, Any]
    id: UUID
    task_run_id: str | None = None


def told(event: str, result: Mapping[str, Any], move: Move | None = None) -> Announcement:
    """Return the announcement of what this task run did.

    A retry of the run announces the same thing under the same id; a watcher that sees the move
    does so too.

    Args:
        event: Its name.
        result: The step's result.
        move: The move of `latest` that it was, if it was one.
    """
    context = TaskRunContext.get()
    run_id = str(context.task_run.id) if context else None
    event_id = UUID(move["id"]) if move else uuid5(_IDS, f"{run_id}|{event}|{result['uri']}")
    return Announcement(event, result, event_id, run_id)


def announce(announcement: Announcement) -> None:
    """Send an event, if a run is around to send it: else Prefect would start a server."""
    if (
        FlowRunContext.get() is None
        and TaskRunContext.get() is None
        and not announcement.task_run_id
    ):
        return
    emit_event(**event_fields(announcement))


def event_fields(announcement: Announcement) -> dict[str, Any]:
    """Return an announcement as the arguments of `emit_event`."""
    result = announcement.result
    ref = PackageRef(result["registry"], result["name"], result["top_hash"])
    related = [
        {
            "prefect.resource.id": registry_key(ref.registry),
            "prefect.resource.role": "t4-registry",
            "prefect.resource.name": ref.registry,
        }
    ]
    if announcement.task_run_id:
        related.append(
            {
                "prefect.resource.id": f"prefect.task-run.{announcement.task_run_id}",
                "prefect.resource.role": "task-run",
            }
        )
    return {
        "event": announcement.event,
        "id": announcement.id,
        "resource": {
            "prefect.resource.id": resource_id(ref.name, ref.registry),
            "prefect.resource.name": ref.name,
            "t4.package.name": ref.name,
            "t4.package.registry": ref.registry,
            "t4.package.top-hash": ref.top_hash,
        },
        "related": related,
        "payload": {
            "package": ref.to_dict(),
            **{name: value for name, value in result.items() if name not in _LEFT_OUT},
        },
    }


def package_trigger(
    name: str | None = None,
    registry: RegistryLike | None = None,
    *,
    prefix: str | None = None,
    event: str = PUSHED,
    parameter: str = "package",
    parameters: Mapping[str, Any] | None = None,
    **options: Any,
) -> DeploymentEventTrigger:
    """Return a trigger that starts a deployment once for each revision, and hands it over.

    The flow takes it as `def consumer(package: PackageRef)`: pinned, so that it works on the
    revision that started it whatever happens meanwhile.

    Args:
        name: The package.
        registry: Where it is; None is the default registry.
        prefix: Instead of a name: packages whose names begin so; `""` is all of the registry.
        event: Which event.
        parameter: The flow's parameter that takes the revision.
        parameters: Values of its other parameters.
        **options: Further fields of the trigger, such as `enabled` or `job_variables`.

    Raises:
        InvalidInputError: Neither a name nor a prefix is given, or both.
    """
    if (name is None) == (prefix is None):
        raise InvalidInputError("give the name of a package, or a prefix of names")
    url = registry or load_settings().registry
    if name is not None:
        resource = resource_id(validate_name(name), url)
    else:
        resource = f"{registry_key(url)}/{prefix}*"
    # By way of JSON, so that the flow gets a mapping and not its text.
    revision = {
        "__prefect_kind": "json",
        "value": {"__prefect_kind": "jinja", "template": "{{ event.payload.package | tojson }}"},
    }
    return DeploymentEventTrigger(
        **{
            "name": f"{event} {name or prefix or 'any package'}",
            "expect": {event},
            "match": {"prefect.resource.id": resource},
            "for_each": {"prefect.resource.id"},
            "parameters": {parameter: revision, **(parameters or {})},
            **options,
        }
    )
