"""Pages of listings, read quickly: botocore's own reading of them took longer than the server.

botocore reads every field of every object by its model, and each page twice: 45 ms for 1,000
objects, here 8. It leaves room for that: an event before it reads a reply, and a dictionary whose
values it takes over as they are. Where the objects of a page stand together they are not even read
then but when they are asked for, and meanwhile the next page is on its way.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.compat import unquote_str

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
# What a page that `_cut` was applied to says of its objects; no name of botocore's.
_UNREAD: Final = "T4Unread"
_BEGIN, _END = b"<Contents>", b"</Contents>"
_PART_BYTES: Final = 16 * 1024
_OK: Final = 200
# What reading an object's facts ends in where they are none.
_NO_FACTS: Final = (KeyError, ValueError, OverflowError, RuntimeError)
# So that it is tried again, and then told: as botocore does with an error that comes with a 200.
_NO_PAGE: Final = 500


def read_listings_quickly(client: S3Client, parse_time: Callable[[str], datetime]) -> None:
    """Have a client read listings by the functions below.

    Objects in them have `Key` and `Size`, of versions `IsLatest`, and `ETag`, `LastModified`,
    `VersionId` as far as the server sends them, and nothing else. Those of `list_objects_v2` are
    had by `contents_of`.

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


def has_contents(page: dict[str, Any]) -> bool:
    """Return whether there are objects on a page of `list_objects_v2`."""
    return _UNREAD in page or bool(page.get("Contents"))


def contents_of(page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a page of `list_objects_v2`, with keys as they were written.

    Raises:
        ValueError: They can't be read.
    """
    if (unread := page.get(_UNREAD)) is None:
        yield from page.get("Contents", ())
        return
    data, parse_time = unread
    # As botocore does with keys: it asks for them in this encoding, some servers send another.
    is_encoded, names = page.get("EncodingType") == "url", _Names()
    try:
        for node in (node for part in _parts(data) for node in _parse(part)):
            texts = {names[fact.tag]: fact.text or "" for fact in node}
            facts = _facts("Contents", texts, parse_time)
            if is_encoded:
                facts["Key"] = unquote_str(facts["Key"])
            yield facts
    except (ET.ParseError, *_NO_FACTS) as exc:
        raise ValueError("the objects of a page can't be read") from exc


def _parts(objects: bytes) -> Iterator[bytes]:
    """Yield some objects at a time, each time as one element.

    A page's thousands of elements at once would make Python look for cycles in all that botocore
    has loaded: that takes three times as long as the reading.
    """
    start = 0
    while start < len(objects):
        end = objects.find(_END, start + _PART_BYTES)
        stop = len(objects) if end < 0 else end + len(_END)
        yield b"<all>%b</all>" % objects[start:stop]
        start = stop


def _parse(body: bytes) -> ET.Element:
    # botocore reads it so, too, whatever encoding it says it has.
    return ET.fromstring(body, ET.XMLParser(encoding="utf-8"))  # noqa: S314


def _cut(body: bytes) -> tuple[bytes, bytes] | None:
    """Return the objects of a page and what is around them; None: they don't stand together."""
    first, last = body.find(_BEGIN), body.rfind(_END)
    if not 0 <= first < last:
        return None
    objects, rest = body[first : last + len(_END)], body[:first] + body[last + len(_END) :]
    # Each ends where the next begins; no comment or section only looks as if one did, and no name
    # means something that is said around them.
    count = objects.count(_BEGIN)
    together = count == objects.count(_END) == objects.count(_END + _BEGIN) + 1
    is_odd = b"<!" in body or b"xmlns:" in body
    return (objects, rest) if together and not is_odd else None


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
    if element == "Contents" and (parts := _cut(response_dict["body"])) is not None:
        objects_read_later, response_dict["body"] = parts
        customized_response_dict[_UNREAD] = (objects_read_later, parse_time)
        return
    try:
        root = _parse(response_dict["body"])
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
            try:
                objects.append(_facts(element, texts, parse_time))
            except _NO_FACTS:
                response_dict["status_code"] = _NO_PAGE
                return
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
    facts["Key"], facts["Size"] = texts["Key"], int(texts["Size"])
    if "LastModified" in texts:
        facts["LastModified"] = parse_time(texts["LastModified"])
    if element == "Version":
        facts["IsLatest"] = texts["IsLatest"] == "true"
    return facts
