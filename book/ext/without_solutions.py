"""Take the solutions of exercises out of notebooks before Sphinx reads them: readers get stubs, in every edition.

A notebook runs with its solutions, or comes with its outputs from the cache, before its text is cut; the parser then gets the notebook that
`course.exercises.without_solutions` makes, with outputs, and runs nothing. So whatever is built of a page, be it pictures, the search index, widgets
or an EPUB, cannot hold what the page was never given. The site's copies of sources, which its download button serves, are written here too.
"""

import shutil
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from myst_nb.core.execute import create_client
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

from course.exercises import without_solutions

logger = logging.getLogger(__name__)


def cut(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the notebook by its copy without solutions, outputs in place."""
    path = str(app.env.doc2path(docname))
    if not path.endswith(".ipynb"):
        return
    with create_client(nbformat.reads(source[0], 4), path, app.env.mystnb_config, logger) as client:
        try:
            notebook = without_solutions(client.notebook)
        except ValueError as error:
            raise ExtensionError(f"{docname}: {error}") from error
    notebook.metadata["mystnb"] = {**notebook.metadata.get("mystnb", {}), "execution_mode": "off"}
    source[0] = nbformat.writes(notebook)


def take_over_sources(app: Sphinx) -> None:
    """Sphinx would copy each page's file as it is."""
    if getattr(app.builder, "copysource", False):
        app.builder.copysource = False
        app.connect("html-page-context", copy_source)


def copy_source(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    if not context.get("sourcename"):
        return
    path, target = Path(app.env.doc2path(pagename)), Path(app.outdir, "_sources", context["sourcename"])
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".ipynb":
        nbformat.write(without_solutions(nbformat.read(path, 4)), target)
    else:
        shutil.copyfile(path, target)


def open_stubs(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Point the Binder button at the learner's copy, which binder/postBuild writes; the theme points it at the chapter."""
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button["text"] == "Binder":
                button["url"] = button["url"].replace("/tree/chapters/", "/tree/lab/", 1)


def setup(app: Sphinx) -> dict:
    app.connect("source-read", cut)
    app.connect("builder-inited", take_over_sources)
    app.connect("html-page-context", open_stubs, priority=900)  # after the theme has made its buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
