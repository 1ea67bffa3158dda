"""Keep sphinx_thebe out of the pages.

Jupyter Book 1 always loads it. It writes the same `const` twice into every page, which is a SyntaxError, and a
script address of a content delivery network. The book has no use for it: its explorers need no kernel.
"""

from sphinx.application import Sphinx

UNHOOKED = {"init_thebe_core", "update_thebe_context"}


def unhook(app: Sphinx, _config) -> None:
    for event, listeners in app.events.listeners.items():
        app.events.listeners[event] = [
            listener for listener in listeners if getattr(listener.handler, "__name__", "") not in UNHOOKED
        ]


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", unhook, priority=1)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
