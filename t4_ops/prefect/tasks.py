"""Prefect tasks around data packages.

Each is a `Task` like any other, with `.submit`, `.map`, `.with_options` and `.fn`, and the same in
sync and async flows. They take a revision as a task's result, a `PackageRef`, a dict, a package URI
or `ns/name[@hash]`, and return a `Revision`: a pinned `PackageRef` that also says what the step
did. Data never pass through Prefect. `registry=` is `s3://bucket`, a folder, or a `T4Registry`
block.

What may succeed later, a storage that does not answer, is tried three times in all. Steps that move
a pointer or fill a folder are never cached: a repeat finds its work done. In a transaction that
fails, what they moved is moved back, unless somebody else has moved on; events go out on commit.
"""

from t4_ops.prefect._publishing import (
    build_package,
    delete_revision,
    promote_package,
    push_package,
    rollback_package,
)
from t4_ops.prefect._reading import (
    browse_package,
    diff_packages,
    install_package,
    verify_package,
    wait_for_revision,
)

__all__ = [
    "browse_package",
    "build_package",
    "delete_revision",
    "diff_packages",
    "install_package",
    "promote_package",
    "push_package",
    "rollback_package",
    "verify_package",
    "wait_for_revision",
]
