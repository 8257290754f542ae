"""Who writes our events, and the names and bounds of what they hold."""

from __future__ import annotations

from functools import cache
from typing import Final

PACKAGE_FACET: Final = "t4_package"
"""Our facet of an output; OpenLineage asks for the project's name as a prefix."""
RUN_FACET: Final = "t4_run"
"""Our facet of a run."""
CODE_FACET: Final = "t4_code"
"""Our facet of a job."""
# The schemas lie in `schemas/`; a URN, because nothing has to be fetched to read an event.
PACKAGE_SCHEMA: Final = "urn:t4-ops:facets:1-0-0:T4PackageDatasetFacet"
RUN_SCHEMA: Final = "urn:t4-ops:facets:1-0-0:T4RunFacet"
CODE_SCHEMA: Final = "urn:t4-ops:facets:1-0-0:T4CodeJobFacet"


@cache
def library_version() -> str:
    """Return the version of this library."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("t4-ops")
    except PackageNotFoundError:
        return "unknown"


def producer() -> str:
    """Return what our events name as their producer."""
    return f"urn:t4-ops:{library_version()}"
