"""Pages that work under a strict Content-Security-Policy, and that policy, in one line, in `content-policy.txt` at the site's root.

Scripts come from the site alone. Of those within pages, which the theme writes, each is allowed by its checksum. Event handlers in attributes
cannot be, short of allowing all of them; they move, as they are, into a served script.
"""

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

from sphinx.application import Sphinx

SCRIPT, MARK = "handlers.js", "data-handler-"
EXECUTED = ("", "text/javascript", "application/javascript", "module")  # other types hold data
# Styles: the theme and MathJax set them on elements. Images: icons within style sheets, and small pictures of cells.
POLICY = ("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{}; worker-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; "
          "img-src 'self' data:; font-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'")
ATTACH = """  for (const [name, code, handler] of handlers) {
    for (const element of document.querySelectorAll(`[${mark}${name}]`)) {
      if (element.getAttribute(mark + name) === code) element[name] = handler;
    }
  }
"""


class Page(HTMLParser):
    """What a page holds: `scripts`, those within it that are executed, and `handlers`, pairs (name, code), with their places in `marks`."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.scripts, self.handlers, self.marks, self.inside = [], set(), [], False
        self.lines = [0, *(m.end() for m in re.finditer("\n", text))]
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.inside = tag == "script" and "src" not in given and (given.get("type") or "").lower() in EXECUTED
        if self.inside:
            self.scripts.append("")
        self.handlers |= {(name.removeprefix(MARK), code) for name, code in attributes if code and re.match(f"({MARK})?on", name)}
        line, column = self.getpos()
        # Of the alternatives the first passes over values, whatever they hold.
        self.marks += [self.lines[line - 1] + column + m.start(1) for m in re.finditer(
            r"\"[^\"]*\"|'[^']*'|(?<=\s)(on\w+\s*=)", self.get_starttag_text()) if m[1]]

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = False


def marked(text: str, places: list[int]) -> str:
    """The page with `MARK` at these places, before the names of handlers: the browser then takes them for data."""
    for place in reversed(places):
        text = text[:place] + MARK + text[place:]
    return text


def attaching(handlers: set[tuple[str, str]]) -> str:
    """A script that gives the marked elements of a page their handlers, each with the code that stood in its attribute."""
    rows = (f"  [{json.dumps(name)}, {json.dumps(code)}, function (event) {{ {code} }}],\n" for name, code in sorted(handlers))
    return f"""(() => {{
  const handlers = [
{"".join(rows)}  ];
  const mark = {json.dumps(MARK)};
{ATTACH}}})();
"""


def policy(scripts: set[str]) -> str:
    """The value of the header Content-Security-Policy that allows these scripts within pages."""
    sums = sorted(b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return POLICY.format("".join(f" 'sha256-{x}'" for x in sums))


def write(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.name != "html":
        return
    root, scripts, handlers = Path(app.outdir), set(), set()
    for path in root.rglob("*.html"):
        if path.is_relative_to(root / "_static"):  # templates that the theme leaves there
            continue
        text = path.read_text("utf8")
        page = Page(text)
        scripts.update(page.scripts)
        handlers |= page.handlers
        if page.marks:
            path.write_text(marked(text, page.marks), "utf8")
    (root / "_static" / SCRIPT).write_text(attaching(handlers), "utf8")
    (root / "content-policy.txt").write_text(policy(scripts) + "\n", "utf8")


def without_page_name(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Take out the one script that differs on every page, and with it a checksum a page. Only the theme's list of versions reads it."""
    context["script_files"][:] = [script for script in context["script_files"] if "DOCUMENTATION_OPTIONS.pagename" not in script.attributes.get("body", "")]


def setup(app: Sphinx) -> dict:
    app.add_js_file(SCRIPT, loading_method="defer")
    app.connect("html-page-context", without_page_name, priority=900)  # after the theme has put it there
    app.connect("build-finished", write, priority=900)  # after whoever else changes pages
    return {"parallel_read_safe": True, "parallel_write_safe": True}
