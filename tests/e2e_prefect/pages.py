"""What a browser shows of a run: its tasks, its artifacts, its events."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.browser import Page, browser
from tests.e2e.stack import until
from tests.e2e_prefect.stack import Stack

WINDOW: Final = (1400, 900)
SHOWN_WITHIN_S: Final = 60.0
# Charts and tables are still drawn when their text is there.
DRAWN_S: Final = 2.0
# What the documentation's pictures may take.
PICTURE_MAX_BYTES: Final = 150_000
PUSHED: Final = "t4.package.pushed"
MATERIALIZED: Final = "prefect.asset.materialization.succeeded"
_TEXT: Final = "return document.body.innerText"


@dataclass(frozen=True)
class Look:
    """A page, and what must be on it.

    Attributes:
        name: That of its picture.
        path: Where it is on the server.
        shows: Texts on it.
        drawn: CSS selectors of what must be drawn on it.
    """

    name: str
    path: str
    shows: tuple[str, ...]
    drawn: tuple[str, ...] = ()


def looks(stack: Stack, run: dict[str, Any], top_hash: str) -> list[Look]:
    """Return the pages of a consumer's run that was started by a push.

    Args:
        stack: Where it ran.
        run: The run, as the server tells it.
        top_hash: What was pushed.
    """
    artifacts = stack.artifacts(run["id"])
    (table,) = (a for a in artifacts if a["key"].startswith("t4-revision-"))
    (chart,) = (a for a in artifacts if a["key"].startswith("t4-lineage-"))
    made = next(e["payload"] for e in stack.events(PUSHED) if not e["payload"].get("watched"))
    return [
        Look("prefect-run", f"/runs/flow-run/{run['id']}", (run["name"], "big_sales")),
        Look(
            "prefect-artifact",
            f"/artifacts/artifact/{table['id']}",
            (made["top_hash"], "shop/big-sales"),
        ),
        # The chart is drawn by the newer of the two interfaces; the other shows its text.
        Look(
            "prefect-lineage",
            f"/v2/artifacts/artifact/{chart['id']}",
            (made["top_hash"][:8], top_hash[:8]),
            ("svg",),
        ),
        Look(
            "prefect-events",
            f"/events?events={PUSHED}&events={MATERIALIZED}",
            ("Asset materialization succeeded", "T4 package pushed", "registry/shop/big-sales"),
        ),
    ]


def look_at(stack: Stack, run: dict[str, Any], top_hash: str, pictures: Path | None = None) -> None:
    """Look at each page of a run.

    Args:
        stack: Where it ran.
        run: The run, as the server tells it.
        top_hash: What was pushed.
        pictures: Folder for pictures of the pages.
    """
    with browser(*WINDOW) as page:
        for look in looks(stack, run, top_hash):
            page.visit(f"{stack.url}{look.path}")
            until(lambda look=look: _is_shown(page, look), SHOWN_WITHIN_S, f"{look} in the browser")
            if pictures is not None:
                time.sleep(DRAWN_S)
                taken = page.screenshot()
                assert len(taken) < PICTURE_MAX_BYTES, (look.name, len(taken))
                (pictures / f"{look.name}.png").write_bytes(taken)


def _is_shown(page: Page, look: Look) -> bool:
    text = str(page.run(_TEXT))
    drawn = all(page.run(f"return !!document.querySelector({css!r})") for css in look.drawn)
    return drawn and all(wanted in text for wanted in look.shows)
