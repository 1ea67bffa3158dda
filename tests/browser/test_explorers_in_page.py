"""Explorers in the built page: no kernel, no network, still frames, keyboard."""

import pytest
from built import HTML, pages

VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]'
WITH_EXPLORER = [name for name in pages() if "application/vnd.jupyter.widget-view+json" in (HTML / name).read_text("utf8")]
EXPLORERS = pytest.mark.parametrize("name", WITH_EXPLORER)
PICTURES = "host => [...host.querySelectorAll('canvas')].map(c => c.toDataURL()).join()"


def test_each_section_has_one():
    sections = [name for name in pages() if name.startswith("chapters/") and not name.endswith("index.html")]
    assert sections and set(sections) <= set(WITH_EXPLORER)


@EXPLORERS
@pytest.mark.parametrize("width", [1280, 360])
def test_every_control_changes_the_picture_by_keyboard(name, width, visit):
    page = visit(name, width)
    assert page.locator("[data-mounted]").count() == page.locator(VIEW).count()
    for host in page.locator("[data-mounted]").all():
        controls = host.locator("input[type=range], select").all()
        assert controls, "an explorer without controls"
        for control in controls:
            assert control.evaluate("c => c.labels.length > 0 || !!c.ariaLabel"), "a control without a label"
            before = host.evaluate(PICTURES)
            control.focus()
            last = control.evaluate("c => c.tagName == 'SELECT' ? c.selectedIndex == c.length - 1 : c.value == c.max")
            page.keyboard.press("ArrowLeft" if last else "ArrowRight")
            page.wait_for_function(f"([host, before]) => ({PICTURES})(host) != before",
                                   arg=[host.element_handle(), before])
