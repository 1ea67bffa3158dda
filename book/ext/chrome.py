"""The machine's Chromium or Google Chrome, without a window and without a way to any other host."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

PROGRAMS = ("chromium", "google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


def program() -> str:
    """Where it is; FileNotFoundError if nowhere."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise FileNotFoundError("needs Chromium or Google Chrome: `make chrome` installs one")
    return found


@contextmanager
def opened() -> Iterator[Browser]:
    """A headless browser, closed at the end; FileNotFoundError where there is none."""
    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=program(), args=QUIET) as browser:
            yield browser
