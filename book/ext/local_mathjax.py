"""Serve MathJax from the book itself, so that a page asks no other server for anything.

The files are those of MathJax 3.2.2 as the Python package `sphinx-mathjax-offline` carries them (byte for byte the
`es5` folder of the npm package; checked here by checksum). Only what a page can ask for is copied: the combined
component, its fonts, TeX extensions loaded on demand, and the accessibility explorer behind MathJax's menu.
"""

import hashlib
import shutil
from importlib.metadata import distribution
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

COMPONENT = "tex-mml-chtml.js"
SHA256 = "300480069078b5892d2363a2b65e2dfbbf30fe5c80f83edbfecf4610fd093862"
NEEDED = (COMPONENT, "output/chtml/fonts/woff-v2", "input/tex/extensions", "a11y", "sre")


def source(component: str = COMPONENT, sha256: str = SHA256) -> Path:
    """Folder of the installed MathJax; ExtensionError if its component is not the one this book was tested with."""
    folder = Path(distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax"))
    found = hashlib.sha256((folder / component).read_bytes()).hexdigest()
    if found != sha256:
        raise ExtensionError(f"{folder / component} has SHA-256 {found}, expected {sha256} (MathJax 3.2.2)")
    return folder


def copy(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.format != "html":
        return
    folder, target = source(), Path(app.outdir, "_static", "vendor", "mathjax")
    for name in NEEDED:
        if (folder / name).is_dir():
            shutil.copytree(folder / name, target / name, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / name, target / name)


def use_local(app: Sphinx, config) -> None:
    config.mathjax_path = f"vendor/mathjax/{COMPONENT}"


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", use_local)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
