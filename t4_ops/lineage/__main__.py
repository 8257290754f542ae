"""`python -m t4_ops.lineage URI`: print the lineage of a revision."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from t4_ops.errors import T4Error
from t4_ops.lineage.render import tree
from t4_ops.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tree above and below a revision.

    Returns:
        0; or 1 after an error, which is printed to stderr. Wrong usage exits with 2.
    """
    parser = argparse.ArgumentParser(
        prog="python -m t4_ops.lineage",
        description="Print what a package revision was made from (<-) and what came of it (->).",
    )
    parser.add_argument(
        "uri", help="quilt+s3://bucket#package=ns/name[@hash], or t4+file:///folder#package=..."
    )
    parser.add_argument("--depth", type=int, help="runs to follow at most, one after the other")
    parser.add_argument(
        "--registry", action="append", default=[], help="ask this registry too; may be repeated"
    )
    given = parser.parse_args(arguments)
    try:
        text = tree(
            given.uri, depth=given.depth, settings=load_settings(), registries=given.registry
        )
    except T4Error as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
