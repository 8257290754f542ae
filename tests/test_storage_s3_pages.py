"""Pages of a listing: read whole, asked for ahead, and what no server should send."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demo.seaweedfs import SeaweedFS
from t4_ops.errors import StorageError
from t4_ops.storage.s3 import S3Store
from tests.s3_support import (
    Fault,
    Request,
    numbered_pages,
    run_relay,
    s3_fault,
    settings_for,
    wait_for_pages_ahead,
)

PAGE = (
    '<?xml version="1.0"?><ListBucketResult{}><IsTruncated>{}</IsTruncated>'
    "<NextContinuationToken>t</NextContinuationToken><EncodingType>url</EncodingType>{}"
    "</ListBucketResult>"
)
OBJECT = (
    "<Contents><Key>a%20{0}%26&amp;%3C</Key><Size>{0}</Size><ETag>&quot;e{0}&quot;</ETag>"
    "<LastModified>2015-10-21T07:28:00.500Z</LastModified>"
    "<Owner><ID>me</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
)


@pytest.mark.parametrize("between", ["", "\n  ", "<!-- <Contents> -->"])
@pytest.mark.parametrize(
    "space",
    [
        "",
        ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"',
        ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/" xmlns:x="urn:x" x:type="page"',
    ],
)
def test_pages_are_read_whole_and_followed(s3_server: SeaweedFS, space: str, between: str) -> None:
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda request: Fault(
            200,
            (
                PAGE.format(space, "false", OBJECT.format(3))
                if "continuation-token" in request.target
                else PAGE.format(space, "true", OBJECT.format(1) + between + OBJECT.format(2))
            ).encode(),
        )
        store = S3Store("s3://bucket", settings_for(s3_server, endpoint_url=relay.url))
        found = list(store.list("a "))
    assert [info.key for info in found] == ["a 1&&<", "a 2&&<", "a 3&&<"]
    assert [info.size_bytes for info in found] == [1, 2, 3]
    assert [info.etag for info in found] == ['"e1"', '"e2"', '"e3"']
    assert {info.mtime_s for info in found} == {1445412480.5}


def test_the_next_page_is_asked_for_while_one_is_read(s3_server: SeaweedFS) -> None:
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda request: replace(numbered_pages(request), delay_s=0.2)
        store = S3Store("s3://bucket", settings_for(s3_server, endpoint_url=relay.url))
        listing = store._leaves().api.list_objects("", "")
        assert next(listing).size_bytes == 0
        wait_for_pages_ahead()
        assert len(relay.requests) == 2
        listing.close()  # type: ignore[attr-defined]
        assert [info.size_bytes for info in store.list()] == [0, 1, 2, 3]
    assert len(relay.requests) == 6


@pytest.mark.parametrize("space", ["", "\n"])
@pytest.mark.parametrize(
    "broken", [b"<Size>2</Sise>", b"<Size>two</Size>", b"", b"<LastModified>x</LastModified>"]
)
@pytest.mark.parametrize("times", [1, 2])
def test_objects_that_can_not_be_read_are_asked_for_again(
    s3_server: SeaweedFS, times: int, broken: bytes, space: str
) -> None:
    left = [times]

    def rule(request: Request) -> Fault:
        fault = numbered_pages(request)
        if b"<Size>2<" not in fault.body or not left[0]:
            return fault
        left[0] -= 1
        body = fault.body.replace(b"<Size>2</Size>", broken)
        return replace(fault, body=body.replace(b"</Contents>", b"</Contents>" + space.encode()))

    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = rule
        settings = settings_for(s3_server, endpoint_url=relay.url, max_attempts=2)
        store = S3Store("s3://bucket", settings)
        if times == 1:
            assert [info.size_bytes for info in store.list()] == [0, 1, 2, 3]
        else:
            with pytest.raises(StorageError, match="ListObjectsV2") as caught:
                list(store.list())
            assert caught.value.retryable
            assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("token", ["", "<NextContinuationToken>t</NextContinuationToken>"])
def test_a_listing_never_ends_early_and_never_goes_in_circles(
    s3_server: SeaweedFS, token: str
) -> None:
    page = f"<ListBucketResult><IsTruncated>true</IsTruncated>{token}</ListBucketResult>"
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda _: Fault(200, page.encode())
        store = S3Store("s3://bucket", settings_for(s3_server, endpoint_url=relay.url))
        with pytest.raises(StorageError, match="does not tell the next page"):
            list(store.list())


def test_an_error_of_a_later_page_is_told(s3_server: SeaweedFS) -> None:
    denied = s3_fault(403, "AccessDenied")
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda r: denied if "token=2" in r.target else numbered_pages(r)
        store = S3Store("s3://bucket", settings_for(s3_server, endpoint_url=relay.url))
        with pytest.raises(StorageError, match="AccessDenied"):
            list(store.list())


def test_a_server_that_starts_at_the_beginning_all_the_same(s3_server: SeaweedFS) -> None:
    keys = ["f/1", "f/2", "f/2/x", "f/3"]
    objects = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda _: Fault(
            200, f"<ListBucketResult>{objects}</ListBucketResult>".encode()
        )
        store = S3Store("s3://bucket", settings_for(s3_server, endpoint_url=relay.url))
        assert [info.key for info in store.list_level("f/", start_after="f/1")] == ["f/2", "f/3"]
        assert [info.key for info in store.list_level("f/")] == ["f/1", "f/2", "f/3"]


@pytest.mark.parametrize("before", ["", "<!-- objects -->"])
def test_what_is_not_of_an_object_is_read_as_it_was_sent(s3_server: SeaweedFS, before: str) -> None:
    """A server that encodes nothing, and says more of an object than S3 does."""
    page = (
        f"<?xml version='1.0' encoding='ISO-8859-1'?><ListBucketResult>{before}"
        "<Contents><Key>a&#13;é</Key><Size>1</Size><VersionId>its own</VersionId>"
        "<LastModified>1445412480</LastModified></Contents>"
        "<CommonPrefixes><Prefix>b&#13;/</Prefix></CommonPrefixes>{}</ListBucketResult>"
    )
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t&#13;</NextContinuationToken>"
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda request: Fault(
            200, page.format("" if "token=" in request.target else more).encode()
        )
        store = S3Store("s3://bucket", settings_for(s3_server, endpoint_url=relay.url))
        found = store.list_folder()
        targets = [request.target for request in relay.requests]
    assert found.folders == ("b\r/",)
    assert {(info.key, info.version_id, info.mtime_s) for info in found.objects} == {
        ("a\ré", None, 1445412480.0)
    }
    assert ["continuation-token=t%0D" in target for target in targets] == [False, True]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<ListBucketResult><Contents>", "ListObjectsV2"),
        (b"no XML", "ListObjectsV2"),
        (b"<Error><Code>InternalError</Code><Message>later</Message></Error>", "later"),
        (b"", "ListObjectsV2"),
        (b"<html><body><p>Please log in.</p></body></html>", "ListObjectsV2"),
    ],
)
def test_what_is_no_page_is_no_empty_list(s3_server: SeaweedFS, body: bytes, told: str) -> None:
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda _: Fault(200, body)
        settings = settings_for(s3_server, endpoint_url=relay.url, max_attempts=1)
        with pytest.raises(StorageError, match=told):
            list(S3Store("s3://bucket", settings).list())


def test_botocore_looks_for_errors_in_what_is_left_of_a_page_only(s3_server: SeaweedFS) -> None:
    """It reads a reply with the status 200 as XML once more: objects are taken out before."""
    bodies: list[bytes] = []
    with run_relay(s3_server.endpoint_url) as relay:
        relay.rule = lambda _: Fault(200, PAGE.format("", "false", OBJECT.format(1)).encode())
        store = S3Store("s3://bucket", settings_for(s3_server, endpoint_url=relay.url))
        events = store._leaves().api.connection.client.meta.events
        events.register_last(
            "before-parse.s3.*", lambda response_dict, **_: bodies.append(response_dict["body"])
        )
        assert len(list(store.list())) == 1
    (body,) = bodies
    assert b"IsTruncated" in body
    assert b"Contents" not in body
