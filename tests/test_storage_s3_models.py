"""botocore's descriptions of services as we read them: what botocore itself would have read."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import create_loader

from t4_ops.storage import _s3_boto_models

# A new one each time: botocore changes what a loader that is kept has read.
models = _s3_boto_models.models.__wrapped__


@pytest.mark.parametrize("service", ["s3", "sts", "sso", "sso-oidc"])
@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1", "paginators-1"])
def test_descriptions_are_botocores(service: str, kind: str) -> None:
    ours = models(None).load_service_model(service, kind)
    theirs = create_loader().load_service_model(service, kind)
    assert json.dumps(ours) == json.dumps(theirs)


def test_what_nobody_looked_at_is_there_however_it_is_asked_for() -> None:
    def shapes() -> dict[str, Any]:
        found: dict[str, Any] = models(None).load_service_model("s3", "service-2")["shapes"]
        return found

    expected = create_loader().load_service_model("s3", "service-2")["shapes"]
    assert isinstance(shapes(), dict)
    assert dict(shapes()) == {**shapes()} == copy.deepcopy(shapes()) == expected
    assert shapes() == dict(expected)
    assert (shapes() != dict(expected)) is False
    assert shapes().pop("BucketName") == expected["BucketName"]
    assert shapes().setdefault("BucketName", {}) == expected["BucketName"]
    assert dict(copy.copy(shapes())) == expected
    assert list(shapes().values()) == list(expected.values())
    assert shapes().get("BucketName") == expected["BucketName"]
    assert shapes().get("Nothing", 1) == 1
    with pytest.raises(KeyError):
        shapes()["Nothing"]
    found = shapes()
    found["BucketName"]["type"] = "changed"
    assert found["BucketName"]["type"] == "changed"


@pytest.mark.parametrize("name", ["endpoints", "partitions", "_retry"])
def test_common_data_is_botocores(name: str) -> None:
    ours, theirs = models(None).load_data(name), create_loader().load_data(name)
    # The order counts: of several patterns the first that fits is taken.
    assert json.dumps(ours) == json.dumps(theirs)


def test_most_is_never_decoded() -> None:
    loader = models(None)
    found = loader.load_service_model("s3", "service-2")
    partition = loader.load_data("endpoints")["partitions"][0]
    for unread in (found["shapes"], found["operations"], partition["services"]):
        decoded = [x for x in dict.values(unread) if not isinstance(x, msgspec.Raw)]
        assert len(decoded) <= len(unread) // 50


def test_services_are_botocores() -> None:
    assert models(None).list_available_services("service-2") == (
        create_loader().list_available_services("service-2")
    )
    with pytest.raises(UnknownServiceError, match="s4"):
        models(None).load_service_model("s4", "service-2")
    with pytest.raises(DataNotFoundError):
        models(None).load_data("no/such")


def test_a_folder_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T4_TEST_MODELS", str(tmp_path))
    folder = tmp_path / "mine" / "2020-01-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text('{"metadata": {"é": [1, 2.5, null]}}', "utf-8")
    # What msgspec does not take, and `json` does.
    (folder / "paginators-1.json").write_text('{"limit": NaN}', "utf-8")
    (folder / "waiters-2.json").write_text("{", "utf-8")

    # What msgspec finds only where it is looked at.
    (tmp_path / "large" / "2020-01-01").mkdir(parents=True)
    (tmp_path / "large" / "2020-01-01" / "service-2.json").write_text('{"shapes": {"a": 1e999}}')
    (tmp_path / "latin" / "2020-01-01").mkdir(parents=True)
    (tmp_path / "latin" / "2020-01-01" / "service-2.json").write_bytes(b'{"shapes": {"a": "\xe9"}}')

    loader = models("$T4_TEST_MODELS")

    assert "s3" in loader.list_available_services("service-2")
    assert loader.load_service_model("mine", "service-2") == {"metadata": {"é": [1, 2.5, None]}}
    assert loader.load_service_model("large", "service-2")["shapes"]["a"] == math.inf
    with pytest.raises(UnicodeDecodeError):
        loader.load_service_model("latin", "service-2")
    assert math.isnan(loader.load_service_model("mine", "paginators-1")["limit"])
    with pytest.raises(json.JSONDecodeError):
        loader.load_service_model("mine", "waiters-2")
