"""Steps for pipelines: what operators and tasks call."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from t4_ops.keys import NOW
    from t4_ops.ledger import (
        CodeLocation,
        ColumnLineageLike,
        InputLike,
        JobRun,
        RunInfo,
        code_of,
        code_of_file,
    )
    from t4_ops.operations.announcing import move_of
    from t4_ops.operations.counting import Counts, count_files
    from t4_ops.operations.datasets import openlineage_datasets
    from t4_ops.operations.diffing import DiffResult, diff, revision_before
    from t4_ops.operations.expecting import Expectations, ExpectationsLike
    from t4_ops.operations.hosts import host
    from t4_ops.operations.marks import joined_marks, marks_of
    from t4_ops.operations.merging import merge_shards, registry_of_shards
    from t4_ops.operations.moves import Move
    from t4_ops.operations.news import changes
    from t4_ops.operations.pointing import (
        PointerResult,
        RollbackResult,
        delete_revision,
        held,
        latest,
        rollback,
        undo,
    )
    from t4_ops.operations.probing import Probe, probe
    from t4_ops.operations.producing import produce
    from t4_ops.operations.promoting import promote
    from t4_ops.operations.reading import browse, install
    from t4_ops.operations.results import (
        BrowseResult,
        InstallResult,
        PackageLike,
        StepResult,
        rendered,
        resolve,
    )
    from t4_ops.operations.scratch import clean_shards
    from t4_ops.operations.selecting import SelectorLike
    from t4_ops.operations.sharding import PlanResult, Shard, plan_shards
    from t4_ops.operations.shards import ShardResult, hash_shard
    from t4_ops.operations.sources import Source, Sources
    from t4_ops.operations.steps import build, push
    from t4_ops.operations.taking import Taken, take
    from t4_ops.operations.verifying import BadKey, VerifyResult, verify
    from t4_ops.operations.waiting import (
        CheckResult,
        Condition,
        ConditionLike,
        check,
        moved_from_now,
        wait_for,
    )
    from t4_ops.operations.watching import Polled, poll
    from t4_ops.package import Expected
    from t4_ops.transfer import Cancelled, ProgressWatcher, watch_progress

__all__ = [
    "NOW",
    "BadKey",
    "BrowseResult",
    "Cancelled",
    "CheckResult",
    "CodeLocation",
    "ColumnLineageLike",
    "Condition",
    "ConditionLike",
    "Counts",
    "DiffResult",
    "Expectations",
    "ExpectationsLike",
    "Expected",
    "InputLike",
    "InstallResult",
    "JobRun",
    "Move",
    "PackageLike",
    "PlanResult",
    "PointerResult",
    "Polled",
    "Probe",
    "ProgressWatcher",
    "RollbackResult",
    "RunInfo",
    "SelectorLike",
    "Shard",
    "ShardResult",
    "Source",
    "Sources",
    "StepResult",
    "Taken",
    "VerifyResult",
    "browse",
    "build",
    "changes",
    "check",
    "clean_shards",
    "code_of",
    "code_of_file",
    "count_files",
    "delete_revision",
    "diff",
    "hash_shard",
    "held",
    "host",
    "install",
    "joined_marks",
    "latest",
    "marks_of",
    "merge_shards",
    "move_of",
    "moved_from_now",
    "openlineage_datasets",
    "plan_shards",
    "poll",
    "probe",
    "produce",
    "promote",
    "push",
    "registry_of_shards",
    "rendered",
    "resolve",
    "revision_before",
    "rollback",
    "take",
    "undo",
    "verify",
    "wait_for",
    "watch_progress",
]

# Where each name is. It is loaded when it is first asked for: an orchestrator imports its face with
# every file it parses, and most of those files only say which steps there are.
_HOMES = {
    "BadKey": "t4_ops.operations.verifying",
    "BrowseResult": "t4_ops.operations.results",
    "Cancelled": "t4_ops.transfer",
    "CheckResult": "t4_ops.operations.waiting",
    "CodeLocation": "t4_ops.ledger",
    "ColumnLineageLike": "t4_ops.ledger",
    "Condition": "t4_ops.operations.waiting",
    "ConditionLike": "t4_ops.operations.waiting",
    "Counts": "t4_ops.operations.counting",
    "DiffResult": "t4_ops.operations.diffing",
    "Expectations": "t4_ops.operations.expecting",
    "ExpectationsLike": "t4_ops.operations.expecting",
    "Expected": "t4_ops.package",
    "InputLike": "t4_ops.ledger",
    "InstallResult": "t4_ops.operations.results",
    "JobRun": "t4_ops.ledger",
    "Move": "t4_ops.operations.moves",
    "NOW": "t4_ops.keys",
    "PackageLike": "t4_ops.operations.results",
    "PlanResult": "t4_ops.operations.sharding",
    "PointerResult": "t4_ops.operations.pointing",
    "Polled": "t4_ops.operations.watching",
    "Probe": "t4_ops.operations.probing",
    "ProgressWatcher": "t4_ops.transfer",
    "RollbackResult": "t4_ops.operations.pointing",
    "RunInfo": "t4_ops.ledger",
    "SelectorLike": "t4_ops.operations.selecting",
    "Shard": "t4_ops.operations.sharding",
    "ShardResult": "t4_ops.operations.shards",
    "Source": "t4_ops.operations.sources",
    "Sources": "t4_ops.operations.sources",
    "StepResult": "t4_ops.operations.results",
    "Taken": "t4_ops.operations.taking",
    "VerifyResult": "t4_ops.operations.verifying",
    "browse": "t4_ops.operations.reading",
    "build": "t4_ops.operations.steps",
    "changes": "t4_ops.operations.news",
    "check": "t4_ops.operations.waiting",
    "clean_shards": "t4_ops.operations.scratch",
    "code_of": "t4_ops.ledger",
    "code_of_file": "t4_ops.ledger",
    "count_files": "t4_ops.operations.counting",
    "delete_revision": "t4_ops.operations.pointing",
    "diff": "t4_ops.operations.diffing",
    "hash_shard": "t4_ops.operations.shards",
    "held": "t4_ops.operations.pointing",
    "host": "t4_ops.operations.hosts",
    "install": "t4_ops.operations.reading",
    "joined_marks": "t4_ops.operations.marks",
    "latest": "t4_ops.operations.pointing",
    "marks_of": "t4_ops.operations.marks",
    "merge_shards": "t4_ops.operations.merging",
    "move_of": "t4_ops.operations.announcing",
    "moved_from_now": "t4_ops.operations.waiting",
    "openlineage_datasets": "t4_ops.operations.datasets",
    "plan_shards": "t4_ops.operations.sharding",
    "poll": "t4_ops.operations.watching",
    "probe": "t4_ops.operations.probing",
    "produce": "t4_ops.operations.producing",
    "promote": "t4_ops.operations.promoting",
    "push": "t4_ops.operations.steps",
    "registry_of_shards": "t4_ops.operations.merging",
    "rendered": "t4_ops.operations.results",
    "resolve": "t4_ops.operations.results",
    "revision_before": "t4_ops.operations.diffing",
    "rollback": "t4_ops.operations.pointing",
    "take": "t4_ops.operations.taking",
    "undo": "t4_ops.operations.pointing",
    "verify": "t4_ops.operations.verifying",
    "wait_for": "t4_ops.operations.waiting",
    "watch_progress": "t4_ops.transfer",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *_HOMES})
