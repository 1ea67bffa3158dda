"""The built book, served on localhost and opened in headless Chromium with no way to any other host."""

import functools
import http.server
import shutil
import threading
from urllib.parse import urlsplit

import pytest
from built import HTML
from playwright.sync_api import Page, sync_playwright

BROWSERS = ("chromium", "google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address():
    assert (HTML / "index.html").exists(), "the book is not built: run `make book`"
    handler = functools.partial(Handler, directory=HTML)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert program, "the browser tests need Chromium or Google Chrome: `make test` installs it"
    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=program, args=QUIET) as opened:
            yield opened


class Visitor:
    """Opens pages of the book, and keeps what went wrong while they were open in `complaints`."""

    def __init__(self, browser, address: str):
        self.browser, self.address = browser, address
        self.contexts, self.complaints = [], []

    def open(self, name: str, width: int = 1280, extra: dict[str, str] | None = None) -> Page:
        """The page; extra are pages that the built book does not hold, name -> HTML."""
        context = self.browser.new_context(viewport={"width": width, "height": 900})
        context.set_default_timeout(60_000)  # a machine busy with other work is slow, not wrong
        self.contexts.append(context)
        page = context.new_page()
        page.on("request", self.check_host)
        page.on("response", lambda r: r.status >= 400 and self.complaints.append(f"{r.status} {r.url}"))
        # A browser asks every host for /favicon.ico while a page names no other: of the book's only the one that leads to the welcome page.
        page.on("console", lambda m: m.type == "error" and not m.location["url"].endswith("/favicon.ico") and self.complaints.append(f"console: {m.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        for other, html in (extra or {}).items():
            page.route(self.address + other, lambda route, _, html=html: route.fulfill(body=html, content_type="text/html"))
        page.goto(self.address + name, wait_until="load")
        page.wait_for_function("!window.MathJax?.startup || window.MathJax.startup.promise.then(() => true)")
        page.wait_for_function("document.querySelectorAll('.explorer-host:not([data-mounted])').length == 0")
        return page

    def check_host(self, request) -> None:
        if urlsplit(request.url).scheme in ("http", "https") and not request.url.startswith(self.address):
            self.complaints.append(f"external request: {request.url}")


@pytest.fixture
def visit(visitor):
    """Function as `Visitor.open`."""
    return visitor.open


@pytest.fixture
def visitor(browser, address):
    """A Visitor; the test fails if any page it opened complained."""
    visitor = Visitor(browser, address)
    yield visitor
    for context in visitor.contexts:
        context.close()
    assert not visitor.complaints, "\n".join(visitor.complaints)
