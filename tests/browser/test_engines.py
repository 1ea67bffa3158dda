"""Each explorer computed twice over its grid, by Python and by the browser's engine: the same numbers, captions and pictures."""

import json

import pytest
from books_explorers import EXPLORERS
from engines import MOVE, assert_same, place, sample, shown

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>One explorer</title>
<script type="application/vnd.jupyter.widget-state+json">{state}</script><main>
<script type="application/vnd.jupyter.widget-view+json">{{"model_id": "one"}}</script></main>
<script defer src="_static/explorers/view.js"></script><script defer src="_static/mount.js"></script></html>"""
CURVES, NETWORKS = 150, 24  # points of a grid that is visited whole; of a larger one every value of every control is visited


def state_of(explorer) -> str:
    """What myst-nb embeds of one explorer, without frames computed beforehand."""
    names = ("title", "alt", "controls", "indices", "stills", "_css")
    state = {name: getattr(explorer, name) for name in names} | {"engine": explorer.browser_engine.plain()}
    return json.dumps({"state": {"one": {"model_module": "anywidget", "state": state}}}, sort_keys=True)  # as in a page


@pytest.fixture
def laboratory(visit):
    """Function explorer -> (page, element handle) with that explorer alone on it, beside the book's own assets."""

    def mounted(explorer):
        page = visit("laboratory.html", extra={"laboratory.html": PAGE.format(state=state_of(explorer))})
        return page, page.locator("[data-mounted]").element_handle()

    return mounted


@pytest.mark.parametrize("name", EXPLORERS)
def test_browser_and_python_compute_the_same(name, laboratory):
    explorer = EXPLORERS[name]()
    assert explorer.browser_engine is not None, "this explorer does not compute in a page"
    page, host = laboratory(explorer)
    for point in sample(explorer, NETWORKS if explorer.browser_engine.networks else CURVES):
        page.evaluate(f"([host, indices]) => ({MOVE})(host, indices)", [host, place(explorer, point)])
        assert_same(shown(page, host), explorer.final(**point))
