"""`kill -9` in the middle of build, push and install, as a script: `python -m tests.killing JSON`.

Each step runs in a forked process that kills itself at one of the calls it makes to the system or
the network. Which one is drawn from a seed, so a campaign can be run again. After each kill another
process looks whether all is there and right, and repeats the step.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

# Before the fork: what each process would load by itself. Not obstore, whose runtime a fork breaks.
import boto3  # noqa: F401

import t4_ops as t4
from t4_ops.storage import is_temporary
from tests.package_support import bytes_below, contents_of, write_files

NAME: Final = "team/killed"
LARGE_NAME: Final = "team/large"
STEPS: Final = ("build", "push", "install")
# With objects in parts; each step takes about a second more.
LARGE_STEPS: Final = (*STEPS, "push_large", "install_large")
LARGE_BYTES: Final = 17 * 1024 * 1024
_SOCKET_CALLS: Final = frozenset(
    {"close", "connect", "connect_ex", "recv", "recv_into", "send", "sendall", "shutdown"}
)


def run_campaign(
    registry: str,
    root: Path,
    *,
    kills: int,
    seconds: float,
    seed: int,
    steps: tuple[str, ...] = STEPS,
) -> int:
    """Kill so many times, or until the time is over, and return how many times it was.

    Raises:
        AssertionError: Something was lost or wrong afterwards.
    """
    given = {"registry": registry, "root": str(root), "kills": kills, "seconds": seconds}
    given["steps"] = steps
    done = subprocess.run(
        [sys.executable, "-m", "tests.killing", json.dumps({**given, "seed": seed})],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "T4_REGISTRY": str(root / "local")},
        capture_output=True,
        text=True,
        timeout=seconds + 90,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"seed {seed}:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    return int(done.stdout.split()[-1])


class Place:
    """Where the steps work, and what they work on; the same for each process.

    Args:
        registry: The registry that is hurt.
        root: A folder for files.
    """

    def __init__(self, registry: str, root: Path) -> None:
        self.registry = registry
        self.root = root

    def files(self, number: int) -> dict[str, bytes]:
        """Return the files of a build."""
        return {f"d/{i}.bin": b"%d %d" % (i, number if i % 2 else 0) for i in range(6)}

    def build(self, number: int) -> None:
        """Build from local files."""
        folder = self.root / f"files-{number}"
        t4.Package().set_dir("/", folder).build(NAME, self.registry, f"build {number}")

    def push(self, number: int) -> None:
        """Push the newest revision with a key more."""
        package = t4.Package.browse(NAME, self.registry)
        package.set(f"pushed/{number}.bin", b"pushed %d" % number)
        package.push(NAME, self.registry, message=f"push {number}")

    def install(self, number: int) -> None:
        """Install the newest revision."""
        t4.Package.install(NAME, self.registry, dest=self.root / f"installed-{number}")

    def push_large(self, number: int) -> None:
        """Publish an object that travels in parts."""
        path = self.root / "large.bin"
        path.write_bytes(random.Random(number).randbytes(LARGE_BYTES))
        t4.Package().set("large.bin", path).push(LARGE_NAME, self.registry, force=True)

    def install_large(self, number: int) -> None:
        """Install an object that comes in ranges."""
        dest = self.root / f"installed-{number}"
        t4.Package.install(LARGE_NAME, self.registry, dest=dest)

    def check_large(self, step: str, number: int) -> None:
        """Look at what was published, clean up, repeat the step, and look again."""
        for _, top_hash in t4.list_package_versions(LARGE_NAME, self.registry)[-2:]:
            package = t4.Package.browse(LARGE_NAME, self.registry, top_hash)
            assert len(package["large.bin"].get_bytes()) == LARGE_BYTES
        # One of the same second is not older than none.
        removed = {(left.key, left.upload_id) for left in t4.clean(self.registry, 0)}
        left = {(left.key, left.upload_id) for left in t4.clean(self.registry, 0, dry_run=True)}
        assert not removed & left
        getattr(self, step)(number)
        package = t4.Package.browse(LARGE_NAME, self.registry)
        if step == "push_large":
            assert package["large.bin"].get_bytes() == (self.root / "large.bin").read_bytes()
        else:
            dest = self.root / f"installed-{number}"
            t4.clean(dest, 0)
            assert package.verify(dest)
            shutil.rmtree(dest)

    def check(self, step: str, number: int) -> None:
        """Look at all that was ever published, repeat the step, and look again."""
        self._held()
        if step.endswith("_large"):
            self.check_large(step, number)
            return
        getattr(self, step)(number)
        after = self._held()
        latest = after[t4.resolve(NAME, self.registry).top_hash]
        if step == "build":
            assert latest == self.files(number)
        elif step == "push":
            assert latest[f"pushed/{number}.bin"] == b"pushed %d" % number
        else:
            dest = self.root / f"installed-{number}"
            found = bytes_below(dest).items()
            # A killed process can't tidy up; what it left has names that nobody takes for data.
            data = {k: v for k, v in found if not is_temporary(k.split("/")[-1])}
            assert data == latest
            assert t4.Package.browse(NAME, self.registry).verify(dest)
            assert NAME in t4.list_packages()
        for name in t4.list_packages():
            for _, top_hash in t4.list_package_versions(name):
                t4.Package.browse(name, top_hash=top_hash)

    def _held(self) -> dict[str, dict[str, bytes]]:
        """Return the verified bytes of every revision that is listed."""
        known = self.root / "known.json"
        noted = set(json.loads(known.read_text())) if known.exists() else set()
        versions = {top_hash for _, top_hash in t4.list_package_versions(NAME, self.registry)}
        assert noted <= versions, f"lost: {noted - versions}"
        known.write_text(json.dumps(sorted(versions)))
        # The newest and some others; all of them in each round would cost the square.
        latest = t4.resolve(NAME, self.registry).top_hash
        some = {
            latest,
            *random.Random(len(versions)).sample(sorted(versions), min(3, len(versions))),
        }
        held = {}
        for top_hash in some | (versions - noted):
            held[top_hash] = contents_of(t4.Package.browse(NAME, self.registry, top_hash))
        return held


def _count_calls(at: Callable[[int], None]) -> None:
    """Call `at` with the number of each call to the system or the network, in every thread."""
    count, lock = [0], threading.Lock()

    def profile(_frame: Any, event: str, called: Any) -> None:
        if event == "c_call" and _leaves_the_process(called):
            with lock:
                count[0] += 1
                number = count[0]
            at(number)

    threading.setprofile(profile)
    sys.setprofile(profile)


def _leaves_the_process(called: Any) -> bool:
    module = (
        getattr(called, "__module__", None) or type(getattr(called, "__self__", None)).__module__
    )
    # A socket's methods have no module of their own: theirs is that of the class in Python which
    # boto3's connections are of. Most of them only look: as many again, and no other moments.
    if module == "socket":
        return called.__name__ in _SOCKET_CALLS
    return module in ("posix", "fcntl", "_socket") or str(module).startswith("obstore")


def _in_child(work: Callable[[], None]) -> int:
    """Run something in a forked process and return its exit code, or the signal as negative."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            if code:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _calls_of(place: Place, step: str, number: int) -> int:
    """Return how many calls a step makes that nothing disturbs."""
    noted = place.root / "calls"

    def work() -> None:
        last = [0]
        _count_calls(lambda number: last.__setitem__(0, number))
        getattr(place, step)(number)
        sys.setprofile(None)
        noted.write_text(str(last[0]))

    if _in_child(work):
        raise SystemExit(f"{step} failed without being killed")
    return int(noted.read_text())


def _killed(place: Place, step: str, number: int, call: int) -> int:
    def kill(at: int) -> None:
        if at == call:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        _count_calls(kill)
        getattr(place, step)(number)

    return _in_child(work)


def main() -> None:
    given = json.loads(sys.argv[1])
    place, chance = Place(given["registry"], Path(given["root"])), random.Random(given["seed"])
    until_s = time.monotonic() + given["seconds"]
    steps = given["steps"]
    for number in range(len(steps)):
        write_files(place.root / f"files-{number}", place.files(number))
    calls = {step: _calls_of(place, step, number) for number, step in enumerate(steps)}
    killed, number = 0, len(steps)
    while killed < given["kills"] and time.monotonic() < until_s:
        number += 1
        write_files(place.root / f"files-{number}", place.files(number))
        step = chance.choice(steps)
        call = chance.randint(1, calls[step])
        code = _killed(place, step, number, call)
        if code not in (0, -signal.SIGKILL):
            raise SystemExit(f"{step} {number}, to be killed at call {call}, ended with {code}")
        killed += code == -signal.SIGKILL
        if _in_child(lambda: place.check(step, number)):  # noqa: B023 - run at once
            raise SystemExit(f"after {step} {number} was killed at call {call} of {calls[step]}")
    print(f"calls {calls}, killed {killed}")


if __name__ == "__main__":
    main()
