"""From staging to production: the same top hash, behind verification, and back if it does no good.

What it shows:

* `verify_package` reads and hashes every object of the revision in staging.
* `promote_package` brings exactly the revision that was verified, whatever was pushed to staging
  meanwhile, and refuses if somebody else moved production since the step began.
* The smoke test stands in the same transaction: if it fails, production goes back to what it held,
  by compare-and-swap, and nobody was told of the new revision. What somebody else published
  meanwhile stays.
* `rollback_package` is the same by hand: `python flows/t4_promote.py back HASH`.

How to run it: `python flows/t4_promote.py` makes something to promote and promotes it, with neither
server nor credentials. Both registries are folders unless `T4_REGISTRY` and
`T4_PRODUCTION_REGISTRY` name buckets; with keys of their own, give the tasks `T4Registry` blocks.
"""

from __future__ import annotations

import os
import sys

from platformdirs import user_data_dir
from prefect import flow, task
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings
from prefect.transactions import transaction

import t4_ops as t4
from t4_ops.operations import produce
from t4_ops.prefect.artifacts import show_lineage
from t4_ops.prefect.tasks import (
    browse_package,
    promote_package,
    rollback_package,
    verify_package,
)


@task
def smoke_test(package: t4.PackageRef, least_files: int) -> None:
    """Look at production as its users do.

    Raises:
        ValueError: It is not fit for them.
    """
    found = t4.Package.browse(package.name, package.registry)
    if found.top_hash != package.top_hash or found.count_files() < least_files:
        raise ValueError(f"{package.uri} is not fit for production")


@flow(name="t4_promote")
def t4_promote(
    package: str = "shop/orders",
    registry: str | None = None,
    production: str | None = None,
    least_files: int = 1,
) -> str:
    """Bring a package from staging to production.

    Args:
        package: `ns/name`, or with `@hash`.
        registry: Staging; None: the default registry.
        production: None: `T4_PRODUCTION_REGISTRY`, or a folder in your data directory.
        least_files: Fewest files that are fit for production.

    Returns:
        The package URI in production.
    """
    pinned = browse_package(package, registry=registry)
    verified = verify_package(pinned)
    with transaction():
        promoted = promote_package(verified, registry=production or default_production())
        smoke_test(promoted, least_files)
    show_lineage(promoted)
    return promoted.uri


@flow(name="t4_rollback")
def t4_rollback(name: str, top_hash: str, production: str | None = None) -> str:
    """Move production back to an earlier revision.

    Args:
        name: Package name.
        top_hash: Its top hash, or the first digits of it.
        production: As for the promotion.

    Returns:
        The package URI of what production holds now.
    """
    return rollback_package(name, top_hash, registry=production or default_production()).uri


def default_production() -> str:
    """Return the registry of production, where none is given."""
    return os.environ.get("T4_PRODUCTION_REGISTRY") or user_data_dir("t4_ops_production")


if __name__ == "__main__":
    # A server's first start makes its database, which may take longer than the 20 s it is given.
    with temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120}):
        if sys.argv[1:2] == ["back"]:
            print(t4_rollback("shop/orders", *sys.argv[2:]))  # noqa: T201
        else:
            produce({"orders.json": [{"item": "tea", "amount": 3}]}, "shop/orders")
            print(t4_promote())  # noqa: T201
