"""The steps as operators: what they return is a small plain dict that any task can read.

    build = BuildPackageOperator(task_id="build", name="team/raw", source="/data/raw")
    push = PushPackageOperator(task_id="push", package=build.output, registry="s3://bucket")

Those that handle a revision return `uri registry name top_hash inputs files size_bytes changed` and
what else there is to say; every item is pushed under its own key too, so `push.output["top_hash"]`
works, and `changed` lets a short-circuit skip what follows. What the user has to mend fails at
once; what the storage did wrong is retried, as often as `retries` of the task says.
"""

from t4_ops.airflow.operators.building import BuildPackageOperator
from t4_ops.airflow.operators.moving import DeleteRevisionOperator, RollbackPackageOperator
from t4_ops.airflow.operators.pushing import PromotePackageOperator, PushPackageOperator
from t4_ops.airflow.operators.reading import (
    BrowsePackageOperator,
    DiffPackagesOperator,
    InstallPackageOperator,
    VerifyPackageOperator,
)
from t4_ops.airflow.operators.sharding import (
    HashShardOperator,
    MergeShardsOperator,
    PlanShardsOperator,
    build_in_shards,
)

__all__ = [
    "BrowsePackageOperator",
    "BuildPackageOperator",
    "DeleteRevisionOperator",
    "DiffPackagesOperator",
    "HashShardOperator",
    "InstallPackageOperator",
    "MergeShardsOperator",
    "PlanShardsOperator",
    "PromotePackageOperator",
    "PushPackageOperator",
    "RollbackPackageOperator",
    "VerifyPackageOperator",
    "build_in_shards",
]
