"""The button beside a task that leads to the revision it made."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from airflow.sdk import BaseOperator, BaseOperatorLink, conf
from airflow.sdk.types import TaskInstanceKey

SECTION: Final = "t4_ops"
OPTION: Final = "revision_url"


class RevisionLink(BaseOperatorLink):
    """Leads to where `[t4_ops] revision_url` says that revisions can be looked at."""

    name = "Revision"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the page of the revision; empty if there is none, or nobody said where.

        Airflow calls it in the task's process when the task has ended, however it ended.
        """
        template = conf.get(SECTION, OPTION, fallback="")
        return revision_url(template, getattr(operator, "_result", None))


def revision_links() -> tuple[BaseOperatorLink, ...]:
    """Return the button where the configuration says where it leads, else none.

    Airflow keeps what a button leads to as an XCom of every task, be it empty.
    """
    return (RevisionLink(),) if conf.get(SECTION, OPTION, fallback="") else ()


def revision_url(template: str, result: Any) -> str:
    """Return a URL template filled in with the parts of a revision, each quoted.

    Args:
        template: Such as `https://catalog.example.com/b/{bucket}/packages/{name}/tree/{top_hash}`.
        result: A step's result, or None.
    """
    if not template or not result or "top_hash" not in result:
        return ""
    registry = str(result["registry"])
    parts = {
        "registry": quote(registry, safe=""),
        "bucket": quote(registry.removeprefix("s3://"), safe=""),
        "name": quote(str(result["name"])),
        "top_hash": str(result["top_hash"]),
        "uri": quote(str(result["uri"]), safe=""),
    }
    return template.format_map(parts)
