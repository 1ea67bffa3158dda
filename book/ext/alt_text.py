"""Warn about every picture without alt text. The book is built with -W, so such a picture stops the build.

Figures drawn by a cell take theirs from the cell's metadata: {"mystnb": {"image": {"alt": "..."}}}.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def check(app: Sphinx, doctree: nodes.document) -> None:
    for image in doctree.findall(nodes.image):
        if not image.get("alt", "").strip():
            logger.warning("picture without alt text: %s", image.get("uri", "?"), location=image, type="alt_text")


def setup(app: Sphinx) -> dict:
    # Before Sphinx's image collector and writers fill a missing text with the file's name.
    app.connect("doctree-read", check, priority=1)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
