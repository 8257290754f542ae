"""Packages as Prefect assets: one for each package, a materialisation for each revision.

An asset's key is the package's identity, `s3://bucket/ns/name` or `file:///registry/ns/name`; the
top hash is in the metadata of each materialisation, never in the key. What a package was made from
is known from the lineage of the step, not only from the identity of the objects that tasks pass
around, which is all that Prefect goes by.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from prefect.assets import Asset, AssetProperties
from prefect.client.schemas.objects import State, StateType
from prefect.context import AssetContext, FlowRunContext

from t4_ops.errors import InvalidInputError, T4Error
from t4_ops.keys import PackageRef, RegistryLike, asset_uri
from t4_ops.settings import load_settings

TOOL: Final = "t4_ops"
"""What Prefect says materialised the assets."""
MAX_UPSTREAM: Final = 80
"""Most upstream assets of one materialisation: Prefect drops events with more than 100 related
resources, its own (flow, run, deployment, tags) among them."""
# Source: `prefect.assets.core` and `prefect.types.names` of 3.7.7.
_LEGAL: Final = re.compile(r"[a-z0-9]+://[^\s\0#?&%\"'<>\[\]{}|\\^`]+")
_KEY_MAX_CHARS: Final = 512
_SAFE: Final = ":/@+,;=!$()*~.-_"
_log = logging.getLogger("t4_ops.prefect")


@dataclass(frozen=True)
class Materialization:
    """One asset that a task made.

    Attributes:
        asset: The asset.
        upstream: What it was made from.
        metadata: What is told of it.
    """

    asset: Asset
    upstream: tuple[Asset, ...]
    metadata: dict[str, Any]


def package_asset(name: str, registry: RegistryLike | None = None) -> Asset:
    """Return the asset of a package.

    Args:
        name: Package name.
        registry: Where; None is the default registry.

    Raises:
        InvalidInputError: They name no package, or the path is too long for a key.
    """
    uri = asset_uri(os.fspath(registry or load_settings().registry), name)
    asset = _asset(name, uri)
    if asset is None:
        raise InvalidInputError(f"{uri} is too long for the key of an asset", key=uri)
    return asset


def resource_id(name: str, registry: RegistryLike | None = None) -> str:
    """Return what names a package in events: the key of its asset, of any length.

    Args:
        name: Package name.
        registry: Where; None is the default registry.

    Raises:
        InvalidInputError: They name no package.
    """
    return _spelled(asset_uri(os.fspath(registry or load_settings().registry), name))


def made(result: Mapping[str, Any]) -> Materialization | None:
    """Return what a step's result materialised, and let later tasks of the flow know it.

    Args:
        result: The result, its inputs those of the lineage.

    Returns:
        It; None, with a line in the log: Prefect could not name it.
    """
    asset = _known_asset(result)
    if asset is None:
        return None
    context = AssetContext.get()
    upstream = _assets_of(result.get("inputs") or ())
    if context is not None:
        upstream |= {item.key: item for item in sorted(_upstream(context), key=lambda a: a.key)}
        _propagate(context, {asset})
    upstream.pop(asset.key, None)
    metadata = {name: result.get(name) for name in ("uri", "top_hash", "files", "size_bytes")}
    return Materialization(asset, _capped(asset, upstream.values()), metadata)


def read(result: Mapping[str, Any]) -> None:
    """Let Prefect know that this task read a revision: what is made of its result depends on it."""
    context, asset = AssetContext.get(), _known_asset(result)
    if context is not None and asset is not None:
        context.direct_asset_dependencies.add(asset)
        _propagate(context, {asset})


def materialized(made_now: Materialization) -> None:
    """Send Prefect's events of a materialisation, those that its own engine would send."""
    AssetContext(
        downstream_assets={made_now.asset},
        direct_asset_dependencies=set(made_now.upstream),
        materialized_by=TOOL,
        materialization_metadata={made_now.asset.key: made_now.metadata},
    ).emit_events(State(type=StateType.COMPLETED))


def _known_asset(result: Mapping[str, Any]) -> Asset | None:
    """Return the asset of a result; its step is done, and does not fail for want of one."""
    ref = PackageRef.from_dict(result)
    asset = _asset(ref.name, ref.identity)
    if asset is None:
        _log.warning("%s is too long for the key of an asset: Prefect is told of none", ref.uri)
    return asset


def _asset(name: str, uri: str) -> Asset | None:
    key = _key(uri)
    return None if key is None else Asset(key=key, properties=AssetProperties(name=name))


def _upstream(context: AssetContext) -> set[Asset]:
    return context.upstream_assets | context.direct_asset_dependencies


def _propagate(context: AssetContext, assets: set[Asset]) -> None:
    """Say which assets stand behind this task's result, as Prefect says it for declared ones.

    `AssetContext.downstream_assets` is left alone: Prefect would send the events of what is in it
    when the task ends, before the transaction has committed. Public fields, without documentation.
    """
    flow_run = FlowRunContext.get()
    if flow_run is not None and context.task_run_id is not None:
        flow_run.task_run_assets[context.task_run_id] = assets


def _assets_of(inputs: Iterable[Mapping[str, Any]]) -> dict[str, Asset]:
    found = {}
    for item in inputs:
        asset = _asset_of(item)
        if asset is not None:
            found[asset.key] = asset
    return found


def _asset_of(item: Mapping[str, Any]) -> Asset | None:
    """Return the asset of an input in a step's result: a package, or another dataset."""
    try:
        if item.get("top_hash"):
            ref = PackageRef.from_dict(item)
            return _asset(ref.name, ref.identity)
    except T4Error:
        return None
    namespace, name = str(item.get("namespace") or ""), str(item.get("name") or "")
    uri = f"file://{name}" if namespace == "file" else f"{namespace}/{name.lstrip('/')}"
    # Blanks and the like are legal in names of files, and would cost the whole edge.
    key = _key(quote(uri, safe=_SAFE))
    return None if key is None else Asset(key=key)


def _key(uri: str) -> str | None:
    """Return a URI as the key of an asset; None: it can be none."""
    key = _spelled(uri)
    return key if len(key) <= _KEY_MAX_CHARS and _LEGAL.fullmatch(key) else None


def _spelled(uri: str) -> str:
    """Return a URI without `%`, which keys can't hold: that of encoded characters becomes `=`."""
    return uri.replace("=", "=3D").replace("%", "=") if "%" in uri else uri


def _capped(asset: Asset, upstream: Iterable[Asset]) -> tuple[Asset, ...]:
    found = tuple(upstream)
    if len(found) > MAX_UPSTREAM:
        _log.warning(
            "%s was made from %d assets: Prefect is told of the first %d; the lineage in the"
            " registry has all",
            asset.key,
            len(found),
            MAX_UPSTREAM,
        )
    return found[:MAX_UPSTREAM]


def registry_key(registry: RegistryLike) -> str:
    """Return what the keys of a registry's packages begin with, without the final slash.

    Raises:
        InvalidInputError: It is no registry.
    """
    return resource_id("a/b", registry).removesuffix("/a/b")
