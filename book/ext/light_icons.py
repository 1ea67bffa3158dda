"""Show the theme's icons by its fonts and style sheet alone, which hold all of them.

The theme also loads a script that draws the same icons again as SVG: half a megabyte, packed, and more than everything else on a page.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

SCRIPT = re.compile(r'<script[^>]* src="[^"]*_static/scripts/fontawesome\.js[^"]*"></script>\n?')


def drop(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.name != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf8")
        if (lighter := SCRIPT.sub("", text)) != text:
            page.write_text(lighter, "utf8")


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", drop, priority=300)  # before content_policy, which reads the pages as they stay
    return {"parallel_read_safe": True, "parallel_write_safe": True}
