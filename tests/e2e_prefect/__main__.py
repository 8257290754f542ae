"""`make e2e-prefect`: what only a real Prefect can show, in one go. It needs no account.

A run that hashes a large folder is cancelled; somebody without Prefect pushes a package, which
starts the consumer; a browser looks at its pages; and it was started once.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import t4_ops as t4
from benchmarks.browser import BrowserError, find_browser
from tests.e2e.stack import until
from tests.e2e_prefect.pages import MATERIALIZED, PUSHED, look_at
from tests.e2e_prefect.stack import RUN_WITHIN_S, Stack, prefect

# How long a second run of the consumer would take to show itself: the watcher's next look, the
# trigger, and the worker's next question.
QUIET_S: Final = 20.0
# Takes no room on the disk, and some seconds to read; a chunk, which the process finishes before it
# ends, takes a fraction of one. After 30 s Prefect's runner would kill it.
LARGE_FILES: Final = 80
LARGE_FILE_BYTES: Final = 128 * 1024 * 1024
_PUSH: Final = """
import pandas as pd
from t4_ops.operations import produce
table = pd.DataFrame({"day": "2026-01-01", "amount": [12.5, 50.0, 99.0]})
print(produce(table, "shop/sales", key="sales.csv")["top_hash"])
"""


class Scenario:
    """The steps, each of which raises if it is not so."""

    def __init__(self, stack: Stack, pictures: Path | None) -> None:
        self.stack, self.pictures = stack, pictures
        self.pushed, self.told_s = "", 0.0
        self.consumer: dict[str, Any] = {}
        self.not_done: list[str] = []

    def cancelled(self) -> None:
        """A cancelled run left nothing half-written."""
        large = self.stack.folder / "large"
        large.mkdir()
        for number in range(LARGE_FILES):
            with (large / f"{number}.bin").open("wb") as file:
                file.truncate(LARGE_FILE_BYTES)
        parameters = {"source": str(large), "min_shard_bytes": 1, "max_shards": LARGE_FILES}
        run = self.stack.start_run("t4_fan_out/fan-out", parameters)

        def hashing() -> bool:
            tasks = [t for t in self.stack.task_runs(run) if t["name"].startswith("hash")]
            return any(task["state_type"] == "RUNNING" for task in tasks)

        until(hashing, RUN_WITHIN_S, "a chunk that is being hashed")
        body = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        assert self.stack.ask(f"/flow_runs/{run}/set_state", body)["status"] == "ACCEPT"
        asked_s = time.monotonic()
        assert self.stack.reached("t4_fan_out", "CANCELLED")["id"] == run
        print(f"   (cancelled within {time.monotonic() - asked_s:.0f} s)")
        names = {task["name"].partition("-")[0] for task in self.stack.task_runs(run)}
        assert names == {"plan", "hash"}, names
        assert "big/files" not in t4.list_packages(self.stack.registry.as_uri())
        left = [path for path in self.stack.registry.rglob("*.tmp*") if path.is_file()]
        assert left == [], left

    def consumer_runs(self) -> None:
        """A push from outside started the consumer, with that revision."""
        self.stack.reached("t4-watch", "RUNNING")
        # Its first look notes what is there.
        body = {"block_types": {"slug": {"any_": ["t4-watermark"]}}}
        look = lambda: self.stack.ask("/block_documents/filter", body)  # noqa: E731
        until(look, RUN_WITHIN_S, "the watcher's first look")
        self.pushed = self.stack.python("-c", _PUSH).strip().splitlines()[-1]
        run = self.consumer = self.stack.reached("t4_on_push", "COMPLETED")
        self.told_s = time.monotonic()
        assert run["parameters"]["package"]["top_hash"] == self.pushed, run["parameters"]
        kinds = {artifact["type"] for artifact in self.stack.artifacts(run["id"])}
        assert {"table", "markdown"} <= kinds, kinds

    def told(self) -> None:
        """Its events and the asset it made are told."""

        def look() -> bool:
            found = {e["payload"]["name"]: e["payload"] for e in self.stack.events(PUSHED)}
            return {"shop/sales", "shop/big-sales"} <= found.keys()

        until(look, RUN_WITHIN_S, "both pushes among the events")
        (outside,) = (e for e in self.stack.events(PUSHED) if e["payload"]["name"] == "shop/sales")
        assert outside["payload"]["watched"] is True
        (made,) = self.stack.events(MATERIALIZED)
        ref = t4.resolve("shop/big-sales", self.stack.registry.as_uri())
        assert made["resource"]["prefect.resource.id"].endswith("/shop/big-sales"), made
        assert made["payload"]["top_hash"] == ref.top_hash, made["payload"]

    def pages(self) -> None:
        """A browser shows the run, its artifacts and its events."""
        try:
            find_browser()
        except BrowserError as exc:
            # A picture that was asked for is not left out in silence.
            if self.pictures is not None:
                raise
            self.not_done.append(f"no browser looked at the pages: {exc}")
            return
        look_at(self.stack, self.consumer, self.pushed, self.pictures)

    def once(self) -> None:
        """It was started once."""
        time.sleep(max(0.0, self.told_s + QUIET_S - time.monotonic()))
        assert [run["id"] for run in self.stack.runs("t4_on_push")] == [self.consumer["id"]]


def main() -> None:
    """Run every step; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the UI")
    asked = parser.parse_args()
    # So that what was started is stopped when somebody stops this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    start_s = time.monotonic()

    def say(text: str) -> None:
        print(f"ok {time.monotonic() - start_s:4.0f} s  {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="t4-e2e-") as folder, prefect(Path(folder)) as stack:
        say("A server and a worker run, everything is deployed.")
        scenario = Scenario(stack, asked.pictures)
        for step in (
            # While the watcher's schedule begins, which takes up to a minute.
            scenario.cancelled,
            scenario.consumer_runs,
            scenario.told,
            scenario.pages,
            scenario.once,
        ):
            before = len(scenario.not_done)
            step()
            if len(scenario.not_done) == before:
                say((step.__doc__ or "").splitlines()[0])
    for what in scenario.not_done:
        print(f"NOT DONE: {what}", flush=True)


if __name__ == "__main__":
    main()
