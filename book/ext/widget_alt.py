"""Give the still picture beside a widget the alt text that the widget itself carries, before `alt_text` looks for it."""

import json
import re

from docutils import nodes
from sphinx.application import Sphinx

VIEW, PICTURE = "application/vnd.jupyter.widget-view+json", "image/png"


def describe(app: Sphinx, doctree: nodes.document) -> None:
    scripts = app.env.nb_metadata.get(app.env.docname, {}).get("js_files", {})
    states = json.loads(scripts["ipywidgets_state"][1]["body"])["state"] if "ipywidgets_state" in scripts else {}
    for bundle in doctree.findall(lambda node: isinstance(node, nodes.container) and node.get("nb_element") == "mime_bundle"):
        forms = {form["mime_type"]: form for form in bundle.children}
        if VIEW in forms and PICTURE in forms:
            model = json.loads(re.search(r"{.*}", forms[VIEW].astext(), re.S)[0])["model_id"]
            for image in forms[PICTURE].findall(nodes.image):
                image["alt"] = states[model]["state"]["alt"]


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", describe, priority=0)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
