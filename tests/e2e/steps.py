"""Which steps of a scenario to run, and a line for each that was as it should be."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence


def parser_of(about: str | None, steps: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser that takes names of steps, and none for all of them."""

    def known(name: str) -> str:
        if name not in steps:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(steps)}")
        return name

    parser = argparse.ArgumentParser(description=about)
    # Not `choices`: Python 3.11 holds the empty list against them too.
    parser.add_argument("steps", nargs="*", type=known, metavar="step")
    return parser


def run_steps(scenario: object, names: Iterable[str], start_s: float) -> None:
    """Call the methods of these names; the first that raises ends it."""
    for name in names:
        step = getattr(scenario, name)
        step()
        say(step.__doc__ or name, start_s)


def say(text: str, start_s: float) -> None:
    """Print the first line of a text, with the time since the start."""
    print(f"ok {time.monotonic() - start_s:4.0f} s  {text.splitlines()[0]}", flush=True)
