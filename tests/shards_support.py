"""Shards as an orchestrator handles them, for tests of builds that several workers share."""

from __future__ import annotations

import json
import random
from typing import Any

from t4_ops import operations as ops
from t4_ops.operations.scratch import SCRATCH
from tests.package_support import objects_of

NAME = "team/huge"


def some_files(seed: int = 0, count: int = 60) -> dict[str, bytes]:
    choose = random.Random(seed)
    names = [f"{choose.choice('abc')}{choose.choice(['/', '-', '.'])}{i:03}" for i in range(count)]
    return {name: choose.randbytes(choose.randrange(3000)) for name in names}


def planned(source: Any, **asked: Any) -> ops.PlanResult:
    return ops.plan_shards(source, min_shard_bytes=1, **asked)


def hashed(plan: ops.PlanResult) -> list[ops.ShardResult]:
    """Hash all shards as an orchestrator does: every value is JSON in between."""
    results = []
    for shard in json.loads(json.dumps(plan))["shards"]:
        result = ops.hash_shard(shard)
        assert len(json.dumps(result)) < 600
        results.append(json.loads(json.dumps(result)))
    return results


def scratch_of(registry: str) -> set[str]:
    return {key.split("/")[-1] for key in objects_of(registry) if key.startswith(SCRATCH)}


def same_as(result: ops.StepResult, other: ops.StepResult) -> bool:
    keys = ("top_hash", "files", "size_bytes", "inputs")
    return all(result[key] == other[key] for key in keys)  # type: ignore[literal-required]
