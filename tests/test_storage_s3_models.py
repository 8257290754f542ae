"""botocore's descriptions of services as we read them: what botocore itself would have read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import create_loader

from t4_ops.storage import _s3_boto_models

# A new one each time: botocore changes what a loader that is kept has read.
models = _s3_boto_models.models.__wrapped__


@pytest.mark.parametrize("service", ["s3", "sts", "sso", "sso-oidc"])
@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1", "paginators-1"])
def test_descriptions_are_botocores(service: str, kind: str) -> None:
    assert models(None).load_service_model(service, kind) == create_loader().load_service_model(
        service, kind
    )


@pytest.mark.parametrize("name", ["endpoints", "partitions", "_retry"])
def test_common_data_is_botocores(name: str) -> None:
    ours, theirs = models(None).load_data(name), create_loader().load_data(name)
    # The order counts: of several patterns the first that fits is taken.
    assert json.dumps(ours) == json.dumps(theirs)


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

    loader = models("$T4_TEST_MODELS")

    assert "s3" in loader.list_available_services("service-2")
    assert loader.load_service_model("mine", "service-2") == {"metadata": {"é": [1, 2.5, None]}}
    assert math.isnan(loader.load_service_model("mine", "paginators-1")["limit"])
    with pytest.raises(json.JSONDecodeError):
        loader.load_service_model("mine", "waiters-2")
