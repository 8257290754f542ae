"""A headless Chromium, driven by Selenium: what a check of pages asks of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

__all__ = ["BrowserError", "Keys", "Page", "browser", "find_browser"]

ANSWER_TIMEOUT_S: Final = 60.0
# No sandbox: containers run this as root. The rest keeps the browser from asking the network.
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
_TWO_FRAMES: Final = (
    "const done = arguments[0];"
    "requestAnimationFrame(() => requestAnimationFrame(() => done(null)));"
)


class BrowserError(RuntimeError):
    """The browser is not there, did not start, or refused a command."""


class Page:
    """One window."""

    def __init__(self, driver: Chrome) -> None:
        self._driver = driver

    def open(self, path: Path) -> None:
        """Load a local file and wait until it is drawn."""
        self._driver.get(path.resolve().as_uri())
        self._settle()

    def visit(self, url: str) -> None:
        """Load a page of a server on this machine."""
        self._driver.get(url)
        self._settle()

    def run(self, script: str) -> Any:
        """Return what a script returns."""
        return self._driver.execute_script(script)

    def screenshot(self) -> bytes:
        """Return the window as PNG."""
        return self._driver.get_screenshot_as_png()

    def click(self, selector: str) -> None:
        """Click the first element of a CSS selector, where it is, with a real pointer."""
        element = self._driver.find_element(By.CSS_SELECTOR, selector)
        self._perform(ActionChains(self._driver, duration=0).click(element))

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Press at one point of the window, move to another, and release."""
        actions = ActionChains(self._driver, duration=80)
        pointer = actions.w3c_actions.pointer_action
        pointer.move_to_location(*start)
        pointer.pointer_down()
        pointer.move_to_location(*end)
        pointer.pointer_up()
        self._perform(actions)

    def wheel(self, at: tuple[int, int], delta_y: int) -> None:
        """Turn the wheel over a point of the window."""
        actions = ActionChains(self._driver)
        actions.w3c_actions.wheel_action.scroll(*at, 0, delta_y)
        self._perform(actions)

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        self._driver.find_element(By.CSS_SELECTOR, selector).send_keys(text)
        self._settle()

    def resize(self, width: int, height: int) -> None:
        """Give the window another size, in pixels."""
        self._driver.set_window_size(width, height)
        self._settle()

    def log(self) -> list[str]:
        """Return what the browser has complained of since it was last asked."""
        entries = self._driver.get_log("browser")
        return [f"{entry['level']}: {entry['message']}" for entry in entries]

    def _perform(self, actions: ActionChains) -> None:
        actions.perform()
        self._settle()

    def _settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self._driver.execute_async_script(_TWO_FRAMES)


def find_browser() -> tuple[str, str]:
    """Return where the browser and its driver are.

    Raises:
        BrowserError: One of them is missing.
    """
    program, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver_path is None:
        raise BrowserError(
            "chromium and chromedriver are needed: apt-get install chromium chromium-driver"
        )
    return program, driver_path


@contextmanager
def browser(width: int = 1600, height: int = 1000) -> Iterator[Page]:
    """Run a browser with one window until the block ends.

    Raises:
        BrowserError: chromium or chromedriver is missing, or refused a command.
    """
    program, driver_path = find_browser()
    options = ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with TemporaryDirectory(prefix="t4-browser-") as home:
        for flag in (*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={home}"):
            options.add_argument(flag)
        try:
            driver = Chrome(options, Service(driver_path))
            try:
                driver.set_page_load_timeout(ANSWER_TIMEOUT_S)
                driver.set_script_timeout(ANSWER_TIMEOUT_S)
                yield Page(driver)
            finally:
                driver.quit()
        except WebDriverException as exc:
            raise BrowserError(f"the browser failed: {exc.msg}") from exc
