"""What the site says about where it is published: `[tool.book]` in pyproject.toml, all of it off until set.

    address       the site's address: canonical links
    repository    https://github.com/OWNER/NAME: buttons for the source, for an edit and for an issue
    binder        true: a button on each notebook that opens it in Binder
    colab         true: a button on each notebook that opens its copy on the branch `colab` (book/publish.py makes it) in Colab
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
BRANCH, COPIES = "main", "colab"
OFF = {"address": "", "repository": "", "binder": False, "colab": False}


def project(root: Path = ROOT) -> dict[str, Any]:
    """pyproject.toml of the folder `root`."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf8"))


def settings(root: Path = ROOT) -> dict[str, Any]:
    """The table `[tool.book]`; what it lacks is off. ValueError for an unknown name, a wrong value, or a button without repository."""
    found = project(root).get("tool", {}).get("book", {})
    for name, value in found.items():
        if name not in OFF:
            raise ValueError(f"[tool.book] has no setting {name!r}: it takes {', '.join(OFF)}")
        if type(value) is not type(OFF[name]):
            raise ValueError(f"[tool.book] {name} must be {'a string' if OFF[name] == '' else 'true or false'}, got {value!r}")
    book = OFF | found
    if book["address"] and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", book["address"]):
        raise ValueError(f'[tool.book] address must be empty or like "https://owner.github.io/name/", got {book["address"]!r}')
    if book["repository"] and not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+(?<!\.git)", book["repository"]):
        raise ValueError(f'[tool.book] repository must be empty or like "https://github.com/owner/name", got {book["repository"]!r}')
    if (book["binder"] or book["colab"]) and not book["repository"]:
        raise ValueError("[tool.book] binder and colab open notebooks of a repository: set repository, or turn them off")
    return book


def apply(app: Sphinx, config: Any) -> None:
    book = settings()
    config.html_baseurl = book["address"] and book["address"].rstrip("/") + "/"
    if not book["repository"]:
        return
    config.html_theme_options |= {
        "repository_url": book["repository"],
        "repository_branch": BRANCH,
        "path_to_docs": "",
        "use_repository_button": True,
        "use_edit_page_button": True,
        "use_issues_button": True,
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org" if book["binder"] else "",
            "colab_url": "https://colab.research.google.com" if book["colab"] else "",
        },
    }


def open_copy(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Point the Colab button at the copy with an install cell; the theme points it at the source."""
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button["text"] == "Colab":
                button["url"] = button["url"].replace(f"/blob/{BRANCH}/", f"/blob/{COPIES}/", 1)


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", apply)
    app.connect("html-page-context", open_copy, priority=900)  # after the theme has made its buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
