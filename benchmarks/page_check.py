"""Look at the lineage page in a real browser: `make page-check`.

It records a pipeline of 3 and one of 300 datasets and runs, opens their pages in headless Chromium,
uses them as a person would, and stops at the first thing that is wrong. The screenshots in
`docs/images` are made here. Needs Debian's packages `chromium` and `chromium-driver`.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import samples
from benchmarks.browser import BrowserError, Keys, Page, browser
from demo.seaweedfs import SeaweedFS, ServerError, seaweedfs
from t4_ops.keys import PackageRef
from t4_ops.ledger import Input
from t4_ops.lineage import graph, html_page
from t4_ops.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[1]
IMAGES: Final = ROOT / "docs" / "images"
IMAGE_MAX_BYTES: Final = 200_000
# Chromium's window holds its own frame too; the page gets the rest.
WINDOW: Final = (1600, 1000)
# Smaller letters can't be read on a screen.
MIN_LETTER_PX: Final = 9.0
HOSTILE: Final = (
    "</script><script>window.owned=1</script><img src=x onerror=window.owned=2>\"'@@DATA@@"
)

# Boxes and labels as they are on the screen: [x, y, width, height] each, and letters' size.
_LOOK: Final = """
const box = (element) => {
  const r = element.getBoundingClientRect();
  return [r.x, r.y, r.width, r.height];
};
const view = document.getElementById('graph').getBoundingClientRect();
return {
  view: [view.x, view.y, view.width, view.height],
  boxes: [...document.querySelectorAll('.node rect')].map(box),
  labels: [...document.querySelectorAll('.node')].map((node) =>
    [...node.querySelectorAll('text')].filter((t) => getComputedStyle(t).display !== 'none')
      .map((t) => ({box: box(t), text: t.textContent, letter:
        parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a}))),
  edges: [...document.querySelectorAll('.edge')].map((e) => e.getTotalLength()),
};
"""
_STAGE: Final = "return document.getElementById('stage').getAttribute('transform')"
_PANEL: Final = "return document.getElementById('panel').hidden ? '' : panel.innerText"


class CheckError(AssertionError):
    """The page is not as it should be."""


def main() -> int:
    """Check the page at 3 and at 300 nodes; return 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page_check", description=__doc__)
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder for the screenshots")
    given = parser.parse_args()
    given.images.mkdir(parents=True, exist_ok=True)
    try:
        with (
            TemporaryDirectory(prefix="t4-page-") as folder,
            seaweedfs(Path(folder) / "s3") as server,
            browser(*WINDOW) as page,
        ):
            os.environ.update(server.environ())
            for size, record in ((3, samples.small), (300, samples.large)):
                _open(page, Path(folder), f"weather-{size}", record, server)
                _check_look(page, size)
                _save(page.screenshot(), given.images / f"lineage-{size}.png")
                print(f"{size} nodes: boxes apart, labels readable and inside, edges drawn")
            _check_use(page)
            print("pan, zoom, fit, click, search, theme and keys work")
            _open(page, Path(folder), "hostile", _hostile, server)
            _check_hostile(page)
            print("hostile names are shown as text; nothing was fetched or run")
    except (BrowserError, CheckError, ServerError) as exc:
        sys.stderr.write(f"page check: {exc}\n")
        return 1
    return 0


def _open(
    page: Page, folder: Path, bucket: str, record: Callable[[str], PackageRef], server: SeaweedFS
) -> None:
    """Record a pipeline in a bucket of its own and open the page of its lineage."""
    server.create_bucket(bucket, versioned=False)
    ref = record(f"s3://{bucket}")
    file = folder / f"{bucket}.html"
    file.write_text(html_page(graph(ref, settings=Settings(registry=ref.registry))), "utf-8")
    page.open(file)
    _expect(page.log() == [], "the browser complains of nothing")


def _check_look(page: Page, size: int) -> None:
    look = page.run(_LOOK)
    boxes = look["boxes"]
    _expect(len(boxes) == size, f"{len(boxes)} boxes are drawn, not {size}")
    x, y, width, height = look["view"]
    for box in boxes:
        _expect(_is_inside(box, [x, y, width, height]), f"everything is in view: {box}")
    for number, box in enumerate(boxes):
        for other in boxes[number + 1 :]:
            _expect(not _overlap(box, other), f"boxes are apart: {box} and {other}")
    for box, labels in zip(boxes, look["labels"], strict=True):
        _expect(bool(labels), "each box has a label")
        for label in labels:
            _expect(label["letter"] >= MIN_LETTER_PX, f"letters can be read: {label}")
            _expect(_is_inside(label["box"], box, 1.5), f"the label is in its box: {label} {box}")
    _expect(all(length > 5 for length in look["edges"]), "edges are drawn")


def _check_use(page: Page) -> None:
    whole = page.run(_STAGE)
    page.wheel((700, 400), -600)
    page.wheel((700, 400), -600)
    near = page.run(_STAGE)
    _expect(near != whole, "the wheel zooms")
    page.drag((700, 80), (600, 160))
    _expect(page.run(_STAGE) != near, "dragging pans")
    _expect(page.run(_PANEL) == "", "dragging picks nothing")
    page.click("#fit")
    _expect(page.run(_STAGE) == whole, "Fit shows everything again")
    page.click(".node.root rect")
    facts = page.run(_PANEL)
    for part in (
        "weather/observations",
        "Top hash",
        "URI",
        "Files",
        "Size",
        "made by merge.country",
    ):
        _expect(part in facts, f"a click on a revision shows {part}: {facts}")
    page.click(".node.failed rect")
    facts = page.run(_PANEL)
    for part in ("export.py", "Run id", "FAIL", "no space left on device", "python 3.7.7"):
        _expect(part in facts, f"a click on a run shows {part}: {facts}")
    page.click("#close")
    page.type("#search", f"trees-08{Keys.ENTER}")
    _expect("trees-08" in page.run(_PANEL), "Enter goes to what was searched")
    _expect("1 of 2" in page.run("return document.getElementById('hits').textContent"), "hits")
    theme = "return getComputedStyle(document.body).backgroundColor"
    before = page.run(theme)
    page.click("#theme")
    _expect(page.run(theme) != before, "the theme changes")
    page.type("#search", Keys.ESCAPE)
    _expect(page.run(_PANEL) == "", "Escape closes")
    page.resize(700, 600)
    _expect(page.run("return document.body.scrollWidth <= innerWidth"), "a small window holds it")
    page.resize(*WINDOW)


def _hostile(registry: str) -> PackageRef:
    source = Input("https://feed.example", HOSTILE)
    return samples.Recorder(registry).run(HOSTILE, HOSTILE, [source], "weather/observations")


def _check_hostile(page: Page) -> None:
    _expect(page.run("return window.owned === undefined"), "no name runs")
    _expect(page.run("return document.images.length") == 0, "no name becomes an element")
    _expect(HOSTILE in page.run("return document.body.textContent"), "names are shown as they are")
    fetched = page.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    _expect(fetched == [], f"nothing is fetched: {fetched}")


def _is_inside(box: list[float], frame: list[float], slack: float = 0.5) -> bool:
    return (
        box[0] >= frame[0] - slack
        and box[1] >= frame[1] - slack
        and box[0] + box[2] <= frame[0] + frame[2] + slack
        and box[1] + box[3] <= frame[1] + frame[3] + slack
    )


def _overlap(one: list[float], other: list[float]) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def _save(png: bytes, path: Path) -> None:
    """Store a screenshot with few colours: a drawing needs no more."""
    from PIL import Image

    packed = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        # By coverage, or the one box in red would be lost among the many in blue.
        few = image.convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE)
        few.save(packed, "PNG", optimize=True)
    _expect(packed.tell() < IMAGE_MAX_BYTES, f"{path} is {packed.tell()} bytes")
    path.write_bytes(packed.getvalue())


def _expect(is_so: Any, what: str) -> None:
    if not is_so:
        raise CheckError(f"expected: {what}")


if __name__ == "__main__":
    sys.exit(main())
