"""axe-core on every page, all rules in light and those of colour in dark, where nothing else differs. Known faults of the theme are listed, and nothing else is let through."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from built import pages

# (rule, start of the CSS path that axe gives): markup of the theme and of docutils, which the book does not write.
KNOWN = {
    ("region", ".sidebar-primary-items__start"),   # the book's title in the side bar
    ("aria-deprecated-role", "#id"),                # docutils' entries of a list of references
    ("aria-allowed-role", "#id"),
    ("aria-required-children", ".citation-list"),
}
# Without preloading, which asks the server again for every style sheet and for sheets that do not exist.
OPTIONS = {"resultTypes": ["violations"], "preload": False}


def unknown(results) -> list[str]:
    found = [(rule["id"], rule["help"], node) for rule in results.response["violations"] for node in rule["nodes"]]
    return [f"{rule}: {text}\n    {node['target']}\n    {node['html'][:160]}" for rule, text, node in found
            if not any(rule == known and str(node["target"][0]).startswith(path) for known, path in KNOWN)]


@pytest.mark.parametrize("name", pages())
def test_page_is_accessible(name, visit):
    page, problems = visit(name), []
    for theme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast", "link-in-text-block"]})):
        page.evaluate("theme => Object.assign(document.documentElement.dataset, { theme, mode: theme })", theme)
        page.wait_for_timeout(300)  # colours fade over
        problems += [f"{theme}: {problem}" for problem in unknown(Axe().run(page, options=OPTIONS | rules))]
    assert not problems, "\n".join(problems)
