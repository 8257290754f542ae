"""Pages of listings, read quickly: botocore's own reading of them took longer than the server.

botocore reads every field of every object by its model, and each page twice: 45 ms for 1,000
objects, here 8. It leaves room for that: an event before it reads a reply, and a dictionary whose
values it takes over as they are.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Operation -> the element of its reply that is there for each object.
# Source: "ListObjectsV2" and "ListObjectVersions", S3 API reference.
_ELEMENTS: Final = {"ListObjectsV2": "Contents", "ListObjectVersions": "Version"}
# What botocore calls the list of them.
_NAMES: Final = {"Contents": "Contents", "Version": "Versions"}
# Only what the reference says is in them: some servers add more, in meanings of their own.
_TEXTS: Final = {"Contents": ("Key", "ETag"), "Version": ("Key", "ETag", "VersionId")}
# What a page is. botocore takes whatever else is XML, as a proxy's own page, for an empty one.
_ROOTS: Final = ("ListBucketResult", "ListVersionsResult")
_OK: Final = 200
# So that it is tried again, and then told: as botocore does with an error that comes with a 200.
_NO_PAGE: Final = 500


def read_listings_quickly(client: S3Client, parse_time: Callable[[str], datetime]) -> None:
    """Have a client read listings by the functions below.

    Objects in them have `Key`, `Size`, `ETag`, `LastModified`, `VersionId`, `IsLatest`, as far as
    the server sends them, and nothing else.

    Args:
        client: The client.
        parse_time: Reads a time as S3 writes it.
    """
    for operation, element in _ELEMENTS.items():
        # With a star the handler comes before botocore's own, registered for `before-parse.s3.*`,
        # which reads the whole body to see whether a reply with the status 200 is an error.
        client.meta.events.register_first(
            f"before-parse.*.{operation}", partial(_take_objects, element, parse_time)
        )


def _take_objects(
    element: str,
    parse_time: Callable[[str], datetime],
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    **_: Any,
) -> None:
    """Move the objects from a reply's body to what is said of it."""
    if response_dict["status_code"] != _OK:
        return
    # botocore reads it so, too, whatever encoding it says it has.
    parser = ET.XMLParser(encoding="utf-8")  # noqa: S314
    try:
        root = ET.fromstring(response_dict["body"], parser)  # noqa: S314
    except ET.ParseError:
        if not response_dict["body"]:
            response_dict["status_code"] = _NO_PAGE
        return  # botocore tells what is wrong with it
    objects: list[dict[str, Any]] = []
    others: list[ET.Element] = []
    names = _Names()
    for node in root:
        if names[node.tag] == element:
            texts = {names[fact.tag]: fact.text or "" for fact in node}
            objects.append(_facts(element, texts, parse_time))
        else:
            others.append(node)
    if not objects and names[root.tag] not in _ROOTS:
        response_dict["status_code"] = _NO_PAGE
    if objects:
        root[:] = others
        # Left as it is a carriage return, of a prefix or a page's token, is read as a line feed.
        response_dict["body"] = ET.tostring(root).replace(b"\r", b"&#13;")
        customized_response_dict[_NAMES[element]] = objects


class _Names(dict[str, str]):
    """Names of elements without their namespace, by tag."""

    def __missing__(self, tag: str) -> str:
        name = self[tag] = tag.rpartition("}")[2]
        return name


def _facts(
    element: str, texts: dict[str, str], parse_time: Callable[[str], datetime]
) -> dict[str, Any]:
    facts: dict[str, Any] = {name: texts[name] for name in _TEXTS[element] if name in texts}
    if "Size" in texts:
        facts["Size"] = int(texts["Size"])
    if "LastModified" in texts:
        facts["LastModified"] = parse_time(texts["LastModified"])
    if element == "Version" and "IsLatest" in texts:
        facts["IsLatest"] = texts["IsLatest"] == "true"
    return facts
