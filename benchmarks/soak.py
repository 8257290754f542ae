"""Kills builds, pushes and installs hundreds of times: `python -m benchmarks.soak`.

On a folder, a bucket without versions and one with them; after each kill all that was ever
published must be there and right, and the same call must complete. The seed decides which call to
the system or the network a process dies at; give it again to see the same campaign.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from demo.seaweedfs import seaweedfs
from tests.killing import LARGE_STEPS, run_campaign

KINDS: Final = ("folder", "unversioned", "versioned")
# Ends a campaign that hangs; a kill and the look afterwards take a second or two.
_SECONDS_A_KILL: Final = 20.0


def main() -> None:
    """Run a campaign on each kind of registry.

    Raises:
        AssertionError: Something was lost or wrong after a kill; the message has the seed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="for each kind of registry")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with TemporaryDirectory(prefix="t4-soak-") as folder, seaweedfs(Path(folder) / "s3") as server:
        os.environ.update(server.environ())
        for kind in given.kinds:
            root = Path(folder) / kind
            root.mkdir()
            registry = (root / "registry").as_uri()
            if kind != "folder":
                server.create_bucket(f"soak-{kind}", kind == "versioned")
                registry = f"s3://soak-{kind}"
            started_s = time.monotonic()
            killed = run_campaign(
                registry,
                root,
                kills=given.kills,
                seconds=given.kills * _SECONDS_A_KILL,
                seed=given.seed,
                steps=LARGE_STEPS,
            )
            print(
                f"{kind}: killed {killed} times, {time.monotonic() - started_s:.0f} s", flush=True
            )


if __name__ == "__main__":
    main()
