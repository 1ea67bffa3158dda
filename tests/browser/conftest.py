"""The built book, served on localhost below a sub-path and under its content policy, opened in headless Chromium with no way to any other host."""

import collections
import contextlib
import functools
import http.server
import threading
from urllib.parse import urlsplit

import pytest
from built import HTML
from playwright.sync_api import Page

import chrome

pytest.register_assert_rewrite("engines")  # which is imported by tests, and asserts for them

SUB_PATH = "/some/place/"


class Handler(http.server.SimpleHTTPRequestHandler):
    """A static host that serves the book below SUB_PATH, sends its content policy and the headers in `extra`, and counts what it sends in `sent`."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
    extra: dict[str, str] = {}
    sent: collections.Counter = collections.Counter()

    def translate_path(self, path):
        return super().translate_path(path.removeprefix(SUB_PATH.rstrip("/"))) if path.startswith(SUB_PATH) else str(HTML / "no such file")

    def end_headers(self):
        policy = (HTML / "content-policy.txt").read_text("utf8").strip()
        for name, value in {"Content-Security-Policy": policy, **self.extra}.items():
            self.send_header(name, value)
        super().end_headers()

    def send_response(self, code, message=None):
        self.sent[self.path.removeprefix(SUB_PATH), code] += 1
        super().send_response(code, message)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(handler: type[Handler] = Handler):
    """Address of the book's root, on a server of its own."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=HTML)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{SUB_PATH}"
        server.shutdown()


@pytest.fixture(scope="session")
def address():
    assert (HTML / "index.html").exists(), "the book is not built: run `make book`"
    with served() as found:
        yield found


@pytest.fixture(scope="session")
def browser():
    with chrome.opened() as found:
        yield found


class Visitor:
    """Opens pages of the book, and keeps what went wrong while they were open in `complaints`."""

    def __init__(self, browser, address: str):
        self.browser, self.address = browser, address
        self.contexts, self.complaints = [], []

    def open(self, name: str, width: int = 1280, *, extra: dict[str, str] | None = None, script: str = "", watch=None, **options) -> Page:
        """The page, in a window of that width. extra are files that the built book does not hold or that replace its own, name -> text; script runs
        before those of the page; watch is told of every response; options are those of Playwright's contexts."""
        context = self.browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(60_000)  # a machine busy with other work is slow, not wrong
        self.contexts.append(context)
        page = context.new_page()
        page.on("request", self.check_host)
        page.on("response", lambda r: r.status >= 400 and self.complaints.append(f"{r.status} {r.url}"))
        # A browser asks every host for /favicon.ico while a page names no other: of the book's only the one that leads to the welcome page.
        page.on("console", lambda m: m.type == "error" and not m.location["url"].endswith("/favicon.ico") and self.complaints.append(f"console: {m.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.add_init_script(script)
        if watch:
            page.on("response", watch)
        for other, text in (extra or {}).items():
            kind = "text/html" if other.endswith(".html") else "application/json"
            page.route(self.address + other, lambda route, _, text=text, kind=kind: route.fulfill(body=text, content_type=kind))
        page.goto(self.address + name, wait_until="load")
        page.wait_for_function("() => !window.MathJax?.startup || window.MathJax.startup.promise.then(() => true)")
        page.wait_for_function("() => document.querySelectorAll('.explorer-host:not([data-mounted])').length == 0")
        return page

    def close(self) -> None:
        """Close its pages; raises AssertionError if one of them complained."""
        for context in self.contexts:
            context.close()
        assert not self.complaints, "\n".join(self.complaints)

    def check_host(self, request) -> None:
        if urlsplit(request.url).scheme in ("http", "https") and not request.url.startswith(self.address):
            self.complaints.append(f"external request: {request.url}")


@pytest.fixture
def visit(visitor):
    """Function as `Visitor.open`."""
    return visitor.open


@pytest.fixture
def visitor(browser, address):
    """A Visitor, closed after the test."""
    visitor = Visitor(browser, address)
    yield visitor
    visitor.close()
