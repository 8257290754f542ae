"""Steps for pipelines: what operators and tasks call."""

from t4_ops.ledger import (
    CodeLocation,
    ColumnLineageLike,
    InputLike,
    JobRun,
    RunInfo,
    code_of,
    code_of_file,
)
from t4_ops.operations.results import InstallResult, PackageLike, StepResult, resolve
from t4_ops.operations.steps import Sources, browse, build, install, push
from t4_ops.package import NOW, Expected

__all__ = [
    "NOW",
    "CodeLocation",
    "ColumnLineageLike",
    "Expected",
    "InputLike",
    "InstallResult",
    "JobRun",
    "PackageLike",
    "RunInfo",
    "Sources",
    "StepResult",
    "browse",
    "build",
    "code_of",
    "code_of_file",
    "install",
    "push",
    "resolve",
]
