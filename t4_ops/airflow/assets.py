"""Packages as assets: one identity for all who name them, and the revision that an event is about.

    orders = package_asset("shop/orders", "s3://bucket")

    with DAG("report", schedule=[orders]):
        InstallPackageOperator(
            task_id="install", package="{{ macros.t4_ops.package_of(triggering_asset_events) }}"
        )

An asset is the package that moves; which revision an event is about is in the event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from airflow.sdk import Asset, AssetAlias, AssetWatcher, BaseOperator, Context

from t4_ops.errors import InvalidInputError
from t4_ops.keys import (
    PackageRef,
    RegistryLike,
    asset_uri,
    normalize_registry,
    package_of_asset,
)

GROUP: Final = "t4-package"
"""The group of our assets: the UI and the API can filter by it."""
_TOLD: Final = ("changed", "files", "size_bytes", "previous")


def package_asset(
    name: str,
    registry: RegistryLike,
    *,
    extra: dict[str, Any] | None = None,
    watchers: Iterable[AssetWatcher] = (),
    **kwargs: Any,
) -> Asset:
    """Return the asset that a package is, the same for producers and consumers.

    Its name is its URI, because Airflow compares both.

    Args:
        name: Package name, `ns/name`.
        registry: `s3://bucket` or a folder. There is no default: what reads this, the DAG
            processor, may have other settings than the workers.
        extra: Metadata of the asset.
        watchers: What starts DAGs when somebody else moves it; see `package_watcher`.
        **kwargs: Further arguments of `Asset`, such as `access_control`.

    Raises:
        InvalidInputError: Name or registry breaks a rule.
    """
    uri = asset_uri(normalize_registry(registry), name)
    return Asset(name=uri, uri=uri, group=GROUP, extra=extra, watchers=[*watchers], **kwargs)


def package_of(events: Any, name: str | Asset | None = None) -> dict[str, str]:
    """Return the revision that asset events are about, of several the newest.

    In templates it is `macros.t4_ops.package_of`.

    Args:
        events: `triggering_asset_events`, `inlet_events[asset]`, several events or one, or the
            `extra` of one; whether a task told it, a watcher, or the REST API.
        name: Which package, where the events are about several: `ns/name`, or where that is in
            several registries its asset, or the asset's URI.

    Returns:
        uri, registry, name and top_hash: what every operator takes as `package`.

    Raises:
        InvalidInputError: No event names a revision, or several packages are meant.
    """
    found = packages_of(events)
    if name is not None:
        wanted = name.uri if isinstance(name, Asset) else name
        found = [
            ref for ref in found if wanted in (ref["name"], asset_uri(ref["registry"], ref["name"]))
        ]
    names = sorted({ref["uri"].partition("@")[0] for ref in found})
    if len(names) > 1:
        raise InvalidInputError(
            f"the events are about {', '.join(names)}: say which is meant, package_of(events, name)"
        )
    if not found:
        whose = f" of {name!r}" if name else ""
        raise InvalidInputError(
            f"no event names a revision{whose}: its extra must have registry, name and top_hash,"
            " or be that of a package's asset and have top_hash"
        )
    return found[-1]


def packages_of(events: Any) -> list[dict[str, str]]:
    """Return all revisions that asset events are about, oldest event first.

    Events that name none, of other assets, are passed over. Arguments are those of `package_of`.
    """
    known = sorted(_each(events), key=_happened)
    return [found for event in known if (found := _revision(event)) is not None]


def _happened(event: Any) -> float:
    """Return when an event was, unix seconds; of those that don't say the order is kept."""
    said = event.get("timestamp") if _is_extra(event) else getattr(event, "timestamp", None)
    if isinstance(said, str):
        try:
            said = datetime.fromisoformat(said)
        except ValueError:
            return 0.0
    return said.timestamp() if isinstance(said, datetime) else 0.0


def _each(events: Any) -> Iterator[Any]:
    """Yield single events, each once."""
    if hasattr(events, "extra") or _is_extra(events):
        yield events
    elif isinstance(events, Mapping):
        # Airflow lists what an alias led to under the alias and under the asset.
        for key, several in events.items():
            if not isinstance(key, AssetAlias):
                yield from several
    elif isinstance(events, Iterable) and not isinstance(events, str):
        for event in events:
            yield from _each(event)
    else:
        raise InvalidInputError(f"{events!r:.200} is no asset event")


def _is_extra(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _revision(event: Any) -> dict[str, str] | None:
    extra = event if _is_extra(event) else (event.extra or {})
    if "extra" in extra and "top_hash" not in extra:
        event, extra = extra, extra["extra"] or {}  # an event as the REST API tells it
    if extra.get("from_trigger"):
        extra = extra.get("payload") or {}
    if not isinstance(extra, Mapping) or not extra.get("top_hash"):
        return None
    registry, name = extra.get("registry"), extra.get("name")
    if not (registry and name):
        registry, name = package_of_asset(_uri_of(event))
    return PackageRef(str(registry), str(name), str(extra["top_hash"])).to_dict()


def _uri_of(event: Any) -> str:
    if isinstance(event, Mapping):
        return str(event.get("uri") or "")
    asset = getattr(event, "asset", None)
    return str(getattr(asset, "uri", None) or getattr(event, "uri", ""))


def event_extra(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an event says of the revision that a step published."""
    ref = PackageRef.from_dict(result).to_dict()
    return {**ref, **{key: result[key] for key in _TOLD if key in result}}


def alias_of(operator: BaseOperator) -> AssetAlias:
    """Return the alias under which an operator tells of packages that are known when it runs."""
    return AssetAlias(f"t4:{operator.dag_id}.{operator.task_id}", group=GROUP)


def tell(
    operator: BaseOperator,
    context: Context,
    result: Mapping[str, Any],
    partitions: Iterable[str] = (),
    *,
    add_outlet: bool = True,
) -> None:
    """Let Airflow make an event of what a step published, when the task succeeds.

    Args:
        operator: The operator, as it is executed.
        context: Its context.
        result: The step's result.
        partitions: Partition keys; one event for each.
        add_outlet: Whether to tell where the operator has no fitting outlet.

    Raises:
        InvalidInputError: `partitions` are given, and the package's asset is no outlet of the task:
            Airflow has no partitions for aliases.
    """
    if not operator.outlets and not add_outlet and not partitions:
        return
    asset = package_asset(result["name"], result["registry"])
    extra, events = event_extra(result), context["outlet_events"]
    told = False
    for outlet in operator.outlets:
        if isinstance(outlet, Asset) and outlet.uri == asset.uri:
            events[outlet].extra = extra
            if keys := list(partitions):
                events[outlet].add_partitions(keys)
            told = True
    if told:
        return
    if partitions:
        raise InvalidInputError(
            f"partitions need the asset among the task's outlets: outlets=[package_asset("
            f"{result['name']!r}, {result['registry']!r})]"
        )
    aliases = [outlet for outlet in operator.outlets if isinstance(outlet, AssetAlias)]
    if not aliases and add_outlet:
        aliases = [alias_of(operator)]
        operator.outlets.extend(aliases)
    for alias in aliases:
        events[alias].add(asset, extra=extra)
