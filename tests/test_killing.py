"""`kill -9` at any moment: nothing is lost, and the same call completes. `make soak` does more."""

from __future__ import annotations

from pathlib import Path

from demo.seaweedfs import SeaweedFS
from tests.killing import LARGE_STEPS, run_campaign

SEED = 20_261_122


def test_a_folder_outlives_kills(tmp_path: Path) -> None:
    registry = (tmp_path / "registry").as_uri()
    killed = run_campaign(registry, tmp_path, kills=40, seconds=10, seed=SEED)
    assert killed >= 5


def test_a_bucket_outlives_kills(
    s3_env: SeaweedFS, unversioned_bucket: str, tmp_path: Path
) -> None:
    registry = f"s3://{unversioned_bucket}"
    killed = run_campaign(registry, tmp_path, kills=6, seconds=10, seed=SEED)
    assert killed >= 2


def test_large_objects_of_a_bucket_outlive_kills(
    s3_env: SeaweedFS, versioned_bucket: str, tmp_path: Path
) -> None:
    registry = f"s3://{versioned_bucket}"
    # Those with large objects twice, so that most kills hit one.
    steps = (*LARGE_STEPS, "push_large", "install_large")
    killed = run_campaign(registry, tmp_path, kills=5, seconds=15, seed=SEED, steps=steps)
    assert killed >= 2
